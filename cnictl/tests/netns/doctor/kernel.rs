//! doctor: bridges, routes, MTUs and kernel parameters.

use super::{found, healthy, node, pods, reported, with, wrong};
use crate::node::Node;
use cni_net::{Batch, LinkRef, RouteSpec, Rtnl};
use cni_types::{IfName, MacAddr, Route};
use serde_json::json;
use std::fs;
use testkit::{Host, OrFail, Test};

pub(super) fn tests() -> Vec<Test> {
    crate::tests![
        a_bridge_with_the_wanted_address_and_another_is_no_error,
        a_gateway_in_a_vlan_is_the_network_s_own,
        an_address_that_no_pod_gets_is_no_error,
        faults_of_bridges_are_found,
        subnets_that_collide_are_found,
        one_overlap_is_reported_once,
        a_bridge_with_spanning_tree_is_found,
        an_mtu_larger_than_the_uplink_s_is_found,
        forwarding_that_was_switched_off_is_found,
        faults_of_kernel_parameters_are_found,
    ]
}

fn name(text: &str) -> IfName {
    IfName::parse(text).or_fail("a name")
}

/// Makes a bridge with an address, and returns its index.
fn bridge(link: &str, mtu: Option<u32>, address: &str) -> u32 {
    let mut rtnl = Rtnl::open().or_fail("open");
    rtnl.create_bridge(&name(link), MacAddr([2, 0, 0, 0, 0, 1]), mtu)
        .or_fail("make a bridge");
    let index = rtnl
        .find_link(&name(link))
        .or_fail("look")
        .or_fail("a bridge")
        .index;
    let mut batch = Batch::new();
    if !address.is_empty() {
        batch.create_address(
            LinkRef::new(index, &name(link)),
            address.parse().or_fail("an address"),
            false,
        );
    }
    rtnl.run(batch).or_fail("configure a bridge");
    index
}

fn route(link: u32, dst: &str, gateway: &str) {
    let route = Route::new(dst.parse().or_fail("a network"), None);
    let mut batch = Batch::new();
    let gateway = Some(gateway.parse().or_fail("a gateway"));
    batch.create_route(
        LinkRef::new(link, &name("up0")),
        &RouteSpec { route, gateway },
    );
    Rtnl::open()
        .or_fail("open")
        .run(batch)
        .or_fail("add a route");
}

fn a_gateway_in_a_vlan_is_the_network_s_own(host: &Host) {
    let node = node(host);
    // What counts is the name: not every kernel has VLANs.
    bridge("br0", None, "");
    bridge("br0.100", None, "10.1.0.1/24");
    node.network("10-pods.conflist", with("vlan", 100.into()));
    let found: Vec<_> = found(&node, true)
        .into_iter()
        .filter(|(id, _)| id.starts_with("subnet"))
        .collect();
    assert_eq!(found, []);
    assert!(
        !without_forwarding(&node)
            .iter()
            .any(|(id, _)| id.starts_with("bridge"))
    );
}

fn an_address_that_no_pod_gets_is_no_error(host: &Host) {
    let node = node(host);
    bridge("br0", None, "10.1.0.200/24");
    let mut network = pods(json!([[{"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.99"}]]));
    network["plugins"][0]["isGateway"] = false.into();
    node.network("10-pods.conflist", &network);
    assert_eq!(found(&node, false), []);
    network["plugins"][0]["ipam"]["ranges"][0][0]["rangeEnd"] = "10.1.0.250".into();
    node.network("10-pods.conflist", network);
    wrong(&node, "bridge-address-in-range", "10.1.0.200/24");
}

fn a_bridge_with_the_wanted_address_and_another_is_no_error(host: &Host) {
    let node = node(host);
    let _pod = host.pod("blue");
    let index = bridge("br0", None, "10.1.0.1/24");
    let mut batch = Batch::new();
    batch.create_address(
        LinkRef::new(index, &name("br0")),
        "10.9.0.1/24".parse().or_fail("an address"),
        false,
    );
    Rtnl::open()
        .or_fail("open")
        .run(batch)
        .or_fail("add an address");
    node.cnictl(&["add", "pods", "/run/netns/blue"]).success();
    assert_eq!(found(&node, true), []);
    node.network(
        "10-pods.conflist",
        pods(json!([[{"subnet": "10.9.0.0/24"}]])),
    );
    let found = found(&node, true);
    let note = found
        .iter()
        .find(|(id, _)| id == "bridge-address")
        .or_fail("a note");
    assert!(
        note.1
            .contains("has 10.1.0.1/24; expected 10.9.0.1/24, which it also has"),
        "{note:?}"
    );
}

