//! CHECK: passes right after ADD, and reports each later change.

use crate::{
    kernel,
    network::{Network, V4, V6, host_local},
    snapshot::Snapshot,
};
use cni_attachment::netfilter::{RuleSet, masquerade::NftRules};
use cni_net::{PortMode, nft::Nft};
use cni_types::{AttachmentId, Code, Command, MacAddr};
use serde_json::{Value, json};
use testkit::{Host, Outcome, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        check_passes_after_add,
        check_passes_two_interfaces_with_default_routes,
        check_of_tens_of_thousands_of_routes_ends_soon,
        check_changes_nothing,
        check_needs_a_previous_result,
        check_reports_promiscuous_mode,
        check_reports_another_mac,
        check_reports_an_interface_that_is_down,
        check_reports_a_missing_interface,
        check_reports_an_interface_that_prev_result_does_not_name,
        check_reports_another_sandbox,
        check_reports_a_missing_address,
        check_reports_a_missing_route,
        check_reports_a_route_with_another_next_hop,
        check_reports_a_missing_gateway_address,
        check_reports_forwarding_that_is_off,
        check_reports_missing_masquerade_rules,
        check_reports_a_postrouting_chain_that_leads_nowhere,
        check_reports_another_hairpin_mode,
        check_reports_another_port_isolation,
        check_reports_a_port_that_left_the_bridge,
        check_reports_a_port_of_another_bridge,
        check_reports_a_host_end_that_is_down,
        check_passes_a_mac_that_a_later_plugin_changed_and_reported,
        check_passes_a_route_that_a_later_plugin_added,
        check_reports_a_port_that_does_not_forward,
        check_reports_a_bridge_that_is_down,
        check_reports_a_missing_bridge,
        check_asks_ipam,
        check_reports_all_differences_at_once,
        check_passes_what_a_later_plugin_may_change,
        check_passes_the_interface_of_a_later_plugin,
        check_refuses_a_missing_netns,
    ]
}

/// A pod that is attached with all features on.
struct Attached<'a> {
    network: Network<'a>,
    pod: Pod,
    added: Outcome,
}

impl<'a> Attached<'a> {
    fn with(host: &'a Host, keys: Value) -> Self {
        let network = Network::new(host, keys);
        let pod = host.pod("a");
        let added = network.add(&pod);
        network.check(&pod, &added).silent_success();
        Self {
            network,
            pod,
            added,
        }
    }

