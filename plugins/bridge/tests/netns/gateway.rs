//! `isGateway`, `isDefaultGateway`, `forceAddress`: the bridge's addresses, and the containers'
//! routes to them.

use crate::{
    kernel,
    network::{Network, V4, V6, fixed_ipam, host_local},
};
use serde_json::{Value, json};
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_gateway_is_the_first_address_of_each_subnet,
        the_gateway_is_ipams_where_it_gives_one,
        a_second_pod_finds_the_gateway_there,
        forwarding_is_switched_on_for_the_families_in_use,
        the_bridge_takes_no_router_advertisements,
        the_hosts_loopback_addresses_are_never_routed,
        without_is_gateway_the_bridge_has_no_address_and_the_result_reports_ipams_gateway,
        a_default_gateway_is_a_gateway_with_default_routes,
        a_gateway_alone_makes_no_default_route,
        a_default_route_of_ipam_with_a_next_hop_is_kept,
        a_default_route_of_ipam_without_a_next_hop_goes_through_the_gateway,
        another_v4_address_on_the_bridge_is_an_error,
        an_overlapping_v6_address_on_the_bridge_is_an_error,
        a_non_overlapping_v6_address_lives_beside,
        force_address_replaces_a_v4_address,
        force_address_replaces_an_overlapping_v6_address_and_no_other,
        the_same_address_on_the_bridge_is_no_conflict,
        a_bridge_without_ipv6_is_named_when_the_gateway_needs_it,
        two_subnets_of_a_family_have_a_gateway_each,
        force_address_leaves_the_other_gateway_of_the_same_add,
        a_link_local_gateway_lives_beside_the_kernels_own_address,
        a_route_through_a_gateway_of_the_other_family_is_refused_with_the_references_words,
    ]
}

fn gateway<'a>(host: &'a Host, subnets: &[&str]) -> Network<'a> {
    Network::new(
        host,
        json!({"isGateway": true, "ipam": host_local(host, subnets)}),
    )
}

/// Returns a network whose IPAM plugin answers with these addresses and routes.
fn answered(host: &Host, ips: Value, routes: Value) -> Network<'_> {
    let ipam = fixed_ipam(
        host,
        "fixed",
        json!({"cniVersion": "1.1.0", "ips": ips, "routes": routes}),
    );
    Network::new(host, json!({"isGateway": true, "ipam": ipam}))
}

fn the_gateway_is_the_first_address_of_each_subnet(host: &Host) {
    let pod = host.pod("a");
    let ips = json!([{"address": "10.1.0.130/25"}, {"address": "fd01::5/64"}]);
    let result = answered(host, ips, json!([])).add(&pod).result();
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.129/25", "fd01::1/64"]);
    let gateways: Vec<String> = result
        .ips
        .iter()
        .map(|ip| ip.gateway.unwrap().to_string())
        .collect();
    assert_eq!(gateways, ["10.1.0.129", "fd01::1"]);
}

fn the_gateway_is_ipams_where_it_gives_one(host: &Host) {
    let pod = host.pod("a");
    let ips = json!([{"address": "10.1.0.2/24", "gateway": "10.1.0.254"}, {"address": "fd01::5/64", "gateway": "fd01::ff"}]);
    let result = answered(host, ips, json!([])).add(&pod).result();
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.254/24", "fd01::ff/64"]);
    assert_eq!(result.ips[0].gateway.unwrap().to_string(), "10.1.0.254");
}

fn a_second_pod_finds_the_gateway_there(host: &Host) {
    let network = gateway(host, &[V4, V6]);
    for name in ["a", "b"] {
        network.add(&host.pod(name)).success();
        assert_eq!(kernel::addresses("cni0"), ["10.1.0.1/24", "fd01::1/64"]);
    }
}

fn forwarding_is_switched_on_for_the_families_in_use(host: &Host) {
    let forwarding = || {
        (
            kernel::sysctl("ipv4/ip_forward"),
            kernel::sysctl("ipv6/conf/all/forwarding"),
        )
    };
    let pair = |v4: &str, v6: &str| (v4.to_owned(), v6.to_owned());
    kernel::set_sysctl("ipv4/ip_forward", "0");
    kernel::set_sysctl("ipv6/conf/all/forwarding", "0");
    Network::new(host, json!({"ipam": host_local(host, &[V4, V6])}))
        .add(&host.pod("none"))
        .success();
    assert_eq!(forwarding(), pair("0", "0"));
    gateway(host, &[V4])
        .with(json!({"name": "v4"}))
        .add(&host.pod("v4"))
        .success();
    assert_eq!(forwarding(), pair("1", "0"));
    gateway(host, &[V6])
        .with(json!({"name": "v6"}))
        .add(&host.pod("v6"))
        .success();
    assert_eq!(forwarding(), pair("1", "1"));
}

