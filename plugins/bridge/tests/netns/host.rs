//! The bridge, its port, their MTU, MAC addresses and modes.

use crate::{
    kernel,
    network::{Network, V4, host_local},
    snapshot::Snapshot,
};
use cni_net::{LinkKind, PortState};
use cni_types::{Command, MacAddr};
use serde_json::json;
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_missing_bridge_is_made_and_set_up,
        the_default_bridge_is_cni0,
        an_existing_bridge_is_adopted,
        a_bridge_that_is_down_is_set_up,
        another_link_with_the_name_of_the_bridge_is_an_error,
        a_percent_sign_in_a_name_is_refused,
        the_mtu_is_set_on_the_bridge_and_both_ends,
        an_adopted_bridge_keeps_its_mtu_while_the_pair_gets_the_asked_one,
        without_mtu_both_ends_have_the_mtu_of_the_bridge,
        a_network_without_mtu_leaves_the_mtu_of_anothers_bridge,
        the_host_gets_the_bridge_and_one_port_and_nothing_else,
        the_hosts_end_says_whose_it_is,
        the_port_forwards_when_add_returns,
        hairpin_mode_is_set_on_the_port,
        port_isolation_is_set_on_the_port,
        hairpin_and_isolation_go_together,
        promiscuous_mode_is_set_on_the_bridge_and_only_there,
        without_keys_the_port_and_the_bridge_are_plain,
        the_hosts_end_takes_no_router_advertisements,
        the_bridges_mac_stays_the_same_over_add_and_del_with_gateway,
        an_adopted_bridge_without_ports_keeps_its_mac,
        an_adopted_bridge_that_has_the_gateways_address_keeps_its_mac,
        an_adopted_bridge_whose_last_port_left_gets_a_mac_of_its_own,
        an_adopted_bridge_with_a_foreign_port_keeps_its_mac_when_that_port_leaves,
    ]
}

fn a_missing_bridge_is_made_and_set_up(host: &Host) {
    let pod = host.pod("a");
    Network::new(host, json!({"bridge": "br-x.1"}))
        .add(&pod)
        .success();
    let bridge = kernel::link("br-x.1");
    assert!(bridge.kind == LinkKind::Bridge && bridge.up && bridge.oper_up);
}

fn the_default_bridge_is_cni0(host: &Host) {
    let pod = host.pod("a");
    let added = Network::new(host, json!({"bridge": null}))
        .add(&pod)
        .result();
    assert_eq!(added.interfaces[0].name, "cni0");
    assert_eq!(kernel::link("cni0").kind, LinkKind::Bridge);
}

fn an_existing_bridge_is_adopted(host: &Host) {
    let before = kernel::create_bridge("cni0");
    let pod = host.pod("a");
    let added = Network::new(host, json!({})).add(&pod).result();
    let after = kernel::link("cni0");
    assert_eq!((after.index, after.mac), (before.index, before.mac));
    assert_eq!(
        kernel::link(&added.interfaces[1].name).master,
        Some(before.index)
    );
}

fn a_bridge_that_is_down_is_set_up(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::set_down("cni0");
    let pod = host.pod("a");
    Network::new(host, json!({})).add(&pod).success();
    assert!(kernel::link("cni0").up);
}

/// The kernel would replace it by a number, and create another link each time.
fn a_percent_sign_in_a_name_is_refused(host: &Host) {
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    let outcome = Network::new(host, json!({"bridge": "br%d"})).add(&pod);
    assert_eq!(
        (outcome.code().0, outcome.msg().as_str()),
        (7, "invalid bridge name \"br%d\": interface name contains %")
    );
    let outcome = Network::new(host, json!({}))
        .attachment(Command::Add, &pod)
        .ifname("eth%d")
        .run();
    assert_eq!(
        (outcome.code().0, outcome.msg().as_str()),
        (4, "interface name contains %")
    );
    before.require_unchanged();
}

fn another_link_with_the_name_of_the_bridge_is_an_error(host: &Host) {
    let pod = host.pod("a");
    let added = Network::new(host, json!({})).add(&pod).result();
    let port = added.interfaces[1].name.clone();
    let other = host.pod("b");
    let before = Snapshot::of(host, &[&pod, &other]);
    let outcome = Network::new(host, json!({"bridge": port})).add(&other);
    assert_eq!(
        outcome.msg(),
        format!(
            "failed to create bridge \"{port}\": \"{port}\" already exists but is not a bridge"
        )
    );
    assert_eq!(outcome.code().0, 7);
    before.require_unchanged();
}

fn the_mtu_is_set_on_the_bridge_and_both_ends(host: &Host) {
    let pod = host.pod("a");
    let added = Network::new(host, json!({"mtu": 1400})).add(&pod).result();
    assert_eq!(kernel::link("cni0").mtu, 1400);
    assert_eq!(kernel::link(&added.interfaces[1].name).mtu, 1400);
    assert_eq!(kernel::eth0(&pod).mtu, 1400);
}