    fn new(host: &'a Host) -> Self {
        let keys =
            json!({"isDefaultGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4, V6])});
        Self::with(host, keys)
    }

    fn check(&self) -> Outcome {
        self.network.check(&self.pod, &self.added)
    }

    fn port(&self) -> String {
        self.added.result().interfaces[1].name.clone()
    }

    /// Asserts that CHECK fails with this text.
    #[track_caller]
    fn require(&self, msg: &str) {
        let outcome = self.check();
        assert_eq!(outcome.msg(), msg);
        assert_eq!(outcome.code(), Code::CHECK_MISMATCH);
    }
}

fn check_passes_after_add(host: &Host) {
    for (at, keys) in [
        json!({}),
        json!({"disableContainerInterface": true}),
        json!({"ipam": host_local(host, &[V4])}),
        json!({"ipam": host_local(host, &[V4, V6]), "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true}),
        json!({"ipam": host_local(host, &[V6]), "isGateway": true, "promiscMode": true, "portIsolation": true}),
        json!({"mtu": 1400, "runtimeConfig": {"mac": "C2:00:00:00:00:0A"}, "enabledad": true}),
    ]
    .into_iter()
    .enumerate()
    {
        let network = Network::new(host, keys).with(json!({"bridge": format!("br{at}")}));
        let pod = host.pod(&format!("p{at}"));
        let added = network.add(&pod);
        network.check(&pod, &added).silent_success();
        network.check(&pod, &added).silent_success();
    }
}

/// The kernel joins two IPv6 default routes to one route with two next hops.
fn check_passes_two_interfaces_with_default_routes(host: &Host) {
    let first = Network::new(
        host,
        json!({"isDefaultGateway": true, "ipam": host_local(host, &["fd01::/64"])}),
    );
    let second =
        json!({"name": "second", "bridge": "cni1", "ipam": host_local(host, &["fd02::/64"])});
    let second = first.with(second);
    let pod = host.pod("a");
    let added = first.add(&pod);
    let also = second.attachment(Command::Add, &pod).ifname("eth1").run();
    first.check(&pod, &added).silent_success();
    let second = second.with(json!({"prevResult": also.json()}));
    second
        .attachment(Command::Check, &pod)
        .ifname("eth1")
        .run()
        .silent_success();
}

/// Comparing each route with each of the kernel's took 136 s for 100,000.
fn check_of_tens_of_thousands_of_routes_ends_soon(host: &Host) {
    let subnet = |i: u32| json!({"dst": format!("20.{}.{}.0/24", i / 256, i % 256)});
    let mut ipam = host_local(host, &[V4]);
    ipam["routes"] = (0..30_000).map(subnet).collect();
    let network = Network::new(host, json!({"isGateway": true, "ipam": ipam}));
    let pod = host.pod("a");
    let added = network.add(&pod);
    let start = std::time::Instant::now();
    network.check(&pod, &added).silent_success();
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

fn check_changes_nothing(host: &Host) {
    let attached = Attached::new(host);
    kernel::delete_address("cni0", "10.1.0.1/24");
    attached.pod.inside(|| kernel::set_down("eth0"));
    let before = Snapshot::of(host, &[&attached.pod]);
    let _ = attached.check().error();
    before.require_unchanged();
}

fn check_needs_a_previous_result(host: &Host) {
    let attached = Attached::new(host);
    let outcome = attached
        .network
        .attachment(Command::Check, &attached.pod)
        .run();
    assert_eq!(outcome.msg(), "Required prevResult missing");
}

/// Forwarding is off, as after an administrator switched it off.
fn check_reports_promiscuous_mode(host: &Host) {
    let attached = Attached::with(host, json!({}));
    let outcome = attached
        .network
        .with(json!({"promiscMode": true}))
        .check(&attached.pod, &attached.added);
    let wanted =
        "Bridge interface cni0 configured Promisc Mode true doesn't match current state: false";
    assert_eq!(outcome.msg(), wanted);
}

fn check_reports_another_mac(host: &Host) {
    let attached = Attached::new(host);
    let before = attached.added.result().interfaces[2].mac.clone();
    let mac = MacAddr([2, 0, 0, 0, 0, 0x77]);
    attached
        .pod
        .inside(|| kernel::change("eth0", |batch, link| batch.set_mac(link, mac)));
    attached.require(&format!(
        "Interface eth0 Mac {before} doesn't match container Mac: {mac}"
    ));
}

fn check_reports_an_interface_that_is_down(host: &Host) {
    let attached = Attached::with(host, json!({}));
    attached.pod.inside(|| kernel::set_down("eth0"));
    attached.require("Interface eth0 is down, wanted up");
}

fn check_reports_a_missing_interface(host: &Host) {
    let attached = Attached::with(host, json!({}));
    attached.pod.inside(|| kernel::remove_link("eth0"));
    assert!(
        attached
            .check()
            .msg()
            .starts_with("Interface name eth0 not found")
    );
}

fn check_reports_an_interface_that_prev_result_does_not_name(host: &Host) {
    let attached = Attached::with(host, json!({}));
    let mut result = attached.added.json();
    result["interfaces"][2]["name"] = json!("eth7");
    let outcome = attached
        .network
        .with(json!({"prevResult": result}))
        .attachment(Command::Check, &attached.pod)
        .run();
    assert!(
        outcome.msg().starts_with("Interface name eth0 not found"),
        "{}",
        outcome.msg()
    );
}

fn check_reports_another_sandbox(host: &Host) {
    let attached = Attached::with(host, json!({}));
    let mut result = attached.added.json();
    result["interfaces"][2]["sandbox"] = json!("/run/netns/b");
    let outcome = attached
        .network
        .with(json!({"prevResult": result}))
        .attachment(Command::Check, &attached.pod)
        .run();
    let wanted = "Sandbox in prevResult /run/netns/b doesn't match configured netns: /run/netns/a";
    assert_eq!(outcome.msg(), wanted);
}

fn check_reports_a_missing_address(host: &Host) {
    let attached = Attached::with(host, json!({"ipam": host_local(host, &[V4, V6])}));
    attached
        .pod
        .inside(|| kernel::delete_address("eth0", "fd01::2/64"));
    let msg = attached.check().msg();
    assert!(
        msg.starts_with("Failed to match addr fd01::2/64 on interface eth0, found [10.1.0.2/24 "),
        "{msg}"
    );
}

/// An interface that goes down and up again loses its routes through a gateway.
fn check_reports_a_missing_route(host: &Host) {
    let attached = Attached::with(
        host,
        json!({"isDefaultGateway": true, "ipam": host_local(host, &[V4])}),
    );
    attached.pod.inside(|| {
        kernel::set_down("eth0");
        kernel::set_up("eth0");
    });
    let msg = attached.check().msg();
    assert!(
        msg.starts_with("Expected Route 0.0.0.0/0 via 10.1.0.1 on interface eth0 not found"),
        "{msg}"
    );
}

/// The next hop that ADD reported, and that somebody changed since.
fn check_reports_a_route_with_another_next_hop(host: &Host) {
    let attached = Attached::with(
        host,
        json!({"isDefaultGateway": true, "ipam": host_local(host, &[V4])}),
    );
    let mut result = attached.added.json();
    result["routes"][0]["gw"] = json!("10.1.0.77");
    let outcome = attached
        .network
        .with(json!({"prevResult": result}))
        .attachment(Command::Check, &attached.pod)
        .run();
    let msg = outcome.msg();
    assert!(
        msg.starts_with("Expected Route 0.0.0.0/0 via 10.1.0.77 on interface eth0 not found"),
        "{msg}"
    );
}

fn check_reports_a_missing_gateway_address(host: &Host) {
    let attached = Attached::new(host);
    kernel::delete_address("cni0", "fd01::1/64");
    attached.require("Bridge interface cni0 lacks the gateway address, wanted fd01::1/64");
}

fn check_reports_forwarding_that_is_off(host: &Host) {
    let attached = Attached::new(host);
    kernel::set_sysctl("ipv4/ip_forward", "0");
    attached.require("net.ipv4.ip_forward is \"0\", wanted 1");
}

fn check_reports_missing_masquerade_rules(host: &Host) {
    let attached = Attached::new(host);
    let owner = AttachmentId {
        network: "net",
        container_id: "a",
        if_name: "eth0",
    };
    let mut nft = Nft::open().unwrap();
    NftRules::new(&mut nft).remove(owner, &|_| true).unwrap();
    attached.require("masquerade rules missing: found 0, wanted 2");
}

fn check_reports_a_postrouting_chain_that_leads_nowhere(host: &Host) {
    kernel::require_tool("nft");
    let attached = Attached::new(host);
    kernel::tool("nft flush chain inet cni_plugins_masquerade postrouting");
    attached.require(
        "table inet cni_plugins_masquerade: chain postrouting does not lead to masq_checks",
    );
    kernel::tool("nft delete table inet cni_plugins_masquerade");
    attached.require("masquerade rules missing: found 0, wanted 2");
}

fn check_reports_another_hairpin_mode(host: &Host) {
    let attached = Attached::with(host, json!({}));
    let port = attached.port();
    let mode = PortMode {
        hairpin: true,
        isolated: false,
    };
    kernel::change(&port, |batch, link| batch.set_port(&link.name, mode, ""));
    attached.require(&format!("{port} has hairpin mode true, wanted false"));
}

fn check_reports_another_port_isolation(host: &Host) {
    let attached = Attached::with(host, json!({"hairpinMode": true, "portIsolation": true}));
    let port = attached.port();
    let mode = PortMode {
        hairpin: true,
        isolated: false,
    };
    kernel::change(&port, |batch, link| batch.set_port(&link.name, mode, ""));
    attached.require(&format!("{port} has port isolation false, wanted true"));
}

/// The bridge was deleted and created again; with the old one, its ports lost their membership.
fn check_reports_a_port_that_left_the_bridge(host: &Host) {
    let attached = Attached::with(host, json!({}));
    kernel::remove_link("cni0");
    kernel::create_bridge("cni0");
    attached.require(&format!("{} is not a port of bridge cni0", attached.port()));
}

fn check_reports_a_host_end_that_is_down(host: &Host) {
    let attached = Attached::with(host, json!({}));
    kernel::set_down(&attached.port());
    attached.require(&format!("{} is down, wanted up", attached.port()));
}

fn check_reports_a_port_that_does_not_forward(host: &Host) {
    kernel::require_tool("ip");
    let attached = Attached::with(host, json!({}));
    kernel::tool(&format!(
        "ip link set {} type bridge_slave state 1",
        attached.port()
    ));
    attached.require(&format!("{} does not forward frames", attached.port()));
}

fn check_reports_a_bridge_that_is_down(host: &Host) {
    let attached = Attached::with(host, json!({}));
    kernel::set_down("cni0");
    let msg = attached.check().msg();
    assert_eq!(msg, "Bridge interface cni0 is down, wanted up");
}

fn check_reports_a_missing_bridge(host: &Host) {
    let attached = Attached::with(host, json!({}));
    kernel::remove_link("cni0");
    attached.require("Bridge interface cni0 not found, wanted as the bridge of this network");
}

fn check_asks_ipam(host: &Host) {
    let attached = Attached::with(host, json!({"ipam": host_local(host, &[V4])}));
    std::fs::remove_file(host.data_dir().join("net/10.1.0.2")).unwrap();
    let msg = attached.check().msg();
    assert!(
        msg.starts_with("host-local: Failed to find address added by container a"),
        "{msg}"
    );
}

fn check_reports_all_differences_at_once(host: &Host) {
    let attached = Attached::with(host, json!({"ipam": host_local(host, &[V4, V6])}));
    attached.pod.inside(|| {
        kernel::delete_address("eth0", "10.1.0.2/24");
        kernel::delete_address("eth0", "fd01::2/64");
    });
    kernel::set_down("cni0");
    let error = attached.check().error();
    assert_eq!(error.msg, "Bridge interface cni0 is down, wanted up");
    for wanted in [
        "Failed to match addr 10.1.0.2/24",
        "Failed to match addr fd01::2/64",
    ] {
        assert!(error.details.contains(wanted), "{error}");
    }
}

/// A later plugin of the chain made an interface of its own, with an address and a route, and added
/// them to the result.
fn check_passes_the_interface_of_a_later_plugin(host: &Host) {
    let keys = json!({"isGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4])});
    let network = Network::new(host, keys);
    let pod = host.pod("a");
    let mut result = network.add(&pod).json();
    result["interfaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "net1", "sandbox": pod.path()}));
    result["ips"]
        .as_array_mut()
        .unwrap()
        .push(json!({"interface": 3, "address": "10.7.0.2/24", "gateway": "10.7.0.1"}));
    result["routes"] = json!([{"dst": "10.8.0.0/16", "gw": "10.7.0.1"}]);
    network
        .with(json!({"prevResult": result}))
        .attachment(Command::Check, &pod)
        .run()
        .silent_success();
}

/// A later plugin of the chain changed the MTU and added an address; the result does not report it.
fn check_passes_what_a_later_plugin_may_change(host: &Host) {
    let attached = Attached::with(host, json!({"ipam": host_local(host, &[V4])}));
    attached.pod.inside(|| {
        kernel::change("eth0", |batch, link| batch.set_mtu(link, 1300));
        kernel::add_address("eth0", "10.7.0.2/24");
    });
    attached.check().silent_success();
}

fn check_refuses_a_missing_netns(host: &Host) {
    let attached = Attached::with(host, json!({}));
    attached.pod.remove();
    let outcome = attached.check();
    assert_eq!(outcome.code(), Code::INVALID_NETNS);
    assert!(
        outcome
            .msg()
            .starts_with("failed to open netns \"/run/netns/a\": "),
        "{}",
        outcome.msg()
    );
}

fn check_reports_a_port_of_another_bridge(host: &Host) {
    kernel::require_tool("ip");
    let attached = Attached::with(host, json!({}));
    kernel::create_bridge("other0");
    kernel::tool(&format!("ip link set {} master other0", attached.port()));
    attached.require(&format!("{} is not a port of bridge cni0", attached.port()));
}

/// The change that the reference's tuning plugin makes.
fn check_passes_a_mac_that_a_later_plugin_changed_and_reported(host: &Host) {
    let attached = Attached::new(host);
    let mac = MacAddr([2, 0, 0, 0, 0, 0x77]);
    attached
        .pod
        .inside(|| kernel::change("eth0", |batch, link| batch.set_mac(link, mac)));
    let mut result = attached.added.json();
    result["interfaces"][2]["mac"] = json!(mac.to_string());
    let network = attached.network.with(json!({"prevResult": result}));
    network
        .attachment(Command::Check, &attached.pod)
        .run()
        .silent_success();
}

fn check_passes_a_route_that_a_later_plugin_added(host: &Host) {
    kernel::require_tool("ip");
    let attached = Attached::new(host);
    attached
        .pod
        .inside(|| kernel::tool("ip route add 192.0.2.0/24 via 10.1.0.1"));
    attached.check().silent_success();
}
