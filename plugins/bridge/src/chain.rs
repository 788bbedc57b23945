//! Chained use (CONVENTIONS.md, "Chained Plugins"): an earlier plugin of the chain made the
//! interface, a `tap` or a veth pair, and its result names the host's side of it. That side becomes
//! the bridge port; no pair is made.
//!
//! The plugin that made the interface removes it, too. An alias (`mark`) records that this plugin
//! attached it to the bridge; CHECK, DEL and GC find it by that alias.

use crate::{config::Config, vlan};
use cni_attachment::{
    mark::{self, Mark, Role},
    names::host_names,
    pair, prev_result,
    stale::Stale,
};
use cni_net::{Batch, Link, LinkKind, Netns, Rtnl};
use cni_types::{AddResult, AttachmentId, Call, Code, Error, IfName};

/// Returns the host's side of the interface that an earlier plugin made, or `None` if the result
/// names none; the caller then makes a pair.
///
/// A veth counts only if its peer is `inside`, the interface of the attachment's name in the
/// container: the chain may have made other interfaces of the container before. Any other
/// interface, a tap for instance, has no peer.
///
/// # Errors
/// Fails with code 7 if the result names an interface that does not exist, if the choice is
/// ambiguous, or if the interface is a port of another bridge.
pub(crate) fn port(
    host: &mut Rtnl,
    prev_result: &AddResult,
    config: &Config,
    inside: Option<&Link>,
    netns: &Netns,
) -> Result<Option<Link>, Error> {
    let peer = match inside {
        Some(inside) => host.peer_of(inside, netns)?,
        None => None,
    };
    let mut others = Vec::new();
    for interface in prev_result::on_host(prev_result).filter(|i| i.name != config.bridge.as_str())
    {
        let link = host.find_link(&IfName::parse(&interface.name)?)?;
        let link = link.ok_or_else(|| not_on_host(&interface.name))?;
        match link.kind {
            // The bridge of another plugin.
            LinkKind::Bridge => {}
            LinkKind::Veth if peer.as_ref().is_some_and(|peer| peer.index == link.index) => {
                return require_no_other_bridge(host, link, config).map(Some);
            }
            LinkKind::Veth => {}
            LinkKind::Other(_) => others.push(link),
        }
    }
    match others.as_slice() {
        [] => Ok(None),
        [only] => require_no_other_bridge(host, only.clone(), config).map(Some),
        several => Err(ambiguous(several)),
    }
}

/// Returns the port.
///
/// # Errors
/// Fails with code 7 if it is a port of another bridge.
fn require_no_other_bridge(host: &mut Rtnl, port: Link, config: &Config) -> Result<Link, Error> {
    let bridge = host.find_link(&config.bridge)?.map(|link| link.index);
    match port.master {
        Some(master) if Some(master) != bridge => Err(other_bridges_port(host, &port, master)?),
        _ => Ok(port),
    }
}

/// Makes sure that no interface of this attachment is a port already, whatever interfaces the
/// earlier plugins made this time. Makes no request if the result names no interface on the host:
/// this plugin never attached one by such a result.
///
/// # Errors
/// Fails with code 4 if there is such a port.
pub(crate) fn require_none(
    host: &mut Rtnl,
    prev_result: &AddResult,
    id: AttachmentId<'_>,
) -> Result<(), Error> {
    if prev_result::on_host(prev_result).next().is_none() {
        return Ok(());
    }
    let port = host.links()?.into_iter().find(|link| is_port_of(link, id));
    port.map_or(Ok(()), |port| Err(pair::lives(&port.name, id)))
}

/// Makes sure that the port can be marked, that is, that nobody else gave it an alias. Without the
/// mark, a second ADD of the attachment could not be distinguished from the first, and its rollback
/// would free the addresses of the first.
///
/// # Errors
/// Fails with code 7 if the port has an alias.
pub(crate) fn require_markable(port: &Link) -> Result<(), Error> {
    let Some(alias) = port.alias.as_deref().filter(|alias| !alias.is_empty()) else {
        return Ok(());
    };
    let name = &port.name;
    let msg = format!("interface {name} of prevResult has the alias {alias:?}");
    Err(Error::new(Code::INVALID_CONFIG, msg).with_details(format!(
        "with addresses of its own the bridge plugin marks the interface by its alias; remove it (ip link set {name} \
         alias ''), or leave ipam to the plugin that made the interface"
    )))
}

/// Returns the error for an interface of the result that does not exist.
fn not_on_host(name: &str) -> Error {
    let msg = format!("interface {name} of prevResult is not on this host");
    Error::new(Code::INVALID_CONFIG, msg)
        .with_details("an earlier plugin of the chain named it as the host's side of the interface")
}

