//! An address that was used before: packets reach its new owner at once, in spite of the
//! neighbours' entries.

use crate::{
    kernel,
    network::{Network, V4, V6, fixed_ipam, host_local},
};
use cni_net::Rtnl;
use sandbox::{
    probe::ping,
    wire::{Listener, announced},
};
use serde_json::json;
use std::{net::IpAddr, time::Duration};
use testkit::{Host, OrFail, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_first_ping_from_the_host_is_answered_within_100_ms_despite_a_stale_neighbour,
        the_first_ping_from_another_pod_is_answered_within_100_ms_despite_a_stale_neighbour,
        the_first_ping_is_answered_where_the_host_is_deaf_to_announcements,
        announcements_reach_other_ports,
        announcements_come_after_duplicate_address_detection_too,
        del_forgets_the_neighbour,
        del_without_a_previous_result_leaves_neighbours_and_succeeds,
        add_makes_no_neighbour_where_none_was,
    ]
}

const NEW: [&str; 2] = ["10.1.0.3", "fd01::3"];
const LIMIT: Duration = Duration::from_millis(100);

/// Returns a network with one pod; its next pod gets the addresses [`NEW`].
fn scene(host: &Host) -> (Network<'_>, Pod) {
    kernel::require_tool("ip");
    let network = Network::new(
        host,
        json!({"isGateway": true, "ipam": host_local(host, &[V4, V6])}),
    );
    let other = host.pod("other");
    network.add(&other).success();
    (network, other)
}

/// Adds the neighbour entries of a container that had the addresses before.
fn remember(interface: &str) {
    for address in NEW {
        kernel::tool(&format!(
            "ip neigh replace {address} lladdr 02:de:ad:00:00:01 dev {interface} nud stale"
        ));
    }
}

#[track_caller]
fn require_ping(address: &str) {
    let address: IpAddr = address.parse().unwrap();
    ping(address, LIMIT).or_fail(&format!("get an answer from {address}"));
}

fn neighbours(interface: &str) -> Vec<(String, String)> {
    let index = kernel::link(interface).index;
    let all = Rtnl::open()
        .unwrap()
        .neighbours(index)
        .or_fail("list neighbours");
    let known = all
        .into_iter()
        .filter_map(|n| Some((n.address.to_string(), n.mac?.to_string())));
    known
        .filter(|(address, _)| NEW.contains(&address.as_str()))
        .collect()
}

fn the_first_ping_from_the_host_is_answered_within_100_ms_despite_a_stale_neighbour(host: &Host) {
    let (network, _other) = scene(host);
    remember("cni0");
    network.add(&host.pod("a")).success();
    NEW.into_iter().for_each(require_ping);
}

fn the_first_ping_from_another_pod_is_answered_within_100_ms_despite_a_stale_neighbour(
    host: &Host,
) {
    let (network, other) = scene(host);
    other.inside(|| remember("eth0"));
    network.add(&host.pod("a")).success();
    other.inside(|| NEW.into_iter().for_each(require_ping));
}

/// The host's own entry does not depend on an announcement, which a sysctl may drop.
fn the_first_ping_is_answered_where_the_host_is_deaf_to_announcements(host: &Host) {
    let (network, _other) = scene(host);
    kernel::set_sysctl("ipv4/conf/cni0/drop_gratuitous_arp", "1");
    kernel::set_sysctl("ipv6/conf/cni0/drop_unsolicited_na", "1");
    remember("cni0");
    network.add(&host.pod("a")).success();
    NEW.into_iter().for_each(require_ping);
}

#[track_caller]
fn require_announcements(listener: &Listener) {
    for address in NEW.map(|address| address.parse::<IpAddr>().unwrap()) {
        let found = listener.wait_for(Duration::from_secs(2), |frame| {
            announced(frame) == Some(address)
        });
        found
            .or_fail("listen")
            .or_fail(&format!("hear {address} announced"));
    }
}

fn announcements_reach_other_ports(host: &Host) {
    let (network, other) = scene(host);
    let listener = other.inside(Listener::start).or_fail("listen");
    network.add(&host.pod("a")).success();
    require_announcements(&listener);
}

fn announcements_come_after_duplicate_address_detection_too(host: &Host) {
    let (network, other) = scene(host);
    let listener = other.inside(Listener::start).or_fail("listen");
    network
        .with(json!({"enabledad": true}))
        .add(&host.pod("a"))
        .success();
    require_announcements(&listener);
}

fn del_forgets_the_neighbour(host: &Host) {
    let (network, _other) = scene(host);
    let pod = host.pod("a");
    let added = network.add(&pod).json();
    NEW.into_iter().for_each(require_ping);
    assert_eq!(neighbours("cni0").len(), 2);
    network
        .with(json!({"prevResult": added}))
        .del(&pod)
        .silent_success();
    assert_eq!(neighbours("cni0"), []);
}

fn del_without_a_previous_result_leaves_neighbours_and_succeeds(host: &Host) {
    let (network, _other) = scene(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    NEW.into_iter().for_each(require_ping);
    network.del(&pod).silent_success();
    assert_eq!(neighbours("cni0").len(), 2);
}

/// A bridge without an address needs none, and with one the kernel asks when it must.
fn add_makes_no_neighbour_where_none_was(host: &Host) {
    let ipam = fixed_ipam(
        host,
        "fixed",
        json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.3/24"}]}),
    );
    Network::new(host, json!({"ipam": ipam}))
        .add(&host.pod("a"))
        .success();
    assert_eq!(neighbours("cni0"), []);
}
