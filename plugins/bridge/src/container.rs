//! The container's side: the interface that was born there, its parameters, addresses and routes.

use crate::{
    config::Config,
    gateway::Plan,
    host::ipv6_disabled,
    parameters::{Origin, Parameters},
    undo::Undo,
};
use cni_net::{Batch, Family, Link, LinkEvents, NetError, Netns, Rtnl, Sysctl};
use cni_types::{Cidr, Code, Error, IfName, Stop};
use std::time::Duration;

/// How long duplicate address detection may take (the reference's patience).
const DAD_LIMIT: Duration = Duration::from_secs(5);

/// IPV6_MIN_MTU of include/uapi/linux/ipv6.h.
const MIN_V6_MTU: u32 = 1280;

/// How long the interface may take to be operational once both ends are up.
const UP_LIMIT: Duration = Duration::from_secs(2);

/// Sets the interface's kernel parameters, while it is still down, so that they are in force from its first packet.
pub(crate) fn set_parameters(
    netns: &Netns,
    config: &Config,
    name: &IfName,
    origin: Origin<'_, '_>,
) -> Result<(), Error> {
    netns.run(|| {
        let mut parameters = Parameters::of(origin);
        // Peers hear of the address when it appears (containernetworking/plugins#756).
        parameters.wish(Sysctl::of_interface(Family::V4, name, "arp_notify"), "1");
        set_v6_parameters(&mut parameters, config, name)
    })?
}

