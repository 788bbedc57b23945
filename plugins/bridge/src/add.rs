//! ADD: all of it or nothing.
//!
//! In order: check everything that can be checked; the bridge and the pair, while the IPAM plugin runs; the container's side; the
//! bridge's address and forwarding; masquerading; wait until packets can pass. What is the attachment's own is
//! taken back on failure.

mod chained;

use crate::{
    chain,
    config::{Backend, Config, Container},
    container,
    gateway::Plan,
    host,
    identity::Identity,
    in_use,
    ipam::Addresses,
    macspoof,
    masquerade::Masquerade,
    neighbours,
    undo::Undo,
    vlan,
};
use cni_net::{Iptables, Link, LinkEvents, Netns, Rtnl, container_netns, nft::Nft};
use cni_types::{AddResult, Attachment, Call, Cidr, Code, Encoded, Error, IfName, Interface};

pub(crate) fn add(call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
    let config = Config::of(call)?;
    // The kernel would put a number in its place (dev_alloc_name in net/core/dev.c).
    if attachment.if_name.as_str().contains('%') {
        return Err(Error::new(Code::INVALID_ENVIRONMENT, "interface name contains %")
            .with_details(format!("CNI_IFNAME is {}", attachment.if_name)));
    }
    if config.masquerade == Some(Backend::Iptables) {
        Iptables::require_program(call.environment())?;
    }
    let netns = container_netns(call, &attachment.netns)?;
    let identity = Identity {
        network: &call.network,
        container_id: &attachment.container_id,
        if_name: &attachment.if_name,
    };
    if config.spoof_check {
        macspoof::require_nameable(&identity)?;
    }
    let adding = Adding { call, attachment, config: &config, netns: &netns, identity };
    let mut undo = Undo::new();
    match adding.run(&mut undo) {
        Ok(result) => {
            undo.keep();
            Ok(result)
        }
        Err(cause) => Err(undo.roll_back(cause)),
    }
}

struct Adding<'a> {
    call: &'a Call,
    attachment: &'a Attachment,
    config: &'a Config,
    netns: &'a Netns,
    identity: Identity<'a>,
}

impl<'a> Adding<'a> {
    fn run(&self, undo: &mut Undo<'a>) -> Result<Encoded, Error> {
        let (call, config) = (self.call, self.config);
        let mut container = Rtnl::open_in(self.netns)?;
        let prev_result = call.prev_result()?;
        if let Some(prev_result) = &prev_result
            && let Some(result) = self.run_chained(&mut container, prev_result, undo)?
        {
            return Ok(result);
        }
        // Before IPAM: whoever holds this name holds its addresses too.
        host::require_free_name(&mut container, &self.identity, &self.identity.host_name(0)?)?;
        let mut addresses = match config.ipam() {
            Some(kind) => Addresses::ask(call, kind, undo)?,
            None => Addresses::none(),
        };
        let mut host = Rtnl::open()?;
        let bridge = match host::find_bridge(&mut host, config)? {
            Some(bridge) => bridge,
            // A bridge that was made stays, so it is not made for an attachment that gets no addresses.
            None => {
                addresses = Addresses::Known(addresses.wait()?);
                host::create_bridge(&mut host, config)?
            }
        };
        host::set_bridge_up(&mut host, &bridge, config)?;
        let host_name = self.attach(&mut host, &mut container, &bridge, undo)?;
        let bridge = host::pin_bridge_mac(&mut host, &bridge, &config.bridge)?;
        let link = self.prepare_container(&mut container)?;
        self.check_spoofing(&mut host, &host_name, &link, undo)?;
        let from_ipam = addresses.wait()?;
        let plan = Plan::of(config, &from_ipam)?;
        container::require_v6_mtu(config, &bridge, &plan)?;
        self.configure_container(&mut container, &link, &plan, undo)?;
        let (vlan_gateway, gateways) = self.ensure_gateway(&mut host, &bridge, &plan)?;
        call.stop.check()?;
        self.masquerade(&plan, undo)?;
        let ends = self.wait(&mut host, &mut container, &host_name, link)?;
        in_use::wait(&mut host, gateways.into_iter(), &call.stop, LinkEvents::subscribe_with_routes)?;
        let gateway = vlan_gateway.as_ref().unwrap_or(&bridge);
        self.introduce(&mut host, &mut container, gateway, &ends.container, &plan)?;
        call.stop.check()?;
        let own = self.result(&bridge, &ends, vlan_gateway.as_ref(), plan, from_ipam);
        chain::merged(prev_result, own).encode(call.version)
    }

    fn attach(
        &self,
        host: &mut Rtnl,
        container: &mut Rtnl,
        bridge: &Link,
        undo: &mut Undo<'a>,
    ) -> Result<IfName, Error> {
        let host_name = host::create_veth(host, container, bridge, self.netns, self.config, &self.identity)?;
        let name = host_name.clone();
        undo.on_failure("removing the veth pair", move || Ok(Rtnl::open()?.remove_link_named(&name)?));
        host::configure_port(host, &host_name, self.config, &self.identity)?;
        vlan::confine_port(host, bridge, &host_name, self.config)?;
        Ok(host_name)
    }

