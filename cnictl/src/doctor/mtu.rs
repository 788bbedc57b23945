//! MTUs: what pods may send against what the host can.

use super::{
    bridges,
    finding::Report,
    pools::{NetworkBooks, subnets},
    scene::{Interface, Scene},
};
use cni_runtime::PluginConfig;
use cni_types::Json;

/// What the kernel gives a new pair or bridge, in bytes.
const ETHERNET: u32 = 1500;
/// The least that IPv6 needs: RFC 8200, section 5.
const LEAST_FOR_IPV6: u32 = 1280;

pub(super) fn examine(scene: &Scene, books: &[NetworkBooks], report: &mut Report) {
    let uplink = uplink(scene);
    for (network, plugin) in scene
        .plugins()
        .filter(|(_, plugin)| ["bridge", "ptp"].contains(&plugin.kind()))
    {
        let Some(mtu) = of_pods(scene, plugin) else {
            continue;
        };
        if let Some(uplink) = uplink {
            against_uplink(
                network.name.as_str(),
                mtu,
                &uplink.link.name,
                uplink.link.mtu,
                report,
            );
        }
        let has_ipv6 = books
            .iter()
            .filter(|books| books.network == network.name)
            .any(|books| subnets(&books.books).any(|subnet| !subnet.is_ipv4()));
        if has_ipv6 && mtu < LEAST_FOR_IPV6 {
            report.error(
                "mtu-ipv6",
                format!("{}: pods get an MTU of {mtu}", network.name),
                "the kernel switches IPv6 off on an interface with less than 1280",
                "write an mtu of 1280 or more, or leave IPv6 out",
            );
        }
    }
}

/// The interface of the default route.
fn uplink(scene: &Scene) -> Option<&Interface> {
    let default = scene
        .routes
        .iter()
        .filter(|route| route.dst.is_default())
        .min_by_key(|route| route.priority)?;
    scene
        .interfaces
        .iter()
        .find(|interface| Some(interface.link.index) == default.link)
}

/// The MTU of pods' interfaces: the configured one, else the kernel's. A number that is no MTU is the plugin's to refuse.
fn of_pods(scene: &Scene, plugin: &PluginConfig) -> Option<u32> {
    match plugin.json().lookup("mtu") {
        Some(Json::Number(mtu)) if mtu.as_u64() != Some(0) => u32::try_from(mtu.as_u64()?).ok(),
        _ => {
            let bridge = scene
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
            format!("{network}: pods get an MTU of {mtu}, and {uplink}, by which they leave, has {limit}"),
            "large packets are dropped or sent twice: downloads and TLS handshakes hang where ICMP is filtered",
            format!("write \"mtu\": {limit} into the plugin's configuration"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_larger_mtu_than_the_uplink_s_is_told() {
        let mut report = Report::default();
        against_uplink("n", 1450, "eth0", 1450, &mut report);
        assert_eq!(report.texts(), [""; 0]);
        against_uplink("n", 1500, "eth0", 1450, &mut report);
        assert_eq!(
            report.texts(),
            ["n: pods get an MTU of 1500, and eth0, by which they leave, has 1450"]
        );
    }
}
