//! VLANs of the bridge port, and the interface of the host that is the gateway of a VLAN.
//!
//! The port joins its VLANs while the container's end is down, so no frame passes in another VLAN.
//! The gateway of a VLAN is a veth pair on the host: `<bridge>.<vlan>` has the address, its peer is
//! a port in that VLAN. (A VLAN device on the bridge would need the bridge itself in the VLAN, and
//! the reference makes none.) The pair belongs to the network, like the bridge, so it stays. Each
//! ADD completes it, since several ADDs may create it at once, and one may have been killed
//! halfway.

use crate::{
    NAME,
    config::{Config, Vlan, VlanGateway},
    forwarding::{forwards, wait_forwarding},
};
use cni_attachment::{
    interface::{Origin, refuse_router_advertisements, vanished},
    names::{random_mac, random_name},
};
use cni_net::{Batch, BridgeVlans, Link, LinkKind, Membership, NewLink, PortVlans, Rtnl};
use cni_types::{Cidr, Code, Error, IfName, Stop, VlanId};

/// The number of random names that are tried for the peer.
const NAME_ATTEMPTS: u32 = 8;

/// Returns the VLAN settings of the bridge, or `None` if the configuration names no VLAN.
///
/// # Errors
/// Fails with code 101 if the kernel does not support VLANs on bridges.
pub(crate) fn require_support(
    bridge: &Link,
    config: &Config,
) -> Result<Option<BridgeVlans>, Error> {
    if config.vlan == Vlan::None {
        return Ok(None);
    }
    bridge.vlans.map(Some).ok_or_else(no_support)
}

/// Returns the error for a kernel without VLANs on bridges.
pub(crate) fn no_support() -> Error {
    let msg = "the kernel has no bridge VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING)";
    Error::new(Code::KERNEL, msg).with_details("the keys vlan and vlanTrunk need it")
}

/// Enables VLAN filtering on the bridge if the configuration names a VLAN. Its other ports stay in
/// their VLANs.
///
/// # Errors
/// Fails with code 101 if the kernel does not support VLANs on bridges.
pub(crate) fn ensure_filtering(
    batch: &mut Batch,
    bridge: &Link,
    config: &Config,
) -> Result<(), Error> {
    if require_support(bridge, config)?.is_some_and(|vlans| !vlans.filtering) {
        batch.set_vlan_filtering(&config.bridge);
    }
    Ok(())
}

/// Puts the port into its VLANs and into no other.
///
/// # Errors
/// Fails if the port does not exist, or the kernel refuses.
pub(crate) fn confine_port(
    rtnl: &mut Rtnl,
    bridge: &Link,
    host_name: &IfName,
    config: &Config,
) -> Result<(), Error> {
    if config.vlan == Vlan::None {
        return Ok(());
    }
    let port = rtnl
        .find_link(host_name)?
        .ok_or_else(|| vanished(host_name))?;
    let mut batch = Batch::new();
    confine(&mut batch, bridge, &port, config);
    Ok(rtnl.run(batch)?)
}

/// Adds the requests of [`confine_port`] to `batch`, which may attach the port first.
pub(crate) fn confine(batch: &mut Batch, bridge: &Link, port: &Link, config: &Config) {
    let default = default_vlan(bridge);
    if let Some(wanted) = config.vlan.wanted(default) {
        set_vlans(batch, port, &wanted, default);
    }
}

/// Returns the bridge's default VLAN, or `None` if it has none.
fn default_vlan(bridge: &Link) -> Option<VlanId> {
    bridge.vlans.and_then(|vlans| vlans.default)
}

/// Adds the VLANs to the port, and removes the default VLAN unless it is among them.
fn set_vlans(batch: &mut Batch, port: &Link, wanted: &PortVlans, default: Option<VlanId>) {
    batch.add_port_vlans(port, wanted);
    if let Some(default) = default.filter(|default| wanted.membership(*default).is_none()) {
        batch.remove_port_vlan(port, default);
    }
}

/// Returns the gateway's interface of the VLAN, up and complete; creates it if it does not exist.
/// Returns `None` if the configuration has no such gateway, or there are no addresses for it.
///
/// # Errors
/// Fails with code 7 if another interface has its name, with code 101 if its peer does not forward
/// in time, or if the kernel refuses.
pub(crate) fn ensure_gateway_interface(
    rtnl: &mut Rtnl,
    bridge: &Link,
    config: &Config,
    addresses: &[Cidr],
    stop: &Stop,
) -> Result<Option<Link>, Error> {
    let Some(gateway) = config
        .vlan_gateway
        .as_ref()
        .filter(|_| !addresses.is_empty())
    else {
        return Ok(None);
    };
    let link = match rtnl.find_link(&gateway.name)? {
        Some(link) => link,
        None => create(rtnl, bridge, gateway)?,
    };
    refuse_router_advertisements(NAME, &gateway.name, Origin::Network);
    if link.kind != LinkKind::Veth {
        // Made by others, a VLAN device for instance: used as it is, as the reference does.
        set_up(rtnl, &[&link])?;
        return Ok(Some(link));
    }
    let peer = peer_of(rtnl, &link, gateway)?;
    let mut batch = Batch::new();
    if peer.master != Some(bridge.index) {
        batch.attach(&peer.name, bridge);
    }
    let wanted = [(gateway.id, Membership::NATIVE)].into_iter().collect();
    set_vlans(&mut batch, &peer, &wanted, default_vlan(bridge));
    rtnl.run(batch)?;
    set_up(rtnl, &[&link, &peer])?;
    if !forwards(&peer) {
        wait_forwarding(rtnl, &peer.name, stop)?;
    }
    Ok(Some(link))
}

