//! CHECK: is the attachment still what ADD left, and can its container be reached?
//!
//! All differences are told at once, each as what is wanted and what is found. What a later plugin of the chain may change
//! (MTU, further addresses and routes) is not looked at, and its changes to what the result tells are in `prevResult`.

use crate::{
    chain,
    config::{Config, Container, Gateway, PortMode},
    gateway::Plan,
    macspoof,
    masquerade::Masquerade,
    vlan,
};
use cni_net::{Family, InstalledRoute, Link, Netns, PortState, Rtnl, Sysctl, container_netns};
use cni_types::{AddResult, Attachment, Call, Cidr, Code, Command, Error, IfName, Interface, log};
use std::collections::BTreeMap;

pub(crate) fn check(call: &Call, attachment: &Attachment) -> Result<(), Error> {
    let config = Config::of(call)?;
    let netns = container_netns(call, &attachment.netns)?;
    if let Some(kind) = config.ipam() {
        call.delegate(kind)?.verify(Command::Check)?;
    }
    let missing = || Error::new(Code::INVALID_CONFIG, "Required prevResult missing");
    let told = call.prev_result()?.ok_or_else(missing)?;
    let id = attachment.id(&call.network);
    let mut host = Rtnl::open()?;
    let taken = chain::taken_port(&mut host, &told, id)?;
    let told = taken
        .iter()
        .fold(told, |told, port| chain::with_addresses_of(port, told));
    let prev_result = own_part(told, &attachment.if_name);
    let mut checking = Checking {
        config: &config,
        attachment,
        prev_result: &prev_result,
        differences: Vec::new(),
    };
    let bridge = checking.bridge(&mut host)?;
    // Of a tap, the other side is a guest's and not the container's.
    let inside = taken.is_none() || checking.told_interface().is_some();
    let link = if inside {
        checking.container(&netns)?
    } else {
        taken.clone()
    };
    match (bridge, link, taken) {
        (Some(bridge), Some(link), None) => checking.port(&mut host, &bridge, &link, &netns)?,
        (Some(bridge), Some(link), Some(port)) => {
            checking.port_is_right(&mut host, &bridge, &port, &link)?
        }
        _ => {}
    }
    checking.masquerade(Masquerade::of(call, id))?;
    checking.outcome()
}

/// What of a result is this attachment's: a later plugin of the chain may have added interfaces with addresses and routes of their
/// own.
pub(crate) fn own_part(mut result: AddResult, name: &IfName) -> AddResult {
    let interfaces = &result.interfaces;
    let is_own = |index: usize| {
        interfaces
            .get(index)
            .is_some_and(|i| i.name == name.as_str() && !i.sandbox.is_empty())
    };
    result.ips.retain(|ip| {
        ip.interface
            .is_none_or(|index| usize::try_from(index).is_ok_and(is_own))
    });
    let ips = &result.ips;
    result.routes.retain(|route| {
        route
            .gw
            .is_none_or(|gw| ips.iter().any(|ip| ip.address.contains(gw)))
    });
    result
}

struct Checking<'a> {
    config: &'a Config,
    attachment: &'a Attachment,
    prev_result: &'a AddResult,
    differences: Vec<String>,
}

impl<'a> Checking<'a> {
    fn differs(&mut self, difference: String) {
        self.differences.push(difference);
    }

    fn require(&mut self, holds: bool, difference: impl FnOnce() -> String) {
        if !holds {
            self.differs(difference());
        }
    }

    fn outcome(self) -> Result<(), Error> {
        let mut differences = self.differences.into_iter();
        let Some(first) = differences.next() else {
            return Ok(());
        };
        let error = Error::new(Code::CHECK_MISMATCH, first);
        Err(differences.fold(error, |error, next| error.and_details(&next)))
    }

