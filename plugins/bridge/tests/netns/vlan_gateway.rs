//! The gateway of a VLAN: `<bridge>.<vlan>`, a pair whose other end is a port in that VLAN. Needs a
//! kernel with bridge VLAN filtering.

use crate::{
    kernel,
    network::{V4, V6, host_local},
    snapshot::Snapshot,
    vlan::{attached, network, port, reaches, routed, vlans},
};
use cni_net::{Link, LinkKind, PortState, Rtnl};
use cni_types::{Code, Command};
use serde_json::json;
use testkit::{Host, Outcome, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        without_addresses_or_gateway_there_is_no_gateway_interface,
        the_gateway_is_an_interface_of_the_vlan,
        the_gateway_in_a_vlan_has_addresses_of_both_families,
        the_gateway_of_a_trunk_is_in_its_vlan,
        the_gateway_of_a_trunk_without_a_vlan_is_the_bridge,
        pods_of_a_vlan_share_the_gateway_and_others_have_their_own,
        the_gateway_interface_stays_after_del_and_after_a_failed_add,
        a_failed_add_leaves_nothing_of_the_port,
        a_gateway_interface_that_is_half_made_is_mended,
        the_gateway_interface_of_somebody_else_is_adopted,
        a_gateway_interface_that_ends_elsewhere_is_an_error,
        another_address_on_the_gateway_interface_is_refused_or_replaced,
        the_gateway_interface_takes_no_router_advertisements,
        the_bridges_mac_stays_when_the_gateway_interface_comes,
        first_adds_at_once_make_one_gateway_interface,
        check_reports_what_is_wrong_with_the_gateway_interface,
        a_port_of_an_earlier_plugin_is_in_its_vlan_with_the_gateway_there,
    ]
}

