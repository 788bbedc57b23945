//! The container's addresses, routes and DNS as the IPAM plugin gives them; and networks without
//! IPAM.

use crate::{
    kernel,
    network::{Network, V4, V6, calls, fixed_ipam, host_local, script_ipam},
    snapshot::Snapshot,
};
use cni_types::Command;
use serde_json::json;
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_container_has_the_addresses_that_the_result_reports,
        without_ipam_the_attachment_is_layer_2,
        an_empty_ipam_is_no_ipam,
        routes_have_all_fields_of_1_1_0,
        dns_of_the_configuration_beats_ipams,
        without_dns_of_its_own_ipams_is_reported,
        ipam_without_addresses_is_an_error,
        ipam_finds_the_interface_on_its_bridge,
        an_ipam_plugin_that_is_not_there_is_named_with_the_path,
        an_ipam_plugins_error_is_passed_on_word_for_word,
        keys_of_the_configuration_match_in_any_case,
        the_default_route_has_no_source,
        two_containers_reach_each_other,
    ]
}

fn the_container_has_the_addresses_that_the_result_reports(host: &Host) {
    let pod = host.pod("a");
    let result = Network::new(host, json!({"ipam": host_local(host, &[V4, V6])}))
        .add(&pod)
        .result();
    let reported: Vec<String> = result.ips.iter().map(|ip| ip.address.to_string()).collect();
    assert_eq!(reported, ["10.1.0.2/24", "fd01::2/64"]);
    assert_eq!(pod.inside(|| kernel::addresses("eth0")), reported);
}

fn without_ipam_the_attachment_is_layer_2(host: &Host) {
    let pod = host.pod("a");
    let network = Network::new(host, json!({"isDefaultGateway": true, "ipMasq": true}));
    let outcome = network.add(&pod);
    let result = outcome.result();
    assert_eq!(
        (
            result.ips.len(),
            result.routes.len(),
            result.interfaces.len()
        ),
        (0, 0, 3)
    );
    assert!(kernel::eth0(&pod).oper_up);
    assert_eq!(pod.inside(|| kernel::addresses("eth0")), [""; 0]);
    assert_eq!(kernel::addresses("cni0"), [""; 0]);
    assert_eq!(kernel::rules(), [""; 0]);
    network.check(&pod, &outcome).silent_success();
    network.del(&pod).silent_success();
    assert_eq!(kernel::names(), ["cni0", "lo"]);
}

fn an_empty_ipam_is_no_ipam(host: &Host) {
    let pod = host.pod("a");
    let network = Network::new(host, json!({"ipam": {}}));
    assert_eq!(network.add(&pod).result().ips.len(), 0);
    network.del(&pod).silent_success();
}

fn routes_have_all_fields_of_1_1_0(host: &Host) {
    let pod = host.pod("a");
    let route = json!({"dst": "192.0.2.0/24", "gw": "10.1.0.9", "mtu": 1400, "advmss": 1300, "priority": 77, "table": 100});
    let on_link = json!({"dst": "198.51.100.0/24", "scope": 253, "gw": null, "priority": 5});
    let ipam = fixed_ipam(
        host,
        "fixed",
        json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.2/24"}], "routes": [route, on_link]}),
    );
    let outcome = Network::new(host, json!({"ipam": ipam})).add(&pod);
    assert_eq!(outcome.success().json()["routes"][0], route);
    let routes = pod.inside(|| cni_net::Rtnl::open().unwrap().routes().unwrap());
    let found = routes
        .iter()
        .find(|route| route.dst.to_string() == "192.0.2.0/24")
        .unwrap();
    assert_eq!((found.table, found.priority), (100, 77));
    assert_eq!(found.gateway.unwrap().to_string(), "10.1.0.9");
    let found = routes
        .iter()
        .find(|route| route.dst.to_string() == "198.51.100.0/24")
        .unwrap();
    assert_eq!((found.table, found.priority, found.gateway), (254, 5, None));
}

fn with_dns(host: &Host) -> Network<'_> {
    let answer = json!({
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.1.0.2/24"}],
        "dns": {"nameservers": ["10.1.0.53"], "domain": "ipam.example"},
    });
    Network::new(host, json!({"ipam": fixed_ipam(host, "fixed", answer)}))
}

fn dns_of_the_configuration_beats_ipams(host: &Host) {
    let dns =
        json!({"nameservers": ["192.0.2.53"], "search": ["example.org"], "options": ["ndots:2"]});
    let outcome = with_dns(host).with(json!({"dns": dns})).add(&host.pod("a"));
    assert_eq!(outcome.success().json()["dns"], dns);
}

