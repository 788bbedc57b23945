//! ADD: sets the whole attachment up, or nothing.
//!
//! The order: check all that can be checked; make sure that the attachment does not exist already;
//! create the bridge and its port, with the interface in the container; ask the IPAM plugin;
//! configure the container's addresses and routes, the bridge's addresses and forwarding;
//! masquerade; wait until packets can pass. A failure rolls back what belongs to the attachment;
//! the bridge stays.

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

/// Sets the attachment up and returns its result.
///
/// # Errors
/// Fails, after the rollback, if the configuration is invalid, the attachment exists already, the
/// IPAM plugin fails, the kernel refuses, or a wait is not over in time.
pub(crate) fn add(call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
    let config = Config::of(call)?;
    // The kernel would replace it by a number (dev_alloc_name in net/core/dev.c).
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
    // Held until the rollback is over.
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

/// An ADD that is under way.
struct Adding<'a> {
    call: &'a Call,
    attachment: &'a Attachment,
    config: &'a Config,
    netns: &'a Netns,
    id: AttachmentId<'a>,
    prev_result: Option<AddResult>,
}

/// Netlink sockets in both namespaces.
struct Ends {
    host: Rtnl,
    container: Rtnl,
}

impl<'a> Adding<'a> {
    /// Returns the container's interface for the operations of `cni-attachment`.
    fn interface(&self) -> ContainerInterface<'a> {
        ContainerInterface {
            plugin: NAME,
            netns: self.netns,
            name: &self.attachment.if_name,
            detect_duplicates: self.config.detect_duplicates,
        }
    }

    /// Sets the attachment up; each step adds its reversal to `rollback` first.
    fn run(&self, rollback: &mut Rollback<'a>) -> Result<Encoded, Error> {
        let call = self.call;
        let config = self.config;
        let ipam = config
            .ipam()
            .map(|kind| Ipam::find(call, kind))
            .transpose()?;
        let mut ends = Ends {
            host: Rtnl::open()?,
            container: Rtnl::open_in(self.netns)?,
        };
        let port = self.choose_port(&mut ends)?;
        self.require_not_attached(&mut ends, &port)?;
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
        self.announce_addresses(
            &mut ends,
            vlan_gateway.as_ref().unwrap_or(&bridge),
            &connected,
            &plan,
        )?;
        call.stop.check()?;
        let links = result::Links {
            bridge: &bridge,
            vlan_gateway: vlan_gateway.as_ref(),
            connected: &connected,
        };
        self.result(&links, plan, from_ipam).encode(call.version)
    }

    /// Makes sure, before the IPAM plugin is asked, that the attachment does not exist already.
    /// Otherwise, if IPAM failed, its DEL would free the addresses of the existing attachment. No
    /// concurrent ADD of the attachment can create it meanwhile: this one holds the claim.
    ///
    /// # Errors
    /// Fails if the attachment exists, if its names are taken, or if the port cannot be marked.
    fn require_not_attached(&self, ends: &mut Ends, port: &Port) -> Result<(), Error> {
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

    /// Ensures the gateway's addresses on the bridge, or on the interface of the VLAN. Returns that
    /// interface, if there is one, and the addresses that were not there before.
    fn ensure_gateway(
        &self,
        host: &mut Rtnl,
        bridge: &Link,
        plan: &Plan,
    ) -> Result<(Option<Link>, Vec<Cidr>), Error> {
        let config = self.config;
        let stop = &self.call.stop;
        let of_vlan = vlan::ensure_gateway_interface(host, bridge, config, &plan.gateways, stop)?;
        let added = host::ensure_gateway(
            host,
            of_vlan.as_ref().unwrap_or(bridge),
            config,
            &plan.gateways,
        )?;
        Ok((of_vlan, added))
    }

    /// Creates the masquerade rules, if configured and there are addresses.
    fn masquerade(&self, plan: &Plan, rollback: &mut Rollback<'a>) -> Result<(), Error> {
        let addresses: Vec<Cidr> = plan.ips.iter().map(|ip| ip.address).collect();
        match self.config.masquerade {
            Some(choice) if !addresses.is_empty() => {
                Masquerade::new(NAME, self.call).create(self.id, choice, &addresses, rollback)
            }
            _ => Ok(()),
        }
    }

    /// Waits until the container's addresses are usable, then corrects the host's neighbour entries
    /// and announces the addresses, so that packets reach the container even if others had its
    /// addresses before. Announces nothing on an interface that an earlier plugin left down: a
    /// later plugin sets it up and announces it.
    fn announce_addresses(
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
