//! ADD: all of it or nothing.
//!
//! In order: check everything that can be checked; addresses; the pair; the container's side; the bridge's address and
//! forwarding; masquerading; wait until packets can pass. What is the attachment's own is taken back on failure.

use crate::{
    config::{Config, Container},
    container,
    gateway::Plan,
    host::{self, Attached},
    identity::Identity,
    ipam,
    undo::Undo,
};
use cni_net::{Link, Netns, Rtnl, container_netns, nft::Nft};
use cni_types::{AddResult, Attachment, Call, Cidr, Encoded, Error, Interface};

pub(crate) fn add(call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
    let config = Config::of(call)?;
    let netns = container_netns(call, &attachment.netns)?;
    let identity = Identity {
        network: &call.network,
        container_id: &attachment.container_id,
        if_name: &attachment.if_name,
    };
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
        // Before IPAM: whoever holds this name holds its addresses too.
        host::require_free_name(&mut container, &self.identity, &self.identity.host_name(0)?)?;
        let from_ipam = match config.ipam() {
            Some(kind) => ipam::add(call, kind, undo)?,
            None => AddResult::default(),
        };
        call.stop.check()?;
        let plan = Plan::of(config, &from_ipam)?;
        let mut host = Rtnl::open()?;
        let bridge = host::ensure_bridge(&mut host, config)?;
        let attached = self.attach(&mut host, &mut container, &bridge, undo)?;
        let bridge = host::pin_bridge_mac(&mut host, &bridge, &config.bridge)?;
        let link = self.configure_container(&mut container, &plan, undo)?;
        host::ensure_gateway(&mut host, &bridge, config, &plan.gateways)?;
        call.stop.check()?;
        self.masquerade(&plan, undo)?;
        let link = self.wait(&mut host, &mut container, &attached, link)?;
        call.stop.check()?;
        self.result(&bridge, &attached, &link, plan, from_ipam).encode(call.version)
    }

    fn attach(
        &self,
        host: &mut Rtnl,
        container: &mut Rtnl,
        bridge: &Link,
        undo: &mut Undo<'a>,
    ) -> Result<Attached, Error> {
        let attached = host::create_veth(host, container, bridge, self.netns, self.config, &self.identity)?;
        let index = attached.host.index;
        undo.on_failure("removing the veth pair", move || Ok(Rtnl::open()?.remove_link(index)?));
        host::configure_port(host, &attached, self.config, &self.identity)?;
        Ok(attached)
    }

    fn configure_container(
        &self,
        container: &mut Rtnl,
        plan: &Plan,
        undo: &mut Undo<'a>,
    ) -> Result<Link, Error> {
        let name = &self.attachment.if_name;
        let find = |rtnl: &mut Rtnl| {
            let found = rtnl.find_link(name)?;
            found.ok_or_else(|| {
                Error::new(cni_types::Code::TRY_AGAIN, format!("{name} was removed from the container"))
            })
        };
        let link = find(container)?;
        if matches!(self.config.container, Container::Addressed { .. }) {
            let changed = container::set_parameters(self.netns, self.config, plan, name)?;
            let netns = self.netns;
            undo.on_failure("restoring sysctls", move || container::restore_parameters(netns, &changed));
        }
        if self.config.container != Container::Down {
            container::configure(container, &link, name, self.config, plan)?;
        }
        Ok(link)
    }

    fn masquerade(&self, plan: &Plan, undo: &mut Undo<'a>) -> Result<(), Error> {
        let addresses: Vec<Cidr> = plan.ips.iter().map(|ip| ip.address).collect();
        if !self.config.masquerade || addresses.is_empty() {
            return Ok(());
        }
        let owner = self.identity.owner();
        Nft::open()?.create_masquerade(&owner, &addresses)?;
        undo.on_failure("removing masquerade rules", move || {
            Ok(Nft::open()?.remove_masquerade(&owner).map(drop)?)
        });
        Ok(())
    }

    fn wait(
        &self,
        host: &mut Rtnl,
        container: &mut Rtnl,
        attached: &Attached,
        link: Link,
    ) -> Result<Link, Error> {
        if self.config.container == Container::Down {
            return Ok(link);
        }
        host::wait_forwarding(host, attached, &self.call.stop)?;
        let detect = self.config.detect_duplicates;
        let name = &self.attachment.if_name;
        container::wait_ready(self.netns, container, link.index, name, detect, &self.call.stop)
    }

    fn result(
        &self,
        bridge: &Link,
        attached: &Attached,
        link: &Link,
        plan: Plan,
        ipam: AddResult,
    ) -> AddResult {
        let of_host = |link: &Link| Interface {
            name: link.name.clone(),
            mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            mtu: Some(link.mtu),
            ..Interface::default()
        };
        let in_container = Interface { sandbox: self.attachment.netns.to_string(), ..of_host(link) };
        AddResult {
            interfaces: vec![of_host(bridge), of_host(&attached.host), in_container],
            ips: plan.ips,
            routes: plan.routes,
            dns: self.config.dns.clone().unwrap_or(ipam.dns),
        }
    }
}
