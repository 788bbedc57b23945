//! Forwarding, and whether the firewall sees what passes a bridge.

use super::{
    bridges,
    finding::{Report, Severity},
    pools::{NetworkBooks, subnets},
    runtimes::has_kubelet,
    scene::{Scene, flag},
};
use cni_runtime::Network;

pub(super) fn examine(scene: &Scene, books: &[NetworkBooks], report: &mut Report) {
    forwarding(scene, books, report);
    let has_bridge = scene.plugins().any(|(_, plugin)| plugin.kind() == "bridge");
    if has_bridge {
        firewall(scene, report);
    }
}

/// bridge and ptp switch it on when they make a gateway. Where it is off all the same, somebody switched it off again.
fn forwarding(scene: &Scene, books: &[NetworkBooks], report: &mut Report) {
    if scene.sysctl("net/ipv4/ip_forward").as_deref() != Some("0") {
        return;
    }
    // Where the ranges are not known it probably has IPv4.
    let is_ipv6_only = |network: &Network| {
        let of_network = books.iter().filter(|books| books.network == network.name);
        let mut subnets = of_network
            .flat_map(|books| subnets(&books.books))
            .peekable();
        subnets.peek().is_some() && subnets.all(|subnet| !subnet.is_ipv4())
    };
    let routed = scene
        .plugins()
        .filter(|(network, _)| !is_ipv6_only(network))
        .find(|(_, plugin)| {
            let is_gateway = flag(plugin, "isGateway") || flag(plugin, "isDefaultGateway");
            match plugin.kind() {
                "bridge" if is_gateway => scene.interface(bridges::name(plugin)).is_some(),
                "bridge" => flag(plugin, "ipMasq"),
                _ => false,
            }
        });
    if let Some((network, _)) = routed {
        report.error(
            "ip-forward",
            format!("net.ipv4.ip_forward is 0, and {} needs it", network.name),
            "pods reach their gateway, and nothing beyond",
            "sysctl -w net.ipv4.ip_forward=1, and in /etc/sysctl.d; look for what switched it off",
        );
    }
}

fn firewall(scene: &Scene, report: &mut Report) {
    // With kubelet there are Services, and kube-proxy's rules must see what pods of one bridge say to each other.
    let severity = if has_kubelet(&scene.places) {
        Severity::Warning
    } else {
        Severity::Note
    };
    let why = "a pod that reaches a Service whose pod is on the same bridge gets no answer: kube-proxy's rules do not see it";
    match scene
        .sysctl("net/bridge/bridge-nf-call-iptables")
        .as_deref()
    {
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
            "the kernel module br_netfilter is not loaded (or not shown in this namespace)",
            why,
            "modprobe br_netfilter, and in /etc/modules-load.d",
        ),
    }
}