fn faults_of_bridges_are_found(host: &Host) {
    let node = node(host);
    node.network("10-pods.conflist", with("bridge", "lo".into()));
    reported(&node, "bridge-kind", "lo exists but is not a bridge");
    node.network("10-pods.conflist", healthy());
    let index = bridge("br0", None, "10.2.0.1/24");
    wrong_apart_from_forwarding(
        &node,
        "bridge-address",
        "the bridge br0 has 10.2.0.1/24; expected 10.1.0.1/24",
    );
    node.network("10-pods.conflist", with("forceAddress", true.into()));
    assert_eq!(without_forwarding(&node), []);
    node.network("10-pods.conflist", healthy());
    let change = |change: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        change(&mut batch);
        Rtnl::open()
            .or_fail("open")
            .run(batch)
            .or_fail("change the bridge");
    };
    change(&|batch| {
        batch.delete_address(
            LinkRef::new(index, &name("br0")),
            "10.2.0.1/24".parse().or_fail("an address"),
        );
        batch.create_address(
            LinkRef::new(index, &name("br0")),
            "10.1.0.7/24".parse().or_fail("an address"),
            false,
        );
    });
    node.network("10-pods.conflist", with("isGateway", false.into()));
    wrong(
        &node,
        "bridge-address-in-range",
        "the bridge br0 has 10.1.0.7/24, which host-local may give to a pod",
    );
    change(&|batch| {
        batch.delete_address(
            LinkRef::new(index, &name("br0")),
            "10.1.0.7/24".parse().or_fail("an address"),
        );
        batch.set_down(LinkRef::new(index, &name("br0")));
    });
    wrong(&node, "bridge-down", "the bridge br0 is down");
}

/// Returns the findings without `ip-forward`: a new namespace forwards only after its first ADD.
fn without_forwarding(node: &Node<'_>) -> Vec<(String, String)> {
    found(node, false)
        .into_iter()
        .filter(|(id, _)| id != "ip-forward")
        .collect()
}

#[track_caller]
fn wrong_apart_from_forwarding(node: &Node<'_>, id: &str, what: &str) {
    let found = without_forwarding(node);
    assert!(
        matches!(&found[..], [(its_id, its_what)] if its_id == id && its_what.contains(what)),
        "{found:#?}"
    );
}

fn subnets_that_collide_are_found(host: &Host) {
    let node = node(host);
    let index = bridge("up0", None, "192.0.2.1/24");
    route(index, "10.0.0.0/8", "192.0.2.9");
    assert_eq!(
        found(&node, false),
        [],
        "a wide route leads to the other nodes"
    );
    route(index, "10.1.0.128/25", "192.0.2.9");
    wrong(
        &node,
        "subnet-routed",
        "the host has a route to 10.1.0.128/25",
    );
    node.network(
        "10-pods.conflist",
        pods(json!([[{"subnet": "192.0.2.0/28"}]])),
    );
    wrong(
        &node,
        "subnet-overlaps",
        "the pods' subnet 192.0.2.0/28 overlaps 192.0.2.1/24 of up0",
    );
}

fn a_bridge_with_spanning_tree_is_found(host: &Host) {
    let node = node(host);
    bridge("br0", None, "10.1.0.1/24");
    let set = |arguments: &str| {
        let mut command = std::process::Command::new("ip");
        let output = command
            .args(arguments.split_whitespace())
            .output()
            .or_fail("run ip");
        testkit::require("spanning tree of bridges", output.status.success());
    };
    assert_eq!(without_forwarding(&node), []);
    set("link set br0 type bridge stp_state 1 forward_delay 400");
    let what = "the bridge br0 has spanning tree on, with a forward delay of 4 s";
    wrong_apart_from_forwarding(&node, "bridge-spanning-tree", what);
    // In a chain, an interface that another plugin made becomes a port of the same bridge.
    let mut chain = healthy();
    chain["plugins"] = json!([{"type": "loopback"}, {"type": "bridge", "bridge": "br0"}]);
    node.network("10-pods.conflist", chain);
    wrong_apart_from_forwarding(&node, "bridge-spanning-tree", what);
    set("link set br0 type bridge stp_state 0");
    assert_eq!(without_forwarding(&node), []);
}