/// Returns the other end of a pair of the host.
fn peer(name: &str) -> Link {
    let peer = Rtnl::open()
        .unwrap()
        .link(kernel::link(name).peer_index.unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(
        (&peer.kind, peer.peer_index),
        (&LinkKind::Veth, Some(kernel::link(name).index))
    );
    peer
}

fn without_addresses_or_gateway_there_is_no_gateway_interface(host: &Host) {
    for (at, keys) in [
        json!({"isGateway": true}),
        json!({"ipam": host_local(host, &[V4])}),
    ]
    .into_iter()
    .enumerate()
    {
        let result = network(host, keys)
            .with(json!({"vlan": 100}))
            .add(&host.pod(&format!("p{at}")))
            .result();
        assert_eq!(result.interfaces.len(), 3);
        assert_eq!(kernel::find_link("cni0.100"), None);
    }
}

fn the_gateway_is_an_interface_of_the_vlan(host: &Host) {
    let network = routed(host, V4, json!({"vlan": 100, "mtu": 1400}));
    let pod = host.pod("a");
    let added = network.add(&pod);
    let gateway = kernel::link("cni0.100");
    let other_end = peer("cni0.100");
    assert!(
        gateway.kind == LinkKind::Veth
            && gateway.up
            && gateway.master.is_none()
            && gateway.mtu == 1400
    );
    assert_eq!(kernel::addresses("cni0.100"), ["10.1.0.1/24"]);
    assert_eq!(kernel::addresses("cni0"), [""; 0]);
    // Programs, the reference's tests among them, find the port by its peer.
    assert_eq!(other_end.index + 1, gateway.index);
    assert_eq!(other_end.master, Some(kernel::link("cni0").index));
    assert_eq!(other_end.port.unwrap().state, PortState::Forwarding);
    assert_eq!(vlans(other_end.name.as_str()), "100 pvid untagged");
    let reported = &added.result().interfaces[3];
    assert_eq!(
        (reported.name.as_str(), reported.sandbox.as_str()),
        ("cni0.100", "")
    );
    assert_eq!(
        (reported.mac.as_str(), reported.mtu),
        (kernel::mac("cni0.100").as_str(), Some(1400))
    );
    assert_eq!(added.result().interfaces.len(), 4);
    assert_eq!(pod.inside(|| kernel::hops("0.0.0.0/0")), ["10.1.0.1"]);
    assert!(reaches(&pod, "10.1.0.1"));
    assert_eq!(kernel::sysctl("ipv4/ip_forward"), "1");
}

fn the_gateway_in_a_vlan_has_addresses_of_both_families(host: &Host) {
    let keys = json!({"vlan": 100, "isGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4, V6])});
    let network = network(host, keys);
    let pod = host.pod("a");
    let added = network.add(&pod);
    assert_eq!(kernel::addresses("cni0.100"), ["10.1.0.1/24", "fd01::1/64"]);
    assert!(reaches(&pod, "10.1.0.1") && reaches(&pod, "fd01::1"));
    network.check(&pod, &added).silent_success();
}

fn the_gateway_of_a_trunk_is_in_its_vlan(host: &Host) {
    let pod = host.pod("a");
    routed(host, V4, json!({"vlan": 100, "vlanTrunk": [{"id": 7}]}))
        .add(&pod)
        .success();
    assert_eq!(vlans(peer("cni0.100").name.as_str()), "100 pvid untagged");
    assert!(reaches(&pod, "10.1.0.1"));
}

fn the_gateway_of_a_trunk_without_a_vlan_is_the_bridge(host: &Host) {
    let pod = host.pod("a");
    let added = routed(host, V4, json!({"vlanTrunk": [{"id": 7}]}))
        .add(&pod)
        .result();
    assert_eq!(added.interfaces.len(), 3);
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.1/24"]);
    assert!(reaches(&pod, "10.1.0.1"));
}

fn pods_of_a_vlan_share_the_gateway_and_others_have_their_own(host: &Host) {
    let first = routed(host, V4, json!({"vlan": 100}));
    let second = routed(host, "10.2.0.0/24", json!({"vlan": 200, "name": "net2"}));
    let pods = ["a", "b", "c"].map(|name| host.pod(name));
    first.add(&pods[0]).success();
    let before = kernel::link("cni0.100");
    let end = peer("cni0.100");
    first.add(&pods[1]).success();
    second.add(&pods[2]).success();
    assert_eq!((kernel::link("cni0.100"), peer("cni0.100")), (before, end));
    assert_eq!(vlans(peer("cni0.200").name.as_str()), "200 pvid untagged");
    assert_eq!(kernel::addresses("cni0.200"), ["10.2.0.1/24"]);
    // lo, the bridge, two gateways of two ends, three ports.
    assert_eq!(kernel::names().len(), 9);
}

fn the_gateway_interface_stays_after_del_and_after_a_failed_add(host: &Host) {
    let network = routed(host, V4, json!({"vlan": 100}));
    let pod = host.pod("a");
    network.add(&pod).success();
    let before = (kernel::link("cni0.100"), peer("cni0.100"));
    network.del(&pod).silent_success();
    let _ = network
        .attachment(Command::Add, &pod)
        .ifname("lo")
        .run()
        .error();
    assert_eq!((kernel::link("cni0.100"), peer("cni0.100")), before);
    assert_eq!(kernel::addresses("cni0.100"), ["10.1.0.1/24"]);
    assert_eq!(kernel::names().len(), 4);
}

/// ADD fails at the gateway's address, when the port is in its VLAN.
fn a_failed_add_leaves_nothing_of_the_port(host: &Host) {
    let network = routed(host, V4, json!({"vlan": 100}));
    let pods = [host.pod("a"), host.pod("b")];
    network.add(&pods[0]).success();
    kernel::delete_address("cni0.100", "10.1.0.1/24");
    kernel::add_address("cni0.100", "10.9.0.1/24");
    let before = Snapshot::of(host, &[&pods[0], &pods[1]]);
    let _ = network.add(&pods[1]).error();
    before.require_unchanged_but_for_the_last_address();
}

/// Incomplete after an ADD that was killed between any two steps, or after a change by hand.
fn a_gateway_interface_that_is_half_made_is_mended(host: &Host) {
    let network = routed(host, V4, json!({"vlan": 100}));
    kernel::require_tool("ip");
    kernel::require_tool("bridge");
    network.add(&host.pod("first")).success();
    let gateway = kernel::link("cni0.100");
    let end = peer("cni0.100").name;
    for (at, damage) in [
        vec![
            format!("ip link set {end} nomaster down"),
            "ip link set cni0.100 down".to_owned(),
        ],
        vec![
            format!("bridge vlan del dev {end} vid 100"),
            format!("bridge vlan add dev {end} vid 1 pvid untagged"),
        ],
        vec![format!("bridge vlan add dev {end} vid 100")],
        vec![format!("ip link set {end} down")],
        vec![
            "ip address flush dev cni0.100".to_owned(),
            "ip link set cni0.100 down".to_owned(),
        ],
    ]
    .into_iter()
    .enumerate()
    {
        damage.iter().for_each(|line| drop(kernel::tool(line)));
        let pod = host.pod(&format!("p{at}"));
        let added = network.add(&pod);
        assert_eq!(kernel::link("cni0.100").index, gateway.index);
        assert_eq!(vlans(end.as_str()), "100 pvid untagged", "{damage:?}");
        assert!(reaches(&pod, "10.1.0.1"), "{damage:?}");
        network.check(&pod, &added).silent_success();
    }
}

fn the_gateway_interface_of_somebody_else_is_adopted(host: &Host) {
    let network = routed(host, V4, json!({"vlan": 100}));
    kernel::require_tool("ip");
    kernel::require_tool("bridge");
    kernel::create_bridge("cni0");
    for line in [
        "ip link set cni0 type bridge vlan_filtering 1",
        "bridge vlan add dev cni0 vid 100 self",
        "ip link add link cni0 name cni0.100 type vlan id 100",
    ] {
        kernel::tool(line);
    }
    let index = kernel::link("cni0.100").index;
    let pod = host.pod("a");
    let added = network.add(&pod);
    assert_eq!(
        (kernel::link("cni0.100").index, kernel::names().len()),
        (index, 4)
    );
    assert!(reaches(&pod, "10.1.0.1"));
    network.check(&pod, &added).silent_success();
}

fn a_gateway_interface_that_ends_elsewhere_is_an_error(host: &Host) {
    let network = routed(host, V4, json!({"vlan": 100}));
    kernel::create_bridge("cni0");
    kernel::create_veth("cni0.100", "cni0", &host.pod("x"), "x0");
    let pod = host.pod("a");
    let before = kernel::names();
    let outcome = network.add(&pod);
    assert_eq!(outcome.code(), Code::INVALID_CONFIG);
    assert_eq!(
        outcome.msg(),
        "\"cni0.100\" already exists but is not the gateway of VLAN 100"
    );
    assert_eq!(kernel::names(), before);
}

fn another_address_on_the_gateway_interface_is_refused_or_replaced(host: &Host) {
    let network = routed(host, V4, json!({"vlan": 100}));
    network.add(&host.pod("a")).success();
    let other = network.with(json!({"ipam": host_local(host, &["10.2.0.0/24"]), "name": "other"}));
    let text = "failed to set vlan interface for bridge with addr: \"cni0.100\" already has an IP address different from 10.2.0.1/24";
    let pod = host.pod("b");
    assert_eq!(other.add(&pod).msg(), text);
    other
        .with(json!({"forceAddress": true}))
        .add(&pod)
        .success();
    assert_eq!(kernel::addresses("cni0.100"), ["10.2.0.1/24"]);
}

/// CVE-2020-10749.
fn the_gateway_interface_takes_no_router_advertisements(host: &Host) {
    routed(host, V4, json!({"vlan": 100}))
        .add(&host.pod("a"))
        .success();
    for name in [
        "cni0".to_owned(),
        "cni0.100".to_owned(),
        peer("cni0.100").name.to_string(),
    ] {
        assert_eq!(
            kernel::sysctl(&format!("ipv6/conf/{name}/accept_ra")),
            "0",
            "{name}"
        );
    }
}

fn the_bridges_mac_stays_when_the_gateway_interface_comes(host: &Host) {
    let network = routed(host, V4, json!({"vlan": 100}));
    kernel::require_tool("ip");
    // A bridge without a fixed address inherits the lowest of its ports'.
    kernel::tool("ip link add cni0 type bridge");
    let before = kernel::mac("cni0");
    for name in ["a", "b", "c"] {
        network.add(&host.pod(name)).success();
        assert_eq!(kernel::mac("cni0"), before);
    }
}

fn first_adds_at_once_make_one_gateway_interface(host: &Host) {
    let network = routed(host, V4, json!({"vlan": 100}));
    let pods: Vec<Pod> = (0..8).map(|at| host.pod(&format!("p{at}"))).collect();
    let network = &network;
    let added: Vec<Outcome> = std::thread::scope(|scope| {
        let runs: Vec<_> = pods
            .iter()
            .map(|pod| scope.spawn(move || network.add(pod)))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for (pod, added) in pods.iter().zip(&added) {
        assert_eq!(vlans(&port(added)), "100 pvid untagged");
        assert!(reaches(pod, "10.1.0.1"));
        network.check(pod, added).silent_success();
    }
    assert_eq!(vlans(peer("cni0.100").name.as_str()), "100 pvid untagged");
    assert_eq!(kernel::names().len(), pods.len() + 4);
}

fn check_reports_what_is_wrong_with_the_gateway_interface(host: &Host) {
    let (network, pod, added) = attached(host);
    let end = peer("cni0.100").name;
    for (damage, repair, wanted) in [
        (
            "ip address del 10.1.0.1/24 dev cni0.100".to_owned(),
            "ip address add 10.1.0.1/24 brd + dev cni0.100".to_owned(),
            "VLAN interface cni0.100 lacks the gateway address, wanted 10.1.0.1/24".to_owned(),
        ),
        (
            "ip link set cni0.100 down".to_owned(),
            "ip link set cni0.100 up".to_owned(),
            "VLAN interface cni0.100 is down, wanted up".to_owned(),
        ),
        (
            format!("ip link set {end} down"),
            format!("ip link set {end} up"),
            format!("{end} (the other end of cni0.100) is down, wanted up"),
        ),
        (
            format!("bridge vlan del dev {end} vid 100"),
            format!("bridge vlan add dev {end} vid 100 pvid untagged"),
            format!("{end} (the other end of cni0.100) has VLANs none; wanted 100 pvid untagged"),
        ),
        (
            format!("ip link set {end} nomaster"),
            "ip link del cni0.100".to_owned(),
            "the other end of cni0.100 is not a port of bridge cni0".to_owned(),
        ),
    ] {
        kernel::tool(&damage);
        assert_eq!(network.check(&pod, &added).msg(), wanted);
        kernel::tool(&repair);
    }
    let error = network.check(&pod, &added).error();
    assert_eq!(
        error.msg,
        "VLAN interface cni0.100 not found, wanted as the gateway of VLAN 100"
    );
    assert!(
        error.details.contains("lacks the gateway address"),
        "{error}"
    );
}

/// The port is the host's side of a pair that an earlier plugin made.
fn a_port_of_an_earlier_plugin_is_in_its_vlan_with_the_gateway_there(host: &Host) {
    let network = network(host, json!({"vlan": 100, "isGateway": true}));
    kernel::require_tool("ip");
    let pod = host.pod("a");
    kernel::create_bridge("cni0");
    kernel::create_veth("tap0", "cni0", &pod, "eth0");
    kernel::tool("ip link set tap0 nomaster");
    pod.inside(|| {
        kernel::add_address("eth0", "10.1.0.2/24");
        kernel::set_up("eth0");
    });
    let prev = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "tap0"}, {"name": "eth0", "sandbox": pod.path()}],
        "ips": [{"address": "10.1.0.2/24", "interface": 1}],
    });
    let network = network.with(json!({"prevResult": prev}));
    let added = network.add(&pod);
    assert_eq!(vlans("tap0"), "100 pvid untagged");
    let names: Vec<String> = added
        .result()
        .interfaces
        .into_iter()
        .map(|i| i.name)
        .collect();
    assert_eq!(names, ["tap0", "eth0", "cni0", "cni0.100"]);
    assert_eq!(kernel::addresses("cni0.100"), ["10.1.0.1/24"]);
    assert!(reaches(&pod, "10.1.0.1"));
    network.check(&pod, &added).silent_success();
}
