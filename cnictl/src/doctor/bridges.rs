//! The bridges of the host against what the networks want of them.

use super::{
    finding::Report,
    pools::{NetworkBooks, shared, subnets},
    scene::{Interface, Scene, flag, text},
};
use crate::reservations::Books;
use cni_net::{LinkKind, SpanningTree};
use cni_runtime::PluginConfig;
use cni_types::{Cidr, Json};
use std::{collections::BTreeSet, net::IpAddr};

/// A bridge has 1024 port numbers, and the first is not used: net/bridge/br_private.h,
/// BR_MAX_PORTS.
const MAX_PORTS: usize = 1023;
/// From how many ports it is worth telling.
const MANY_PORTS: usize = 900;

/// The bridge of a plugin's configuration.
pub(super) fn name(plugin: &PluginConfig) -> &str {
    text(plugin, "bridge").unwrap_or("cni0")
}

/// The interface that has the gateway's address: the bridge, or its interface in the pods' VLAN.
pub(super) fn gateway_name(plugin: &PluginConfig) -> String {
    match plugin.json().lookup("vlan") {
        Some(Json::Number(vlan)) if vlan.as_u64() != Some(0) => format!("{}.{vlan}", name(plugin)),
        _ => name(plugin).to_owned(),
    }
}

pub(super) fn examine(scene: &Scene, books: &[NetworkBooks], report: &mut Report) {
    for (_, plugin) in scene
        .plugins()
        .filter(|(_, plugin)| plugin.kind() == "bridge")
    {
        if let Some(interface) = scene.interface(name(plugin)) {
            link(interface, report);
            let ports = scene
                .interfaces
                .iter()
                .filter(|other| other.link.master == Some(interface.link.index));
            port_limit(&interface.link.name, ports.count(), report);
        }
    }
    let mut overlaps = Overlaps::new(scene, books);
    for of_network in books {
        let NetworkBooks { books, .. } = of_network;
        let plugin = &books.user;
        overlaps.of(of_network, report);
        if plugin.kind() == "bridge"
            && let Some(interface) = scene.interface(&gateway_name(plugin))
        {
            addresses(interface, books, report);
        }
    }
}

fn link(interface: &Interface, report: &mut Report) {
    let name = &interface.link.name;
    if interface.link.kind != LinkKind::Bridge {
        return report.error(
            "bridge-kind",
            format!("{name} is there, and is not a bridge"),
            "every ADD fails",
            format!(
                "take it away (ip link del {name}), or name another bridge in the configuration"
            ),
        );
    }
    if !interface.link.up {
        report.error(
            "bridge-down",
            format!("the bridge {name} is down"),
            "pods that are attached to it reach nothing",
            format!("ip link set {name} up"),
        );
    }
    if let Some(tree) = interface.link.spanning_tree {
        spanning_tree(name, tree, report);
    }
}

/// A port of such a bridge listens and learns before it forwards, one forward delay each
/// (net/bridge/br_stp_timer.c). An interface that an earlier plugin of a chain made becomes such a
/// port too.
fn spanning_tree(bridge: &str, tree: SpanningTree, report: &mut Report) {
    let delay = tree.forward_delay.as_secs_f32();
    report.warning(
        "bridge-spanning-tree",
        format!("the bridge {bridge} has spanning tree on, with a forward delay of {delay} s"),
        format!(
            "packets of a new pod pass only {} s after its ADD (twice the forward delay), also in a chain; \
             with the reference's bridge plugin too",
            2.0 * delay
        ),
        format!(
            "ip link set {bridge} type bridge stp_state 0, and where the bridge comes from (NetworkManager: \
             bridge.stp no); if it is needed, a shorter one: forward_delay 400 (4 s)"
        ),
    );
}

