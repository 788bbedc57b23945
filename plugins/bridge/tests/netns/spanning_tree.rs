//! Bridges with spanning tree, as NetworkManager and libvirt make them: a port forwards only after
//! two forward delays, 4 to 60 seconds. ADD does not wait for that, and warns.

use crate::{
    kernel,
    network::{Network, V4, host_local},
};
use cni_net::PortState;
use cni_types::Code;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        add_does_not_wait_for_spanning_tree_and_says_when_packets_pass,
        status_is_ready_with_spanning_tree_and_says_what_it_means,
        check_takes_a_port_that_is_on_its_way_for_one_that_forwards,
        check_finds_a_port_that_is_off_without_spanning_tree,
        a_chained_add_does_not_wait_for_spanning_tree,
        without_spanning_tree_a_long_forward_delay_is_nothing_to_speak_of,
        the_gateway_of_a_vlan_does_not_wait_for_spanning_tree,
    ]
}

const NOTE: &str = "bridge cni0 has spanning tree on, so packets pass 30 s after ADD";

/// Creates a bridge as NetworkManager does.
fn create_bridge(stp: u8) {
    kernel::require_tool("ip");
    kernel::tool(&format!(
        "ip link add cni0 type bridge stp_state {stp} forward_delay 1500"
    ));
    kernel::tool("ip link set cni0 address 02:00:00:00:00:99 up");
}

fn network(host: &Host) -> Network<'_> {
    Network::new(host, json!({"ipam": host_local(host, &[V4])}))
}

fn state_of(port: &str) -> PortState {
    kernel::link(port).port.unwrap().state
}

fn add_does_not_wait_for_spanning_tree_and_says_when_packets_pass(host: &Host) {
    create_bridge(1);
    let pod = host.pod("a");
    let added = network(host).add(&pod);
    added.success();
    assert!(added.stderr.contains(NOTE), "{}", added.stderr);
    assert_eq!(added.stderr.lines().count(), 1, "{}", added.stderr);
    assert!(
        added.duration < Duration::from_millis(2500),
        "{:?}",
        added.duration
    );
    let port = kernel::link(&added.result().interfaces[1].name);
    assert!(port.oper_up, "an attachment is operational");
    assert_eq!(port.port.unwrap().state, PortState::Listening);
    network(host).del(&pod).silent_success();
}

fn status_is_ready_with_spanning_tree_and_says_what_it_means(host: &Host) {
    create_bridge(1);
    let outcome = network(host).status();
    outcome.silent_success();
    assert!(
        outcome.stderr.starts_with(&format!("bridge: {NOTE}")),
        "{}",
        outcome.stderr
    );
    kernel::tool("ip link set cni0 type bridge stp_state 0");
    assert_eq!(network(host).status().stderr, "");
}

fn check_takes_a_port_that_is_on_its_way_for_one_that_forwards(host: &Host) {
    create_bridge(1);
    let pod = host.pod("a");
    let added = network(host).add(&pod);
    let port = added.result().interfaces[1].name.clone();
    assert_eq!(state_of(&port), PortState::Listening);
    let check = network(host).check(&pod, &added);
    check.silent_success();
    assert_eq!(check.stderr, "");
}

/// The state that spanning tree left the port in.
fn check_finds_a_port_that_is_off_without_spanning_tree(host: &Host) {
    create_bridge(1);
    let pod = host.pod("a");
    let added = network(host).add(&pod);
    let port = added.result().interfaces[1].name.clone();
    kernel::tool("ip link set cni0 type bridge stp_state 0");
    assert_eq!(state_of(&port), PortState::Listening);
    let error = network(host).check(&pod, &added).error();
    assert_eq!(
        (error.code, error.msg),
        (
            Code::CHECK_MISMATCH,
            format!("{port} does not forward frames")
        )
    );
}

fn a_chained_add_does_not_wait_for_spanning_tree(host: &Host) {
    create_bridge(1);
    let pod = host.pod("a");
    let name = pod.path().file_name().unwrap().to_str().unwrap().to_owned();
    kernel::tool(&format!(
        "ip link add port0 type veth peer name eth0 netns {name}"
    ));
    pod.inside(|| kernel::set_up("eth0"));
    kernel::set_up("port0");
    kernel::wait_until("the pair has a carrier", || kernel::link("port0").oper_up);
    let prev: Value = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "port0"}, {"name": "eth0", "sandbox": pod.path()}],
    });
    let network = Network::new(host, json!({}));
    let added = network.with(json!({"prevResult": prev})).add(&pod);
    added.success();
    assert!(added.stderr.contains(NOTE), "{}", added.stderr);
    assert_eq!(state_of("port0"), PortState::Listening);
    network.check(&pod, &added).silent_success();
}

fn without_spanning_tree_a_long_forward_delay_is_nothing_to_speak_of(host: &Host) {
    create_bridge(0);
    let added = network(host).add(&host.pod("a"));
    assert_eq!(added.success().stderr, "");
    assert_eq!(
        state_of(&added.result().interfaces[1].name),
        PortState::Forwarding
    );
}

fn the_gateway_of_a_vlan_does_not_wait_for_spanning_tree(host: &Host) {
    kernel::require_vlan_filtering();
    create_bridge(1);
    let keys = json!({"vlan": 7, "isGateway": true});
    network(host).with(keys).add(&host.pod("a")).success();
    assert_eq!(kernel::addresses("cni0.7"), ["10.1.0.1/24"]);
}