fn the_bridge_takes_no_router_advertisements(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::set_sysctl("ipv6/conf/cni0/accept_ra", "2");
    gateway(host, &[V4]).add(&host.pod("a")).success();
    assert_eq!(kernel::sysctl("ipv6/conf/cni0/accept_ra"), "0");
}

/// CVE-2020-8558: with `route_localnet` neighbours reach what listens on the host's 127.0.0.1.
fn the_hosts_loopback_addresses_are_never_routed(host: &Host) {
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "hairpinMode": true});
    let added = gateway(host, &[V4]).with(keys).add(&host.pod("a")).result();
    for name in ["all", "default", "cni0", &added.interfaces[1].name] {
        assert_eq!(
            kernel::sysctl(&format!("ipv4/conf/{name}/route_localnet")),
            "0",
            "{name}"
        );
    }
}

fn without_is_gateway_the_bridge_has_no_address_and_the_result_reports_ipams_gateway(host: &Host) {
    let pod = host.pod("a");
    let result = gateway(host, &[V4, V6])
        .with(json!({"isGateway": false}))
        .add(&pod)
        .result();
    assert_eq!(kernel::addresses("cni0"), [""; 0]);
    let gateways: Vec<String> = result
        .ips
        .iter()
        .map(|ip| ip.gateway.unwrap().to_string())
        .collect();
    assert_eq!(gateways, ["10.1.0.1", "fd01::1"]);
}

fn a_default_gateway_is_a_gateway_with_default_routes(host: &Host) {
    let pod = host.pod("a");
    let network =
        gateway(host, &[V4, V6]).with(json!({"isGateway": null, "isDefaultGateway": true}));
    let result = network.add(&pod).result();
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.1/24", "fd01::1/64"]);
    for (dst, hop) in [("0.0.0.0/0", "10.1.0.1"), ("::/0", "fd01::1")] {
        assert_eq!(pod.inside(|| kernel::hops(dst)), [hop]);
        assert_eq!(
            pod.inside(|| kernel::routes_to(dst))[0].source,
            None,
            "{dst}"
        );
        let reported = result
            .routes
            .iter()
            .find(|route| route.dst.to_string() == dst)
            .unwrap();
        assert_eq!(reported.gw.unwrap().to_string(), hop);
    }
}

fn a_gateway_alone_makes_no_default_route(host: &Host) {
    let pod = host.pod("a");
    let result = gateway(host, &[V4, V6]).add(&pod).result();
    assert_eq!(result.routes, []);
    assert_eq!(
        pod.inside(|| [kernel::routes_to("0.0.0.0/0"), kernel::routes_to("::/0")].concat()),
        []
    );
}

fn a_default_route_of_ipam_with_a_next_hop_is_kept(host: &Host) {
    let pod = host.pod("a");
    let ips = json!([{"address": "10.1.0.2/24"}, {"address": "fd01::5/64"}]);
    let network = answered(host, ips, json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.7"}]));
    let result = network
        .with(json!({"isDefaultGateway": true}))
        .add(&pod)
        .result();
    assert_eq!(pod.inside(|| kernel::hops("0.0.0.0/0")), ["10.1.0.7"]);
    assert_eq!(pod.inside(|| kernel::hops("::/0")), ["fd01::1"]);
    let reported: Vec<String> = result
        .routes
        .iter()
        .map(|route| route.dst.to_string())
        .collect();
    assert_eq!(reported, ["0.0.0.0/0", "::/0"]);
}

fn a_default_route_of_ipam_without_a_next_hop_goes_through_the_gateway(host: &Host) {
    let pod = host.pod("a");
    let routes = json!([{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24"}]);
    let network = answered(host, json!([{"address": "10.1.0.2/24"}]), routes);
    network
        .with(json!({"isDefaultGateway": true}))
        .add(&pod)
        .success();
    assert_eq!(pod.inside(|| kernel::hops("0.0.0.0/0")), ["10.1.0.1"]);
    assert_eq!(pod.inside(|| kernel::hops("192.0.2.0/24")), ["10.1.0.1"]);
}

fn another_v4_address_on_the_bridge_is_an_error(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "10.9.0.1/16");
    let pod = host.pod("a");
    let outcome = gateway(host, &[V4]).add(&pod);
    let wanted =
        "failed to set bridge addr: \"cni0\" already has an IP address different from 10.1.0.1/24";
    assert_eq!(outcome.msg(), wanted);
    assert!(
        outcome.details().contains("10.9.0.1/16"),
        "{}",
        outcome.details()
    );
    assert_eq!(kernel::addresses("cni0"), ["10.9.0.1/16"]);
}

fn an_overlapping_v6_address_on_the_bridge_is_an_error(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "fd01::9/48");
    let pod = host.pod("a");
    let outcome = gateway(host, &[V6]).add(&pod);
    let wanted =
        "failed to set bridge addr: \"cni0\" already has an IP address different from fd01::1/64";
    assert_eq!(outcome.msg(), wanted);
    assert_eq!(kernel::addresses("cni0"), ["fd01::9/48"]);
}

fn a_non_overlapping_v6_address_lives_beside(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "fd09::9/64");
    gateway(host, &[V6]).add(&host.pod("a")).success();
    let mut found = kernel::addresses("cni0");
    found.sort();
    assert_eq!(found, ["fd01::1/64", "fd09::9/64"]);
}

fn force_address_replaces_a_v4_address(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "10.9.0.1/16");
    gateway(host, &[V4])
        .with(json!({"forceAddress": true}))
        .add(&host.pod("a"))
        .success();
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.1/24"]);
}

