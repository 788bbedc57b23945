//! Chained use (CONVENTIONS.md, "Chained Plugins"): an earlier plugin of the chain made the interface, a `tap` or a veth pair, and
//! its result names the host's side of it. That becomes the port; no pair is made.
//!
//! The interface stays its maker's, who removes it. What this plugin did to it is marked by an
//! alias (`mark`), by which CHECK, DEL and GC know it again.

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
/// names none: then a pair is made as ever. Of a veth its peer decides, which must be `inside`, the
/// interface of the attachment's name in the container: a chain may have made other interfaces of
/// the container before. Anything else, a tap for instance, has no other end.
///
/// # Errors
/// Code 7 if the choice is not clear, or the interface cannot become a port.
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
        let link = link.ok_or_else(|| absent(&interface.name))?;
        match link.kind {
            // Of a plugin that has a bridge of its own.
            LinkKind::Bridge => {}
            LinkKind::Veth if peer.as_ref().is_some_and(|peer| peer.index == link.index) => {
                return free_of_others(host, link, config).map(Some);
            }
            LinkKind::Veth => {}
            LinkKind::Other(_) => others.push(link),
        }
    }
    match others.as_slice() {
        [] => Ok(None),
        [only] => free_of_others(host, only.clone(), config).map(Some),
        several => Err(unclear(several)),
    }
}

/// Refuses a port of another bridge.
fn free_of_others(host: &mut Rtnl, port: Link, config: &Config) -> Result<Link, Error> {
    let bridge = host.find_link(&config.bridge)?.map(|link| link.index);
    match port.master {
        Some(master) if Some(master) != bridge => Err(taken(host, &port, master)?),
        _ => Ok(port),
    }
}

/// Makes sure that no interface of this attachment is a port already, whichever the earlier plugins
/// made this time. A result that names nothing on the host never led to one.
///
/// # Errors
/// Code 4 if there is one.
pub(crate) fn require_none(
    host: &mut Rtnl,
    prev_result: &AddResult,
    id: AttachmentId<'_>,
) -> Result<(), Error> {
    if prev_result::on_host(prev_result).next().is_none() {
        return Ok(());
    }
    let taken = host.links()?.into_iter().find(|link| is_taken_by(link, id));
    taken.map_or(Ok(()), |port| Err(pair::lives(&port.name, id)))
}

/// Refuses a port that cannot be marked, since somebody else gave it an alias: without the mark, a
/// second ADD of the attachment could not be told from the first, and its roll-back would free the
/// addresses of the first.
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

fn absent(name: &str) -> Error {
    let msg = format!("interface {name} of prevResult is not on this host");
    Error::new(Code::INVALID_CONFIG, msg)
        .with_details("an earlier plugin of the chain named it as the host's side of the interface")
}

fn unclear(several: &[Link]) -> Error {
    let names: Vec<&str> = several.iter().map(|link| link.name.as_str()).collect();
    Error::new(
        Code::INVALID_CONFIG,
        "prevResult has more than one interface on the host's side",
    )
    .with_details(format!(
        "found {}; one is wanted, or a veth whose peer is CNI_IFNAME in the container",
        names.join(", ")
    ))
}

fn taken(host: &mut Rtnl, port: &Link, master: u32) -> Result<Error, Error> {
    let master = host
        .link(master)?
        .map_or_else(|| format!("link {master}"), |link| link.name.to_string());
    let msg = format!(
        "interface {} of prevResult is a port of {master} already",
        port.name
    );
    Ok(Error::new(Code::INVALID_CONFIG, msg).with_details(format!(
        "take it off there (ip link set {} nomaster), or leave it to {master}",
        port.name
    )))
}

/// Makes it a port of the bridge, sets it up and marks it. An alias that somebody else gave it stays: then its maker's DEL is what
/// takes it off the bridge.
pub(crate) fn take(
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

/// Takes it off again, as it was before.
pub(crate) fn give_back(host: &mut Rtnl, before: &Link) -> Result<(), Error> {
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

fn is_taken_by(link: &Link, id: AttachmentId<'_>) -> bool {
    Mark::of(link).is_some_and(|mark| mark.role == Role::Port && mark.is_of(id))
}

/// The port that this attachment took, by the result of the whole chain.
pub(crate) fn taken_port(
    host: &mut Rtnl,
    prev_result: &AddResult,
    id: AttachmentId<'_>,
) -> Result<Option<Link>, Error> {
    for name in prev_result::on_host(prev_result).filter_map(|i| IfName::parse(&i.name).ok()) {
        let link = host.find_link(&name)?;
        if let Some(link) = link.filter(|link| is_taken_by(link, id)) {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

/// DEL: takes the port off the bridge, and tells whether there was one.
pub(crate) fn release(host: &mut Rtnl, call: &Call, id: AttachmentId<'_>) -> Result<bool, Error> {
    // DEL succeeds without one, and so with one that cannot be read.
    let Ok(Some(prev_result)) = call.prev_result() else {
        return Ok(false);
    };
    // The usual pair has a name of ours, so nothing is looked up for it.
    let [own, ..] = host_names(id);
    if prev_result::on_host(&prev_result).any(|interface| own == interface.name.as_str()) {
        return Ok(false);
    }
    let port = taken_port(host, &prev_result, id)?;
    port.as_ref().map_or(Ok(()), |port| take_off(host, port))?;
    Ok(port.is_some())
}

/// GC: takes the ports of stale attachments off the bridge.
pub(crate) fn release_stale(
    host: &mut Rtnl,
    links: &[Link],
    stale: &Stale<'_>,
) -> Result<(), Error> {
    let is_stale = |link: &&Link| {
        Mark::of(link).is_some_and(|mark| mark.role == Role::Port && stale.has(&mark))
    };
    Error::join(
        links
            .iter()
            .filter(is_stale)
            .map(|port| take_off(host, port)),
    )
}

fn take_off(host: &mut Rtnl, port: &Link) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.remove_master(port);
    batch.set_alias(port, "");
    match host.run(batch) {
        Err(e) if !e.is_absent() => Err(e.into()),
        // Its maker was faster.
        _ => Ok(()),
    }
}
