//! The bridges of the host against the configurations of the networks.

use super::{
    finding::Report,
    node::{Interface, Node, flag, text},
    pools::{NetworkPools, shared, subnets},
};
use crate::reservations::PoolUsage;
use cni_net::{LinkKind, SpanningTree};
use cni_runtime::PluginConfig;
use cni_types::{Cidr, Json};
use std::{collections::BTreeSet, net::IpAddr};

/// A bridge has 1024 port numbers, and the first is not used: net/bridge/br_private.h,
/// BR_MAX_PORTS.
const MAX_PORTS: usize = 1023;
/// The number of ports from which on a bridge is reported as nearly full.
const MANY_PORTS: usize = 900;

/// Returns the name of the bridge in a plugin's configuration.
pub(super) fn name(plugin: &PluginConfig) -> &str {
    text(plugin, "bridge").unwrap_or("cni0")
}

/// Returns the name of the interface with the gateway's address: the bridge, or its interface in
/// the pods' VLAN.
pub(super) fn gateway_name(plugin: &PluginConfig) -> String {
    match plugin.json().lookup("vlan") {
        Some(Json::Number(vlan)) if vlan.as_u64() != Some(0) => format!("{}.{vlan}", name(plugin)),
        _ => name(plugin).to_owned(),
    }
}

pub(super) fn examine(node: &Node, pools: &[NetworkPools], report: &mut Report) {
    for (_, plugin) in node
        .plugins()
        .filter(|(_, plugin)| plugin.kind() == "bridge")
    {
        if let Some(interface) = node.interface(name(plugin)) {
            link(interface, report);
            let ports = node
                .interfaces
                .iter()
                .filter(|other| other.link.master == Some(interface.link.index));
            port_limit(interface.link.name.as_str(), ports.count(), report);
        }
    }
    let mut overlaps = Overlaps::new(node, pools);
    for of_network in pools {
        let NetworkPools { usage, .. } = of_network;
        let plugin = &usage.user;
        overlaps.of(of_network, report);
        if plugin.kind() == "bridge"
            && let Some(interface) = node.interface(&gateway_name(plugin))
        {
            addresses(interface, usage, report);
        }
    }
}

fn link(interface: &Interface, report: &mut Report) {
    let name = &interface.link.name;
    if interface.link.kind != LinkKind::Bridge {
        return report.error(
            "bridge-kind",
            format!("{name} exists but is not a bridge"),
            "every ADD fails",
            format!("remove it (ip link del {name}), or name another bridge in the configuration"),
        );
    }
    if !interface.link.up {
        report.error(
            "bridge-down",
            format!("the bridge {name} is down"),
            "pods on it have no network",
            format!("ip link set {name} up"),
        );
    }
    if let Some(tree) = interface.link.spanning_tree {
        spanning_tree(name.as_str(), tree, report);
    }
}

/// Reports spanning tree. A port of such a bridge listens and learns before it forwards, one
/// forward delay each (net/bridge/br_stp_timer.c). In a chain this also holds for an interface that
/// an earlier plugin made.
fn spanning_tree(bridge: &str, tree: SpanningTree, report: &mut Report) {
    let delay = tree.forward_delay.as_secs_f32();
    report.warning(
        "bridge-spanning-tree",
        format!("the bridge {bridge} has spanning tree on, with a forward delay of {delay} s"),
        format!(
            "a new pod has no network for {} s after its ADD (twice the forward delay), also in a \
             chain, and also with the reference's bridge plugin",
            2.0 * delay
        ),
        format!(
            "ip link set {bridge} type bridge stp_state 0, and the same in the tool that makes the \
             bridge (NetworkManager: bridge.stp no); if spanning tree is needed, shorten the delay: \
             forward_delay 400 (4 s)"
        ),
    );
}

fn port_limit(bridge: &str, ports: usize, report: &mut Report) {
    let why = "the kernel allows 1023 ports on a bridge; the next ADD fails";
    let remedy = "run fewer pods on this node, or add a network with another bridge";
    if ports >= MAX_PORTS {
        report.error(
            "bridge-full",
            format!("the bridge {bridge} has {ports} ports and is full"),
            why,
            remedy,
        );
    } else if ports >= MANY_PORTS {
        report.warning(
            "bridge-nearly-full",
            format!("the bridge {bridge} has {ports} ports"),
            why,
            remedy,
        );
    }
}

