//! DEL: whatever is left of the attachment goes. Needs no namespace, no `prevResult`, no bridge and no configuration that an
//! ADD would accept. Every part is tried, but for addresses of an interface that could not be
//! removed; what failed is reported at the end.

use crate::{
    chain,
    config::Remains,
    macspoof,
    mark::{Mark, Role},
    masquerade::Masquerade,
    neighbours, pair,
};
use cni_net::{Link, Netns, Rtnl, nft::Nft, remaining_netns};
use cni_types::{AttachmentId, Call, Detachment, Error};

/// The order is the kernel's: the rule before the link, since both wait for RCU and so wait
/// together (19 ms against 31); the addresses last, and only if the interface is gone, so that they
/// are not given to another container while this one still has them.
pub(crate) fn del(call: &Call, detachment: &Detachment) -> Result<(), Error> {
    let id = detachment.id(&call.network);
    let rules = remove_rules(call, detachment, id);
    let links = remove_links(call, detachment, id);
    let remains = Remains::of(call);
    if let Ok(Remains {
        gateway_interface: Some(interface),
        ..
    }) = &remains
    {
        neighbours::forget(call, interface);
    }
    // If an interface may be left, it may answer for them: the runtime tries again.
    let addresses = match links {
        Ok(()) => remains.and_then(|remains| release(call, &remains)),
        Err(_) => Ok(()),
    };
    // The socket is closed only now: closing waits until the deleted rule is out of use.
    let rules = rules.map(drop);
    Error::join(
        [rules, links, addresses]
            .into_iter()
            .filter_map(Result::err),
    )
}

/// Returns the socket, to be closed at the end. A kernel without nf_tables may have rules of the legacy iptables.
fn remove_rules(
    call: &Call,
    detachment: &Detachment,
    id: AttachmentId<'_>,
) -> Result<Option<Nft>, Error> {
    let mut nft = Nft::open_if_there()?;
    let masquerade = Masquerade::of(call, id).remove(nft.as_mut(), detachment);
    let spoof_check = nft.as_mut().map_or(Ok(()), |nft| macspoof::remove(nft, id));
    Error::join(
        [masquerade, spoof_check]
            .into_iter()
            .filter_map(Result::err),
    )
    .map(|()| nft)
}

/// The pair is known by its host's end, whatever became of the container and of the interface in
/// it. Only a pair that says nothing, the reference's, is looked for by the interface's name in the
/// container.
fn remove_links(call: &Call, detachment: &Detachment, id: AttachmentId<'_>) -> Result<(), Error> {
    let mut host = Rtnl::open()?;
    if chain::release(&mut host, call, id)? || pair::remove(&mut host, id)? {
        return Ok(());
    }
    let Some(netns) = remaining_netns(call, detachment.netns.as_ref())? else {
        return Ok(());
    };
    let mut container = Rtnl::open_in(&netns)?;
    match container.find_link(&detachment.if_name)? {
        Some(link) if may_be_ours(&mut host, &link, &netns, id)? => {
            Ok(container.remove_link(link.index)?)
        }
        _ => Ok(()),
    }
}

/// Tells if a link in the container may be the end of a pair of this attachment. The name alone
/// does not say so: it may be a device of another plugin, which cannot even be deleted; a pair that
/// somebody put there, without an end on the host; or the interface of another network, for which
/// our ADD was refused, as the alias of the other end says. The reference writes none.
fn may_be_ours(
    host: &mut Rtnl,
    link: &Link,
    netns: &Netns,
    id: AttachmentId<'_>,
) -> Result<bool, Error> {
    let Some(peer) = host.peer_of(link, netns)? else {
        return Ok(false);
    };
    Ok(Mark::of(&peer).is_none_or(|mark| mark.role == Role::Pair && mark.is_of(id)))
}

fn release(call: &Call, remains: &Remains) -> Result<(), Error> {
    match &remains.ipam {
        Some(kind) => call.delegate(kind)?.del(),
        None => Ok(()),
    }
}
