//! The container's interface: MAC address, sysctls, duplicate address detection, and
//! `disableContainerInterface`.

use crate::{
    kernel,
    network::{Network, V4, V6, fixed_ipam, host_local},
    snapshot::Snapshot,
};
use cni_types::Command;
use serde_json::{Value, json};
use testkit::{Host, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_mac_is_taken_from_runtime_config_then_args_then_cni_args,
        without_a_mac_the_kernels_is_reported,
        a_bad_mac_is_an_error_by_all_three_ways,
        arp_notify_is_on,
        ipv6_is_switched_on_where_it_is_wanted,
        ipv6_stays_off_where_no_v6_address_is_given,
        without_enabledad_addresses_can_be_used_at_once,
        with_enabledad_addresses_are_settled_when_add_returns,
        with_enabledad_a_duplicate_is_an_error,
        there_is_exactly_one_link_local_address,
        the_interface_is_operational_when_add_returns,
        a_disabled_interface_stays_down_without_addresses,
        a_disabled_interface_cannot_have_ipam,
    ]
}

fn the_mac_is_taken_from_runtime_config_then_args_then_cni_args(host: &Host) {
    let runtime = json!({"runtimeConfig": {"mac": "c2:00:00:00:00:01"}});
    let args = json!({"args": {"cni": {"mac": "c2:00:00:00:00:02"}}});
    let mut both = runtime.clone();
    both["args"] = args["args"].clone();
    for (name, keys, wanted) in [
        ("a", json!({}), "c2:00:00:00:00:03"),
        ("b", args, "c2:00:00:00:00:02"),
        ("c", both, "c2:00:00:00:00:01"),
        ("d", runtime, "c2:00:00:00:00:01"),
        (
            "e",
            json!({"RuntimeConfig": {"mac": "C2-00-00-00-00-05"}}),
            "c2:00:00:00:00:05",
        ),
    ] {
        let pod = host.pod(name);
        let network = Network::new(host, keys).with(json!({"ipam": host_local(host, &[V4])}));
        let cni_args = "IgnoreUnknown=1;MAC=c2:00:00:00:00:03";
        let result = network
            .attachment(Command::Add, &pod)
            .args(cni_args)
            .run()
            .result();
        assert_eq!(pod.inside(|| kernel::mac("eth0")), wanted);
        assert_eq!(result.interfaces[2].mac, wanted);
        // Another container may have the same address next.
        network
            .attachment(Command::Del, &pod)
            .args(cni_args)
            .run()
            .silent_success();
    }
}

fn without_a_mac_the_kernels_is_reported(host: &Host) {
    let pod = host.pod("a");
    let result = Network::new(host, json!({})).add(&pod).result();
    assert_eq!(result.interfaces[2].mac, pod.inside(|| kernel::mac("eth0")));
}

fn a_bad_mac_is_an_error_by_all_three_ways(host: &Host) {
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    for (keys, args) in [
        (json!({"runtimeConfig": {"mac": "c2:xx"}}), ""),
        (json!({"args": {"cni": {"mac": "c2:xx"}}}), ""),
        (json!({}), "MAC=c2:xx"),
    ] {
        let outcome = Network::new(host, keys)
            .attachment(Command::Add, &pod)
            .args(args)
            .run();
        assert!(
            outcome.msg().ends_with("invalid MAC address"),
            "{}",
            outcome.msg()
        );
        assert!(outcome.msg().contains("c2:xx"), "{}", outcome.msg());
    }
    before.require_unchanged();
}

/// Returns a pod as container runtimes make it: IPv6 off.
fn pod_without_ipv6(host: &Host) -> Pod {
    let pod = host.pod("a");
    pod.inside(|| {
        kernel::set_sysctl("ipv6/conf/all/disable_ipv6", "1");
        kernel::set_sysctl("ipv6/conf/default/disable_ipv6", "1");
    });
    pod
}

fn parameter(pod: &Pod, path: &str) -> String {
    pod.inside(|| kernel::sysctl(path))
}

fn arp_notify_is_on(host: &Host) {
    let pod = host.pod("a");
    Network::new(host, json!({"ipam": host_local(host, &[V4])}))
        .add(&pod)
        .success();
    assert_eq!(parameter(&pod, "ipv4/conf/eth0/arp_notify"), "1");
}

fn ipv6_is_switched_on_where_it_is_wanted(host: &Host) {
    let pod = pod_without_ipv6(host);
    Network::new(
        host,
        json!({"isGateway": true, "ipam": host_local(host, &[V4, V6])}),
    )
    .add(&pod)
    .success();
    for interface in ["lo", "eth0"] {
        assert_eq!(
            parameter(&pod, &format!("ipv6/conf/{interface}/disable_ipv6")),
            "0",
            "{interface}"
        );
        assert_eq!(
            parameter(&pod, &format!("ipv6/conf/{interface}/keep_addr_on_down")),
            "1",
            "{interface}"
        );
    }
    assert_eq!(
        pod.inside(|| kernel::addresses("eth0")),
        ["10.1.0.2/24", "fd01::2/64"]
    );
    pod.inside(|| {
        kernel::set_down("eth0");
        assert_eq!(kernel::addresses("eth0"), ["10.1.0.2/24", "fd01::2/64"]);
    });
}

