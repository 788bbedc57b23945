//! GC: what belongs to attachments of this network that are not valid any more is removed: masquerade and macspoofchk rules,
//! host ends of pairs, and, by the IPAM plugin, addresses. Other networks and the bridge are not touched.

use crate::{chain, config::Remains, identity::parse_alias, macspoof, masquerade};
use cni_net::{LinkKind, Rtnl, nft::Nft};
use cni_types::{Call, Command, Error, ValidAttachments};

pub(crate) fn gc(call: &Call) -> Result<(), Error> {
    let valid = call.valid_attachments()?;
    let outcomes = [remove_rules(call, &valid), remove_links(call, &valid), forward(call)];
    Error::join(outcomes.into_iter().filter_map(Result::err))
}

fn remove_rules(call: &Call, valid: &ValidAttachments) -> Result<(), Error> {
    let mut nft = Nft::open_if_there()?;
    let masquerade = masquerade::remove_stale(call, nft.as_mut(), valid);
    let spoof_checks =
        nft.as_mut().map_or(Ok(()), |nft| macspoof::remove_stale(nft, call.network.as_str(), valid));
    Error::join([masquerade, spoof_checks].into_iter().filter_map(Result::err))
}

fn remove_links(call: &Call, valid: &ValidAttachments) -> Result<(), Error> {
    if *valid == ValidAttachments::Unknown {
        return Ok(());
    }
    let mut rtnl = Rtnl::open()?;
    let ports = chain::release_stale(&mut rtnl, call, valid).err();
    let stale = rtnl.links()?.into_iter().filter(|link| {
        let alias = link.alias.as_deref().and_then(parse_alias);
        link.kind == LinkKind::Veth
            && alias.is_some_and(|[network, container_id, if_name]| {
                network == call.network.as_str() && valid.excludes(container_id, if_name)
            })
    });
    let stale: Vec<u32> = stale.map(|link| link.index).collect();
    Error::join(
        stale.into_iter().filter_map(|index| rtnl.remove_link(index).err()).map(Error::from).chain(ports),
    )
}

fn forward(call: &Call) -> Result<(), Error> {
    match Remains::of(call)?.ipam {
        Some(kind) => call.delegate(&kind)?.verify(Command::Gc),
        None => Ok(()),
    }
}
