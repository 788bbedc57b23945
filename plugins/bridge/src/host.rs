//! The host's side: the bridge, its addresses, and the port.

use crate::{
    NAME,
    config::{Config, Gateway, PortMode, Vlan},
    vlan,
};
use cni_attachment::{
    Rollback,
    interface::{Origin, enable_forwarding, ipv6_disabled, refuse_router_advertisements, vanished},
    mark::{self, Mark, Role},
    names::random_mac,
};
use cni_net::{Address, Batch, Errno, Family, Link, LinkKind, Rtnl, Sysctl};
use cni_types::{AttachmentId, Cidr, Code, Error, IfName, MacAddr};

/// Returns the bridge, or `None` if it does not exist.
///
/// # Errors
/// Fails with code 7 if another kind of interface has its name.
pub(crate) fn find_bridge(rtnl: &mut Rtnl, config: &Config) -> Result<Option<Link>, Error> {
    let name = &config.bridge;
    let found = rtnl.find_link(name)?;
    if found
        .as_ref()
        .is_none_or(|link| link.kind == LinkKind::Bridge)
    {
        return Ok(found);
    }
    let msg = format!(
        "failed to create bridge \"{name}\": \"{name}\" already exists but is not a bridge"
    );
    Err(Error::new(Code::INVALID_CONFIG, msg).with_details(
        "another interface has the name of the bridge; choose another with the key \"bridge\"",
    ))
}

/// Returns the bridge, up and with the configured settings; creates it if it does not exist.
///
/// # Errors
/// Fails if another kind of interface has its name, or the kernel refuses.
pub(crate) fn ensure_bridge(rtnl: &mut Rtnl, config: &Config) -> Result<Link, Error> {
    let bridge = match find_bridge(rtnl, config)? {
        Some(bridge) => bridge,
        None => create_bridge(rtnl, config)?,
    };
    set_bridge_up(rtnl, &bridge, config)?;
    Ok(bridge)
}

/// Creates the bridge. Of several ADDs at once, one creates it and the others find it. VLAN
/// filtering is part of the same request: if the kernel does not support it, no bridge is left
/// behind.
fn create_bridge(rtnl: &mut Rtnl, config: &Config) -> Result<Link, Error> {
    let name = &config.bridge;
    let mac = random_mac();
    let mtu = config.mtu;
    let created = match config.vlan {
        Vlan::None => rtnl.create_bridge(name, mac, mtu),
        _ => rtnl.create_vlan_bridge(name, mac, mtu),
    };
    match created {
        // Before there is a port by which a router advertisement could come. For a gateway,
        // `set_bridge_up` does this next.
        Ok(()) if config.gateway == Gateway::No => {
            refuse_router_advertisements(NAME, name, Origin::Network)
        }
        Ok(()) => {}
        Err(e) if e.is_exists() => {}
        Err(e) if e.errno() == Some(Errno::EOPNOTSUPP) && config.vlan != Vlan::None => {
            return Err(vlan::no_support());
        }
        Err(e) => return Err(e.into()),
    }
    find_bridge(rtnl, config)?.ok_or_else(|| vanished(name))
}

/// Sets the bridge up; promiscuous and with VLAN filtering, if configured. As a gateway it must
/// ignore router advertisements before the container can send one. A bridge of others that is no
/// gateway may have its address from a router: it is left as it is.
fn set_bridge_up(rtnl: &mut Rtnl, bridge: &Link, config: &Config) -> Result<(), Error> {
    if config.gateway != Gateway::No {
        refuse_router_advertisements(NAME, &config.bridge, Origin::Network);
    }
    let mut batch = Batch::new();
    if !bridge.up {
        batch.set_up(bridge);
    }
    if config.port == PortMode::Promiscuous && !bridge.promiscuous {
        batch.set_promiscuous(bridge);
    }
    vlan::ensure_filtering(&mut batch, bridge, config)?;
    Ok(rtnl.run(batch)?)
}

/// Sets the mode and the mark of a new pair's host end, and makes it ignore router advertisements.
///
/// # Errors
/// Fails if the kernel refuses.
pub(crate) fn configure_port(
    rtnl: &mut Rtnl,
    host_name: &IfName,
    config: &Config,
    id: AttachmentId<'_>,
) -> Result<(), Error> {
    set_port(rtnl, host_name, config, &mark::alias(Role::Pair, id))?;
    refuse_router_advertisements(NAME, host_name, Origin::New);
    Ok(())
}

/// Sets the mode of a port that an earlier plugin made, and makes it ignore router advertisements;
/// its alias stays. The rollback restores the sysctls.
///
/// # Errors
/// Fails if the kernel refuses.
pub(crate) fn configure_taken_port(
    rtnl: &mut Rtnl,
    name: &IfName,
    config: &Config,
    rollback: &mut Rollback<'_>,
) -> Result<(), Error> {
    set_port(rtnl, name, config, "")?;
    refuse_router_advertisements(
        NAME,
        name,
        Origin::Earlier {
            netns: None,
            rollback,
        },
    );
    Ok(())
}

/// Sets the mode of the port, and its alias unless `alias` is empty.
fn set_port(rtnl: &mut Rtnl, name: &IfName, config: &Config, alias: &str) -> Result<(), Error> {
    let mode = cni_net::PortMode {
        hairpin: config.port == PortMode::Hairpin,
        isolated: config.isolated,
    };
    let mut batch = Batch::new();
    batch.set_port(name, mode, alias);
    Ok(rtnl.run(batch)?)
}

