//! ADD: all of it or nothing.
//!
//! In order: check everything that can be checked; make sure that no such attachment lives; the
//! bridge and its port, with the interface in the container behind it; IPAM; the container's
//! addresses and routes; the bridge's address and forwarding; masquerading; wait until packets can
//! pass. What is the attachment's own is rolled back on failure.

mod inside;
mod port;
mod result;

use crate::{NAME, chain, config::Config, gateway::Plan, host, vlan};
use cni_attachment::{
    ContainerInterface, Rollback, claim, container_netns,
    interface::{announce, correct_neighbours, wait_usable},
    ipam::Ipam,
    names::host_names,
    netfilter::{
        mac_check,
        masquerade::{Backend, BackendChoice, Masquerade},
    },
    pair,
};
use cni_net::{Link, LinkEvents, Netns, Rtnl};
use cni_types::{AddResult, Attachment, AttachmentId, Call, Cidr, Code, Encoded, Error};
use port::{Connected, Port};

pub(crate) fn add(call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
    let config = Config::of(call)?;
    // The kernel would put a number in its place (dev_alloc_name in net/core/dev.c).
    if attachment.if_name.as_str().contains('%') {
        return Err(
            Error::new(Code::INVALID_ENVIRONMENT, "interface name contains %")
                .with_details(format!("CNI_IFNAME is {}", attachment.if_name)),
        );
    }
    if config.masquerade == Some(BackendChoice::Only(Backend::Iptables)) {
        Masquerade::new(NAME, call).require_program()?;
    }
    let netns = container_netns(call, &attachment.netns)?;
    let id = attachment.id(&call.network);
    if config.spoof_check {
        mac_check::require_nameable(id)?;
    }
    // Held to the end of the roll-back.
    let _claim = claim(id)?;
    let prev_result = call.prev_result()?;
    let adding = Adding {
        call,
        attachment,
        config: &config,
        netns: &netns,
        id,
        prev_result,
    };
    let mut rollback = Rollback::new(NAME);
    let outcome = adding.run(&mut rollback);
    rollback.finish(outcome)
}

struct Adding<'a> {
    call: &'a Call,
    attachment: &'a Attachment,
    config: &'a Config,
    netns: &'a Netns,
    id: AttachmentId<'a>,
    prev_result: Option<AddResult>,
}

/// Connections to both sides.
struct Ends {
    host: Rtnl,
    container: Rtnl,
}

