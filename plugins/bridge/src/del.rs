//! DEL: whatever is left of the attachment goes. Needs no namespace, no `prevResult`, no bridge and no configuration that an
//! ADD would accept. Every part is tried; what failed is told at the end.

use crate::{
    chain,
    config::Remains,
    identity::{Identity, parse_alias},
    macspoof,
    masquerade::Masquerade,
    neighbours,
};
use cni_net::{Link, LinkKind, Rtnl, nft::Nft, remaining_netns};
use cni_types::{Call, Detachment, Error};

/// The order is the kernel's: the rule before the link, since both wait for RCU and so wait together (19 ms against 31);
/// the addresses last, so that they are not given to another container while this one still has them.
pub(crate) fn del(call: &Call, detachment: &Detachment) -> Result<(), Error> {
    let identity = Identity {
        network: &call.network,
        container_id: &detachment.container_id,
        if_name: &detachment.if_name,
    };
    let rules = remove_rules(call, detachment, &identity);
    let links = remove_links(call, detachment, &identity);
    let remains = Remains::of(call);
    if let Ok(Remains { gateway_interface: Some(interface), .. }) = &remains {
        neighbours::forget(call, interface);
    }
    let addresses = remains.and_then(|remains| release(call, &remains));
    // The socket is closed only now: closing waits until the deleted rule is out of use.
    let rules = rules.map(drop);
    Error::join([rules, links, addresses].into_iter().filter_map(Result::err))
}

/// Returns the socket, to be closed at the end. A kernel without nf_tables may have rules of the legacy iptables.
fn remove_rules(call: &Call, detachment: &Detachment, identity: &Identity<'_>) -> Result<Option<Nft>, Error> {
    let mut nft = Nft::open_if_there()?;
    let masquerade = Masquerade::of(call, *identity).remove(nft.as_mut(), detachment);
    let spoof_check = nft.as_mut().map_or(Ok(()), |nft| macspoof::remove(nft, identity));
    Error::join([masquerade, spoof_check].into_iter().filter_map(Result::err)).map(|()| nft)
}

fn remove_links(call: &Call, detachment: &Detachment, identity: &Identity<'_>) -> Result<(), Error> {
    let mut host = Rtnl::open()?;
    if chain::release(&mut host, call, identity)? {
        return Ok(());
    }
    if let Some(netns) = remaining_netns(call, detachment.netns.as_ref())? {
        let mut container = Rtnl::open_in(&netns)?;
        if let Some(link) = container.find_link(&detachment.if_name)?
            && may_be_ours(&mut host, &link, identity)?
        {
            return Ok(container.remove_link(link.index)?);
        }
    }
    remove_host_end(&mut host, identity)
}

/// Whether a link in the container is the end of a pair of this attachment. The name alone does not say so: it may be a device
/// of another plugin, which cannot even be deleted, or the interface of another network, for which our ADD was
/// refused. The alias of the other end does, where it has one; the reference writes none.
fn may_be_ours(host: &mut Rtnl, link: &Link, identity: &Identity<'_>) -> Result<bool, Error> {
    if link.kind != LinkKind::Veth {
        return Ok(false);
    }
    let peer = link.peer_index.map(|index| host.link(index)).transpose()?.flatten();
    // Its peer may be in another namespace, where the same number is another link's.
    let peer = peer.filter(|peer| peer.kind == LinkKind::Veth && peer.peer_index == Some(link.index));
    if peer.as_ref().is_some_and(chain::is_taken) {
        return Ok(false);
    }
    let owner = peer.as_ref().and_then(|peer| parse_alias(peer.alias.as_deref()?));
    Ok(owner.is_none_or(|owner| owner == identity.words()))
}

/// The path to the namespace is gone, but the namespace may live on, and with it the pair. The host's end has a name that
/// follows from the attachment; its alias tells whether it really is that attachment's.
fn remove_host_end(host: &mut Rtnl, identity: &Identity<'_>) -> Result<(), Error> {
    let is_ours = |link: &Link| {
        link.kind == LinkKind::Veth && link.alias.as_deref().and_then(parse_alias) == Some(identity.words())
    };
    let Some(named) = host.find_link(&identity.host_name(0)?)? else { return Ok(()) };
    // Where somebody else has the name, ours had to take another one. Only then all links are looked at.
    let ours = if is_ours(&named) { Some(named) } else { host.links()?.into_iter().find(is_ours) };
    ours.map_or(Ok(()), |link| Ok(host.remove_link(link.index)?))
}

fn release(call: &Call, remains: &Remains) -> Result<(), Error> {
    match &remains.ipam {
        Some(kind) => call.delegate(kind)?.del(),
        None => Ok(()),
    }
}
