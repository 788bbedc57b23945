//! Kernel parameters, addresses, link state and routes of the interface in the container.

use super::{
    ContainerInterface,
    parameters::{Origin, Parameters},
};
use crate::rollback::Rollback;
use cni_net::{Batch, Errno, Family, Link, NetError, RouteSpec, Rtnl, Sysctl};
use cni_types::{Cidr, Code, Error, IfName, IpConfig};

/// IPV6_MIN_MTU of include/uapi/linux/ipv6.h.
const MIN_V6_MTU: u32 = 1280;

/// The addresses and routes for an interface.
#[derive(Clone, Copy, Debug)]
pub struct Setup<'a> {
    /// The addresses.
    pub ips: &'a [IpConfig],
    /// The routes through the interface.
    pub routes: &'a [RouteSpec],
}

impl<'a> ContainerInterface<'a> {
    /// Sets the interface's kernel parameters while it is still down, so that they apply from its
    /// first packet.
    ///
    /// # Errors
    /// Fails if the namespace cannot be entered, or if duplicate address detection is configured
    /// and cannot be enabled.
    pub fn set_parameters(&self, origin: Origin<'_, '_>) -> Result<(), Error> {
        self.netns.run(|| {
            let mut parameters = Parameters::of(self.plugin, origin);
            // Peers learn the address when it is added (containernetworking/plugins#756).
            let notify = Sysctl::of_interface(Family::V4, self.name, "arp_notify");
            parameters.wish(notify, "1");
            self.set_v6_parameters(&mut parameters)
        })?
    }

    /// Sets the parameters of IPv6, and disables all configuration by neighbours: the addresses and
    /// routes come from IPAM. Another container must not become the router by an advertisement,
    /// neither if IPAM gives IPv6 addresses (containernetworking/plugins#160) nor if it gives none
    /// (CVE-2020-10749).
    fn set_v6_parameters(&self, parameters: &mut Parameters<'_, '_>) -> Result<(), Error> {
        let v6 = |key| Sysctl::of_interface(Family::V6, self.name, key);
        for (key, value) in [("accept_ra", "0"), ("autoconf", "0"), ("ndisc_notify", "1")] {
            parameters.wish(v6(key), value);
        }
        if !self.detect_duplicates {
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

    /// Enables IPv6, which container runtimes disable in new namespaces and IPv6 addresses need.
    /// The parameters of `lo`, and those of an interface that is not new, outlive this ADD, so a
    /// rollback restores them.
    ///
    /// # Errors
    /// Fails if IPv6 is disabled and cannot be enabled.
    pub fn enable_ipv6(&self, is_new: bool, rollback: &mut Rollback<'a>) -> Result<(), Error> {
        let netns = Some(self.netns);
        self.netns.run(|| {
            let earlier = Origin::Earlier { netns, rollback };
            self.enable_ipv6_on(&IfName::LO, earlier)?;
            let origin = if is_new {
                Origin::New
            } else {
                Origin::Earlier { netns, rollback }
            };
            self.enable_ipv6_on(self.name, origin)
        })?
    }

    /// Enables IPv6 on an interface. `keep_addr_on_down` came with Linux 4.6; without it, an
    /// interface that is set down and up again loses its addresses, which hardly anyone does.
    fn enable_ipv6_on(&self, name: &IfName, origin: Origin<'_, '_>) -> Result<(), Error> {
        let mut parameters = Parameters::of(self.plugin, origin);
        let v6 = |key| Sysctl::of_interface(Family::V6, name, key);
        parameters
            .require(v6("disable_ipv6"), "0")
            .map_err(no_ipv6)?;
        parameters.wish(v6("keep_addr_on_down"), "1");
        Ok(())
    }

    /// Sets the interface up with its addresses and routes. IPv4 addresses are added first: the
    /// kernel then announces them by itself when the interface comes up.
    ///
    /// # Errors
    /// Fails if the kernel refuses a part of it.
    pub fn configure(&self, rtnl: &mut Rtnl, link: &Link, setup: Setup<'_>) -> Result<(), Error> {
        let mut batch = Batch::new();
        let addresses = || setup.ips.iter().map(|ip| ip.address);
        for address in addresses().filter(|address| address.is_ipv4()) {
            batch.create_address(link, address, false);
        }
        batch.set_up(link);
        for address in addresses().filter(|address| !address.is_ipv4()) {
            batch.create_address(link, address, self.detect_duplicates);
        }
        for route in setup.routes {
            batch.create_route(link, route);
        }
        rtnl.run(batch).map_err(|e| {
            let explained = self
                .netns
                .run(|| ipv6_disabled(&e, self.name))
                .ok()
                .flatten();
            explained.unwrap_or_else(|| e.into())
        })
    }
}

fn no_ipv6(error: NetError) -> Error {
    let remedy = if error.is_absent() {
        "the kernel runs without IPv6 (boot parameter ipv6.disable=1?), and IPAM gave an IPv6 \
         address"
    } else {
        "set net.ipv6.conf.default.disable_ipv6=0 in the container before, or let the plugin write \
         to /proc/sys"
    };
    Error::from(error)
        .context("failed to enable IPv6")
        .with_details(remedy)
}

/// Returns the error for a refusal that is due to IPv6 being disabled on an interface of the
/// thread's namespace, for which the kernel only reports "permission denied"; else `None`.
#[must_use]
pub fn ipv6_disabled(error: &NetError, interface: &IfName) -> Option<Error> {
    let sysctl = Sysctl::of_interface(Family::V6, interface, "disable_ipv6");
    let off = error.errno() == Some(Errno::EACCES)
        && matches!(sysctl.read(), Ok(Some(value)) if value == "1");
    off.then(|| {
        Error::new(Code::KERNEL, error.to_string()).with_details(format!(
            "IPv6 is disabled on {interface}: {} is 1, wanted 0",
            sysctl.name()
        ))
    })
}

/// Checks that an MTU allows IPv6, if one of the addresses is IPv6. For a smaller one the kernel
/// only reports "invalid argument" (addrconf_add_dev in net/ipv6/addrconf.c). `what` names the
/// owner of the MTU.
///
/// # Errors
/// Fails with code 7 if the MTU is too small.
pub fn require_v6_mtu(
    what: impl FnOnce() -> String,
    mtu: u32,
    ips: &[IpConfig],
) -> Result<(), Error> {
    let mut addresses = ips.iter().map(|ip| ip.address);
    match addresses.find(|address| !address.is_ipv4()) {
        Some(address) if mtu < MIN_V6_MTU => Err(too_small_for_v6(&what(), mtu, address)),
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
