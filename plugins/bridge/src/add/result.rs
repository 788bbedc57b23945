//! The result of ADD: the earlier plugins' result with the addition of this one.

use super::{Adding, port::Connected};
use crate::gateway::Plan;
use cni_attachment::prev_result;
use cni_net::Link;
use cni_types::{AddResult, Cidr, Interface, IpConfig, Route};
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

/// The links that this ADD created or used.
pub(super) struct Links<'a> {
    pub(super) bridge: &'a Link,
    pub(super) vlan_gateway: Option<&'a Link>,
    pub(super) connected: &'a Connected,
}

impl Adding<'_> {
    /// Returns the result of the chain up to this plugin.
    pub(super) fn result(
        &self,
        links: &Links<'_>,
        plan: Plan,
        from_ipam: Option<AddResult>,
    ) -> AddResult {
        match (&links.connected.taken, &self.prev_result) {
            (Some(_), Some(prev)) => self.chained_result(links, plan, prev.clone(), from_ipam),
            _ => prev_result::merged(
                self.prev_result.clone(),
                self.own_result(links, plan, from_ipam),
            ),
        }
    }

    /// Returns the result of this plugin alone.
    fn own_result(&self, links: &Links<'_>, plan: Plan, from_ipam: Option<AddResult>) -> AddResult {
        let sandbox = self.attachment.netns.to_string();
        let inside = links.connected.inside.as_ref().map(on_host);
        let mut interfaces = vec![on_host(links.bridge), on_host(&links.connected.host)];
        interfaces.extend(inside.map(|inside| Interface { sandbox, ..inside }));
        interfaces.extend(links.vlan_gateway.map(on_host));
        AddResult {
            interfaces,
            ips: plan.ips,
            routes: plan.routes,
            dns: self
                .config
                .dns
                .clone()
                .or(from_ipam.map(|ipam| ipam.dns))
                .unwrap_or_default(),
        }
    }

    /// Returns the earlier plugins' result, with the bridge, the gateways, and the addresses and
    /// routes of this plugin's IPAM.
    fn chained_result(
        &self,
        links: &Links<'_>,
        plan: Plan,
        mut prev: AddResult,
        from_ipam: Option<AddResult>,
    ) -> AddResult {
        // As in `prev_result::merged`: the addresses of lo do not lead to the pod.
        prev.ips.retain(|ip| !ip.address.address().is_loopback());
        let inside = prev_result::interface_index(&prev, &self.attachment.if_name);
        for link in [links.bridge].into_iter().chain(links.vlan_gateway) {
            if !prev
                .interfaces
                .iter()
                .any(|i| link.name == i.name.as_str() && i.sandbox.is_empty())
            {
                prev.interfaces.push(on_host(link));
            }
        }
        match &from_ipam {
            Some(_) => prev.ips.extend(plan.ips.into_iter().map(|ip| IpConfig {
                interface: inside,
                ..ip
            })),
            None => {
                let mut own: HashMap<Cidr, Option<IpAddr>> = HashMap::new();
                for ip in &plan.ips {
                    own.entry(ip.address).or_insert(ip.gateway);
                }
                for ip in &mut prev.ips {
                    let gateway = own.get(&ip.address).copied().flatten();
                    ip.gateway = ip.gateway.or(gateway);
                }
            }
        }
        let known: HashSet<Route> = prev.routes.iter().cloned().collect();
        prev.routes.extend(
            plan.routes
                .into_iter()
                .filter(|route| !known.contains(route)),
        );
        let dns = self
            .config
            .dns
            .clone()
            .or(from_ipam.map(|ipam| ipam.dns).filter(|dns| !dns.is_empty()));
        AddResult {
            dns: dns.unwrap_or(prev.dns),
            ..prev
        }
    }
}

/// Returns the entry of the result for a link of the host.
fn on_host(link: &Link) -> Interface {
    Interface {
        name: link.name.to_string(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        mtu: Some(link.mtu),
        ..Interface::default()
    }
}
