//! CHECK: compares the attachment with what ADD set up.
//!
//! Reports all differences at once, each as what is wanted and what is found. Ignores what a later
//! plugin of the chain may change (the MTU, further addresses and routes); changes to what the
//! result reports are in `prevResult`.

use crate::{
    NAME, chain,
    config::{Config, Container, Gateway, PortMode},
    gateway::Plan,
    vlan,
};
use cni_attachment::{
    Differences, container_netns, ipam,
    netfilter::{
        RuleSet,
        mac_check::{self, MacCheck, MacChecks},
        masquerade::Masquerade,
    },
    prev_result,
};
use cni_net::{Family, Link, Netns, PortState, Rtnl, Sysctl};
use cni_types::{AddResult, Attachment, AttachmentId, Call, Cidr, Error, log};
use std::collections::HashSet;

/// Compares the attachment with the configuration and with prevResult, and asks the IPAM plugin to
/// do the same.
///
/// # Errors
/// Fails if there is a difference, if the IPAM plugin fails, or if the kernel refuses a request.
pub(crate) fn check(call: &Call, attachment: &Attachment) -> Result<(), Error> {
    let config = Config::of(call)?;
    let netns = container_netns(call, &attachment.netns)?;
    ipam::check(call, config.ipam())?;
    let reported = call.require_prev_result()?;
    let id = attachment.id(&call.network);
    let mut host = Rtnl::open()?;
    let taken = chain::taken_port(&mut host, &reported, id)?;
    let reported = match &taken {
        Some(port) => prev_result::with_addresses_of(&port.name, reported),
        None => reported,
    };
    let own = prev_result::own_part(reported, &attachment.if_name);
    let mut checking = Checking {
        config: &config,
        attachment,
        id,
        prev_result: &own,
        differences: Differences::new(),
    };
    let bridge = checking.bridge(&mut host)?;
    // The other side of a tap is a guest's, not the container's.
    let has_inside = taken.is_none() || prev_result::interface(&own, &attachment.if_name).is_some();
    let link = if has_inside {
        checking.container(&netns)?
    } else {
        taken.clone()
    };
    match (bridge, link, taken) {
        (Some(bridge), Some(link), None) => checking.port(&mut host, &bridge, &link, &netns)?,
        (Some(bridge), Some(link), Some(port)) => {
            checking.compare_port(&mut host, &bridge, &port, &link)?
        }
        _ => {}
    }
    checking.masquerade(Masquerade::new(NAME, call))?;
    checking.differences.outcome()
}

/// A CHECK that is under way, with the differences found so far.
struct Checking<'a> {
    config: &'a Config,
    attachment: &'a Attachment,
    id: AttachmentId<'a>,
    prev_result: &'a AddResult,
    differences: Differences,
}

