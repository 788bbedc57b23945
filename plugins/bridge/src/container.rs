//! The container's side: the interface that was born there, its parameters, addresses and routes.

use crate::{config::Config, gateway::Plan, host::ipv6_disabled};
use cni_net::{Batch, Family, Link, LinkEvents, NetError, Netns, Rtnl, Sysctl};
use cni_types::{Cidr, Code, Error, IfName, Stop};
use std::time::Duration;

/// How long duplicate address detection may take (the reference's patience).
const DAD_LIMIT: Duration = Duration::from_secs(5);

/// IPV6_MIN_MTU of include/uapi/linux/ipv6.h.
const MIN_V6_MTU: u32 = 1280;

/// How long the interface may take to be operational once both ends are up.
const UP_LIMIT: Duration = Duration::from_secs(2);

/// A kernel parameter of the container with the value that it had before.
pub(crate) struct Changed {
    sysctl: Sysctl,
    before: String,
}

/// Sets the interface's kernel parameters, while it is still down, so that they are in force from its first packet.
pub(crate) fn set_parameters(netns: &Netns, config: &Config, name: &IfName) -> Result<(), Error> {
    netns.run(|| {
        // Peers hear of the address when it appears (containernetworking/plugins#756).
        Sysctl::of_interface(Family::V4, name, "arp_notify").write("1")?;
        set_v6_parameters(config, name)
    })?
}

/// The same for IPv6, with all that a neighbour could tell the container switched off: its addresses and routes are IPAM's. Another
/// container must not become its router by an advertisement, neither where IPAM gives IPv6 addresses (containernetworking/plugins#160)
/// nor where it gives none (CVE-2020-10749).
fn set_v6_parameters(config: &Config, name: &IfName) -> Result<(), Error> {
    let set = |(key, value)| match Sysctl::of_interface(Family::V6, name, key).write(value) {
        // Without IPv6 there is nothing to set.
        Err(e) if e.is_absent() => Ok(()),
        outcome => Ok(outcome?),
    };
    if config.detect_duplicates {
        set(("enhanced_dad", "1"))?;
    }
    let detect = if config.detect_duplicates { "1" } else { "0" };
    let parameters = [("accept_ra", "0"), ("autoconf", "0"), ("ndisc_notify", "1"), ("accept_dad", detect)];
    parameters.into_iter().try_for_each(set)
}

/// Container runtimes switch IPv6 off in new namespaces; with IPv6 addresses it is wanted. Returns the parameters that outlive the interface, for taking them back.
pub(crate) fn enable_ipv6(netns: &Netns, name: &IfName) -> Result<Vec<Changed>, Error> {
    netns.run(|| {
        let mut changed = Vec::new();
        match set_ipv6(name, &mut changed) {
            Ok(()) => Ok(changed),
            Err(e) => Err(match write_back(&changed) {
                Ok(()) => e,
                Err(failure) => e.and_details(&format!("cleaning up: {failure}")),
            }),
        }
    })?
}

fn set_ipv6(name: &IfName, changed: &mut Vec<Changed>) -> Result<(), Error> {
    let lo = IfName::parse("lo")?;
    for (interface, key) in [
        (&lo, "disable_ipv6"),
        (&lo, "keep_addr_on_down"),
        (name, "disable_ipv6"),
        (name, "keep_addr_on_down"),
    ] {
        let sysctl = Sysctl::of_interface(Family::V6, interface, key);
        let wanted = if key == "disable_ipv6" { "0" } else { "1" };
        let before = sysctl.ensure(wanted).map_err(no_ipv6)?;
        if *interface == lo {
            changed.extend(before.map(|before| Changed { sysctl, before }));
        }
    }
    Ok(())
}

/// With less the kernel has no IPv6 on a link, and says no more than "invalid argument" (addrconf_add_dev in net/ipv6/addrconf.c).
pub(crate) fn require_v6_mtu(config: &Config, bridge: &Link, plan: &Plan) -> Result<(), Error> {
    let Some(ip) = plan.ips.iter().find(|ip| !ip.address.is_ipv4()) else { return Ok(()) };
    let (what, mtu) = match config.mtu {
        Some(mtu) if mtu < MIN_V6_MTU => ("the key \"mtu\"".to_owned(), mtu),
        _ if bridge.mtu < MIN_V6_MTU && plan.gateways.iter().any(|gateway| !gateway.is_ipv4()) => {
            (format!("the MTU of bridge {}", config.bridge), bridge.mtu)
        }
        _ => return Ok(()),
    };
    Err(too_small_for_v6(&what, mtu, ip.address))
}

/// The same for an interface that an earlier plugin of the chain made: its MTU is what it is.
pub(crate) fn require_v6_mtu_of(inside: &Link, plan: &Plan) -> Result<(), Error> {
    match plan.ips.iter().find(|ip| !ip.address.is_ipv4()) {
        Some(ip) if inside.mtu < MIN_V6_MTU => {
            Err(too_small_for_v6(&format!("the MTU of {}", inside.name), inside.mtu, ip.address))
        }
        _ => Ok(()),
    }
}

fn too_small_for_v6(what: &str, mtu: u32, address: Cidr) -> Error {
    Error::new(Code::INVALID_CONFIG, format!("MTU {mtu} is too small for IPv6")).with_details(format!(
        "{what} is {mtu}, IPv6 needs at least {MIN_V6_MTU} (RFC 8200, 5), and IPAM gave {address}"
    ))
}

fn no_ipv6(error: NetError) -> Error {
    let is_absent = error.is_absent();
    let error = Error::from(error).within("failed to enable IPv6");
    if is_absent {
        return error.with_details(
            "the kernel runs without IPv6 (boot parameter ipv6.disable=1?), and IPAM gave an IPv6 address",
        );
    }
    error
}

/// Gives parameters of the container their values back.
pub(crate) fn restore_parameters(netns: &Netns, changed: &[Changed]) -> Result<(), Error> {
    netns.run(|| write_back(changed))?
}

fn write_back(changed: &[Changed]) -> Result<(), Error> {
    let outcomes = changed.iter().rev().map(|c| c.sysctl.write(&c.before));
    Error::join(outcomes.filter_map(Result::err).map(Error::from).collect::<Vec<_>>())
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
    v4.iter().for_each(|ip| batch.create_address(link.index, name, ip.address, false));
    batch.set_up(link.index, name);
    v6.iter().for_each(|ip| batch.create_address(link.index, name, ip.address, config.detect_duplicates));
    plan.specs.iter().for_each(|spec| batch.create_route(link.index, name, spec));
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
            events.wait_until(rtnl, &format!("{name} to be operational"), UP_LIMIT, stop, is_up)?
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
        return Ok(Some(Err(format!("{} is in use by a neighbour", duplicate.cidr))));
    }
    let tentative = addresses.iter().any(|address| address.tentative);
    Ok((!tentative).then_some(Ok(())))
}

fn not_settled(name: &IfName, reason: &str) -> Error {
    Error::new(Code::KERNEL, format!("failed to settle addresses for \"{name}\": {reason}"))
}
