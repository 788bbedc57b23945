//! ADD where an earlier plugin of the chain made the interface: its host's side becomes the port.
//!
//! Addresses are those of this plugin's IPAM, or without it those that the earlier plugins told. Only what is new is set up inside the
//! container, and nothing where the interface is not there, as with a tap for a virtual machine.

use super::{Adding, Undo, of_host};
use crate::{
    chain, check::own_part, config::Gateway, container, gateway::Plan, host, in_use, ipam::Addresses,
};
use cni_net::{Batch, Link, LinkEvents, NetError, Rtnl};
use cni_types::{AddResult, Cidr, Code, Encoded, Error, IfName, Interface, IpConfig};

impl<'a> Adding<'a> {
    /// `None` where no earlier plugin made an interface.
    pub(super) fn run_chained(
        &self,
        container: &mut Rtnl,
        prev_result: &AddResult,
        undo: &mut Undo<'a>,
    ) -> Result<Option<Encoded>, Error> {
        let inside = container.find_link(&self.attachment.if_name)?;
        let mut host = Rtnl::open()?;
        let Some(port) = chain::port(&mut host, prev_result, self.config, inside.as_ref())? else {
            return Ok(None);
        };
        let chained = Chained { port, inside, prev_result };
        self.connect(&mut host, container, &chained, undo).map(Some)
    }

    fn connect(
        &self,
        host: &mut Rtnl,
        container: &mut Rtnl,
        chained: &Chained<'_>,
        undo: &mut Undo<'a>,
    ) -> Result<Encoded, Error> {
        let (call, config) = (self.call, self.config);
        let from_ipam = match config.ipam() {
            Some(kind) => Some(Addresses::ask(call, kind, undo)?.wait()?),
            None => None,
        };
        let bridge = match host::find_bridge(host, config)? {
            Some(bridge) => bridge,
            None => host::create_bridge(host, config)?,
        };
        host::set_bridge_up(host, &bridge, config)?;
        self.check_spoofing_of(host, chained, undo)?;
        self.take(host, &chained.port, &bridge, undo)?;
        let bridge = host::pin_bridge_mac(host, &bridge, &config.bridge)?;
        let plan = self.plan(chained, from_ipam.as_ref())?;
        if let Some(inside) = &chained.inside {
            self.configure_inside(container, inside, &plan, from_ipam.is_some(), undo)?;
        }
        let (vlan_gateway, gateways) = self.ensure_gateway(host, &bridge, &plan)?;
        call.stop.check()?;
        self.masquerade(&plan, undo)?;
        in_use::wait(host, gateways.into_iter(), &call.stop, LinkEvents::subscribe_with_routes)?;
        let inside = chained.inside.as_ref().map(|inside| container.link(inside.index)).transpose()?;
        // Who makes the interface may leave it down, for a later plugin.
        if let Some(link) = inside.flatten().filter(|link| link.oper_up) {
            self.introduce(host, container, vlan_gateway.as_ref().unwrap_or(&bridge), &link, &plan)?;
        }
        call.stop.check()?;
        let ours = [Some(bridge), vlan_gateway];
        self.chained_result(&ours, plan, chained.prev_result.clone(), from_ipam).encode(call.version)
    }

    /// Before it is a port, so that no frame passes unchecked.
    fn check_spoofing_of(
        &self,
        host: &mut Rtnl,
        chained: &Chained<'_>,
        undo: &mut Undo<'a>,
    ) -> Result<(), Error> {
        if !self.config.spoof_check {
            return Ok(());
        }
        let unknown = || {
            let msg = format!("macspoofchk needs the interface {} in the container", self.attachment.if_name);
            Error::new(Code::INVALID_CONFIG, msg)
                .with_details("without it the address that a guest may send from is not known")
        };
        let inside = chained.inside.as_ref().ok_or_else(unknown)?;
        self.check_spoofing(host, &IfName::parse(&chained.port.name)?, inside, undo)
    }

