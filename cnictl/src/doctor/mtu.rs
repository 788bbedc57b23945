//! The MTU of pods against that of the host's uplink.

use super::{
    bridges,
    finding::Report,
    node::{Interface, Node},
    pools::{NetworkPools, subnets},
};
use cni_runtime::PluginConfig;
use cni_types::Json;

/// The kernel's default for a new veth pair or bridge, in bytes: ETH_DATA_LEN.
const ETHERNET: u32 = 1500;
/// The minimum for IPv6, in bytes: RFC 8200, section 5.
const IPV6_MIN_MTU: u32 = 1280;

pub(super) fn examine(node: &Node, pools: &[NetworkPools], report: &mut Report) {
    let uplink = uplink(node);
    for (network, plugin) in node
        .plugins()
        .filter(|(_, plugin)| ["bridge", "ptp"].contains(&plugin.kind()))
    {
        let Some(mtu) = of_pods(node, plugin) else {
            continue;
        };
        if let Some(uplink) = uplink {
            against_uplink(
                network.name.as_str(),
                mtu,
                uplink.link.name.as_str(),
                uplink.link.mtu,
                report,
            );
        }
        let has_ipv6 = pools
            .iter()
            .filter(|of_network| of_network.network == network.name)
            .any(|of_network| subnets(&of_network.usage).any(|subnet| !subnet.is_ipv4()));
        if has_ipv6 && mtu < IPV6_MIN_MTU {
            report.error(
                "mtu-ipv6",
                format!("{}: pods get an MTU of {mtu}", network.name),
                "the kernel disables IPv6 on an interface with an MTU below 1280",
                "set an mtu of at least 1280, or remove the IPv6 range",
            );
        }
    }
}

/// Returns the interface of the default route.
fn uplink(node: &Node) -> Option<&Interface> {
    let default = node
        .routes
        .iter()
        .filter(|route| route.dst.is_default())
        .min_by_key(|route| route.priority)?;
    node.interfaces
        .iter()
        .find(|interface| Some(interface.link.index) == default.link)
}

/// Returns the MTU of pods' interfaces: the configured one, else the kernel's default; `None` if
/// the number is invalid, which the plugin refuses itself.
fn of_pods(node: &Node, plugin: &PluginConfig) -> Option<u32> {
    match plugin.json().lookup("mtu") {
        Some(Json::Number(mtu)) if mtu.as_u64() != Some(0) => u32::try_from(mtu.as_u64()?).ok(),
        _ => {
            let bridge = node
                .interface(bridges::name(plugin))
                .filter(|_| plugin.kind() == "bridge");
            Some(bridge.map_or(ETHERNET, |bridge| bridge.link.mtu.max(ETHERNET)))
        }
    }
}

fn against_uplink(network: &str, mtu: u32, uplink: &str, limit: u32, report: &mut Report) {
    if mtu > limit {
        report.warning(
            "mtu-uplink",
            format!("{network}: pods get an MTU of {mtu}, but the uplink {uplink} has {limit}"),
            "large packets are dropped or sent twice; if ICMP is filtered, downloads and TLS \
             handshakes hang",
            format!("set \"mtu\": {limit} in the plugin's configuration"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_larger_mtu_than_the_uplink_s_is_reported() {
        let mut report = Report::default();
        against_uplink("n", 1450, "eth0", 1450, &mut report);
        assert_eq!(report.texts(), [""; 0]);
        against_uplink("n", 1500, "eth0", 1450, &mut report);
        assert_eq!(
            report.texts(),
            ["n: pods get an MTU of 1500, but the uplink eth0 has 1450"]
        );
    }
}