fn without_dns_of_its_own_ipams_is_reported(host: &Host) {
    for (name, keys) in [("a", json!({})), ("b", json!({"dns": {}}))] {
        let outcome = with_dns(host).with(keys).add(&host.pod(name));
        let wanted = json!({"nameservers": ["10.1.0.53"], "domain": "ipam.example"});
        assert_eq!(outcome.success().json()["dns"], wanted);
    }
}

/// The dhcp plugin and plugins that read the hardware address rely on it, also on a new bridge.
fn ipam_finds_the_interface_on_its_bridge(host: &Host) {
    kernel::require_tool("nsenter");
    let body = r#"
        nsenter --net=$CNI_NETNS test -e /proc/thread-self/net/dev_snmp6/$CNI_IFNAME || exit 1
        ip -o link show type veth | grep -q "master $(cat "${0%/*}/bridge")" || exit 1
        echo '{"cniVersion": "1.0.0", "ips": [{"address": "10.5.0.9/24"}]}'"#;
    let ipam = script_ipam(host, "needslink", body);
    for at in 0..10 {
        let pod = host.pod(&format!("p{at}"));
        let bridge = format!("br{at}");
        drop(host.file("bridge", &bridge));
        let network = Network::new(host, json!({"bridge": bridge, "ipam": ipam}));
        let path = format!(
            "{}:/usr/sbin:/sbin",
            std::env::var("PATH").unwrap_or_default()
        );
        network
            .attachment(Command::Add, &pod)
            .env("PATH", path)
            .run()
            .success();
    }
}

fn ipam_without_addresses_is_an_error(host: &Host) {
    let pod = host.pod("a");
    let ipam = fixed_ipam(host, "fixed", json!({"cniVersion": "1.1.0", "ips": []}));
    kernel::create_bridge("cni0");
    let before = Snapshot::of(host, &[&pod]);
    let outcome = Network::new(host, json!({"ipam": ipam})).add(&pod);
    assert_eq!(outcome.msg(), "IPAM plugin returned missing IP config");
    before.require_unchanged();
    assert_eq!(calls(host), ["ADD a", "DEL a"]);
}

fn an_ipam_plugin_that_is_not_there_is_named_with_the_path(host: &Host) {
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    let network = Network::new(host, json!({"ipam": {"type": "x"}}));
    let outcome = network
        .attachment(Command::Add, &pod)
        .env("CNI_PATH", "/run/none")
        .run();
    assert_eq!(
        outcome.msg(),
        "failed to find plugin \"x\" in path [/run/none]"
    );
    before.require_unchanged();
}

fn an_ipam_plugins_error_is_passed_on_word_for_word(host: &Host) {
    let error =
        json!({"cniVersion": "1.1.0", "code": 117, "msg": "no luck", "details": "try tomorrow"});
    let ipam = script_ipam(host, "failing", &format!("echo '{error}'; exit 1"));
    let outcome = Network::new(host, json!({"ipam": ipam})).add(&host.pod("a"));
    let error = outcome.error();
    assert_eq!(
        (error.code.0, error.msg.as_str(), error.details.as_str()),
        (117, "no luck", "try tomorrow")
    );
}

fn keys_of_the_configuration_match_in_any_case(host: &Host) {
    let pod = host.pod("a");
    let mut ipam = host_local(host, &[V4]);
    ipam["Type"] = ipam["type"].take();
    ipam.as_object_mut().unwrap().remove("type");
    let network = Network::new(
        host,
        json!({"isgateway": true, "HAIRPINMODE": true, "ipMasq": null, "IPAM": ipam}),
    );
    let added = network.add(&pod).result();
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.1/24"]);
    assert!(
        kernel::link(&added.interfaces[1].name)
            .port
            .unwrap()
            .hairpin
    );
}

fn the_default_route_has_no_source(host: &Host) {
    let pod = host.pod("a");
    let mut ipam = host_local(host, &[V4, V6]);
    ipam["routes"] = json!([{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]);
    Network::new(host, json!({"ipam": ipam}))
        .add(&pod)
        .success();
    for (dst, hop) in [("0.0.0.0/0", "10.1.0.1"), ("::/0", "fd01::1")] {
        let routes = pod.inside(|| kernel::routes_to(dst));
        assert_eq!(routes.len(), 1);
        assert_eq!(
            (routes[0].source, routes[0].gateway),
            (None, Some(hop.parse().unwrap()))
        );
    }
}

fn two_containers_reach_each_other(host: &Host) {
    let network = Network::new(host, json!({"ipam": host_local(host, &[V4, V6])}));
    let a = host.pod("a");
    let b = host.pod("b");
    network.add(&a).success();
    for ip in network.add(&b).result().ips {
        let (from, own) = if ip.address.is_ipv4() {
            ("10.1.0.2", "0.0.0.0:0")
        } else {
            ("fd01::2", "[::]:0")
        };
        assert_eq!(
            crate::masquerade::seen_by(&a, own, &b, ip.address.address()),
            from
        );
    }
}
