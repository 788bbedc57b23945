//! VLANs of the port. Most tests need a kernel with bridge VLAN filtering; refusals that come
//! before any change are tested on every kernel.

use crate::{
    kernel,
    network::{Network, V4, V6, host_local},
    snapshot::Snapshot,
};
use cni_net::{BridgeVlans, PortState, Rtnl};
use cni_types::{Code, VlanId};
use sandbox::probe;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Host, Outcome, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        vlans_that_make_no_sense_are_refused_and_nothing_is_touched,
        a_bridge_name_that_leaves_no_room_for_the_vlan_is_refused,
        a_kernel_without_vlan_filtering_is_named,
        an_access_port_is_in_its_vlan_and_in_no_other,
        an_access_port_in_vlan_1_is_in_it,
        the_default_vlan_stays_on_the_port_where_that_is_asked_for,
        a_trunk_has_all_that_is_listed,
        a_trunk_with_a_vlan_has_that_one_untagged,
        a_trunk_of_all_vlans_is_possible,
        without_the_keys_the_bridge_filters_nothing,
        an_adopted_bridge_filters_and_its_ports_keep_their_vlans,
        an_adopted_bridge_may_have_another_default_vlan_or_none,
        a_port_has_its_mode_in_a_vlan_too,
        pods_of_different_vlans_do_not_reach_one_another,
        check_passes_in_vlans,
        check_reports_a_bridge_that_does_not_filter,
        check_reports_other_vlans_of_the_port,
        status_succeeds_with_a_vlan,
    ]
}

/// Returns a network of the bridge `cni0` with these keys, on a kernel with VLANs.
pub(crate) fn network(host: &Host, keys: Value) -> Network<'_> {
    kernel::require_vlan_filtering();
    Network::new(host, keys)
}

/// Returns the same with the bridge as the gateway of its pods.
pub(crate) fn routed<'a>(host: &'a Host, subnet: &str, keys: Value) -> Network<'a> {
    network(
        host,
        json!({"isDefaultGateway": true, "ipam": host_local(host, &[subnet])}),
    )
    .with(keys)
}

pub(crate) fn vlans(port: &str) -> String {
    Rtnl::open()
        .unwrap()
        .port_vlans(kernel::link(port).index)
        .unwrap()
        .to_string()
}

pub(crate) fn port(added: &Outcome) -> String {
    added.result().interfaces[1].name.clone()
}

fn filtering() -> Option<BridgeVlans> {
    kernel::link("cni0").vlans
}

pub(crate) fn reaches(pod: &Pod, address: &str) -> bool {
    // An emulated machine may stand still for seconds.
    pod.inside(|| probe::ping(address.parse().unwrap(), Duration::from_secs(10)))
        .is_ok()
}

fn vlans_that_make_no_sense_are_refused_and_nothing_is_touched(host: &Host) {
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    for (keys, msg) in [
        (
            json!({"vlan": -100}),
            "invalid VLAN ID -100 (must be between 0 and 4094)",
        ),
        (
            json!({"vlan": 5000}),
            "invalid VLAN ID 5000 (must be between 0 and 4094)",
        ),
        (
            json!({"vlanTrunk": [{"id": 0}]}),
            "incorrect trunk id parameter",
        ),
        (
            json!({"vlanTrunk": [{"minID": 0, "maxID": 5}]}),
            "incorrect trunk minID parameter",
        ),
        (
            json!({"vlanTrunk": [{"minID": 5, "maxID": 5000}]}),
            "incorrect trunk maxID parameter",
        ),
        (
            json!({"vlanTrunk": [{"minID": 9, "maxID": 5}]}),
            "minID is greater than maxID in trunk parameter",
        ),
        (
            json!({"vlanTrunk": [{"maxID": 5}]}),
            "minID and maxID should be configured simultaneously, minID is missing",
        ),
        (
            json!({"vlanTrunk": [{"minID": 5}]}),
            "minID and maxID should be configured simultaneously, maxID is missing",
        ),
    ] {
        let ipam = json!({"isGateway": true, "ipam": host_local(host, &[V4])});
        let outcome = Network::new(host, ipam).with(keys).add(&pod);
        assert_eq!(
            (outcome.code(), outcome.msg().as_str()),
            (Code::INVALID_CONFIG, msg)
        );
        before.require_unchanged();
    }
}