fn port_limit(bridge: &str, ports: usize, report: &mut Report) {
    let why = "the kernel allows 1023 ports on a bridge; the next ADD fails";
    let remedy = "fewer pods on this node, or a second network with a bridge of its own";
    if ports >= MAX_PORTS {
        report.error(
            "bridge-full",
            format!("the bridge {bridge} has {ports} ports, and no free one"),
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

/// The addresses that the bridge has against those that it must have as a gateway.
fn addresses(interface: &Interface, books: &Books, report: &mut Report) {
    let (bridge, plugin) = (&interface.link.name, &books.user);
    let is_gateway = flag(plugin, "isGateway") || flag(plugin, "isDefaultGateway");
    let gateways = gateways(books);
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
            "the bridge {bridge} has {has}, and {} is wanted",
            wanted.join(" or ")
        );
        let remedy = format!(
            "ip addr del {has} dev {bridge}, or \"forceAddress\": true in the configuration"
        );
        if is_gateway && in_the_way && !flag(plugin, "forceAddress") {
            match own.iter().position(|own| of_family.contains(own)) {
                None => report.error(
                    "bridge-address",
                    what,
                    "every ADD fails: \"already has an IP address different from\" (a podCIDR that has changed? another network's bridge?)",
                    remedy,
                ),
                // With both this project's bridge is content; the reference's looks at the first.
                Some(right) if right > place => report.note(
                    "bridge-address",
                    format!("{what}, which it has too, but not as the first"),
                    "with the reference's bridge plugin every ADD fails: \"already has an IP address different from\"",
                    remedy,
                ),
                Some(_) => {}
            }
        } else if !is_gateway && may_give(books, has.address()) {
            report.warning(
                "bridge-address-in-range",
                format!("the bridge {bridge} has {has}, which a pod may get too"),
                "host-local keeps only the range's gateway back, and two with one address cut each other off",
                format!("make {} the gateway of the range, or exclude it", has.address()),
            );
        }
    }
}

/// Returns the gateways of all pools, with the prefixes of their subnets.
fn gateways(books: &Books) -> Vec<Cidr> {
    let pools = books.inspection.pools.iter().flatten();
    pools
        .flat_map(|pool| pool.gateways.iter().zip(&pool.subnets))
        .filter_map(|(gateway, subnet)| Cidr::new(*gateway, subnet.prefix()).ok())
        .collect()
}

/// Returns true if a pod may get the address.
fn may_give(books: &Books, address: IpAddr) -> bool {
    let pools = books.inspection.pools.iter().flatten();
    pools
        .flat_map(|pool| &pool.rows)
        .any(|(first, last)| *first <= address && address <= *last)
}

/// Addresses and routes of other interfaces in the pods' subnets. Networks that share a subnet, and
/// two networks each of whose bridges is in the other's subnet, have one overlap, which is reported
/// once.
struct Overlaps<'a> {
    scene: &'a Scene,
    all: &'a [NetworkBooks],
    /// The subnet and what it overlaps.
    reported: BTreeSet<(Cidr, String)>,
    /// Two bridges in each other's subnets, by name.
    bridges: BTreeSet<[String; 2]>,
}

impl<'a> Overlaps<'a> {
    fn new(scene: &'a Scene, all: &'a [NetworkBooks]) -> Self {
        Self {
            scene,
            all,
            reported: BTreeSet::new(),
            bridges: BTreeSet::new(),
        }
    }

    fn of(&mut self, of_network: &NetworkBooks, report: &mut Report) {
        let plugin = &of_network.books.user;
        // Interface plugins that put pods straight into the host's network share its subnet on
        // purpose.
        let own = match plugin.kind() {
            "bridge" => vec![name(plugin).to_owned(), gateway_name(plugin)],
            "ptp" => Vec::new(),
            _ => return,
        };
        for subnet in subnets(&of_network.books) {
            self.interfaces(of_network, &own, subnet, report);
            self.routes(of_network, &own, subnet, report);
        }
    }

    fn interfaces(
        &mut self,
        of_network: &NetworkBooks,
        own: &[String],
        subnet: Cidr,
        report: &mut Report,
    ) {
        for Interface { link, addresses } in &self.scene.interfaces {
            let other = &link.name;
            if own.contains(other) || other == "lo" || other.starts_with("veth") {
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
                    "the host has two ways to the same addresses, and takes one: pods or neighbours are cut off",
                    "give the pods a subnet that nothing else uses",
                );
            }
        }
    }

    /// Returns true if the same was reported from the other side, or as ranges that two networks
    /// share.
    fn is_known(&self, of_network: &NetworkBooks, own: &[String], other: &str) -> bool {
        let is_others = |books: &&NetworkBooks| {
            let user = &books.books.user;
            user.kind() == "bridge" && [name(user), &gateway_name(user)].contains(&other)
        };
        own.iter()
            .any(|own| self.bridges.contains(&sorted([own, other])))
            || self
                .all
                .iter()
                .filter(is_others)
                .any(|books| shared(of_network, books).is_some())
    }

    fn routes(
        &mut self,
        of_network: &NetworkBooks,
        own: &[String],
        subnet: Cidr,
        report: &mut Report,
    ) {
        let own: Vec<_> = own
            .iter()
            .map(String::as_str)
            .chain(["lo"])
            .filter_map(|name| Some(self.scene.interface(name)?.link.index))
            .map(Some)
            .collect();
        let others = self
            .scene
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
                        "{}: the host sends {}, which is in the pods' subnet {subnet}, elsewhere",
                        of_network.network, route.dst
                    ),
                    "answers to pods of this node may leave the node",
                    "give the pods a subnet that nothing else uses, or take the route away",
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

/// Whether two networks collide. A route to the wide network that the pods' is a part of is usual:
/// a cluster's 10.244.0.0/16 leads to the other nodes, and the node's own part to the bridge.
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
    fn the_limit_of_ports_is_told_before_it_is_reached() {
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