impl Checking<'_> {
    /// Adds the difference unless `holds` is true.
    fn require(&mut self, holds: bool, difference: impl FnOnce() -> String) {
        self.differences.require(holds, difference);
    }

    /// Compares the bridge, and returns it; `None` if it does not exist.
    fn bridge(&mut self, rtnl: &mut Rtnl) -> Result<Option<Link>, Error> {
        let name = &self.config.bridge;
        let Some(link) = rtnl.find_link(name)? else {
            self.differences.add(format!(
                "Bridge interface {name} not found, wanted as the bridge of this network"
            ));
            return Ok(None);
        };
        if self.config.port == PortMode::Promiscuous {
            let found = link.promiscuous;
            self.require(found, || {
                format!("Bridge interface {name} configured Promisc Mode true doesn't match current state: {found}")
            });
        }
        self.require(link.up, || {
            format!("Bridge interface {name} is down, wanted up")
        });
        self.differences
            .extend(vlan::bridge_differences(&link, self.config));
        self.gateway(rtnl, &link)?;
        Ok(Some(link))
    }

    /// Compares the gateway's addresses, and forwarding.
    fn gateway(&mut self, rtnl: &mut Rtnl, bridge: &Link) -> Result<(), Error> {
        if self.config.gateway == Gateway::No {
            return Ok(());
        }
        let plan = Plan::of(self.config, self.prev_result)?;
        if plan.gateways.is_empty() {
            return Ok(());
        }
        let (interface, what) = match &self.config.vlan_gateway {
            Some(gateway) => {
                let (link, differences) = vlan::gateway_differences(rtnl, bridge, gateway)?;
                self.differences.extend(differences);
                (link, "VLAN interface")
            }
            None => (Some(bridge.clone()), "Bridge interface"),
        };
        let found = interface
            .map(|link| rtnl.addresses(link.index))
            .transpose()?
            .unwrap_or_default();
        let known: HashSet<Cidr> = found.iter().map(|address| address.cidr).collect();
        let name = self.config.gateway_interface();
        for wanted in plan.gateways {
            self.require(known.contains(&wanted), || {
                format!("{what} {name} lacks the gateway address, wanted {wanted}")
            });
            let sysctl = Sysctl::forwarding(Family::of(wanted));
            let value = sysctl.read()?.unwrap_or_default();
            self.require(value == "1", || {
                format!("{} is {value:?}, wanted 1", sysctl.name())
            });
        }
        Ok(())
    }

    /// Compares the container's interface, and returns it; `None` if it does not exist.
    fn container(&mut self, netns: &Netns) -> Result<Option<Link>, Error> {
        let config = self.config;
        let prev_result = self.prev_result;
        self.differences.compare_container(
            netns,
            self.attachment,
            prev_result,
            config.container == Container::Down,
            || Ok(Plan::of(config, prev_result)?.specs),
        )
    }

    /// Compares the host's end of the pair to `container`.
    fn port(
        &mut self,
        rtnl: &mut Rtnl,
        bridge: &Link,
        container: &Link,
        netns: &Netns,
    ) -> Result<(), Error> {
        let Some(peer) = rtnl.peer_of(container, netns)? else {
            self.differences
                .add(format!("host end of {} not found", container.name));
            return Ok(());
        };
        self.compare_port(rtnl, bridge, &peer, container)
    }

    /// Compares the port `peer`, the host's side of `container`.
    fn compare_port(
        &mut self,
        rtnl: &mut Rtnl,
        bridge: &Link,
        peer: &Link,
        container: &Link,
    ) -> Result<(), Error> {
        let name = &peer.name;
        self.require(peer.master == Some(bridge.index), || {
            format!("{name} is not a port of bridge {}", bridge.name)
        });
        self.require(peer.up, || format!("{name} is down, wanted up"));
        if self.config.spoof_check {
            self.mac_check(peer, container)?;
        }
        if peer.master == Some(bridge.index) {
            self.differences
                .extend(vlan::port_differences(rtnl, bridge, peer, self.config)?);
        }
        let Some(port) = peer.port else { return Ok(()) };
        let hairpin = self.config.port == PortMode::Hairpin;
        self.require(port.hairpin == hairpin, || {
            format!("{name} has hairpin mode {}, wanted {hairpin}", port.hairpin)
        });
        let isolated = self.config.isolated;
        self.require(port.isolated == isolated, || {
            format!(
                "{name} has port isolation {}, wanted {isolated}",
                port.isolated
            )
        });
        let can_send = container.up && peer.up && peer.oper_up;
        match (bridge.spanning_tree, port.state) {
            (_, PortState::Forwarding) => {}
            // A transition, which takes two forward delays.
            (Some(_), PortState::Listening | PortState::Learning) => {}
            (Some(_), PortState::Blocking) => {
                log::warn(
                    NAME,
                    format_args!("{name} is blocked by the spanning tree of {}", bridge.name),
                );
            }
            _ => self.require(!can_send, || format!("{name} does not forward frames")),
        }
        Ok(())
    }

    /// Compares the macspoofchk rules.
    fn mac_check(&mut self, peer: &Link, container: &Link) -> Result<(), Error> {
        let Some(mac) = container.mac else {
            let name = &container.name;
            self.differences
                .add(format!("Interface {name} has no MAC address"));
            return Ok(());
        };
        let check = MacCheck {
            host_end: peer.name.clone(),
            mac,
        };
        let found = MacChecks::new(&mut mac_check::open()?).differences(self.id, &check)?;
        self.differences.extend(found);
        Ok(())
    }

    /// Compares the masquerade rules.
    fn masquerade(&mut self, masquerade: Masquerade<'_>) -> Result<(), Error> {
        let addresses: Vec<Cidr> = self.prev_result.ips.iter().map(|ip| ip.address).collect();
        if let Some(choice) = self.config.masquerade.filter(|_| !addresses.is_empty()) {
            self.differences
                .extend(masquerade.differences(self.id, choice.first(), &addresses)?);
        }
        Ok(())
    }
}
