//! Forwarding, and iptables for packets that cross a bridge.

use super::{
    bridges,
    finding::{Report, Severity},
    node::{Node, flag},
    pools::{NetworkPools, subnets},
    runtimes::has_kubelet,
};
use cni_runtime::Network;

/// Examines forwarding and, if a network has a bridge, br_netfilter.
pub(super) fn examine(node: &Node, pools: &[NetworkPools], report: &mut Report) {
    examine_forwarding(node, pools, report);
    let has_bridge = node.plugins().any(|(_, plugin)| plugin.kind() == "bridge");
    if has_bridge {
        examine_bridge_netfilter(node, report);
    }
}

/// Reports disabled forwarding. bridge and ptp enable it when they make a gateway, so if it is off,
/// something has disabled it since.
fn examine_forwarding(node: &Node, pools: &[NetworkPools], report: &mut Report) {
    if node.sysctl("net/ipv4/ip_forward").as_deref() != Some("0") {
        return;
    }
    // A network whose ranges are unknown is taken for one with IPv4.
    let is_ipv6_only = |network: &Network| {
        let of_network = pools.iter().filter(|other| other.network == network.name);
        let mut subnets = of_network
            .flat_map(|other| subnets(&other.usage))
            .peekable();
        subnets.peek().is_some() && subnets.all(|subnet| !subnet.is_ipv4())
    };
    let routed = node
        .plugins()
        .filter(|(network, _)| !is_ipv6_only(network))
        .find(|(_, plugin)| {
            let is_gateway = flag(plugin, "isGateway") || flag(plugin, "isDefaultGateway");
            match plugin.kind() {
                "bridge" if is_gateway => node.interface(bridges::name(plugin)).is_some(),
                "bridge" => flag(plugin, "ipMasq"),
                _ => false,
            }
        });
    if let Some((network, _)) = routed {
        report.error(
            "ip-forward",
            format!("net.ipv4.ip_forward is 0, and {} needs it", network.name),
            "pods reach their gateway, but nothing beyond it",
            "sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d; find out what disabled it",
        );
    }
}

/// Reports if iptables does not see the packets that cross a bridge.
fn examine_bridge_netfilter(node: &Node, report: &mut Report) {
    // With kubelet there are Services, so kube-proxy's rules must see the packets between pods of
    // one bridge.
    let severity = if has_kubelet(&node.paths) {
        Severity::Warning
    } else {
        Severity::Note
    };
    let why = "a pod gets no answer from a Service whose pod is on the same bridge, since \
               kube-proxy's rules do not see the packets";
    match node.sysctl("net/bridge/bridge-nf-call-iptables").as_deref() {
        Some("0") => report.add(
            severity,
            "bridge-nf",
            "net.bridge.bridge-nf-call-iptables is 0",
            why,
            "sysctl -w net.bridge.bridge-nf-call-iptables=1, and in /etc/sysctl.d",
        ),
        Some(_) => {}
        None => report.add(
            severity,
            "br-netfilter",
            "the kernel module br_netfilter is not loaded (or not visible in this namespace)",
            why,
            "modprobe br_netfilter, and in /etc/modules-load.d",
        ),
    }
}
