//! DEL: whatever is left of the attachment goes. Needs no namespace, no `prevResult`, no bridge and no configuration that an
//! ADD would accept. Every part is tried; what failed is told at the end.

use crate::{config::Remains, identity::Identity};
use cni_net::{Link, LinkKind, NetError, Rtnl, nft::Nft, remaining_netns};
use cni_types::{Call, Detachment, Error};

/// The order is the kernel's: the rule before the link, since both wait for RCU and so wait together (19 ms against 31);
/// the addresses last, so that they are not given to another container while this one still has them.
pub(crate) fn del(call: &Call, detachment: &Detachment) -> Result<(), Error> {
    let identity = Identity {
        network: &call.network,
        container_id: &detachment.container_id,
        if_name: &detachment.if_name,
    };
    let nft = remove_rules(&identity);
    let links = remove_links(call, detachment, &identity);
    let addresses = release(call);
    // The socket is closed only now: closing waits until the deleted rule is out of use.
    let nft = nft.map(drop);
    Error::join([nft, links, addresses].into_iter().filter_map(Result::err))
}

/// Returns the socket, to be closed at the end.
fn remove_rules(identity: &Identity<'_>) -> Result<Option<Nft>, Error> {
    let mut nft = match Nft::open() {
        // A kernel without nf_tables has no rules of ours.
        Err(_) => return Ok(None),
        Ok(nft) => nft,
    };
    match nft.remove_masquerade(&identity.owner()) {
        Ok(_) => Ok(Some(nft)),
        Err(e) if lacks_nf_tables(&e) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// nfnetlink answers so where the subsystem is neither built in nor a module that can be loaded.
pub(crate) fn lacks_nf_tables(error: &NetError) -> bool {
    matches!(error.errno(), Some(cni_net::Errno::EINVAL | cni_net::Errno::EOPNOTSUPP))
}

fn remove_links(call: &Call, detachment: &Detachment, identity: &Identity<'_>) -> Result<(), Error> {
    let netns = remaining_netns(call, detachment.netns.as_ref())?;
    if let Some(netns) = netns
        && detachment.if_name.as_str() != "lo"
    {
        let mut rtnl = Rtnl::open_in(&netns)?;
        if let Some(link) = rtnl.find_link(&detachment.if_name)? {
            return Ok(rtnl.remove_link(link.index)?);
        }
    }
    remove_host_end(identity)
}

/// The path to the namespace is gone, but the namespace may live on, and with it the pair. The host's end has a name that
/// follows from the attachment; its alias tells whether it really is that attachment's.
fn remove_host_end(identity: &Identity<'_>) -> Result<(), Error> {
    let mut rtnl = Rtnl::open()?;
    let alias = identity.alias();
    let is_ours = |link: &Link| {
        link.kind == LinkKind::Veth && !alias.is_empty() && link.alias.as_deref() == Some(&alias)
    };
    let Some(named) = rtnl.find_link(&identity.host_name(0)?)? else { return Ok(()) };
    // Where somebody else has the name, ours had to take another one. Only then all links are looked at.
    let ours = if is_ours(&named) { Some(named) } else { rtnl.links()?.into_iter().find(is_ours) };
    ours.map_or(Ok(()), |link| Ok(rtnl.remove_link(link.index)?))
}

fn release(call: &Call) -> Result<(), Error> {
    match Remains::of(call)?.ipam {
        Some(kind) => call.delegate(&kind)?.del(),
        None => Ok(()),
    }
}