fn a_bridge_name_that_leaves_no_room_for_the_vlan_is_refused(host: &Host) {
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    let keys = json!({"bridge": "bridge123456", "vlan": 100, "isGateway": true, "ipam": host_local(host, &[V4])});
    let outcome = Network::new(host, keys).add(&pod);
    assert_eq!(outcome.code(), Code::INVALID_CONFIG);
    assert_eq!(
        outcome.msg(),
        "invalid VLAN interface name \"bridge123456.100\": interface name is too long"
    );
    before.require_unchanged();
}

/// The kernel itself says no more than "operation not supported".
fn a_kernel_without_vlan_filtering_is_named(host: &Host) {
    testkit::only_where(
        "the kernel has no bridge VLAN filtering",
        !kernel::has_vlan_filtering(),
    );
    let pod = host.pod("a");
    kernel::create_bridge("cni0");
    for keys in [json!({"vlan": 100}), json!({"vlanTrunk": [{"id": 7}]})] {
        let network = Network::new(host, keys);
        let before = Snapshot::of(host, &[&pod]);
        let outcome = network.add(&pod);
        let msg = "the kernel has no bridge VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING)";
        assert_eq!(
            (outcome.code(), outcome.msg().as_str()),
            (Code::KERNEL, msg)
        );
        before.require_unchanged();
        let outcome = network.status();
        assert_eq!(
            (outcome.code(), outcome.msg().as_str()),
            (Code::UNAVAILABLE, msg)
        );
        // A bridge that was created for this ADD is not left behind.
        let error = network.with(json!({"bridge": "new0"})).add(&pod).error();
        assert_eq!((error.code, error.msg.as_str()), (Code::KERNEL, msg));
        before.require_unchanged();
    }
}

fn an_access_port_is_in_its_vlan_and_in_no_other(host: &Host) {
    let network = network(host, json!({"vlan": 100}));
    let pod = host.pod("a");
    let added = network.add(&pod);
    assert_eq!(filtering().map(|vlans| vlans.filtering), Some(true));
    assert_eq!(vlans(&port(&added)), "100 pvid untagged");
    assert_eq!(kernel::names().len(), 3);
    network.check(&pod, &added).silent_success();
    network.del(&pod).silent_success();
    assert_eq!(kernel::names(), ["cni0", "lo"]);
}

fn an_access_port_in_vlan_1_is_in_it(host: &Host) {
    let network = network(host, json!({"vlan": 1}));
    assert_eq!(
        vlans(&port(&network.add(&host.pod("a")))),
        "1 pvid untagged"
    );
}

fn the_default_vlan_stays_on_the_port_where_that_is_asked_for(host: &Host) {
    let network = network(host, json!({"vlan": 100, "preserveDefaultVlan": true}));
    let pod = host.pod("a");
    let added = network.add(&pod);
    assert_eq!(vlans(&port(&added)), "1 untagged, 100 pvid untagged");
    network.check(&pod, &added).silent_success();
    let trunk = network
        .with(json!({"vlanTrunk": [{"id": 7}]}))
        .add(&host.pod("b"));
    assert_eq!(vlans(&port(&trunk)), "1 untagged, 7, 100 pvid untagged");
}

fn a_trunk_has_all_that_is_listed(host: &Host) {
    let trunk =
        json!([{"id": 101}, {"minID": 200, "maxID": 203}, {"id": 300, "minID": 400, "maxID": 400}]);
    let network = network(host, json!({"vlanTrunk": trunk}));
    let pod = host.pod("a");
    let added = network.add(&pod);
    assert_eq!(filtering().map(|vlans| vlans.filtering), Some(true));
    assert_eq!(
        vlans(&port(&added)),
        "1 pvid untagged, 101, 200-203, 300, 400"
    );
    network.check(&pod, &added).silent_success();
}