fn ipv6_stays_off_where_no_v6_address_is_given(host: &Host) {
    let pod = pod_without_ipv6(host);
    Network::new(host, json!({"ipam": host_local(host, &[V4])}))
        .add(&pod)
        .success();
    for interface in ["lo", "eth0"] {
        assert_eq!(
            parameter(&pod, &format!("ipv6/conf/{interface}/disable_ipv6")),
            "1",
            "{interface}"
        );
    }
}

fn without_enabledad_addresses_can_be_used_at_once(host: &Host) {
    let pod = host.pod("a");
    Network::new(host, json!({"ipam": host_local(host, &[V6])}))
        .add(&pod)
        .success();
    assert!(
        !pod.inside(|| kernel::tentative("eth0"))
            .contains(&"fd01::2/64".to_owned())
    );
    assert_eq!(parameter(&pod, "ipv6/conf/eth0/accept_dad"), "0");
}

fn with_enabledad_addresses_are_settled_when_add_returns(host: &Host) {
    let pod = host.pod("a");
    pod.inside(|| {
        kernel::set_sysctl("ipv6/conf/default/accept_dad", "0");
        kernel::set_sysctl("ipv6/conf/default/enhanced_dad", "0");
    });
    let network = Network::new(
        host,
        json!({"enabledad": true, "ipam": host_local(host, &[V4, V6])}),
    );
    network.add(&pod).success();
    assert_eq!(pod.inside(|| kernel::tentative("eth0")), [""; 0]);
    assert_eq!(
        pod.inside(|| kernel::addresses("eth0")),
        ["10.1.0.2/24", "fd01::2/64"]
    );
    assert_eq!(parameter(&pod, "ipv6/conf/eth0/accept_dad"), "1");
    assert_eq!(parameter(&pod, "ipv6/conf/eth0/enhanced_dad"), "1");
}

fn with_enabledad_a_duplicate_is_an_error(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "fd01::7/64");
    let pod = host.pod("a");
    let ipam = fixed_ipam(
        host,
        "fixed",
        json!({"cniVersion": "1.1.0", "ips": [{"address": "fd01::7/64"}]}),
    );
    let before = Snapshot::of(host, &[&pod]);
    let error = Network::new(host, json!({"enabledad": true, "ipam": ipam}))
        .add(&pod)
        .error();
    assert!(
        error
            .msg
            .starts_with("failed to settle addresses for \"eth0\": fd01::7/64"),
        "{error}"
    );
    before.require_unchanged();
}

fn there_is_exactly_one_link_local_address(host: &Host) {
    for (name, dad) in [("a", true), ("b", false)] {
        let pod = host.pod(name);
        Network::new(
            host,
            json!({"enabledad": dad, "ipam": host_local(host, &[V6])}),
        )
        .add(&pod)
        .success();
        assert_eq!(
            pod.inside(|| kernel::link_locals("eth0")).len(),
            1,
            "enabledad {dad}"
        );
    }
}

fn the_interface_is_operational_when_add_returns(host: &Host) {
    for (name, keys) in [
        ("a", json!({})),
        ("b", json!({"ipam": host_local(host, &[V4])})),
    ] {
        let pod = host.pod(name);
        Network::new(host, keys).add(&pod).success();
        let link = kernel::eth0(&pod);
        assert!(link.up && link.oper_up, "{name}");
    }
}

fn disabled(keys: Value) -> Value {
    let mut all = json!({"disableContainerInterface": true});
    all.as_object_mut()
        .unwrap()
        .extend(keys.as_object().unwrap().clone());
    all
}

fn a_disabled_interface_stays_down_without_addresses(host: &Host) {
    let pod = host.pod("a");
    let network = Network::new(host, disabled(json!({"mtu": 1400})));
    let outcome = network.add(&pod);
    assert_eq!(outcome.result().ips.len(), 0);
    let link = kernel::eth0(&pod);
    assert!(!link.up && link.mtu == 1400);
    pod.inside(|| {
        assert_eq!(kernel::addresses("eth0"), [""; 0]);
        assert_eq!(kernel::link_locals("eth0"), [""; 0]);
    });
    network.check(&pod, &outcome).silent_success();
    network.del(&pod).silent_success();
    assert_eq!(pod.inside(kernel::names), ["lo"]);
}

fn a_disabled_interface_cannot_have_ipam(host: &Host) {
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    let outcome = Network::new(host, disabled(json!({"ipam": host_local(host, &[V4])}))).add(&pod);
    assert_eq!(
        outcome.msg(),
        "cannot use IPAM when DisableContainerInterface flag is set"
    );
    assert_eq!(outcome.code().0, 7);
    before.require_unchanged();
}