/// The same for IPv6, with all that a neighbour could say to the container switched off: its
/// addresses and routes are IPAM's. Another container must not become its router by an
/// advertisement, neither if IPAM gives IPv6 addresses (containernetworking/plugins#160) nor if it
/// gives none (CVE-2020-10749).
fn set_v6_parameters(
    parameters: &mut Parameters<'_, '_>,
    config: &Config,
    name: &IfName,
) -> Result<(), Error> {
    let v6 = |key| Sysctl::of_interface(Family::V6, name, key);
    for (key, value) in [("accept_ra", "0"), ("autoconf", "0"), ("ndisc_notify", "1")] {
        parameters.wish(v6(key), value);
    }
    if !config.detect_duplicates {
        parameters.wish(v6("accept_dad"), "0");
        return Ok(());
    }
    parameters.wish(v6("enhanced_dad"), "1");
    match parameters.require(v6("accept_dad"), "1") {
        // Without IPv6 there are no duplicates.
        Err(e) if e.is_absent() => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Switches IPv6 on: container runtimes switch it off in new namespaces, and with IPv6 addresses it
/// is wanted. The parameters of `lo` outlive the interface, so `undo` gets to know them.
pub(crate) fn enable_ipv6<'a>(
    netns: &'a Netns,
    name: &IfName,
    is_new: bool,
    undo: &mut Undo<'a>,
) -> Result<(), Error> {
    let lo = IfName::parse("lo")?;
    netns.run(|| {
        switch_v6_on(
            &lo,
            Origin::Earlier {
                netns: Some(netns),
                undo,
            },
        )?;
        let origin = if is_new {
            Origin::New
        } else {
            Origin::Earlier {
                netns: Some(netns),
                undo,
            }
        };
        switch_v6_on(name, origin)
    })?
}

/// `keep_addr_on_down` came with Linux 4.6. Without it the addresses of an interface that is set
/// down and up again are lost, which nobody does.
fn switch_v6_on(name: &IfName, origin: Origin<'_, '_>) -> Result<(), Error> {
    let mut parameters = Parameters::of(origin);
    let disable = Sysctl::of_interface(Family::V6, name, "disable_ipv6");
    parameters.require(disable, "0").map_err(no_ipv6)?;
    parameters.wish(
        Sysctl::of_interface(Family::V6, name, "keep_addr_on_down"),
        "1",
    );
    Ok(())
}

/// With less the kernel has no IPv6 on a link, and says no more than "invalid argument" (addrconf_add_dev in net/ipv6/addrconf.c).
pub(crate) fn require_v6_mtu(
    config: &Config,
    bridge: &Link,
    plan: &Plan,
    is_new: bool,
) -> Result<(), Error> {
    let Some(ip) = plan.ips.iter().find(|ip| !ip.address.is_ipv4()) else {
        return Ok(());
    };
    let has_v6_gateway = || plan.gateways.iter().any(|gateway| !gateway.is_ipv4());
    let (what, mtu) = match config.mtu {
        Some(mtu) if mtu < MIN_V6_MTU => ("the key \"mtu\"".to_owned(), mtu),
        // Without the key a new interface has the bridge's.
        mtu if bridge.mtu < MIN_V6_MTU && ((is_new && mtu.is_none()) || has_v6_gateway()) => {
            (format!("the MTU of bridge {}", config.bridge), bridge.mtu)
        }
        _ => return Ok(()),
    };
    Err(too_small_for_v6(&what, mtu, ip.address))
}

/// The same for an interface that an earlier plugin of the chain made: its MTU is what it is.
pub(crate) fn require_v6_mtu_of(inside: &Link, plan: &Plan) -> Result<(), Error> {
    match plan.ips.iter().find(|ip| !ip.address.is_ipv4()) {
        Some(ip) if inside.mtu < MIN_V6_MTU => Err(too_small_for_v6(
            &format!("the MTU of {}", inside.name),
            inside.mtu,
            ip.address,
        )),
        _ => Ok(()),
    }
}

fn too_small_for_v6(what: &str, mtu: u32, address: Cidr) -> Error {
    Error::new(
        Code::INVALID_CONFIG,
        format!("MTU {mtu} is too small for IPv6"),
    )
    .with_details(format!(
        "{what} is {mtu}, IPv6 needs at least {MIN_V6_MTU} (RFC 8200, 5), and IPAM gave {address}"
    ))
}

fn no_ipv6(error: NetError) -> Error {
    let remedy = if error.is_absent() {
        "the kernel runs without IPv6 (boot parameter ipv6.disable=1?), and IPAM gave an IPv6 address"
    } else {
        "set net.ipv6.conf.default.disable_ipv6=0 in the container before, or let the plugin write to /proc/sys"
    };
    Error::from(error)
        .within("failed to enable IPv6")
        .with_details(remedy)
}

/// Sets the interface up with its addresses and routes. IPv4 addresses come before: the kernel then announces them by
/// itself when the interface comes up.
pub(crate) fn configure(
    netns: &Netns,
    rtnl: &mut Rtnl,
    link: &Link,
    name: &IfName,
    config: &Config,
    plan: &Plan,
) -> Result<(), Error> {
    let mut batch = Batch::new();
    let (v4, v6): (Vec<_>, Vec<_>) = plan.ips.iter().partition(|ip| ip.address.is_ipv4());
    v4.iter()
        .for_each(|ip| batch.create_address(link.index, name, ip.address, false));
    batch.set_up(link.index, name);
    v6.iter().for_each(|ip| {
        batch.create_address(link.index, name, ip.address, config.detect_duplicates)
    });
    plan.specs
        .iter()
        .for_each(|spec| batch.create_route(link.index, name, spec));
    rtnl.run(batch).map_err(|e| {
        let explained = netns.run(|| ipv6_disabled(&e, name)).ok().flatten();
        explained.unwrap_or_else(|| e.into())
    })
}

/// Waits until the interface can carry packets, and its addresses be used.
pub(crate) fn wait_ready(
    netns: &Netns,
    rtnl: &mut Rtnl,
    index: u32,
    name: &IfName,
    detect_duplicates: bool,
    stop: &Stop,
) -> Result<Link, Error> {
    let is_up = |rtnl: &mut Rtnl| Ok(rtnl.link(index)?.filter(|link| link.oper_up));
    let link = match is_up(rtnl)? {
        Some(link) => link,
        None => {
            let events = netns.run(LinkEvents::subscribe)??;
            events.wait_until(
                rtnl,
                &format!("{name} to be operational"),
                UP_LIMIT,
                stop,
                is_up,
            )?
        }
    };
    if detect_duplicates {
        let events = netns.run(LinkEvents::subscribe)??;
        let what = format!("the addresses of {name} to pass duplicate address detection");
        match events.wait_until(rtnl, &what, DAD_LIMIT, stop, |rtnl| settled(rtnl, index)) {
            Err(e @ NetError::TimedOut(_)) => return Err(not_settled(name, &e.to_string())),
            outcome => outcome?.map_err(|e| not_settled(name, &e))?,
        }
    }
    Ok(link)
}

/// `Some` once no address is tentative any more; an error in it where one is a duplicate.
fn settled(rtnl: &mut Rtnl, index: u32) -> Result<Option<Result<(), String>>, NetError> {
    let addresses = rtnl.addresses(index)?;
    if let Some(duplicate) = addresses.iter().find(|address| address.failed) {
        return Ok(Some(Err(format!(
            "{} is in use by a neighbour",
            duplicate.cidr
        ))));
    }
    let tentative = addresses.iter().any(|address| address.tentative);
    Ok((!tentative).then_some(Ok(())))
}

fn not_settled(name: &IfName, reason: &str) -> Error {
    Error::new(
        Code::KERNEL,
        format!("failed to settle addresses for \"{name}\": {reason}"),
    )
}