    /// The gateway's addresses, on the bridge or on the interface of the VLAN. Returns that, and the addresses that were not there
    /// before.
    fn ensure_gateway(
        &self,
        host: &mut Rtnl,
        bridge: &Link,
        plan: &Plan,
    ) -> Result<(Option<Link>, Vec<Cidr>), Error> {
        let (config, stop) = (self.config, &self.call.stop);
        let of_vlan = vlan::ensure_gateway_interface(host, bridge, config, &plan.gateways, stop)?;
        let added = host::ensure_gateway(host, of_vlan.as_ref().unwrap_or(bridge), config, &plan.gateways)?;
        Ok((of_vlan, added))
    }

    /// Before the container's interface is up, so that no frame passes unchecked.
    fn check_spoofing(
        &self,
        host: &mut Rtnl,
        host_name: &IfName,
        container: &Link,
        undo: &mut Undo<'a>,
    ) -> Result<(), Error> {
        if !self.config.spoof_check {
            return Ok(());
        }
        let identity = self.identity;
        macspoof::create(host, &identity, host_name, container.mac)?;
        undo.on_failure("removing macspoofchk rules", move || macspoof::remove(&mut Nft::open()?, &identity));
        Ok(())
    }

    /// What needs no addresses.
    fn prepare_container(&self, container: &mut Rtnl) -> Result<Link, Error> {
        let name = &self.attachment.if_name;
        let removed = || Error::new(Code::TRY_AGAIN, format!("{name} was removed from the container"));
        let link = container.find_link(name)?.ok_or_else(removed)?;
        if matches!(self.config.container, Container::Addressed { .. }) {
            container::set_parameters(self.netns, self.config, name)?;
        }
        Ok(link)
    }

    fn configure_container(
        &self,
        container: &mut Rtnl,
        link: &Link,
        plan: &Plan,
        undo: &mut Undo<'a>,
    ) -> Result<(), Error> {
        let name = &self.attachment.if_name;
        if plan.has_v6() {
            let netns = self.netns;
            let changed = container::enable_ipv6(netns, name)?;
            undo.on_failure("restoring sysctls", move || container::restore_parameters(netns, &changed));
        }
        if self.config.container == Container::Down {
            return Ok(());
        }
        container::configure(self.netns, container, link, name, self.config, plan)
    }

    fn masquerade(&self, plan: &Plan, undo: &mut Undo<'a>) -> Result<(), Error> {
        let addresses: Vec<Cidr> = plan.ips.iter().map(|ip| ip.address).collect();
        match self.config.masquerade {
            Some(backend) if !addresses.is_empty() => {
                Masquerade::of(self.call, self.identity).create(backend, addresses, undo)
            }
            _ => Ok(()),
        }
    }

    /// Waits until packets can pass, and describes both ends as they are then.
    fn wait(
        &self,
        host: &mut Rtnl,
        container: &mut Rtnl,
        host_name: &IfName,
        link: Link,
    ) -> Result<Ends, Error> {
        let stop = &self.call.stop;
        if self.config.container == Container::Down {
            return Ok(Ends { host: host::end(host, host_name)?, container: link });
        }
        let host = host::wait_forwarding(host, host_name, stop)?;
        let detect = self.config.detect_duplicates;
        let name = &self.attachment.if_name;
        let container = container::wait_ready(self.netns, container, link.index, name, detect, stop)?;
        Ok(Ends { host, container })
    }

    /// From here on packets find the container, whoever had its addresses before.
    fn introduce(
        &self,
        host: &mut Rtnl,
        container: &mut Rtnl,
        gateway: &Link,
        link: &Link,
        plan: &Plan,
    ) -> Result<(), Error> {
        let stop = &self.call.stop;
        let addresses = plan.ips.iter().map(|ip| ip.address);
        let subscribe = || self.netns.run(LinkEvents::subscribe_with_routes)?;
        in_use::wait(container, addresses, stop, subscribe)?;
        neighbours::correct(host, gateway, self.config.gateway_interface(), &plan.ips, link);
        neighbours::announce(container, link, &self.attachment.if_name, &plan.ips)
    }

    fn result(
        &self,
        bridge: &Link,
        ends: &Ends,
        vlan_gateway: Option<&Link>,
        plan: Plan,
        ipam: AddResult,
    ) -> AddResult {
        let in_container =
            Interface { sandbox: self.attachment.netns.to_string(), ..of_host(&ends.container) };
        let mut interfaces = vec![of_host(bridge), of_host(&ends.host), in_container];
        interfaces.extend(vlan_gateway.map(of_host));
        AddResult {
            interfaces,
            ips: plan.ips,
            routes: plan.routes,
            dns: self.config.dns.clone().unwrap_or(ipam.dns),
        }
    }
}

/// Both ends of the pair.
struct Ends {
    host: Link,
    container: Link,
}

/// An interface of the host as the result tells it.
fn of_host(link: &Link) -> Interface {
    Interface {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: Some(link.mtu),
        ..Interface::default()
    }
}