/// A port with a smaller MTU makes the kernel lower that of a bridge without an MTU of its own;
/// both work.
fn an_adopted_bridge_keeps_its_mtu_while_the_pair_gets_the_asked_one(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::change("cni0", |batch, link| batch.set_mtu(link, 1450));
    let pod = host.pod("a");
    let added = Network::new(host, json!({"mtu": 1400})).add(&pod).result();
    assert_eq!(kernel::link("cni0").mtu, 1450);
    assert_eq!(kernel::link(&added.interfaces[1].name).mtu, 1400);
    assert_eq!(kernel::eth0(&pod).mtu, 1400);
    assert_eq!(added.interfaces[0].mtu, Some(1450));
}

fn the_host_gets_the_bridge_and_one_port_and_nothing_else(host: &Host) {
    let a = host.pod("a");
    let b = host.pod("b");
    let network = Network::new(
        host,
        json!({"isGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4])}),
    );
    let first = network.add(&a).result().interfaces[1].name.clone();
    let mut wanted = vec!["cni0".to_owned(), "lo".to_owned(), first];
    wanted.sort();
    assert_eq!(kernel::names(), wanted);
    wanted.push(network.add(&b).result().interfaces[1].name.clone());
    wanted.sort();
    assert_eq!(kernel::names(), wanted);
    assert_eq!(a.inside(kernel::names), ["eth0", "lo"]);
}

fn the_hosts_end_says_whose_it_is(host: &Host) {
    let pod = host.pod("a");
    let added = Network::new(host, json!({})).add(&pod).result();
    assert_eq!(
        kernel::link(&added.interfaces[1].name).alias.as_deref(),
        Some("cni net a eth0")
    );
}

fn the_port_forwards_when_add_returns(host: &Host) {
    let pod = host.pod("a");
    let added = Network::new(host, json!({})).add(&pod).result();
    let port = kernel::link(&added.interfaces[1].name);
    assert_eq!(
        port.port.map(|port| port.state),
        Some(PortState::Forwarding)
    );
    assert!(port.oper_up && kernel::eth0(&pod).oper_up);
}

/// Returns hairpin mode and isolation of the port that an ADD with `keys` makes.
fn port_modes(host: &Host, keys: serde_json::Value) -> (bool, bool) {
    let pod = host.pod("a");
    let added = Network::new(host, keys).add(&pod).result();
    let port = kernel::link(&added.interfaces[1].name).port.unwrap();
    (port.hairpin, port.isolated)
}

fn hairpin_mode_is_set_on_the_port(host: &Host) {
    assert_eq!(
        port_modes(host, json!({"hairpinMode": true})),
        (true, false)
    );
}

fn port_isolation_is_set_on_the_port(host: &Host) {
    assert_eq!(
        port_modes(host, json!({"portIsolation": true})),
        (false, true)
    );
}

fn hairpin_and_isolation_go_together(host: &Host) {
    assert_eq!(
        port_modes(host, json!({"portIsolation": true, "hairpinMode": true})),
        (true, true)
    );
}

fn promiscuous_mode_is_set_on_the_bridge_and_only_there(host: &Host) {
    kernel::create_bridge("cni0");
    assert_eq!(
        port_modes(host, json!({"promiscMode": true})),
        (false, false)
    );
    let promiscuous: Vec<String> = kernel::names()
        .into_iter()
        .filter(|name| kernel::link(name).promiscuous)
        .collect();
    assert_eq!(promiscuous, ["cni0"]);
}

fn without_keys_the_port_and_the_bridge_are_plain(host: &Host) {
    assert_eq!(port_modes(host, json!({})), (false, false));
    assert!(!kernel::link("cni0").promiscuous);
}

fn the_hosts_end_takes_no_router_advertisements(host: &Host) {
    let pod = host.pod("a");
    let added = Network::new(host, json!({})).add(&pod).result();
    assert_eq!(
        kernel::sysctl(&format!("ipv6/conf/{}/accept_ra", added.interfaces[1].name)),
        "0"
    );
}

fn with_gateway(host: &Host) -> Network<'_> {
    Network::new(
        host,
        json!({"isGateway": true, "ipam": host_local(host, &[V4])}),
    )
}

/// Asserts that the bridge has the MAC address `wanted`, and that no port has it.
fn require_own_mac(wanted: &str) {
    assert_eq!(kernel::mac("cni0"), wanted);
    assert_ne!(wanted, MacAddr::ZERO.to_string());
    for name in kernel::names()
        .iter()
        .filter(|name| name.starts_with("veth"))
    {
        assert_ne!(kernel::mac(name), wanted, "{name}");
    }
}

fn the_bridges_mac_stays_the_same_over_add_and_del_with_gateway(host: &Host) {
    let network = with_gateway(host);
    let pods = ["a", "b", "c", "d"].map(|name| host.pod(name));
    network.add(&pods[0]).success();
    let mac = kernel::mac("cni0");
    for pod in &pods[1..] {
        assert_eq!(network.add(pod).result().interfaces[0].mac, mac);
        require_own_mac(&mac);
    }
    for pod in &pods {
        network.del(pod).silent_success();
        require_own_mac(&mac);
    }
    network.add(&pods[0]).success();
    require_own_mac(&mac);
}

/// Made by `ip link add`, the bridge has an address that the kernel changes with the ports.
fn an_adopted_bridge_without_ports_keeps_its_mac(host: &Host) {
    kernel::require_tool("ip");
    kernel::tool("ip link add cni0 type bridge");
    let network = with_gateway(host);
    let pod = host.pod("a");
    let mac = kernel::mac("cni0");
    assert_eq!(network.add(&pod).result().interfaces[0].mac, mac);
    require_own_mac(&mac);
    network.del(&pod).silent_success();
    require_own_mac(&mac);
}

fn an_adopted_bridge_that_has_the_gateways_address_keeps_its_mac(host: &Host) {
    kernel::require_tool("ip");
    kernel::tool("ip link add cni0 type bridge");
    kernel::add_address("cni0", "10.1.0.1/24");
    let network = with_gateway(host);
    let pod = host.pod("a");
    let mac = kernel::mac("cni0");
    assert_eq!(network.add(&pod).result().interfaces[0].mac, mac);
    require_own_mac(&mac);
    network.del(&pod).silent_success();
    require_own_mac(&mac);
}

fn an_adopted_bridge_whose_last_port_left_gets_a_mac_of_its_own(host: &Host) {
    kernel::require_tool("ip");
    kernel::tool("ip link add cni0 type bridge");
    kernel::tool("ip link add p0 type veth peer name p1");
    kernel::tool("ip link set p0 master cni0");
    kernel::tool("ip link del p0");
    assert_eq!(kernel::mac("cni0"), MacAddr::ZERO.to_string());
    let network = with_gateway(host);
    let pod = host.pod("a");
    let mac = network.add(&pod).result().interfaces[0].mac.clone();
    require_own_mac(&mac);
    network.del(&pod).silent_success();
    require_own_mac(&mac);
}

fn an_adopted_bridge_with_a_foreign_port_keeps_its_mac_when_that_port_leaves(host: &Host) {
    kernel::require_tool("ip");
    kernel::tool("ip link add cni0 type bridge");
    // The lowest address of all: no other port can change the bridge's.
    kernel::tool("ip link add p0 address 02:00:00:00:00:01 type veth peer name p1");
    kernel::tool("ip link set p0 master cni0");
    let network = with_gateway(host);
    let pod = host.pod("a");
    let mac = network.add(&pod).result().interfaces[0].mac.clone();
    kernel::tool("ip link del p0");
    require_own_mac(&mac);
    network.del(&pod).silent_success();
    require_own_mac(&mac);
}

/// A bridge whose MTU comes from its ports, as from an uplink with jumbo frames; and one with less
/// than the kernel's default.
fn without_mtu_both_ends_have_the_mtu_of_the_bridge(host: &Host) {
    for (bridge, mtu) in [("jumbo0", 9000), ("small0", 1400)] {
        kernel::create_bridge(bridge);
        let far = host.pod(&format!("far-{bridge}"));
        let pod = host.pod(&format!("pod-{bridge}"));
        let uplink = format!("up-{bridge}");
        kernel::create_veth(&uplink, bridge, &far, "eth0");
        kernel::change(&uplink, |batch, link| batch.set_mtu(link, mtu));
        assert_eq!(kernel::link(bridge).mtu, mtu);
        let added = Network::new(host, json!({"bridge": bridge}))
            .add(&pod)
            .result();
        assert_eq!(kernel::link(&added.interfaces[1].name).mtu, mtu);
        assert_eq!(
            (kernel::eth0(&pod).mtu, kernel::link(bridge).mtu),
            (mtu, mtu)
        );
    }
}

fn a_network_without_mtu_leaves_the_mtu_of_anothers_bridge(host: &Host) {
    Network::new(host, json!({"mtu": 9000}))
        .add(&host.pod("a"))
        .success();
    let pod = host.pod("b");
    Network::new(host, json!({"name": "second"}))
        .add(&pod)
        .success();
    assert_eq!(
        (kernel::link("cni0").mtu, kernel::eth0(&pod).mtu),
        (9000, 9000)
    );
}
