//! DEL: removes what is left of the attachment. Needs no namespace, no `prevResult`, no bridge, and
//! no configuration that ADD would accept.

use crate::{NAME, chain, config::CleanupConfig};
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

/// Removes rules, links and addresses of the attachment. Succeeds if they are gone.
///
/// # Errors
/// Fails if a part cannot be removed. The other parts are removed nevertheless; but the addresses
/// stay reserved as long as a link may be left.
pub(crate) fn del(call: &Call, detachment: &Detachment) -> Result<(), Error> {
    let id = detachment.id(&call.network);
    // Without a valid one, only the addresses cannot be freed.
    let config = CleanupConfig::of(call);
    del::remove(
        || remove_rules(call, detachment, id, config.as_ref().ok()),
        || remove_links(call, detachment, id, config.as_ref().ok()),
        || {
            let config = config.as_ref().map_err(Error::clone)?;
            ipam::del(call, config.ipam.as_deref())
        },
    )
}

/// Removes the masquerade and macspoofchk rules. Returns the nftables socket, which the caller
/// closes at the end; `None` if the kernel has no nf_tables. Such a kernel may have rules of the
/// legacy iptables.
fn remove_rules(
    call: &Call,
    detachment: &Detachment,
    id: AttachmentId<'_>,
    config: Option<&CleanupConfig>,
) -> Result<Option<Nft>, Error> {
    let mut nft = Nft::open_if_there()?;
    let tables = match config {
        // Listing the legacy tables takes the longer, the more rules others have there; without
        // ipMasq there are none of this attachment.
        Some(config) => config.masquerade.map_or(Tables::Nft, Backend::tables),
        None => Tables::All,
    };
    let masquerade = Masquerade::new(NAME, call).remove(nft.as_mut(), detachment, tables);
    let spoof_check = nft
        .as_mut()
        .map_or(Ok(()), |nft| mac_check::remove(nft, id));
    Error::join([masquerade, spoof_check]).map(|()| nft)
}

/// Removes the pair, and the host's neighbour entries of the container's addresses.
fn remove_links(
    call: &Call,
    detachment: &Detachment,
    id: AttachmentId<'_>,
    config: Option<&CleanupConfig>,
) -> Result<(), Error> {
    let removed = remove_pair(call, detachment, id);
    if let Some(interface) = config.and_then(|config| config.gateway_interface.as_ref()) {
        forget_neighbours(call, interface);
    }
    removed
}

/// Detaches a port that an earlier plugin made, or removes the pair. The pair is found by the mark
/// on its host's end, even if the container or its interface is gone. Only a pair without a mark,
/// as the reference makes it, is found by the name of the interface in the container.
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
