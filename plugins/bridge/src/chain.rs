//! Chained use (CONVENTIONS.md, "Chained Plugins"): an earlier plugin of the chain made the interface, a `tap` or a veth pair, and
//! its result names the host's side of it. That becomes the port; no pair is made.
//!
//! The interface stays its maker's, who removes it. What this plugin did to it is marked by an alias, by which CHECK, DEL and GC know
//! it again: `cni-port <network> <container id> <interface>`.

use crate::{config::Config, identity::Identity, vlan};
use cni_net::{Batch, Link, LinkKind, Rtnl};
use cni_types::{AddResult, Call, Code, Error, IfName, Interface, ValidAttachments};

/// What the alias begins with. Not the tag of our own pairs, which DEL and GC remove.
const TAG: &str = "cni-port";

/// IFALIASZ of include/uapi/linux/if.h, less the closing NUL.
const MAX_ALIAS: usize = 255;

/// The host's side of the interface that an earlier plugin made, or `None` where the result names none: then a pair is made
/// as ever. `container` is the interface of the attachment's name in the container, where there is one.
///
/// # Errors
/// Code 7 where the choice is not clear, or the interface cannot become a port.
pub(crate) fn port(
    host: &mut Rtnl,
    prev_result: &AddResult,
    config: &Config,
    container: Option<&Link>,
) -> Result<Option<Link>, Error> {
    let mut found = Vec::new();
    for interface in host_side(prev_result).filter(|i| i.name != config.bridge.as_str()) {
        let link = host.find_link(&IfName::parse(&interface.name)?)?;
        let link = link.ok_or_else(|| absent(&interface.name))?;
        // Of a plugin that has a bridge of its own.
        if link.kind != LinkKind::Bridge {
            found.push(link);
        }
    }
    let is_peer = |link: &Link| {
        container.is_some_and(|inside| {
            link.kind == LinkKind::Veth
                && inside.peer_index == Some(link.index)
                && link.peer_index == Some(inside.index)
        })
    };
    let port = match (found.iter().find(|link| is_peer(link)), found.as_slice()) {
        (Some(peer), _) => peer.clone(),
        (None, []) => return Ok(None),
        (None, [only]) => only.clone(),
        (None, several) => return Err(unclear(several)),
    };
    let bridge = host.find_link(&config.bridge)?.map(|link| link.index);
    match port.master {
        Some(master) if Some(master) != bridge => Err(taken(host, &port, master)?),
        _ => Ok(Some(port)),
    }
}

fn host_side(result: &AddResult) -> impl Iterator<Item = &Interface> {
    result.interfaces.iter().filter(|interface| interface.sandbox.is_empty())
}

fn absent(name: &str) -> Error {
    let msg = format!("interface {name} of prevResult is not on this host");
    Error::new(Code::INVALID_CONFIG, msg)
        .with_details("an earlier plugin of the chain named it as the host's side of the interface")
}

fn unclear(several: &[Link]) -> Error {
    let names: Vec<&str> = several.iter().map(|link| link.name.as_str()).collect();
    Error::new(Code::INVALID_CONFIG, "prevResult has more than one interface on the host's side")
        .with_details(format!(
            "found {}; one is wanted, or one whose peer is CNI_IFNAME in the container",
            names.join(", ")
        ))
}

fn taken(host: &mut Rtnl, port: &Link, master: u32) -> Result<Error, Error> {
    let master = host.link(master)?.map_or_else(|| format!("link {master}"), |link| link.name);
    let msg = format!("interface {} of prevResult is a port of {master} already", port.name);
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
    name: &IfName,
    bridge: &Link,
    identity: &Identity<'_>,
    config: &Config,
) -> Result<(), Error> {
    let mut batch = Batch::new();
    if port.master.is_none() {
        batch.set_master(port.index, name, Some(bridge.index));
    }
    vlan::confine(&mut batch, bridge, port.index, name, config);
    if port.alias.as_deref().is_none_or(str::is_empty) {
        batch.set_alias(port.index, name, &alias(identity));
    }
    if !port.up {
        batch.set_up(port.index, name);
    }
    Ok(host.run(batch)?)
}

/// Takes it off again, as it was before.
pub(crate) fn give_back(host: &mut Rtnl, before: &Link, name: &IfName) -> Result<(), Error> {
    let mut batch = Batch::new();
    if before.master.is_none() {
        batch.set_master(before.index, name, None);
    }
    if !before.up {
        batch.set_down(before.index, name);
    }
    batch.set_alias(before.index, name, before.alias.as_deref().unwrap_or_default());
    Ok(host.run(batch)?)
}