    fn bridge(&mut self, rtnl: &mut Rtnl) -> Result<Option<Link>, Error> {
        let name = &self.config.bridge;
        let Some(link) = rtnl.find_link(name)? else {
            self.differs(format!(
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
        let name = self.config.gateway_interface();
        for wanted in plan.gateways {
            self.require(found.iter().any(|address| address.cidr == wanted), || {
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

    fn container(&mut self, netns: &Netns) -> Result<Option<Link>, Error> {
        let name = &self.attachment.if_name;
        let sandbox = self.attachment.netns.as_str();
        let Some(wanted) = self.told_interface() else {
            self.differs(format!("Interface name {name} not found in prevResult"));
            return Ok(None);
        };
        self.require(wanted.sandbox == sandbox, || {
            format!(
                "Sandbox in prevResult {} doesn't match configured netns: {sandbox}",
                wanted.sandbox
            )
        });
        let mut rtnl = Rtnl::open_in(netns)?;
        let Some(link) = rtnl.find_link(name)? else {
            self.differs(format!("Interface name {name} not found in {sandbox}"));
            return Ok(None);
        };
        self.interface(wanted, &link);
        self.addresses(&mut rtnl, name, &link)?;
        self.routes(&mut rtnl, name, &link)?;
        Ok(Some(link))
    }

    /// The container's interface, where the result has it.
    fn told_interface(&self) -> Option<&'a Interface> {
        let name = self.attachment.if_name.as_str();
        self.prev_result
            .interfaces
            .iter()
            .find(|i| i.name == name && !i.sandbox.is_empty())
    }

    fn interface(&mut self, wanted: &Interface, link: &Link) {
        let name = &wanted.name;
        let found = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
        self.require(
            wanted.mac.is_empty() || wanted.mac.eq_ignore_ascii_case(&found),
            || {
                format!(
                    "Interface {name} Mac {} doesn't match container Mac: {found}",
                    wanted.mac
                )
            },
        );
        let up = link.up || self.config.container == Container::Down;
        self.require(up, || format!("Interface {name} is down, wanted up"));
    }

    fn addresses(&mut self, rtnl: &mut Rtnl, name: &IfName, link: &Link) -> Result<(), Error> {
        let found = rtnl.addresses(link.index)?;
        for wanted in self.prev_result.ips.iter().map(|ip| ip.address) {
            self.require(found.iter().any(|address| address.cidr == wanted), || {
                let found: Vec<String> = found
                    .iter()
                    .map(|address| address.cidr.to_string())
                    .collect();
                format!(
                    "Failed to match addr {wanted} on interface {name}, found [{}]",
                    found.join(" ")
                )
            });
        }
        Ok(())
    }

    fn routes(&mut self, rtnl: &mut Rtnl, name: &IfName, link: &Link) -> Result<(), Error> {
        let mut found: BTreeMap<(Cidr, u32), Vec<InstalledRoute>> = BTreeMap::new();
        for route in rtnl.routes()? {
            found
                .entry((route.dst, route.table))
                .or_default()
                .push(route);
        }
        for spec in Plan::of(self.config, self.prev_result)?.specs {
            let dst = spec.route.dst.network();
            let table = spec.table();
            let mut alike = found.get(&(dst, table)).into_iter().flatten();
            self.require(alike.any(|route| route.is(&spec, link.index)), || {
                let via = spec.gateway.map(|gateway| format!(" via {gateway}")).unwrap_or_default();
                format!("Expected Route {dst}{via} on interface {name} not found in routing table {table}")
            });
        }
        Ok(())
    }

    /// The container's peer, which is to be on the host.
    fn port(
        &mut self,
        rtnl: &mut Rtnl,
        bridge: &Link,
        container: &Link,
        netns: &Netns,
    ) -> Result<(), Error> {
        let Some(peer) = rtnl.peer_of(container, netns)? else {
            self.differs(format!("host end of {} not found", container.name));
            return Ok(());
        };
        self.port_is_right(rtnl, bridge, &peer, container)
    }

    fn port_is_right(
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
            let id = self.attachment.container_id.as_str();
            self.differences.extend(macspoof::differences(
                id,
                &self.attachment.if_name,
                peer,
                container,
            )?);
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
            // On its way, which takes two forward delays.
            (Some(_), PortState::Listening | PortState::Learning) => {}
            (Some(_), PortState::Blocking) => {
                log::warn(
                    "bridge",
                    format_args!("{name} is blocked by the spanning tree of {}", bridge.name),
                );
            }
            _ => self.require(!can_send, || format!("{name} does not forward frames")),
        }
        Ok(())
    }

    fn masquerade(&mut self, masquerade: Masquerade<'_>) -> Result<(), Error> {
        let addresses: Vec<Cidr> = self.prev_result.ips.iter().map(|ip| ip.address).collect();
        if let Some(choice) = self.config.masquerade.filter(|_| !addresses.is_empty()) {
            self.differences
                .extend(masquerade.differences(choice.first(), &addresses)?);
        }
        Ok(())
    }
}