/// Compares the addresses of the bridge with those that it must have as a gateway.
fn addresses(interface: &Interface, usage: &PoolUsage, report: &mut Report) {
    let bridge = &interface.link.name;
    let plugin = &usage.user;
    let is_gateway = flag(plugin, "isGateway") || flag(plugin, "isDefaultGateway");
    let gateways = gateways(usage);
    let own: Vec<Cidr> = interface
        .addresses
        .iter()
        .filter(|address| !address.link_local)
        .map(|address| address.cidr)
        .collect();
    for (place, has) in own.iter().copied().enumerate() {
        let of_family: Vec<Cidr> = gateways
            .iter()
            .filter(|wanted| wanted.is_ipv4() == has.is_ipv4())
            .copied()
            .collect();
        if of_family.contains(&has) || of_family.is_empty() {
            continue;
        }
        let in_the_way = has.is_ipv4() || of_family.iter().any(|wanted| wanted.overlaps(has));
        let wanted: Vec<_> = of_family.iter().map(ToString::to_string).collect();
        let what = format!(
            "the bridge {bridge} has {has}; expected {}",
            wanted.join(" or ")
        );
        let remedy = format!(
            "ip addr del {has} dev {bridge}, or \"forceAddress\": true in the configuration"
        );
        if is_gateway && in_the_way && !flag(plugin, "forceAddress") {
            let right = own.iter().position(|own| of_family.contains(own));
            conflict(what, remedy, place, right, report);
        } else if !is_gateway && may_give(usage, has.address()) {
            report.warning(
                "bridge-address-in-range",
                format!("the bridge {bridge} has {has}, which host-local may give to a pod"),
                "host-local reserves only the range's gateway; two interfaces with one address cut \
                 each other off",
                format!(
                    "make {} the gateway of the range, or exclude it",
                    has.address()
                ),
            );
        }
    }
}

/// Reports an address in place of the gateway's. `place` is its position among the bridge's
/// addresses, and `right` that of a gateway's address, if the bridge also has one.
fn conflict(what: String, remedy: String, place: usize, right: Option<usize>, report: &mut Report) {
    match right {
        None => report.error(
            "bridge-address",
            what,
            "every ADD fails: \"already has an IP address different from\" (has the podCIDR \
             changed? is it the bridge of another network?)",
            remedy,
        ),
        // This project's bridge accepts both; the reference's checks the first only.
        Some(right) if right > place => report.note(
            "bridge-address",
            format!("{what}, which it also has, but not as its first address"),
            "with the reference's bridge plugin, every ADD fails: \"already has an IP address \
             different from\"",
            remedy,
        ),
        Some(_) => {}
    }
}

/// Returns the gateways of all pools, with the prefixes of their subnets.
fn gateways(usage: &PoolUsage) -> Vec<Cidr> {
    let pools = usage.inspection.pools.iter().flatten();
    pools
        .flat_map(|pool| pool.gateways.iter().zip(&pool.subnets))
        .filter_map(|(gateway, subnet)| Cidr::new(*gateway, subnet.prefix()).ok())
        .collect()
}

/// Returns true if a pod may get the address.
fn may_give(usage: &PoolUsage, address: IpAddr) -> bool {
    let pools = usage.inspection.pools.iter().flatten();
    pools
        .flat_map(|pool| &pool.rows)
        .any(|(first, last)| *first <= address && address <= *last)
}

/// Addresses and routes of other interfaces in the pods' subnets. An overlap is reported once, also
/// if networks share a subnet, or if the bridges of two networks are in each other's subnet.
struct Overlaps<'a> {
    node: &'a Node,
    all: &'a [NetworkPools],
    /// The reported subnets, each with the address or route that it overlaps.
    reported: BTreeSet<(Cidr, String)>,
    /// The names of two bridges in each other's subnets.
    bridges: BTreeSet<[String; 2]>,
}

impl<'a> Overlaps<'a> {
    fn new(node: &'a Node, all: &'a [NetworkPools]) -> Self {
        Self {
            node,
            all,
            reported: BTreeSet::new(),
            bridges: BTreeSet::new(),
        }
    }