/// Sets those of the links up that are down.
fn set_up(rtnl: &mut Rtnl, links: &[&Link]) -> Result<(), Error> {
    let mut batch = Batch::new();
    for link in links.iter().filter(|link| !link.up) {
        batch.set_up(*link);
    }
    Ok(rtnl.run(batch)?)
}

/// Returns the peer of the gateway's interface.
///
/// # Errors
/// Fails with code 7 if the peer is not on the host.
fn peer_of(rtnl: &mut Rtnl, link: &Link, gateway: &VlanGateway) -> Result<Link, Error> {
    let peer = link
        .peer_index
        .map(|index| rtnl.link(index))
        .transpose()?
        .flatten();
    peer.filter(|peer| peer.kind == LinkKind::Veth && peer.peer_index == Some(link.index)).ok_or_else(|| {
        let name = &gateway.name;
        Error::new(
            Code::INVALID_CONFIG,
            format!("\"{name}\" already exists but is not the gateway of VLAN {}", gateway.id),
        )
        .with_details(format!(
            "the other end of {name} is not on the host, expected as a port of the bridge; remove {name}"
        ))
    })
}

/// Creates the pair, down, with its peer on the bridge. First fixes the hardware address of the
/// bridge, which the new port might change.
fn create(rtnl: &mut Rtnl, bridge: &Link, gateway: &VlanGateway) -> Result<Link, Error> {
    let name = &gateway.name;
    for _ in 0..NAME_ATTEMPTS {
        let peer_name = random_name();
        let mut batch = Batch::new();
        let end = NewLink::named(name).mac(random_mac()).mtu(bridge.mtu);
        let peer = NewLink::named(&peer_name).mac(random_mac()).mtu(bridge.mtu);
        batch.create_veth(&end, &peer);
        if let Some(mac) = bridge.mac {
            batch.set_mac(bridge, mac);
        }
        batch.attach(&peer_name, bridge);
        let created = rtnl.run(batch);
        let found = rtnl.find_link(name)?;
        match (created, found) {
            (Ok(()), Some(link)) => {
                refuse_router_advertisements(NAME, &peer_name, Origin::Network);
                return Ok(link);
            }
            (Ok(()), None) => return Err(vanished(name)),
            // A concurrent ADD was faster.
            (Err(e), Some(link)) if e.is_exists() => return Ok(link),
            // The peer's name was taken.
            (Err(e), None) if e.is_exists() => {}
            (Err(e), _) => return Err(e.into()),
        }
    }
    Err(Error::new(
        Code::TRY_AGAIN,
        format!("found no free name for the other end of {name}"),
    ))
}

/// Returns the differences of the VLAN settings of the bridge from the configuration, for CHECK.
pub(crate) fn bridge_differences(bridge: &Link, config: &Config) -> Vec<String> {
    let off = config.vlan != Vlan::None && !bridge.vlans.is_some_and(|vlans| vlans.filtering);
    let difference = || {
        format!(
            "Bridge interface {} has VLAN filtering false, wanted true",
            config.bridge
        )
    };
    off.then(difference).into_iter().collect()
}

/// Returns the differences of the VLANs of the container's port from the configuration, for CHECK.
///
/// # Errors
/// Fails if the kernel refuses to list them.
pub(crate) fn port_differences(
    rtnl: &mut Rtnl,
    bridge: &Link,
    port: &Link,
    config: &Config,
) -> Result<Vec<String>, Error> {
    let Some(wanted) = config.vlan.wanted(default_vlan(bridge)) else {
        return Ok(Vec::new());
    };
    let found = rtnl.port_vlans(port.index)?;
    let difference = || format!("{} has VLANs {found}; wanted {wanted}", port.name);
    Ok((found != wanted).then(difference).into_iter().collect())
}

/// Returns the gateway's interface of the VLAN, or `None` if it does not exist, and its differences
/// from the configuration, for CHECK.
///
/// # Errors
/// Fails if the kernel refuses to list an interface.
pub(crate) fn gateway_differences(
    rtnl: &mut Rtnl,
    bridge: &Link,
    gateway: &VlanGateway,
) -> Result<(Option<Link>, Vec<String>), Error> {
    let name = &gateway.name;
    let Some(link) = rtnl.find_link(name)? else {
        return Ok((
            None,
            vec![format!(
                "VLAN interface {name} not found, wanted as the gateway of VLAN {}",
                gateway.id
            )],
        ));
    };
    let mut differences = Vec::new();
    let mut require = |holds: bool, difference: String| {
        if !holds {
            differences.push(difference)
        }
    };
    require(link.up, format!("VLAN interface {name} is down, wanted up"));
    if link.kind == LinkKind::Veth {
        let peer = peer_of(rtnl, &link, gateway).ok();
        let master = peer.as_ref().and_then(|peer| peer.master);
        require(
            master == Some(bridge.index),
            format!(
                "the other end of {name} is not a port of bridge {}",
                bridge.name
            ),
        );
        if let Some(peer) = peer.filter(|peer| peer.master == Some(bridge.index)) {
            require(
                peer.up,
                format!("{} (the other end of {name}) is down, wanted up", peer.name),
            );
            let found = rtnl.port_vlans(peer.index)?;
            let there = found.membership(gateway.id) == Some(Membership::NATIVE);
            require(
                there,
                format!(
                    "{} (the other end of {name}) has VLANs {found}; wanted {} pvid untagged",
                    peer.name, gateway.id
                ),
            );
        }
    }
    Ok((Some(link), differences))
}
