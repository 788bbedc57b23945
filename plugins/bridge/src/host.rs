//! The host's side: the bridge, its addresses, the port.

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

/// The bridge, where there is one: it is adopted.
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

/// Returns the bridge, up and as the configuration wants it: adopted if it is there, else made.
pub(crate) fn ensure_bridge(rtnl: &mut Rtnl, config: &Config) -> Result<Link, Error> {
    let bridge = match find_bridge(rtnl, config)? {
        Some(bridge) => bridge,
        None => create_bridge(rtnl, config)?,
    };
    set_bridge_up(rtnl, &bridge, config)?;
    Ok(bridge)
}

/// Makes the bridge. Of several first ADDs at once, one makes it and the others find it. VLANs are
/// asked for in the same request: a kernel without them refuses it, and no bridge is left for an
/// ADD that cannot be.
fn create_bridge(rtnl: &mut Rtnl, config: &Config) -> Result<Link, Error> {
    let (name, mac, mtu) = (&config.bridge, random_mac(), config.mtu);
    let created = match config.vlan {
        Vlan::None => rtnl.create_bridge(name, mac, mtu),
        _ => rtnl.create_vlan_bridge(name, mac, mtu),
    };
    match created {
        // Before there is a port by which one could come; of a gateway `set_bridge_up` does it next.
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

/// Sets a bridge up that was made by somebody else; promiscuous, and with VLANs kept apart, if asked. As a gateway it takes no
/// router advertisements, from before the container can send one. A bridge of another's that is no gateway may have the host's
/// own address by them.
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

/// Sets what the port does, and writes on it whose it is.
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

/// The same for a port that an earlier plugin made, which has its own text.
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

fn set_port(rtnl: &mut Rtnl, name: &IfName, config: &Config, alias: &str) -> Result<(), Error> {
    let mode = cni_net::PortMode {
        hairpin: config.port == PortMode::Hairpin,
        isolated: config.isolated,
    };
    let mut batch = Batch::new();
    batch.set_port(name, mode, alias);
    Ok(rtnl.run(batch)?)
}

/// The bridge as it is now. A bridge whose address nobody chose takes on that of a port, or all zeroes when the last
/// port left, and changes it again with the next (flannel#1381, nerdctl#4283). If the new port did that, the bridge gets
/// its address back, now as a chosen one, which it keeps.
pub(crate) fn pin_bridge_mac(rtnl: &mut Rtnl, before: &Link, name: &IfName) -> Result<Link, Error> {
    let mut after = rtnl.link(before.index)?.ok_or_else(|| vanished(name))?;
    if after.mac != before.mac && !is_of_our_port(rtnl, before)? {
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

/// Another ADD at the same time may be about to give the bridge its address back: then what was found before is that of
/// the other's port.
fn is_of_our_port(rtnl: &mut Rtnl, bridge: &Link) -> Result<bool, Error> {
    let ours = |port: &Link| Mark::of(port).is_some_and(|mark| mark.role == Role::Pair);
    Ok(rtnl
        .ports(bridge.index)?
        .iter()
        .any(|port| port.mac == bridge.mac && ours(port)))
}

/// Makes the bridge, or the interface of the VLAN, the gateway: its addresses, and forwarding. Returns the addresses that were
/// not there before.
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

/// Gives the interface the address `wanted` in place of addresses that are in its way, of which the
/// other `gateways` of this ADD are none. Returns true if it was not there before.
fn ensure_address(
    rtnl: &mut Rtnl,
    interface: &Link,
    config: &Config,
    wanted: Cidr,
    gateways: &[Cidr],
) -> Result<bool, Error> {
    let name = config.gateway_interface();
    let addresses = addresses_beside(rtnl, interface, wanted)?;
    if addresses.iter().any(|address| address.cidr == wanted) {
        return Ok(false);
    }
    let mut batch = Batch::new();
    for found in addresses
        .iter()
        .filter(|other| is_in_the_way(other, wanted))
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
    // Written though it is the same: from here on it is a chosen one, which stays when a port leaves from which an adopted
    // bridge had it. Not at every ADD: the kernel forgets the bridge's neighbours then.
    if let Some(mac) = interface.mac {
        batch.set_mac(interface, mac);
    }
    match rtnl.run(batch) {
        // Another ADD was faster, in adding this address or in deleting the one before.
        Err(e)
            if (e.is_exists() || e.is_absent())
                && addresses_beside(rtnl, interface, wanted)?
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

/// The interface's addresses of the family of `wanted`.
fn addresses_beside(
    rtnl: &mut Rtnl,
    interface: &Link,
    wanted: Cidr,
) -> Result<Vec<Address>, Error> {
    Ok(rtnl.addresses_of(interface.index, Family::of(wanted))?)
}

/// Any other IPv4 address is, as with the reference. An IPv6 interface has several addresses by
/// nature, so only those of an overlapping network are, and never the link-local ones: the kernel's
/// own is there always.
fn is_in_the_way(other: &Address, wanted: Cidr) -> bool {
    wanted.is_ipv4() || (!other.link_local && other.cidr.overlaps(wanted))
}

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
         {found} dev {name}), or have it replaced with \"forceAddress\": true"
    ))
}
