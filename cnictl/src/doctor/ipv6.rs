//! IPv6 in the kernel, for the networks that have IPv6 ranges.

use super::{
    bridges,
    finding::Report,
    node::{Node, flag},
    pools::{NetworkPools, subnets},
};

pub(super) fn examine(node: &Node, pools: &[NetworkPools], report: &mut Report) {
    for NetworkPools { network, usage } in pools {
        if subnets(usage).all(|subnet| subnet.is_ipv4()) {
            continue;
        }
        let remedy = "remove the IPv6 range, or enable IPv6";
        if node.sysctl("net/ipv6/conf/all/disable_ipv6").is_none() {
            report.error(
                "ipv6-missing",
                format!("{network} has an IPv6 range, but this kernel has no IPv6"),
                "every ADD fails when it adds the address",
                format!("{remedy} (kernel parameter ipv6.disable=1?)"),
            );
            continue;
        }
        let is_gateway = flag(&usage.user, "isGateway") || flag(&usage.user, "isDefaultGateway");
        let bridge = node
            .interface(&bridges::gateway_name(&usage.user))
            .filter(|_| usage.user.kind() == "bridge");
        // An existing bridge has its own value, a new one gets the default. The value of "all" has
        // an effect only when it is written.
        let name = bridge.map_or("default", |bridge| bridge.link.name.as_str());
        let is_wanted = is_gateway || usage.user.kind() == "ptp";
        if is_wanted
            && node
                .sysctl(&format!("net/ipv6/conf/{name}/disable_ipv6"))
                .as_deref()
                == Some("1")
        {
            report.error(
                "ipv6-disabled",
                format!("{network} has an IPv6 range, but net.ipv6.conf.{name}.disable_ipv6 is 1"),
                "the gateway's address cannot be added: \"permission denied\"",
                format!("{remedy}: sysctl -w net.ipv6.conf.{name}.disable_ipv6=0"),
            );
        }
        if is_gateway
            && bridge.is_some()
            && node.sysctl("net/ipv6/conf/all/forwarding").as_deref() == Some("0")
        {
            report.error(
                "ipv6-forward",
                format!("net.ipv6.conf.all.forwarding is 0, and {network} needs it"),
                "pods reach their gateway, but nothing beyond it",
                "sysctl -w net.ipv6.conf.all.forwarding=1, and in /etc/sysctl.d; find out what \
                 disabled it",
            );
        }
    }
}