    fn take(&self, host: &mut Rtnl, port: &Link, bridge: &Link, undo: &mut Undo<'a>) -> Result<(), Error> {
        let name = IfName::parse(&port.name)?;
        let (before, undone) = (port.clone(), name.clone());
        undo.on_failure("taking the interface off the bridge", move || {
            chain::give_back(&mut Rtnl::open()?, &before, &undone)
        });
        chain::take(host, port, &name, bridge, &self.identity, self.config)?;
        host::configure_taken_port(host, &name, self.config)?;
        // Without carrier, as a tap whose guest is not started, it does not forward yet.
        if host::end(host, &name)?.oper_up {
            host::wait_forwarding(host, &name, &self.call.stop)?;
        }
        Ok(())
    }

    fn plan(&self, chained: &Chained<'_>, from_ipam: Option<&AddResult>) -> Result<Plan, Error> {
        let prev = chained.prev_result;
        if let Some(result) = from_ipam {
            return Plan::of(self.config, result);
        }
        let told = chain::with_addresses_of(&chained.port, prev.clone());
        let mut plan = Plan::of(self.config, &own_part(told, &self.attachment.if_name))?;
        // What the earlier plugins told they have set up.
        plan.specs.retain(|spec| !prev.routes.iter().any(|r| r.dst == spec.route.dst));
        Ok(plan)
    }

    fn configure_inside(
        &self,
        container: &mut Rtnl,
        inside: &Link,
        plan: &Plan,
        addressed: bool,
        undo: &mut Undo<'a>,
    ) -> Result<(), Error> {
        let name = &self.attachment.if_name;
        if addressed {
            container::set_parameters(self.netns, self.config, name)?;
            self.give_back_addresses_on_failure(inside, plan, undo);
            return self.configure_container(container, inside, plan, undo);
        }
        let mut batch = Batch::new();
        if self.config.gateway == Gateway::Default {
            plan.specs.iter().for_each(|spec| batch.create_route(inside.index, name, spec));
        }
        Ok(container.run(batch)?)
    }

    fn give_back_addresses_on_failure(&self, inside: &Link, plan: &Plan, undo: &mut Undo<'a>) {
        let (netns, name, index, up) = (self.netns, &self.attachment.if_name, inside.index, inside.up);
        let addresses: Vec<Cidr> = plan.ips.iter().map(|ip| ip.address).collect();
        undo.on_failure("removing addresses", move || {
            let mut rtnl = Rtnl::open_in(netns)?;
            let mut outcomes = Vec::new();
            for address in addresses {
                let mut batch = Batch::new();
                batch.delete_address(index, name, address);
                outcomes.push(NetError::absent_is_ok(rtnl.run(batch)));
            }
            if !up {
                let mut batch = Batch::new();
                batch.set_down(index, name);
                outcomes.push(rtnl.run(batch));
            }
            Error::join(outcomes.into_iter().filter_map(Result::err).map(Error::from))
        });
    }

    /// The earlier result, with the bridge, the gateways, and what this plugin's IPAM gave.
    fn chained_result(
        &self,
        ours: &[Option<Link>],
        plan: Plan,
        mut prev: AddResult,
        from_ipam: Option<AddResult>,
    ) -> AddResult {
        let is_inside = |i: &Interface| i.name == self.attachment.if_name.as_str() && !i.sandbox.is_empty();
        let inside = prev.interfaces.iter().position(is_inside).and_then(|at| i64::try_from(at).ok());
        for link in ours.iter().flatten() {
            if !prev.interfaces.iter().any(|i| i.name == link.name && i.sandbox.is_empty()) {
                prev.interfaces.push(of_host(link));
            }
        }
        match &from_ipam {
            Some(_) => prev.ips.extend(plan.ips.into_iter().map(|ip| IpConfig { interface: inside, ..ip })),
            None => {
                for ip in &mut prev.ips {
                    let told = plan.ips.iter().find(|told| told.address == ip.address);
                    ip.gateway = ip.gateway.or(told.and_then(|told| told.gateway));
                }
            }
        }
        let new: Vec<_> = plan.routes.into_iter().filter(|route| !prev.routes.contains(route)).collect();
        prev.routes.extend(new);
        let dns = self.config.dns.clone().or(from_ipam.map(|ipam| ipam.dns).filter(|dns| !dns.is_empty()));
        AddResult { dns: dns.unwrap_or(prev.dns), ..prev }
    }
}

/// What an earlier plugin made.
struct Chained<'a> {
    /// The host's side.
    port: Link,
    /// The container's, where there is one.
    inside: Option<Link>,
    prev_result: &'a AddResult,
}
