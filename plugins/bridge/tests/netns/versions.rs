//! The seven versions of the protocol: the answer has the format of the requested version.

use crate::{
    kernel,
    network::{Network, V4, V6, fixed_ipam, host_local},
    snapshot::Snapshot,
};
use cni_types::{Command, SpecVersion};
use serde_json::{Value, json};
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_configuration_without_version_means_0_1_0,
        before_0_3_0_the_answer_has_one_address_per_family,
        from_0_3_0_on_the_answer_has_lists,
        the_mtu_is_reported_from_1_1_0_on,
        a_second_address_of_a_family_is_an_error_before_0_3_0_and_leaves_nothing,
        del_before_0_3_0_refuses_two_subnets_of_a_family_and_leaves_nothing,
        no_address_is_an_error_before_0_3_0_and_leaves_nothing,
        every_version_has_its_add_and_del,
        check_reads_a_previous_result_of_any_version_with_interfaces,
        del_accepts_a_previous_result_of_any_version,
        check_status_and_gc_need_the_version_that_brought_them,
    ]
}

fn dual<'a>(host: &'a Host, version: &str) -> Network<'a> {
    let keys = json!({"cniVersion": version, "isDefaultGateway": true, "ipam": host_local(host, &[V4, V6])});
    Network::new(host, keys)
}

fn answer(host: &Host, version: &str) -> Value {
    let pod = host.pod("a");
    let network = dual(host, version);
    let answer = network.add(&pod).success().json();
    network.del(&pod).silent_success();
    pod.remove();
    answer
}

fn old_answer(version: &str) -> Value {
    let family = |ip, gateway, dst| json!({"ip": ip, "gateway": gateway, "routes": [{"dst": dst, "gw": gateway}]});
    json!({
        "cniVersion": version,
        "ip4": family("10.1.0.2/24", "10.1.0.1", "0.0.0.0/0"),
        "ip6": family("fd01::2/64", "fd01::1", "::/0"),
        "dns": {},
    })
}

fn a_configuration_without_version_means_0_1_0(host: &Host) {
    let pod = host.pod("a");
    let answer = dual(host, "")
        .with(json!({"cniVersion": null}))
        .add(&pod)
        .success()
        .json();
    assert_eq!(answer, old_answer("0.1.0"));
}

fn before_0_3_0_the_answer_has_one_address_per_family(host: &Host) {
    for version in ["0.1.0", "0.2.0"] {
        let _ = std::fs::remove_dir_all(host.data_dir());
        assert_eq!(answer(host, version), old_answer(version));
    }
}

fn from_0_3_0_on_the_answer_has_lists(host: &Host) {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let answer = answer(host, version);
        assert_eq!(answer["cniVersion"], version);
        let told: Vec<Option<&str>> = answer["ips"]
            .as_array()
            .unwrap()
            .iter()
            .map(|ip| ip["version"].as_str())
            .collect();
        let with_version = version.starts_with('0');
        let wanted = if with_version {
            [Some("4"), Some("6")]
        } else {
            [None, None]
        };
        assert_eq!(told, wanted, "{version}");
        assert_eq!(answer["interfaces"].as_array().unwrap().len(), 3);
        assert_eq!(answer["ips"][1]["interface"], 2);
        assert_eq!(answer["routes"][1], json!({"dst": "::/0", "gw": "fd01::1"}));
        assert_eq!(answer.get("dns").is_some(), with_version, "{version}");
    }
}

fn the_mtu_is_reported_from_1_1_0_on(host: &Host) {
    for (version, wanted) in [
        ("1.0.0", Value::Null),
        ("0.4.0", Value::Null),
        ("1.1.0", json!(1500)),
    ] {
        let answer = answer(host, version);
        for at in 0..3 {
            assert_eq!(answer["interfaces"][at]["mtu"], wanted, "{version}");
        }
    }
}

fn a_second_address_of_a_family_is_an_error_before_0_3_0_and_leaves_nothing(host: &Host) {
    let pod = host.pod("a");
    let ips = json!([{"address": "10.1.0.2/24"}, {"address": "10.2.0.2/24"}]);
    let ipam = fixed_ipam(host, "fixed", json!({"cniVersion": "1.0.0", "ips": ips}));
    kernel::create_bridge("cni0");
    let before = Snapshot::of(host, &[&pod]);
    for version in ["0.1.0", "0.2.0"] {
        let network = Network::new(
            host,
            json!({"cniVersion": version, "ipam": ipam, "isGateway": true}),
        );
        let wanted =
            format!("CNI version {version} does not support more than 1 address per family");
        assert_eq!(network.add(&pod).msg(), wanted);
        before.require_unchanged();
    }
}

/// The runtime's configuration was changed while the pod ran.
fn del_before_0_3_0_refuses_two_subnets_of_a_family_and_leaves_nothing(host: &Host) {
    let pod = host.pod("a");
    let network = Network::new(
        host,
        json!({"ipMasq": true, "ipam": host_local(host, &[V4, "10.2.0.0/24"])}),
    );
    network.add(&pod).success();
    for version in ["0.1.0", "0.2.0"] {
        let outcome = network.with(json!({"cniVersion": version})).del(&pod);
        let wanted =
            format!("CNI version {version} does not support more than 1 address per family");
        assert_eq!(outcome.msg(), wanted);
        assert_eq!(kernel::names(), ["cni0", "lo"]);
        assert_eq!(kernel::rules(), [""; 0]);
        assert!(
            !host.data_dir().join("net/10.1.0.2").exists()
                && !host.data_dir().join("net/10.2.0.2").exists()
        );
    }
}

fn no_address_is_an_error_before_0_3_0_and_leaves_nothing(host: &Host) {
    kernel::create_bridge("cni0");
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    let outcome = Network::new(host, json!({"cniVersion": "0.2.0"})).add(&pod);
    assert_eq!(outcome.msg(), "cannot convert: no valid IP addresses");
    before.require_unchanged();
}

fn every_version_has_its_add_and_del(host: &Host) {
    for version in SpecVersion::ALL {
        let answer = answer(host, version.as_str());
        assert_eq!(answer["cniVersion"], version.as_str());
        assert_eq!(kernel::names(), ["cni0", "lo"]);
    }
}

fn check_reads_a_previous_result_of_any_version_with_interfaces(host: &Host) {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let pod = host.pod("a");
        let network = dual(host, version);
        let added = network.add(&pod);
        for checker in ["0.4.0", "1.0.0", "1.1.0"] {
            dual(host, checker).check(&pod, &added).silent_success();
        }
        network.del(&pod).silent_success();
        pod.remove();
    }
}

fn del_accepts_a_previous_result_of_any_version(host: &Host) {
    for version in SpecVersion::ALL {
        let pod = host.pod("a");
        let added = dual(host, version.as_str()).add(&pod).success().json();
        dual(host, "1.1.0")
            .with(json!({"prevResult": added}))
            .del(&pod)
            .silent_success();
        assert_eq!(pod.inside(kernel::names), ["lo"]);
        pod.remove();
    }
}

fn check_status_and_gc_need_the_version_that_brought_them(host: &Host) {
    let pod = host.pod("a");
    for (version, command) in [
        ("0.3.1", Command::Check),
        ("1.0.0", Command::Status),
        ("1.0.0", Command::Gc),
    ] {
        let outcome = dual(host, version).attachment(command, &pod).run();
        assert_eq!(
            outcome.msg(),
            format!("config version does not allow {}", command.as_str())
        );
        assert_eq!(outcome.code().0, 1);
    }
}