fn alias(identity: &Identity<'_>) -> String {
    let alias = format!("{TAG} {}", identity.words().join(" "));
    if alias.len() <= MAX_ALIAS { alias } else { String::new() }
}

/// Network, container id and interface of a port that was taken.
pub(crate) fn owner(link: &Link) -> Option<[&str; 3]> {
    let mut words = link.alias.as_deref()?.strip_prefix(TAG)?.strip_prefix(' ')?.split(' ');
    let parts = [words.next()?, words.next()?, words.next()?];
    words.next().is_none().then_some(parts)
}

/// Whether the interface is a port that was taken, so that it is not this plugin's to remove.
pub(crate) fn is_taken(link: &Link) -> bool {
    owner(link).is_some()
}

/// The port that this attachment took, by the result of the whole chain.
pub(crate) fn taken_port(
    host: &mut Rtnl,
    prev_result: &AddResult,
    identity: &Identity<'_>,
) -> Result<Option<Link>, Error> {
    for name in host_side(prev_result).filter_map(|i| IfName::parse(&i.name).ok()) {
        let link = host.find_link(&name)?;
        if let Some(link) = link.filter(|link| owner(link) == Some(identity.words())) {
            return Ok(Some(link));
        }
    }
    Ok(None)
}

/// DEL: takes the port off the bridge, and tells whether there was one.
pub(crate) fn release(host: &mut Rtnl, call: &Call, identity: &Identity<'_>) -> Result<bool, Error> {
    // DEL succeeds without one, and so with one that cannot be read.
    let Ok(Some(prev_result)) = call.prev_result() else { return Ok(false) };
    // The usual pair has a name of ours, so nothing is looked up for it.
    let own = identity.host_name(0)?;
    if host_side(&prev_result).any(|interface| interface.name == own.as_str()) {
        return Ok(false);
    }
    let port = taken_port(host, &prev_result, identity)?;
    port.as_ref().map_or(Ok(()), |port| take_off(host, port))?;
    Ok(port.is_some())
}

/// GC: takes the ports of attachments off that are not valid any more.
pub(crate) fn release_stale(host: &mut Rtnl, call: &Call, valid: &ValidAttachments) -> Result<(), Error> {
    let links = host.links()?;
    let stale = links.iter().filter(|link| {
        owner(link).is_some_and(|[network, container_id, if_name]| {
            network == call.network.as_str() && valid.excludes(container_id, if_name)
        })
    });
    Error::join(stale.filter_map(|port| take_off(host, port).err()))
}

fn take_off(host: &mut Rtnl, port: &Link) -> Result<(), Error> {
    let mut batch = Batch::new();
    let name = IfName::parse(&port.name)?;
    batch.set_master(port.index, &name, None);
    batch.set_alias(port.index, &name, "");
    match host.run(batch) {
        Err(e) if !e.is_absent() => Err(e.into()),
        // Its maker was faster.
        _ => Ok(()),
    }
}

/// Addresses of the port itself are the attachment's too: a guest behind a tap has no interface in the container.
pub(crate) fn with_addresses_of(port: &Link, mut result: AddResult) -> AddResult {
    let interfaces = &result.interfaces;
    let is_port = |index: i64| {
        let interface = usize::try_from(index).ok().and_then(|index| interfaces.get(index));
        interface.is_some_and(|i| i.name == port.name && i.sandbox.is_empty())
    };
    for ip in &mut result.ips {
        ip.interface = ip.interface.filter(|index| !is_port(*index));
    }
    result
}

/// The earlier plugins' result with what was added: "plugins provided a prevResult must output it as their result, with any possible
/// modifications" (spec section 5). Interfaces in `added` are numbered from its own start.
pub(crate) fn merged(prev_result: Option<AddResult>, mut added: AddResult) -> AddResult {
    let Some(mut result) = prev_result else { return added };
    let offset = i64::try_from(result.interfaces.len()).unwrap_or(i64::MAX);
    for ip in &mut added.ips {
        ip.interface = ip.interface.map(|index| index.saturating_add(offset));
    }
    result.interfaces.append(&mut added.interfaces);
    result.ips.append(&mut added.ips);
    let new = added.routes.into_iter().filter(|route| !result.routes.contains(route));
    let new: Vec<_> = new.collect();
    result.routes.extend(new);
    if !added.dns.is_empty() {
        result.dns = added.dns;
    }
    result
}
