//! IPv6: wanted, and there?

use super::{
    bridges,
    finding::Report,
    pools::{NetworkBooks, subnets},
    scene::{Scene, flag},
};

pub(super) fn examine(scene: &Scene, books: &[NetworkBooks], report: &mut Report) {
    for NetworkBooks { network, books } in books {
        if subnets(books).all(|subnet| subnet.is_ipv4()) {
            continue;
        }
        let remedy = "leave IPv6 out of the ranges, or switch it on";
        if scene.sysctl("net/ipv6/conf/all/disable_ipv6").is_none() {
            report.error(
                "ipv6-missing",
                format!("{network} has an IPv6 range, and this kernel has no IPv6"),
                "every ADD fails when it sets the address",
                format!("{remedy} (kernel parameter ipv6.disable=1?)"),
            );
            continue;
        }
        let is_gateway = flag(&books.user, "isGateway") || flag(&books.user, "isDefaultGateway");
        let bridge = scene
            .interface(&bridges::gateway_name(&books.user))
            .filter(|_| books.user.kind() == "bridge");
        // The bridge's own counts; a new one gets the default. What "all" says, only writing it did.
        let name = bridge.map_or("default", |bridge| bridge.link.name.as_str());
        let is_wanted = is_gateway || books.user.kind() == "ptp";
        if is_wanted
            && scene
                .sysctl(&format!("net/ipv6/conf/{name}/disable_ipv6"))
                .as_deref()
                == Some("1")
        {
            report.error(
                "ipv6-disabled",
                format!("{network} has an IPv6 range, and net.ipv6.conf.{name}.disable_ipv6 is 1"),
                "the gateway's address cannot be set: \"permission denied\"",
                format!("{remedy}: sysctl -w net.ipv6.conf.{name}.disable_ipv6=0"),
            );
        }
        if is_gateway
            && bridge.is_some()
            && scene.sysctl("net/ipv6/conf/all/forwarding").as_deref() == Some("0")
        {
            report.error(
                "ipv6-forward",
                format!("net.ipv6.conf.all.forwarding is 0, and {network} needs it"),
                "pods reach their gateway, and nothing beyond",
                "sysctl -w net.ipv6.conf.all.forwarding=1, and in /etc/sysctl.d; look for what switched it off",
            );
        }
    }
}