/// Returns the error for several interfaces that might become the port.
fn ambiguous(several: &[Link]) -> Error {
    let names: Vec<&str> = several.iter().map(|link| link.name.as_str()).collect();
    Error::new(
        Code::INVALID_CONFIG,
        "prevResult has more than one interface on the host's side",
    )
    .with_details(format!(
        "found {}; expected one, or a veth whose peer is CNI_IFNAME in the container",
        names.join(", ")
    ))
}

/// Returns the error for a port of another bridge; names that bridge.
///
/// # Errors
/// Fails if the kernel refuses to list that bridge.
fn other_bridges_port(host: &mut Rtnl, port: &Link, master: u32) -> Result<Error, Error> {
    let master = host
        .link(master)?
        .map_or_else(|| format!("link {master}"), |link| link.name.to_string());
    let msg = format!(
        "interface {} of prevResult is a port of {master} already",
        port.name
    );
    Ok(Error::new(Code::INVALID_CONFIG, msg).with_details(format!(
        "detach it (ip link set {} nomaster), or leave it on {master}",
        port.name
    )))
}

/// Makes the interface a port of the bridge, sets it up and marks it. An alias of others stays;
/// then DEL does not detach the port, and the DEL of the plugin that made the interface removes it.
///
/// # Errors
/// Fails if the kernel refuses.
pub(crate) fn attach(
    host: &mut Rtnl,
    port: &Link,
    bridge: &Link,
    id: AttachmentId<'_>,
    config: &Config,
) -> Result<(), Error> {
    let mut batch = Batch::new();
    if port.master.is_none() {
        batch.set_master(port, bridge);
    }
    vlan::confine(&mut batch, bridge, port, config);
    if mark::is_silent(port) {
        batch.set_alias(port, &mark::alias(Role::Port, id));
    }
    if !port.up {
        batch.set_up(port);
    }
    Ok(host.run(batch)?)
}

/// Restores the port's previous master, state and alias.
///
/// # Errors
/// Fails if the kernel refuses.
pub(crate) fn restore(host: &mut Rtnl, before: &Link) -> Result<(), Error> {
    let mut batch = Batch::new();
    if before.master.is_none() {
        batch.remove_master(before);
    }
    if !before.up {
        batch.set_down(before);
    }
    batch.set_alias(before, before.alias.as_deref().unwrap_or_default());
    Ok(host.run(batch)?)
}

/// Returns true if the mark of the link says that it is a port of this attachment.
fn is_port_of(link: &Link, id: AttachmentId<'_>) -> bool {
    Mark::of(link).is_some_and(|mark| mark.role == Role::Port && mark.is_of(id))
}

/// Returns the port of this attachment that an earlier plugin made, or `None`. Looks only at the
/// interfaces that the result of the whole chain names.
///
/// # Errors
/// Fails if the kernel refuses to list an interface.
pub(crate) fn taken_port(
    host: &mut Rtnl,
    prev_result: &AddResult,
    id: AttachmentId<'_>,
) -> Result<Option<Link>, Error> {
    for name in prev_result::on_host(prev_result).filter_map(|i| IfName::parse(&i.name).ok()) {
        let link = host.find_link(&name)?;
        if let Some(link) = link.filter(|link| is_port_of(link, id)) {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

/// Detaches the attachment's port from the bridge, for DEL. Returns true if there was one.
///
/// # Errors
/// Fails if the kernel refuses.
pub(crate) fn release(host: &mut Rtnl, call: &Call, id: AttachmentId<'_>) -> Result<bool, Error> {
    // DEL succeeds without a prevResult, and likewise with one that cannot be parsed.
    let Ok(Some(prev_result)) = call.prev_result() else {
        return Ok(false);
    };
    // A pair that this plugin made has a name derived from the attachment; no look-up is needed.
    let [own, ..] = host_names(id);
    if prev_result::on_host(&prev_result).any(|interface| own == interface.name.as_str()) {
        return Ok(false);
    }
    let port = taken_port(host, &prev_result, id)?;
    port.as_ref().map_or(Ok(()), |port| detach(host, port))?;
    Ok(port.is_some())
}

/// Detaches the ports of stale attachments from the bridge, for GC.
///
/// # Errors
/// Fails if the kernel refuses; the other ports are detached nevertheless.
pub(crate) fn release_stale(
    host: &mut Rtnl,
    links: &[Link],
    stale: &Stale<'_>,
) -> Result<(), Error> {
    let is_stale = |link: &&Link| {
        Mark::of(link).is_some_and(|mark| mark.role == Role::Port && stale.has(&mark))
    };
    Error::join(links.iter().filter(is_stale).map(|port| detach(host, port)))
}

/// Detaches the port from its bridge and removes the mark. Succeeds if the interface is gone.
fn detach(host: &mut Rtnl, port: &Link) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.remove_master(port);
    batch.set_alias(port, "");
    match host.run(batch) {
        Err(e) if !e.is_absent() => Err(e.into()),
        // The plugin that made it was faster.
        _ => Ok(()),
    }
}