/// Returns the bridge as it is now, with the hardware address that it had before. A bridge without
/// a fixed address has that of a port, or all zeroes after the last port left, and changes it with
/// the next port (flannel#1381, nerdctl#4283). If the new port changed it, the previous address is
/// set again, which fixes it.
///
/// # Errors
/// Fails if the bridge is gone, or the kernel refuses.
pub(crate) fn pin_bridge_mac(rtnl: &mut Rtnl, before: &Link, name: &IfName) -> Result<Link, Error> {
    let mut after = rtnl.link(before.index)?.ok_or_else(|| vanished(name))?;
    if after.mac != before.mac && !has_mac_of_our_port(rtnl, before)? {
        let mac = before
            .mac
            .filter(|mac| *mac != MacAddr::ZERO)
            .unwrap_or_else(random_mac);
        let mut batch = Batch::new();
        batch.set_mac(before, mac);
        rtnl.run(batch)?;
        after.mac = Some(mac);
    }
    Ok(after)
}

/// Returns true if the bridge has the address of a port that is ours: a concurrent ADD attached
/// that port, and is about to restore the bridge's address.
fn has_mac_of_our_port(rtnl: &mut Rtnl, bridge: &Link) -> Result<bool, Error> {
    let ours = |port: &Link| Mark::of(port).is_some_and(|mark| mark.role == Role::Pair);
    Ok(rtnl
        .ports(bridge.index)?
        .iter()
        .any(|port| port.mac == bridge.mac && ours(port)))
}

/// Adds the gateway addresses to the bridge or to the VLAN's interface, and enables forwarding.
/// Returns the addresses that were not there before.
///
/// # Errors
/// Fails with code 7 if another address is in the way and must not be replaced, or if the kernel
/// refuses.
pub(crate) fn ensure_gateway(
    rtnl: &mut Rtnl,
    interface: &Link,
    config: &Config,
    gateways: &[Cidr],
) -> Result<Vec<Cidr>, Error> {
    let mut added = Vec::new();
    if config.gateway == Gateway::No {
        return Ok(added);
    }
    for gateway in gateways {
        if ensure_address(rtnl, interface, config, *gateway, gateways)? {
            added.push(*gateway);
        }
        enable_forwarding(&Sysctl::forwarding(Family::of(*gateway)))?;
    }
    Ok(added)
}

/// Adds the address `wanted` to the interface, in place of conflicting addresses; the other
/// `gateways` of this ADD do not conflict. Returns true if it was added, by this
/// ADD or a concurrent one, and false if it existed before.
fn ensure_address(
    rtnl: &mut Rtnl,
    interface: &Link,
    config: &Config,
    wanted: Cidr,
    gateways: &[Cidr],
) -> Result<bool, Error> {
    let name = config.gateway_interface();
    let addresses = addresses_of_family(rtnl, interface, wanted)?;
    if addresses.iter().any(|address| address.cidr == wanted) {
        return Ok(false);
    }
    let mut batch = Batch::new();
    for found in addresses
        .iter()
        .filter(|other| conflicts(other, wanted))
        .map(|other| other.cidr)
    {
        if gateways.contains(&found) {
            continue;
        }
        if !config.force_address {
            return Err(conflict(config, found, wanted));
        }
        batch.delete_address(interface, found);
    }
    batch.create_address(interface, wanted, config.detect_duplicates);
    // Set although it does not change: that fixes it, so that it stays when a port leaves from
    // which an existing bridge inherited it. Not at every ADD, since the kernel flushes the
    // neighbour entries of the bridge on it.
    if let Some(mac) = interface.mac {
        batch.set_mac(interface, mac);
    }
    match rtnl.run(batch) {
        // A concurrent ADD was faster, in adding this address or in deleting the previous one.
        Err(e)
            if (e.is_exists() || e.is_absent())
                && addresses_of_family(rtnl, interface, wanted)?
                    .iter()
                    .any(|a| a.cidr == wanted) =>
        {
            Ok(true)
        }
        outcome => outcome
            .map(|()| true)
            .map_err(|e| ipv6_disabled(&e, name).unwrap_or_else(|| e.into())),
    }
}

/// Returns the interface's addresses of the family of `wanted`.
fn addresses_of_family(
    rtnl: &mut Rtnl,
    interface: &Link,
    wanted: Cidr,
) -> Result<Vec<Address>, Error> {
    Ok(rtnl.addresses_of(interface.index, Family::of(wanted))?)
}

/// Returns true if the address `other` must go before `wanted` is added. Any other IPv4 address
/// must, as with the reference. An IPv6 interface usually has several addresses: only those of an
/// overlapping network conflict, and never link-local ones, since the kernel adds one by itself.
fn conflicts(other: &Address, wanted: Cidr) -> bool {
    wanted.is_ipv4() || (!other.link_local && other.cidr.overlaps(wanted))
}

/// Returns the error for an address that must not be replaced.
fn conflict(config: &Config, found: Cidr, wanted: Cidr) -> Error {
    let name = config.gateway_interface();
    let what = if config.vlan_gateway.is_some() {
        "failed to set vlan interface for bridge with addr"
    } else {
        "failed to set bridge addr"
    };
    let msg = format!("{what}: \"{name}\" already has an IP address different from {wanted}");
    Error::new(Code::INVALID_CONFIG, msg).with_details(format!(
        "found {found}, wanted {wanted}; correct the subnet or gateway in ipam, or remove the address (ip addr del \
         {found} dev {name}), or replace it with \"forceAddress\": true"
    ))
}