fn one_overlap_is_reported_once(host: &Host) {
    let node = node(host);
    let network = |name: &str, bridge: &str, start: &str, end: &str| {
        let mut network =
            pods(json!([[{"subnet": "10.1.0.0/24", "rangeStart": start, "rangeEnd": end}]]));
        network["name"] = name.into();
        network["plugins"][0]["bridge"] = bridge.into();
        network
    };
    bridge("br0", None, "10.1.0.1/24");
    bridge("br1", None, "10.1.0.1/24");
    let overlaps = || {
        let found = without_forwarding(&node);
        found.into_iter().map(|(id, _)| id).collect::<Vec<_>>()
    };
    node.network(
        "10-pods.conflist",
        network("pods", "br0", "10.1.0.2", "10.1.0.99"),
    );
    node.network(
        "20-other.conflist",
        network("other", "br1", "10.1.0.50", "10.1.0.200"),
    );
    assert_eq!(overlaps(), ["pools-overlap"]);
    node.network(
        "20-other.conflist",
        network("other", "br1", "10.1.0.100", "10.1.0.200"),
    );
    assert_eq!(overlaps(), ["subnet-overlaps"]);
    node.network(
        "20-other.conflist",
        network("other", "br0", "10.1.0.100", "10.1.0.200"),
    );
    assert_eq!(
        overlaps(),
        ["subnet-overlaps"],
        "two networks of one bridge, and br1"
    );
}

fn an_mtu_larger_than_the_uplink_s_is_found(host: &Host) {
    let node = node(host);
    let index = bridge("up0", Some(1400), "192.0.2.1/24");
    route(index, "0.0.0.0/0", "192.0.2.9");
    wrong(
        &node,
        "mtu-uplink",
        "pods get an MTU of 1500, but the uplink up0 has 1400",
    );
    node.network("10-pods.conflist", with("mtu", 1400.into()));
    assert_eq!(found(&node, false), []);
    let mut small = pods(json!([[{"subnet": "fd00:1::/64"}]]));
    small["plugins"][0]["mtu"] = 1000.into();
    node.network("10-pods.conflist", small);
    wrong(&node, "mtu-ipv6", "pods get an MTU of 1000");
}

fn forwarding_that_was_switched_off_is_found(host: &Host) {
    let node = node(host);
    let _pod = host.pod("blue");
    node.cnictl(&["add", "pods", "/run/netns/blue"]).success();
    fs::write("/proc/sys/net/ipv4/ip_forward", "0").or_fail("switch forwarding off");
    reported(
        &node,
        "ip-forward",
        "net.ipv4.ip_forward is 0, and pods needs it",
    );
    reported(&node, "attachment-changed", "pods: container cnitool-");
    node.network(
        "10-pods.conflist",
        pods(json!([[{"subnet": "fd00:1::/64"}]])),
    );
    let found = found(&node, false);
    assert!(
        !found.iter().any(|(id, _)| id == "ip-forward"),
        "IPv6 needs none: {found:?}"
    );
}

fn faults_of_kernel_parameters_are_found(host: &Host) {
    let node = node(host);
    let parameter = |name: &str, value: &str| node.file(&format!("proc/sys/net/{name}"), value);
    parameter("ipv4/ip_forward", "1\n");
    reported(&node, "br-netfilter", "br_netfilter is not loaded");
    parameter("bridge/bridge-nf-call-iptables", "0\n");
    reported(
        &node,
        "bridge-nf",
        "net.bridge.bridge-nf-call-iptables is 0",
    );
    assert_eq!(found(&node, false), [], "without kubelet a note");
    node.file("var/lib/kubelet/config.yaml", "");
    wrong(
        &node,
        "bridge-nf",
        "net.bridge.bridge-nf-call-iptables is 0",
    );
    parameter("bridge/bridge-nf-call-iptables", "1\n");
    node.network(
        "10-pods.conflist",
        pods(json!([[{"subnet": "fd00:1::/64"}]])),
    );
    wrong(
        &node,
        "ipv6-missing",
        "pods has an IPv6 range, but this kernel has no IPv6",
    );
    parameter("ipv6/conf/all/disable_ipv6", "0\n");
    parameter("ipv6/conf/default/disable_ipv6", "1\n");
    wrong(
        &node,
        "ipv6-disabled",
        "net.ipv6.conf.default.disable_ipv6 is 1",
    );
    parameter("ipv6/conf/default/disable_ipv6", "0\n");
    parameter("ipv6/conf/all/disable_ipv6", "1\n");
    parameter("ipv6/conf/all/forwarding", "0\n");
    assert_eq!(found(&node, false), [], "the first ADD switches it on");
    bridge("br0", None, "");
    parameter("ipv6/conf/br0/disable_ipv6", "1\n");
    reported(
        &node,
        "ipv6-disabled",
        "net.ipv6.conf.br0.disable_ipv6 is 1",
    );
    parameter("ipv6/conf/br0/disable_ipv6", "0\n");
    wrong(
        &node,
        "ipv6-forward",
        "net.ipv6.conf.all.forwarding is 0, and pods needs it",
    );
}
