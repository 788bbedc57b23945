//! GC: what belongs to attachments of this network that are not valid any more is removed: masquerade and macspoofchk rules,
//! host ends of pairs, and, by the IPAM plugin, addresses. Other networks and the bridge are not touched.

use crate::{chain, config::Remains, identity::parse_alias, macspoof};
use cni_net::{LinkKind, Rtnl, nft::Nft};
use cni_types::{Call, Command, Error, ValidAttachments};

pub(crate) fn gc(call: &Call) -> Result<(), Error> {
    let valid = call.valid_attachments()?;
    let outcomes = [remove_rules(call, &valid), remove_links(call, &valid), forward(call)];
    Error::join(outcomes.into_iter().filter_map(Result::err))
}

fn remove_rules(call: &Call, valid: &ValidAttachments) -> Result<(), Error> {
    let Some(mut nft) = Nft::open_if_there()? else { return Ok(()) };
    let network = call.network.as_str();
    let masquerade = nft.remove_stale_masquerade(network, valid).map(drop).map_err(Error::from);
    let spoof_checks = macspoof::remove_stale(&mut nft, network, valid);
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
