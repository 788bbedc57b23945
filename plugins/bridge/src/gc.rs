//! GC: what belongs to attachments of this network that are not valid any more is removed: masquerade and macspoofchk rules,
//! host ends of pairs, and, by the IPAM plugin, addresses. Other networks and the bridge are not touched.

use crate::{
    chain,
    config::Remains,
    macspoof,
    mark::{Mark, Role},
    masquerade,
    stale::Stale,
};
use cni_net::{Batch, Link, LinkKind, NetError, Rtnl, nft::Nft};
use cni_types::{Call, Command, Error, Stop, ValidAttachments};
use std::num::NonZeroU32;

/// Pairs that are removed by one request. The kernel holds its lock meanwhile, and a request to
/// stop is not seen.
const PAIRS_AT_ONCE: usize = 64;

pub(crate) fn gc(call: &Call) -> Result<(), Error> {
    let valid = call.valid_attachments()?;
    let outcomes = [remove_rules(call, &valid), remove_links(call, &valid), forward(call)];
    Error::join(outcomes.into_iter().filter_map(Result::err))
}

fn remove_rules(call: &Call, valid: &ValidAttachments) -> Result<(), Error> {
    let mut nft = Nft::open_if_there()?;
    let masquerade = masquerade::remove_stale(call, nft.as_mut(), valid);
    let spoof_checks = match (nft.as_mut(), Stale::of(call, valid)) {
        (Some(nft), Some(stale)) => macspoof::remove_stale(nft, &stale),
        _ => Ok(()),
    };
    Error::join([masquerade, spoof_checks].into_iter().filter_map(Result::err))
}

fn remove_links(call: &Call, valid: &ValidAttachments) -> Result<(), Error> {
    let Some(stale) = Stale::of(call, valid) else { return Ok(()) };
    let mut rtnl = Rtnl::open()?;
    let links = rtnl.links()?;
    let ports = chain::release_stale(&mut rtnl, &links, &stale);
    let pairs = remove_pairs(&mut rtnl, &links, &stale, &call.stop);
    Error::join([ports, pairs].into_iter().filter_map(Result::err))
}

/// Removes stale pairs, many with one request, for the kernel waits for RCU once for each: they are
/// moved into a group of their own, and the group is removed. If this process is killed in between,
/// the group still says that they are stale.
fn remove_pairs(rtnl: &mut Rtnl, links: &[Link], stale: &Stale<'_>, stop: &Stop) -> Result<(), Error> {
    let groups = stale.groups();
    let (doomed, kept): (Vec<&Link>, Vec<&Link>) = links.iter().partition(|link| is_stale(link, stale));
    // By an earlier GC that was killed, with another list.
    let rescued: Vec<&Link> = kept.into_iter().filter(|link| link.group == groups.doomed.get()).collect();
    set_group(rtnl, &rescued, groups.living)?;
    let mut failures = Vec::new();
    for some in doomed.chunks(PAIRS_AT_ONCE) {
        stop.check()?;
        failures.extend(set_group(rtnl, some, groups.doomed).err());
        failures.extend(rtnl.remove_group(groups.doomed).err());
    }
    Error::join(failures.into_iter().map(Error::from))
}

fn is_stale(link: &Link, stale: &Stale<'_>) -> bool {
    let mark = Mark::of(link).filter(|mark| mark.role == Role::Pair && link.kind == LinkKind::Veth);
    mark.map_or_else(|| stale.has_unmarked(link), |mark| stale.has(&mark))
}

fn set_group(rtnl: &mut Rtnl, links: &[&Link], group: NonZeroU32) -> Result<(), NetError> {
    let mut batch = Batch::new();
    links.iter().for_each(|link| batch.set_group(link.index, &link.name, group));
    NetError::absent_is_ok(rtnl.run(batch))
}

/// Has the IPAM plugin free the addresses; not those of pairs that a request to stop left.
fn forward(call: &Call) -> Result<(), Error> {
    call.stop.check()?;
    match Remains::of(call)?.ipam {
        Some(kind) => call.delegate(&kind)?.verify(Command::Gc),
        None => Ok(()),
    }
}