impl<'a> Adding<'a> {
    fn interface(&self) -> ContainerInterface<'a> {
        ContainerInterface {
            plugin: NAME,
            netns: self.netns,
            name: &self.attachment.if_name,
            detect_duplicates: self.config.detect_duplicates,
        }
    }

    fn run(&self, rollback: &mut Rollback<'a>) -> Result<Encoded, Error> {
        let (call, config) = (self.call, self.config);
        let ipam = config
            .ipam()
            .map(|kind| Ipam::find(call, kind))
            .transpose()?;
        let mut ends = Ends {
            host: Rtnl::open()?,
            container: Rtnl::open_in(self.netns)?,
        };
        let port = self.choose_port(&mut ends)?;
        self.require_first(&mut ends, &port)?;
        let bridge = host::ensure_bridge(&mut ends.host, config)?;
        let mut connected = self.connect(&mut ends, port, &bridge, rollback)?;
        let bridge = host::pin_bridge_mac(&mut ends.host, &bridge, &config.bridge)?;
        self.harden(&connected, rollback)?;
        let from_ipam = ipam
            .map(|ipam| ipam.request_addresses(rollback))
            .transpose()?;
        let plan = self.plan(&connected, from_ipam.as_ref())?;
        self.require_v6_mtu(&bridge, &connected, &plan)?;
        self.configure(&mut ends, &connected, &plan, rollback)?;
        let (vlan_gateway, gateways) = self.ensure_gateway(&mut ends.host, &bridge, &plan)?;
        call.stop.check()?;
        self.masquerade(&plan, rollback)?;
        self.wait(&mut ends, &mut connected)?;
        let in_time = LinkEvents::subscribe_with_routes;
        wait_usable(&mut ends.host, gateways.into_iter(), &call.stop, in_time)?;
        self.introduce(
            &mut ends,
            vlan_gateway.as_ref().unwrap_or(&bridge),
            &connected,
            &plan,
        )?;
        call.stop.check()?;
        let ours = result::Ours {
            bridge: &bridge,
            vlan_gateway: vlan_gateway.as_ref(),
            connected: &connected,
        };
        self.result(&ours, plan, from_ipam).encode(call.version)
    }

    /// Makes sure, before IPAM is asked, that no attachment of this identity lives: if IPAM fails,
    /// its DEL runs, and that would free the addresses of the one that lives. No other ADD of it
    /// runs meanwhile, for it has no claim.
    fn require_first(&self, ends: &mut Ends, port: &Port) -> Result<(), Error> {
        let has_ipam = self.config.ipam().is_some();
        if matches!(port, Port::Taken(_)) && !has_ipam {
            return Ok(());
        }
        let living = pair::living(&mut ends.host, self.id)?;
        if matches!(port, Port::New) {
            let [host_name, ..] = host_names(self.id);
            pair::require_free_name(&mut ends.container, &self.attachment.if_name, &host_name)?;
        }
        if let Some(link) = living {
            return Err(pair::lives(&link.name, self.id));
        }
        match &self.prev_result {
            Some(prev_result) if has_ipam => {
                chain::require_none(&mut ends.host, prev_result, self.id)?
            }
            _ => {}
        }
        if let Port::Taken(earlier) = port {
            chain::require_markable(&earlier.link)
        } else {
            Ok(())
        }
    }

    /// Ensures the gateway's addresses, on the bridge or on the interface of the VLAN. Returns that
    /// interface, and the addresses that were not there before.
    fn ensure_gateway(
        &self,
        host: &mut Rtnl,
        bridge: &Link,
        plan: &Plan,
    ) -> Result<(Option<Link>, Vec<Cidr>), Error> {
        let (config, stop) = (self.config, &self.call.stop);
        let of_vlan = vlan::ensure_gateway_interface(host, bridge, config, &plan.gateways, stop)?;
        let added = host::ensure_gateway(
            host,
            of_vlan.as_ref().unwrap_or(bridge),
            config,
            &plan.gateways,
        )?;
        Ok((of_vlan, added))
    }

    fn masquerade(&self, plan: &Plan, rollback: &mut Rollback<'a>) -> Result<(), Error> {
        let addresses: Vec<Cidr> = plan.ips.iter().map(|ip| ip.address).collect();
        match self.config.masquerade {
            Some(choice) if !addresses.is_empty() => {
                Masquerade::new(NAME, self.call).create(self.id, choice, &addresses, rollback)
            }
            _ => Ok(()),
        }
    }

    /// Sees to it that from here on packets find the container, whoever had its addresses before.
    /// An interface that an earlier plugin left down is a later plugin's to announce.
    fn introduce(
        &self,
        ends: &mut Ends,
        gateway: &Link,
        connected: &Connected,
        plan: &Plan,
    ) -> Result<(), Error> {
        let taken_down = |link: &&Link| connected.taken.is_some() && !link.oper_up;
        let Some(link) = connected.inside.as_ref().filter(|link| !taken_down(link)) else {
            return Ok(());
        };
        let stop = &self.call.stop;
        let addresses = plan.ips.iter().map(|ip| ip.address);
        let subscribe = || self.netns.run(LinkEvents::subscribe_with_routes)?;
        wait_usable(&mut ends.container, addresses, stop, subscribe)?;
        correct_neighbours(&mut ends.host, gateway, &plan.ips, link);
        announce(&mut ends.container, link, &plan.ips)
    }
}