fn force_address_replaces_an_overlapping_v6_address_and_no_other(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "fd01::9/48");
    kernel::add_address("cni0", "fd09::9/64");
    gateway(host, &[V6])
        .with(json!({"forceAddress": true}))
        .add(&host.pod("a"))
        .success();
    let mut found = kernel::addresses("cni0");
    found.sort();
    assert_eq!(found, ["fd01::1/64", "fd09::9/64"]);
    assert_eq!(kernel::link_locals("cni0").len(), 1);
}

fn the_same_address_on_the_bridge_is_no_conflict(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "10.1.0.1/24");
    gateway(host, &[V4]).add(&host.pod("a")).success();
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.1/24"]);
}

fn a_bridge_without_ipv6_is_named_when_the_gateway_needs_it(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::set_sysctl("ipv6/conf/cni0/disable_ipv6", "1");
    let pod = host.pod("a");
    let error = gateway(host, &[V6]).add(&pod).error();
    assert!(
        error
            .details
            .contains("net.ipv6.conf.cni0.disable_ipv6 is 1, wanted 0"),
        "{error}"
    );
}

const V4_BESIDE: &str = "10.2.0.0/24";
const V6_BESIDE: &str = "fd02::/64";

fn two_subnets_of_a_family_have_a_gateway_each(host: &Host) {
    let network =
        gateway(host, &[V4, V4_BESIDE, V6, V6_BESIDE]).with(json!({"isDefaultGateway": true}));
    for name in ["a", "b"] {
        let pod = host.pod(name);
        let added = network.add(&pod);
        added.success();
        let mut found = kernel::addresses("cni0");
        found.sort();
        assert_eq!(
            found,
            ["10.1.0.1/24", "10.2.0.1/24", "fd01::1/64", "fd02::1/64"]
        );
        assert_eq!(pod.inside(|| kernel::hops("0.0.0.0/0")), ["10.1.0.1"]);
        network.check(&pod, &added).silent_success();
    }
}

fn force_address_leaves_the_other_gateway_of_the_same_add(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "10.9.0.1/16");
    kernel::add_address("cni0", "fd01::9/48");
    let network =
        gateway(host, &[V4, V4_BESIDE, V6, V6_BESIDE]).with(json!({"forceAddress": true}));
    for name in ["a", "b"] {
        network.add(&host.pod(name)).success();
        let mut found = kernel::addresses("cni0");
        found.sort();
        assert_eq!(
            found,
            ["10.1.0.1/24", "10.2.0.1/24", "fd01::1/64", "fd02::1/64"]
        );
    }
}

/// Every IPv6 interface has a link-local address from the kernel; removing it would not help.
fn a_link_local_gateway_lives_beside_the_kernels_own_address(host: &Host) {
    kernel::create_bridge("cni0");
    let own = kernel::link_locals("cni0");
    let pod = host.pod("a");
    let ips = json!([{"address": "fd01::5/64", "gateway": "fe80::1"}]);
    let network = answered(host, ips, json!([]))
        .with(json!({"isDefaultGateway": true, "forceAddress": true}));
    let added = network.add(&pod);
    added.success();
    let found = kernel::link_locals("cni0");
    assert!(
        found.contains(&"fe80::1/64".to_owned()) && own.iter().all(|own| found.contains(own)),
        "{found:?}"
    );
    assert_eq!(pod.inside(|| kernel::hops("::/0")), ["fe80::1"]);
    network.check(&pod, &added).silent_success();
}

fn a_route_through_a_gateway_of_the_other_family_is_refused_with_the_references_words(host: &Host) {
    let routes = json!([{"dst": "10.6.0.0/16", "gw": "fd00::1"}]);
    let error = answered(host, json!([{"address": "10.1.0.2/24"}]), routes)
        .add(&host.pod("a"))
        .error();
    let words = "gateway, source, and destination ip are not the same IP family";
    assert!(
        error.msg.starts_with("failed to add route ") && error.msg.ends_with(words),
        "{error}"
    );
    assert!(
        error
            .details
            .contains("10.6.0.0/16 is IPv4 and its gateway fd00::1 is IPv6"),
        "{error}"
    );
}
