//! DEL: what is left of the attachment goes. Needs no namespace, no `prevResult`, no bridge and no
//! configuration that an ADD would accept.

use crate::{NAME, chain, config::Remains};
use cni_attachment::{
    del,
    interface::forget_neighbours,
    ipam,
    netfilter::{
        mac_check,
        masquerade::{Backend, Masquerade},
    },
    pair, remaining_netns,
};
use cni_net::{Rtnl, iptables::Tables, nft::Nft};
use cni_types::{AttachmentId, Call, Detachment, Error};

pub(crate) fn del(call: &Call, detachment: &Detachment) -> Result<(), Error> {
    let id = detachment.id(&call.network);
    del::remove(
        || remove_rules(call, detachment, id),
        || remove_links(call, detachment, id),
        || ipam::del(call, Remains::of(call)?.ipam.as_deref()),
    )
}

/// Removes the rules and returns the socket, to be closed at the end. A kernel without nf_tables may
/// have rules of the legacy iptables.
fn remove_rules(
    call: &Call,
    detachment: &Detachment,
    id: AttachmentId<'_>,
) -> Result<Option<Nft>, Error> {
    let mut nft = Nft::open_if_there()?;
    let tables = match Remains::of(call).map(|remains| remains.masquerade) {
        // Listing the legacy tables takes as long as others have rules there, and without ipMasq
        // nobody made any for this.
        Ok(masquerade) => masquerade.map_or(Tables::Nft, Backend::tables),
        Err(_) => Tables::All,
    };
    let masquerade = Masquerade::new(NAME, call).remove(nft.as_mut(), detachment, tables);
    let spoof_check = nft
        .as_mut()
        .map_or(Ok(()), |nft| mac_check::remove(nft, id));
    Error::join([masquerade, spoof_check]).map(|()| nft)
}

/// Removes the pair, and has the host forget the container's addresses. The pair is known by its
/// host's end, whatever became of the container and of the interface in it. Only a pair that says
/// nothing, the reference's, is looked for by the interface's name in the container.
fn remove_links(call: &Call, detachment: &Detachment, id: AttachmentId<'_>) -> Result<(), Error> {
    let removed = remove_pair(call, detachment, id);
    if let Ok(Remains {
        gateway_interface: Some(interface),
        ..
    }) = Remains::of(call)
    {
        forget_neighbours(call, &interface);
    }
    removed
}

fn remove_pair(call: &Call, detachment: &Detachment, id: AttachmentId<'_>) -> Result<(), Error> {
    let mut host = Rtnl::open()?;
    if chain::release(&mut host, call, id)? || pair::remove(&mut host, id)? {
        return Ok(());
    }
    match remaining_netns(call, detachment.netns.as_ref())? {
        Some(netns) => pair::remove_inside(&mut host, &netns, &detachment.if_name, id),
        None => Ok(()),
    }
}
