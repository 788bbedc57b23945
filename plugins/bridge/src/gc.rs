//! GC: what belongs to attachments of this network that are not valid any more is removed: masquerade and macspoofchk rules,
//! host ends of pairs, and, by the IPAM plugin, addresses. Other networks and the bridge are not touched.

use crate::{
    chain,
    config::Remains,
    foreign, macspoof,
    mark::{Mark, Role},
    masquerade,
    names::Groups,
    stale::Stale,
};
use cni_net::{Batch, Link, LinkKind, NetError, Rtnl, nft::Nft};
use cni_types::{Call, Command, Error, KeepAddresses, Stop, ValidAttachments};
use std::num::NonZeroU32;

/// Pairs that are removed by one request. The kernel holds its lock meanwhile, and a request to
/// stop is not seen.
const PAIRS_AT_ONCE: usize = 64;

/// The order: pairs of which only a rule says whose they are, then rules, then the others, and
/// addresses last. An address is freed only if nothing of a stale attachment is left that may
/// answer for it; the next GC tries again.
pub(crate) fn gc(call: &Call) -> Result<(), Error> {
    let valid = call.valid_attachments()?;
    let Some(stale) = Stale::of(&valid) else {
        return free_addresses(call, KeepAddresses::default());
    };
    let mut rtnl = Rtnl::open()?;
    let links = rtnl.links()?;
    rescue(&mut rtnl, &links, &stale)?;
    let foreign = remove_foreign(call, &mut rtnl, &links, &stale);
    // If such a pair is left, its rule is what the next GC knows it by.
    let rules = if foreign.is_ok() {
        remove_rules(call, &valid, &stale)
    } else {
        Ok(())
    };
    let own = remove_own(&mut rtnl, &links, &stale, &call.stop);
    let addresses = match (foreign, own) {
        (Ok(keep), Ok(())) => free_addresses(call, keep),
        (foreign, own) => Error::join(foreign.err().into_iter().chain(own.err())),
    };
    Error::join([rules, addresses].into_iter().filter_map(Result::err))
}

/// Takes pairs that are not stale out of the group that is removed whole. An earlier GC, with
/// another list, put them there and was killed.
fn rescue(rtnl: &mut Rtnl, links: &[Link], stale: &Stale<'_>) -> Result<(), Error> {
    let groups = stale.groups();
    let is_doomed = |link: &&Link| link.group == groups.doomed.get();
    let rescued: Vec<&Link> = links
        .iter()
        .filter(is_doomed)
        .filter(|link| !is_stale(link, stale))
        .collect();
    Ok(set_group(rtnl, &rescued, groups.living)?)
}

/// Removes the pairs that the reference made for stale attachments. Returns the addresses of those
/// that may be anybody's.
fn remove_foreign(
    call: &Call,
    rtnl: &mut Rtnl,
    links: &[Link],
    stale: &Stale<'_>,
) -> Result<KeepAddresses, Error> {
    let verdict = foreign::judge(call, rtnl, links, stale)?;
    remove_pairs(rtnl, &verdict.stale, stale.groups(), &call.stop)?;
    Ok(verdict.keep)
}

fn remove_rules(call: &Call, valid: &ValidAttachments, stale: &Stale<'_>) -> Result<(), Error> {
    let mut nft = Nft::open_if_there()?;
    let masquerade = masquerade::remove_stale(call, nft.as_mut(), valid);
    let spoof_checks = nft
        .as_mut()
        .map_or(Ok(()), |nft| macspoof::remove_stale(nft, stale));
    Error::join(
        [masquerade, spoof_checks]
            .into_iter()
            .filter_map(Result::err),
    )
}

/// Removes the pairs that this plugin made for stale attachments, and takes the ports that it took
/// off the bridge.
fn remove_own(
    rtnl: &mut Rtnl,
    links: &[Link],
    stale: &Stale<'_>,
    stop: &Stop,
) -> Result<(), Error> {
    let ports = chain::release_stale(rtnl, links, stale);
    let doomed: Vec<&Link> = links.iter().filter(|link| is_stale(link, stale)).collect();
    let pairs = remove_pairs(rtnl, &doomed, stale.groups(), stop);
    Error::join([ports, pairs].into_iter().filter_map(Result::err))
}

/// Removes stale pairs, many with one request, for the kernel waits for RCU once for each: they are
/// moved into a group of their own, and the group is removed. If this process is killed in between,
/// the group still says that they are stale.
fn remove_pairs(
    rtnl: &mut Rtnl,
    doomed: &[&Link],
    groups: &Groups,
    stop: &Stop,
) -> Result<(), Error> {
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
    links
        .iter()
        .for_each(|link| batch.set_group(link.index, &link.name, group));
    NetError::absent_is_ok(rtnl.run(batch))
}

/// Has the IPAM plugin free the addresses; not those of pairs that a request to stop left.
fn free_addresses(call: &Call, keep: KeepAddresses) -> Result<(), Error> {
    call.stop.check()?;
    match Remains::of(call)?.ipam {
        Some(kind) => call.delegate(&kind)?.keeping(keep).verify(Command::Gc),
        None => Ok(()),
    }
}
