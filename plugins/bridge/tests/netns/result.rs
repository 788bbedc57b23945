//! The answer to ADD: it reports what exists.

use crate::{
    kernel,
    network::{Network, V4, V6, host_local},
};
use cni_types::Command;
use serde_json::json;
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        interfaces_are_bridge_host_end_and_container_end,
        the_sandbox_is_the_netns_as_it_was_given,
        macs_and_mtus_are_the_actual_ones,
        every_address_is_of_interface_2,
        the_whole_answer_is_this,
    ]
}

fn interfaces_are_bridge_host_end_and_container_end(host: &Host) {
    let pod = host.pod("a");
    let result = Network::new(host, json!({}))
        .attachment(Command::Add, &pod)
        .ifname("net1")
        .run()
        .result();
    let names: Vec<&str> = result
        .interfaces
        .iter()
        .map(|interface| interface.name.as_str())
        .collect();
    assert_eq!((names[0], names[2], names.len()), ("cni0", "net1", 3));
    let digits = names[1].strip_prefix("veth").unwrap();
    assert!(
        digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
        "{digits}"
    );
}

fn the_sandbox_is_the_netns_as_it_was_given(host: &Host) {
    let pod = host.pod("a");
    let spelled = "/run/../run/netns//a";
    let result = Network::new(host, json!({}))
        .attachment(Command::Add, &pod)
        .netns(spelled)
        .run()
        .result();
    let sandboxes: Vec<&str> = result
        .interfaces
        .iter()
        .map(|i| i.sandbox.as_str())
        .collect();
    assert_eq!(sandboxes, ["", "", spelled]);
}

fn macs_and_mtus_are_the_actual_ones(host: &Host) {
    let pod = host.pod("a");
    let keys = json!({"mtu": 1300, "isGateway": true, "ipam": host_local(host, &[V4])});
    let interfaces = Network::new(host, keys).add(&pod).result().interfaces;
    let actual = [
        kernel::link("cni0"),
        kernel::link(&interfaces[1].name),
        kernel::eth0(&pod),
    ];
    for (told, actual) in interfaces.iter().zip(&actual) {
        assert_eq!(told.mac, actual.mac.unwrap().to_string());
        assert_eq!(told.mtu, Some(actual.mtu));
    }
}

fn every_address_is_of_interface_2(host: &Host) {
    let pod = host.pod("a");
    let result = Network::new(host, json!({"ipam": host_local(host, &[V4, V6])}))
        .add(&pod)
        .result();
    assert!(result.ips.len() == 2 && result.ips.iter().all(|ip| ip.interface == Some(2)));
}

fn the_whole_answer_is_this(host: &Host) {
    let pod = host.pod("a");
    let keys = json!({
        "isDefaultGateway": true, "ipam": host_local(host, &[V4]),
        "dns": {"nameservers": ["192.0.2.53"]}, "runtimeConfig": {"mac": "c2:00:00:00:00:01"},
    });
    let answer = Network::new(host, keys).add(&pod).success().json();
    let port = answer["interfaces"][1]["name"].as_str().unwrap().to_owned();
    assert_eq!(
        answer,
        json!({
            "cniVersion": "1.1.0",
            "interfaces": [
                {"name": "cni0", "mac": kernel::mac("cni0"), "mtu": 1500},
                {"name": port, "mac": kernel::mac(&port), "mtu": 1500},
                {"name": "eth0", "mac": "c2:00:00:00:00:01", "mtu": 1500, "sandbox": "/run/netns/a"},
            ],
            "ips": [{"interface": 2, "address": "10.1.0.2/24", "gateway": "10.1.0.1"}],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
            "dns": {"nameservers": ["192.0.2.53"]},
        })
    );
}
