//! The veth pair of an attachment: made under one of its names, found again, and removed if an ADD
//! that was killed left it.
//!
//! A name that is taken by somebody else is a reason to take the next one. A pair of this
//! attachment's own is recognised by its alias, and before that is written, by its network's group.

use crate::{
    config::Config,
    mac,
    mark::{Mark, Role},
    names::{Groups, host_names, random_mac},
    stale::is_unmarked_pair,
    undo::Undo,
};
use cni_net::{Batch, Errno, Link, LinkKind, NetError, Netns, Peer, Rtnl, VethPair};
use cni_types::{AttachmentId, Code, Error, IfName, MacAddr};

/// A pair of this attachment that is there already.
enum Own {
    /// It says so.
    Marked(Link),
    /// Its ADD was killed before it could write the alias.
    Unmarked(Link),
}

fn own(link: Link, id: AttachmentId<'_>) -> Option<Own> {
    let mark = Mark::of(&link);
    if link.kind == LinkKind::Veth
        && mark.is_some_and(|mark| mark.role == Role::Pair && mark.is_of(id))
    {
        return Some(Own::Marked(link));
    }
    is_unmarked_pair(&link, &Groups::of(id.network)).then_some(Own::Unmarked(link))
}

/// The pairs of this attachment, by its names. If another link has one of these, all links are
/// looked at too: earlier versions then took a random name.
fn find(host: &mut Rtnl, id: AttachmentId<'_>) -> Result<Vec<Own>, NetError> {
    let (mut found, mut is_taken) = (Vec::new(), false);
    for name in host_names(id) {
        let Some(link) = host.find_link(&name)? else {
            continue;
        };
        match own(link, id) {
            Some(own) => found.push(own),
            None => is_taken = true,
        }
    }
    if is_taken && found.is_empty() {
        let marked = |link| own(link, id).filter(|own| matches!(own, Own::Marked(_)));
        found.extend(host.links()?.into_iter().filter_map(marked));
    }
    Ok(found)
}

/// Returns the host's end of a pair of this attachment that lives, wherever its other end is now.
/// What a killed ADD or a dying namespace left is removed. The caller holds the attachment's claim,
/// so no other ADD is making it.
pub(crate) fn living(host: &mut Rtnl, id: AttachmentId<'_>) -> Result<Option<Link>, Error> {
    let mut living = None;
    for own in find(host, id)? {
        match own {
            Own::Marked(link) if host.peer(&link)? != Peer::Gone => living = Some(link),
            Own::Marked(link) | Own::Unmarked(link) => host.remove_link(link.index)?,
        }
    }
    Ok(living)
}

/// Refuses a second ADD of an attachment that lives.
pub(crate) fn lives(host_end: &str, id: AttachmentId<'_>) -> Error {
    let AttachmentId {
        network,
        container_id,
        if_name,
    } = id;
    let msg =
        format!("container {container_id} is attached to network {network} by {if_name} already");
    Error::new(Code::INVALID_ENVIRONMENT, msg).with_details(format!(
        "{host_end} on the host belongs to that attachment, whose other end is in another namespace or has another \
         name by now; end it with a DEL before it is added again"
    ))
}

/// Refuses an interface name that the container has already.
pub(crate) fn require_free_name(
    container: &mut Rtnl,
    name: &IfName,
    host_name: &IfName,
) -> Result<(), Error> {
    if container.find_link(name)?.is_none() {
        return Ok(());
    }
    let msg =
        format!("container veth name (\"{name}\") peer provided (\"{host_name}\") already exists");
    Err(
        Error::new(Code::INVALID_ENVIRONMENT, msg).with_details(format!(
            "CNI_IFNAME {name} is taken in the container; was it added before without a DEL?"
        )),
    )
}

/// The pair that is to be made.
pub(crate) struct NewPair<'a> {
    pub(crate) id: AttachmentId<'a>,
    pub(crate) bridge: &'a Link,
    pub(crate) config: &'a Config,
    pub(crate) if_name: &'a IfName,
    pub(crate) netns: &'a Netns,
}

/// Makes the pair, the host's end on the bridge and in its network's group. Nothing that exists is
/// touched: a name that is taken is an error in the container, and a reason to take the next one on
/// the host. Returns the host end's name.
///
/// # Errors
/// Fails if the kernel refuses, or if all names are taken.
pub(crate) fn create(
    host: &mut Rtnl,
    container: &mut Rtnl,
    new: &NewPair<'_>,
    undo: &mut Undo<'_>,
) -> Result<IfName, Error> {
    let NewPair {
        id,
        bridge,
        config,
        if_name,
        netns,
    } = *new;
    for host_name in host_names(id) {
        let host_mac = mac::of_port(bridge.mac);
        let mut batch = Batch::new();
        batch.create_veth(&VethPair {
            host_name: &host_name,
            host_mac,
            bridge: bridge.index,
            group: Groups::of(id.network).living.get(),
            container_name: if_name,
            container_mac: config.mac.unwrap_or_else(random_mac),
            netns,
            // The kernel gives a bridge the least MTU of its ports (br_mtu_auto_adjust in
            // net/bridge/br_if.c): a port with less would take all others down.
            mtu: Some(config.mtu.unwrap_or(bridge.mtu)),
        });
        let name = host_name.clone();
        undo.on_failure("removing the veth pair", move || {
            Ok(remove_made(&name, host_mac)?)
        });
        match host.run(batch) {
            Ok(()) => return Ok(host_name),
            Err(e) if e.is_exists() => require_free_name(container, if_name, &host_name)?,
            Err(e) if e.errno() == Some(Errno::EXFULL) => return Err(full(config, &e)),
            Err(e) => return Err(e.into()),
        }
    }
    Err(Error::new(
        Code::TRY_AGAIN,
        "no free name for the host's end of the veth pair was found",
    ))
}

/// Removes the pair of this ADD, if there is one. The hardware address, chosen by chance, tells it
/// from another link that has the name. On a socket of its own: on the old one an answer may still
/// come.
fn remove_made(host_name: &IfName, host_mac: MacAddr) -> Result<(), NetError> {
    let mut host = Rtnl::open()?;
    let made = host
        .find_link(host_name)?
        .filter(|link| link.mac == Some(host_mac));
    made.map_or(Ok(()), |link| host.remove_link(link.index))
}

/// BR_MAX_PORTS of net/bridge/br_private.h is 1024, and port 0 is not used.
fn full(config: &Config, e: &NetError) -> Error {
    Error::new(
        Code::KERNEL,
        format!("bridge {} has no free port (1023 used)", config.bridge),
    )
    .with_details(e.to_string())
}

/// Removes the pair by its host's end. Returns false if there is none.
pub(crate) fn remove(host: &mut Rtnl, id: AttachmentId<'_>) -> Result<bool, Error> {
    let found = find(host, id)?;
    for Own::Marked(link) | Own::Unmarked(link) in &found {
        host.remove_link(link.index)?;
    }
    Ok(!found.is_empty())
}
