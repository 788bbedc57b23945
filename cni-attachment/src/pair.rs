//! The veth pair of an attachment: created under one of its names, found by them, and removed if a
//! killed ADD left it.
//!
//! If another link has a name, the next name is taken. A pair of the attachment itself is
//! recognized by its alias, or by its network's group before the alias is written.

use crate::{
    mark::{Mark, Role},
    names::{Groups, host_names},
    rollback::Rollback,
    stale::is_unmarked_pair,
};
use cni_net::{Batch, Errno, Link, LinkKind, NetError, Netns, NewLink, Peer, Rtnl};
use cni_types::{AttachmentId, Code, Error, IfName, MacAddr};

/// An existing pair of this attachment.
enum Own {
    /// The alias names the attachment.
    Marked(Link),
    /// There is no alias: the ADD was killed before it wrote one.
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

/// Finds the pairs of this attachment by its names. If another link has one of these, all links are
/// searched too, since earlier versions then took a random name.
fn find(host: &mut Rtnl, id: AttachmentId<'_>) -> Result<Vec<Own>, NetError> {
    let mut found = Vec::new();
    let mut is_taken = false;
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

/// Returns the host's end of a living pair of this attachment, wherever its other end is. Removes
/// the remains of a killed ADD or of a namespace that is being removed. The caller holds the
/// attachment's claim, so no other ADD is creating the pair.
///
/// # Errors
/// Fails if the kernel refuses a look-up or a removal.
pub fn living(host: &mut Rtnl, id: AttachmentId<'_>) -> Result<Option<Link>, Error> {
    let mut living = None;
    for own in find(host, id)? {
        match own {
            Own::Marked(link) if host.peer(&link)? != Peer::Gone => living = Some(link),
            Own::Marked(link) | Own::Unmarked(link) => host.remove_link(link.index)?,
        }
    }
    Ok(living)
}

/// Returns the error for a second ADD of an existing attachment.
#[must_use]
pub fn lives(host_end: &IfName, id: AttachmentId<'_>) -> Error {
    let AttachmentId {
        network,
        container_id,
        if_name,
    } = id;
    let msg =
        format!("container {container_id} is attached to network {network} by {if_name} already");
    Error::new(Code::INVALID_ENVIRONMENT, msg).with_details(format!(
        "{host_end} on the host belongs to that attachment, whose other end is in another namespace \
         or has another name by now; remove it with a DEL before adding it again"
    ))
}

/// Checks that the container has no interface of this name.
///
/// # Errors
/// Fails with code 4 and the reference's text if it has one.
pub fn require_free_name(
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

/// The properties of a new pair.
#[derive(Clone, Copy)]
pub struct NewPair<'a> {
    /// The attachment.
    pub id: AttachmentId<'a>,
    /// The bridge whose port the host's end becomes, if any.
    pub master: Option<&'a Link>,
    /// The random hardware address of the host's end. By it, a rollback distinguishes the pair of
    /// this ADD from another link with the same name.
    pub host_mac: MacAddr,
    /// The name of the container's end.
    pub if_name: &'a IfName,
    /// The hardware address of the container's end.
    pub container_mac: MacAddr,
    /// The namespace in which the container's end is created.
    pub netns: &'a Netns,
    /// The MTU of both ends, in bytes; `None` for the kernel's default.
    pub mtu: Option<u32>,
}

impl NewPair<'_> {
    fn add_to(&self, batch: &mut Batch, host_name: &IfName) {
        let mut host_end = NewLink::named(host_name)
            .mac(self.host_mac)
            .group(Groups::of(self.id.network).living)
            .up();
        let mut inside = NewLink::named(self.if_name)
            .mac(self.container_mac)
            .in_netns(self.netns);
        if let Some(master) = self.master {
            host_end = host_end.port_of(master);
        }
        if let Some(mtu) = self.mtu {
            host_end = host_end.mtu(mtu);
            inside = inside.mtu(mtu);
        }
        batch.create_veth(&host_end, &inside);
    }
}

/// Creates the pair, with the host's end in its network's group, and returns the host end's name.
/// No existing link is changed: a taken name is an error in the container, and on the host the next
/// name is tried.
///
/// # Errors
/// Fails if the kernel refuses, or if all names are taken.
pub fn create(
    host: &mut Rtnl,
    container: &mut Rtnl,
    new: &NewPair<'_>,
    rollback: &mut Rollback<'_>,
) -> Result<IfName, Error> {
    for host_name in host_names(new.id) {
        let mut batch = Batch::new();
        new.add_to(&mut batch, &host_name);
        let name = host_name.clone();
        let mac = new.host_mac;
        rollback.on_failure("removing the veth pair", move || {
            Ok(remove_made(&name, mac)?)
        });
        match host.run(batch) {
            Ok(()) => return Ok(host_name),
            Err(e) if e.is_exists() => require_free_name(container, new.if_name, &host_name)?,
            Err(e) => return Err(refused(new.master, e)),
        }
    }
    Err(Error::new(
        Code::TRY_AGAIN,
        "no free name for the host's end of the veth pair was found",
    ))
}

/// Removes the pair of this ADD, if it exists. Opens its own socket, since an answer may still
/// arrive on the previous one.
fn remove_made(host_name: &IfName, host_mac: MacAddr) -> Result<(), NetError> {
    let mut host = Rtnl::open()?;
    let made = host
        .find_link(host_name)?
        .filter(|link| link.mac == Some(host_mac));
    made.map_or(Ok(()), |link| host.remove_link(link.index))
}

/// Converts a refusal to an error, which names a bridge that is full: BR_MAX_PORTS of
/// net/bridge/br_private.h is 1024, and port 0 is not used.
fn refused(bridge: Option<&Link>, e: NetError) -> Error {
    match bridge.filter(|_| e.errno() == Some(Errno::EXFULL)) {
        Some(bridge) => {
            let msg = format!("bridge {} has no free port (1023 used)", bridge.name);
            Error::new(Code::KERNEL, msg).with_details(e.to_string())
        }
        None => e.into(),
    }
}

/// Removes the pair by its host's end; returns false if there is no pair.
///
/// # Errors
/// Fails if the kernel refuses a look-up or a removal.
pub fn remove(host: &mut Rtnl, id: AttachmentId<'_>) -> Result<bool, Error> {
    let found = find(host, id)?;
    for Own::Marked(link) | Own::Unmarked(link) in &found {
        host.remove_link(link.index)?;
    }
    Ok(!found.is_empty())
}

/// Removes the interface in the container if it is the end of a pair of this attachment. Needed for
/// the reference's pairs only, which have no alias, so that [`remove`] does not find them.
///
/// # Errors
/// Fails if the kernel refuses a look-up or the removal.
pub fn remove_inside(
    host: &mut Rtnl,
    netns: &Netns,
    if_name: &IfName,
    id: AttachmentId<'_>,
) -> Result<(), Error> {
    let mut container = Rtnl::open_in(netns)?;
    match container.find_link(if_name)? {
        Some(link) if may_be_ours(host, &link, netns, id)? => {
            Ok(container.remove_link(link.index)?)
        }
        _ => Ok(()),
    }
}

/// Returns true if a link in the container may be the end of a pair of this attachment. Its name
/// alone is no proof. It may be a device of another plugin, which may not even be deletable; a pair
/// without an end on the host; or the interface of another network, for which our ADD was refused,
/// in which case the alias of the other end names that network. The reference writes no alias.
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