fn a_trunk_with_a_vlan_has_that_one_untagged(host: &Host) {
    let trunk = json!([{"minID": 99, "maxID": 101}, {"id": 100}]);
    let network = network(host, json!({"vlan": 100, "vlanTrunk": trunk}));
    let pod = host.pod("a");
    let added = network.add(&pod);
    assert_eq!(vlans(&port(&added)), "99, 100 pvid untagged, 101");
    network.check(&pod, &added).silent_success();
}

fn a_trunk_of_all_vlans_is_possible(host: &Host) {
    let network = network(
        host,
        json!({"vlan": 5, "vlanTrunk": [{"minID": 1, "maxID": 4094}]}),
    );
    let pod = host.pod("a");
    let added = network.add(&pod);
    assert_eq!(vlans(&port(&added)), "1-4, 5 pvid untagged, 6-4094");
    network.check(&pod, &added).silent_success();
}

fn without_the_keys_the_bridge_filters_nothing(host: &Host) {
    for (at, keys) in [
        json!({}),
        json!({"vlan": 0}),
        json!({"vlanTrunk": []}),
        json!({"preserveDefaultVlan": false}),
    ]
    .into_iter()
    .enumerate()
    {
        let added = network(host, keys).add(&host.pod(&format!("p{at}")));
        assert_eq!(filtering().map(|vlans| vlans.filtering), Some(false));
        assert_eq!(vlans(&port(&added)), "1 pvid untagged");
    }
}

fn an_adopted_bridge_filters_and_its_ports_keep_their_vlans(host: &Host) {
    let network = network(host, json!({"vlan": 100}));
    kernel::create_bridge("cni0");
    kernel::create_veth("other0", "cni0", &host.pod("x"), "x0");
    let added = network.add(&host.pod("a"));
    assert_eq!(filtering().map(|vlans| vlans.filtering), Some(true));
    assert_eq!(vlans("other0"), "1 pvid untagged");
    assert_eq!(vlans(&port(&added)), "100 pvid untagged");
}

fn an_adopted_bridge_may_have_another_default_vlan_or_none(host: &Host) {
    let network = network(host, json!({"vlan": 100}));
    kernel::require_tool("ip");
    kernel::create_bridge("cni0");
    for (at, (default, access, kept, trunk)) in [
        (
            7,
            "100 pvid untagged",
            "7 untagged, 100 pvid untagged",
            "7 pvid untagged, 8",
        ),
        (0, "100 pvid untagged", "100 pvid untagged", "8"),
    ]
    .into_iter()
    .enumerate()
    {
        kernel::tool(&format!(
            "ip link set cni0 type bridge vlan_default_pvid {default}"
        ));
        assert_eq!(filtering().unwrap().default, VlanId::new(default));
        for (keys, wanted) in [
            (json!({}), access),
            (json!({"preserveDefaultVlan": true}), kept),
            (json!({"vlan": 0, "vlanTrunk": [{"id": 8}]}), trunk),
        ] {
            let network = network.with(keys);
            let pod = host.pod(&format!("p{at}"));
            let added = network.add(&pod);
            assert_eq!(vlans(&port(&added)), wanted);
            network.check(&pod, &added).silent_success();
            network.del(&pod).silent_success();
            pod.remove();
        }
    }
}

fn a_port_has_its_mode_in_a_vlan_too(host: &Host) {
    let keys = json!({"vlan": 100, "hairpinMode": true, "portIsolation": true});
    let link = kernel::link(&port(&network(host, keys).add(&host.pod("a"))));
    let found = link.port.unwrap();
    assert!(found.hairpin && found.isolated && found.state == PortState::Forwarding);
}