    fn of(&mut self, of_network: &NetworkPools, report: &mut Report) {
        let plugin = &of_network.usage.user;
        // Other interface plugins put pods into the host's network and share its subnet on purpose.
        let own = match plugin.kind() {
            "bridge" => vec![name(plugin).to_owned(), gateway_name(plugin)],
            "ptp" => Vec::new(),
            _ => return,
        };
        for subnet in subnets(&of_network.usage) {
            self.interfaces(of_network, &own, subnet, report);
            self.routes(of_network, &own, subnet, report);
        }
    }

    fn interfaces(
        &mut self,
        of_network: &NetworkPools,
        own: &[String],
        subnet: Cidr,
        report: &mut Report,
    ) {
        for Interface { link, addresses } in &self.node.interfaces {
            let other = link.name.as_str();
            if own.iter().any(|own| own == other) || other == "lo" || other.starts_with("veth") {
                continue;
            }
            let mut addresses = addresses.iter().map(|address| address.cidr);
            let clash = addresses.find(|cidr| cidr.overlaps(subnet) && !is_link_local(*cidr));
            let Some(cidr) = clash.filter(|_| !self.is_known(of_network, own, other)) else {
                continue;
            };
            if self.reported.insert((subnet, cidr.to_string())) {
                self.bridges
                    .extend(own.iter().map(|own| sorted([own, other])));
                report.warning(
                    "subnet-overlaps",
                    format!("{}: the pods' subnet {subnet} overlaps {cidr} of {other}", of_network.network),
                    "the host has two routes to the same addresses and uses one: pods or neighbours \
                     are cut off",
                    "give the pods a subnet that nothing else uses",
                );
            }
        }
    }

    /// Returns true if the overlap was reported for the other bridge, or as ranges that two
    /// networks share.
    fn is_known(&self, of_network: &NetworkPools, own: &[String], other: &str) -> bool {
        let is_others = |other_network: &&NetworkPools| {
            let user = &other_network.usage.user;
            user.kind() == "bridge" && [name(user), &gateway_name(user)].contains(&other)
        };
        own.iter()
            .any(|own| self.bridges.contains(&sorted([own, other])))
            || self
                .all
                .iter()
                .filter(is_others)
                .any(|other_network| shared(of_network, other_network).is_some())
    }

    fn routes(
        &mut self,
        of_network: &NetworkPools,
        own: &[String],
        subnet: Cidr,
        report: &mut Report,
    ) {
        let own: Vec<_> = own
            .iter()
            .map(String::as_str)
            .chain(["lo"])
            .filter_map(|name| Some(self.node.interface(name)?.link.index))
            .map(Some)
            .collect();
        let others = self
            .node
            .routes
            .iter()
            .filter(|route| !own.contains(&route.link));
        for route in
            others.filter(|route| route.gateway.is_some() && is_routed_away(route.dst, subnet))
        {
            if self
                .reported
                .insert((subnet, format!("route {}", route.dst)))
            {
                report.warning(
                    "subnet-routed",
                    format!(
                        "{}: the host has a route to {}, in the pods' subnet {subnet}, through another interface",
                        of_network.network, route.dst
                    ),
                    "packets to pods of this node may leave the node",
                    "give the pods a subnet that nothing else uses, or remove the route",
                );
            }
        }
    }
}

fn sorted(names: [&str; 2]) -> [String; 2] {
    let mut names = names.map(str::to_owned);
    names.sort();
    names
}

/// Returns true if a route takes packets away from the subnet. A route to a wider network is usual:
/// a cluster's 10.244.0.0/16 leads to the other nodes, and the node's own subnet to the bridge.
fn is_routed_away(route: Cidr, subnet: Cidr) -> bool {
    route.overlaps(subnet) && route.prefix() >= subnet.prefix() && !is_link_local(route)
}

fn is_link_local(cidr: Cidr) -> bool {
    matches!(cidr.address(), IpAddr::V6(address) if address.segments().first().is_some_and(|first| first & 0xffc0 == 0xfe80))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_ports_is_reported_before_it_is_reached() {
        for (ports, wanted) in [
            (899, vec![]),
            (900, vec!["bridge-nearly-full"]),
            (1022, vec!["bridge-nearly-full"]),
            (1023, vec!["bridge-full"]),
        ] {
            let mut report = Report::default();
            port_limit("cni0", ports, &mut report);
            assert_eq!(report.ids(), wanted, "{ports}");
        }
    }
}