fn pods_of_different_vlans_do_not_reach_one_another(host: &Host) {
    let ipam = json!({"ipam": host_local(host, &[V4])});
    let network = network(host, ipam);
    let [a, b, c] = ["a", "b", "c"].map(|name| host.pod(name));
    network.with(json!({"vlan": 100})).add(&a).success();
    let in_100 = network.with(json!({"vlan": 100})).add(&b).result().ips[0]
        .address
        .address()
        .to_string();
    let in_200 = network.with(json!({"vlan": 200})).add(&c).result().ips[0]
        .address
        .address()
        .to_string();
    assert!(reaches(&a, &in_100));
    assert!(
        a.inside(|| probe::ping(in_200.parse().unwrap(), Duration::from_secs(1)))
            .is_err()
    );
}

fn check_passes_in_vlans(host: &Host) {
    for (at, keys) in [
        json!({"vlan": 100}),
        json!({"vlan": 100, "disableContainerInterface": true}),
        json!({"vlanTrunk": [{"minID": 2, "maxID": 4000}]}),
        json!({"vlan": 100, "ipam": host_local(host, &[V4]), "isGateway": true, "preserveDefaultVlan": true}),
        json!({"vlan": 9, "ipam": host_local(host, &[V6]), "isGateway": true, "vlanTrunk": [{"id": 1}]}),
    ]
    .into_iter()
    .enumerate()
    {
        let network = network(host, keys).with(json!({"bridge": format!("br{at}")}));
        let pod = host.pod(&format!("p{at}"));
        let added = network.add(&pod);
        network.check(&pod, &added).silent_success();
    }
}

/// Attaches a pod in VLAN 100 with its gateway there; CHECK passes.
pub(crate) fn attached(host: &Host) -> (Network<'_>, Pod, Outcome) {
    let network = routed(host, V4, json!({"vlan": 100}));
    kernel::require_tool("ip");
    kernel::require_tool("bridge");
    let pod = host.pod("a");
    let added = network.add(&pod);
    network.check(&pod, &added).silent_success();
    (network, pod, added)
}

fn check_reports_a_bridge_that_does_not_filter(host: &Host) {
    let (network, pod, added) = attached(host);
    kernel::tool("ip link set cni0 type bridge vlan_filtering 0");
    let outcome = network.check(&pod, &added);
    assert_eq!(
        outcome.msg(),
        "Bridge interface cni0 has VLAN filtering false, wanted true"
    );
    assert_eq!(outcome.code(), Code::CHECK_MISMATCH);
}

fn check_reports_other_vlans_of_the_port(host: &Host) {
    let (network, pod, added) = attached(host);
    let port = port(&added);
    kernel::tool(&format!("bridge vlan add dev {port} vid 1 untagged"));
    let wanted =
        format!("{port} has VLANs 1 untagged, 100 pvid untagged; wanted 100 pvid untagged");
    assert_eq!(network.check(&pod, &added).msg(), wanted);
    kernel::tool(&format!("bridge vlan del dev {port} vid 1"));
    kernel::tool(&format!("bridge vlan del dev {port} vid 100"));
    let wanted = format!("{port} has VLANs none; wanted 100 pvid untagged");
    assert_eq!(network.check(&pod, &added).msg(), wanted);
    kernel::tool(&format!("bridge vlan add dev {port} vid 100 pvid untagged"));
    network.check(&pod, &added).silent_success();
    let trunk = network.with(json!({"vlanTrunk": [{"id": 7}]}));
    let wanted = format!("{port} has VLANs 100 pvid untagged; wanted 7, 100 pvid untagged");
    assert_eq!(trunk.check(&pod, &added).msg(), wanted);
}

fn status_succeeds_with_a_vlan(host: &Host) {
    let network = routed(host, V4, json!({"vlan": 100}));
    network.status().silent_success();
    network.add(&host.pod("a")).success();
    let before = Snapshot::of(host, &[]);
    network.status().silent_success();
    before.require_unchanged();
}
