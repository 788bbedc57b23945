//! Requests that bridge refuses, and what its CHECK finds.

use crate::page::Page;
use cni_types::Command;
use serde_json::{Value, json};
use testkit::{Host, Invocation, Pod};

/// Errors that need another kernel, another machine, a thousand ports or the right moment: bridge's
/// own tests bring these about.
pub(crate) const NOT_HERE: &[&str] = &[
    "failed to set vlan interface for bridge with addr",
    "bridge … has no free port",
    "failed to locate iptables",
    "\"…\" already exists but is not the gateway of VLAN",
    "the kernel has no bridge VLAN filtering",
    "failed to setup spoof-check: …",
    "failed to enable IPv6",
    "failed to enable forwarding",
    "the kernel lacks nf_tables",
    "the kernel lacks nat",
    "failed to settle addresses",
    "bridge port in error state",
    "interface … was removed by another program",
    "… was removed from the container",
    "no free name for …",
    "failed to run plugin",
    "container … is being attached to network",
    "prevResult has more than one interface",
];

/// The same.
pub(crate) const DIFFERENCES_NOT_HERE: &[&str] = &[
    "VLAN interface",
    "the other end of",
    "net.ipv6",
    "host end of",
    "table inet",
];

fn request<'a>(host: &'a Host, command: Command, keys: Value) -> Invocation<'a> {
    let base = json!({"cniVersion": "1.1.0", "name": "n", "type": "bridge"});
    crate::request(host, "bridge", command, &base, keys)
}

fn ipam(host: &Host, subnets: &[&str]) -> Value {
    let ranges: Vec<Value> = subnets
        .iter()
        .map(|subnet| json!([{"subnet": subnet}]))
        .collect();
    json!({"type": "host-local", "dataDir": host.data_dir(), "ranges": ranges})
}

pub(crate) fn configurations(host: &Host, page: &mut Page) {
    let pod = host.pod("a");
    let v4 = ipam(host, &["10.1.0.0/24"]);
    let mut mixed = v4.clone();
    mixed["routes"] = json!([{"dst": "10.6.0.0/16", "gw": "fd00::1"}]);
    for keys in [
        json!({"ipam": mixed}),
        json!({"bridge": "a/b"}),
        json!({"hairpinMode": true, "promiscMode": true}),
        json!({"disableContainerInterface": true, "ipam": v4}),
        json!({"ipMasqBackend": "foo"}),
        json!({"runtimeConfig": {"mac": "c2:11"}}),
        json!({"mtu": 67}),
        json!({"mtu": 1000, "ipam": ipam(host, &["fd01::/64"])}),
        json!({"vlan": -100}),
        json!({"vlanTrunk": [{"id": 0}]}),
        json!({"vlanTrunk": [{"minID": 0, "maxID": 7}]}),
        json!({"vlanTrunk": [{"minID": 7, "maxID": 4095}]}),
        json!({"vlanTrunk": [{"minID": 7, "maxID": 5}]}),
        json!({"vlanTrunk": [{"minID": 7}]}),
        json!({"bridge": "bridge123456", "vlan": 100, "isGateway": true, "ipam": v4}),
        json!({"cniVersion": "0.2.0"}),
        json!({"cniVersion": "0.2.0", "ipam": ipam(host, &["10.1.0.0/24", "10.2.0.0/24"])}),
    ] {
        page.sees(request(host, Command::Add, keys).pod(&pod));
    }
    page.sees(request(host, Command::Check, json!({})).pod(&pod));
}

pub(crate) fn surroundings(host: &Host, page: &mut Page) {
    let pod = host.pod("b");
    let other = host.pod("c");
    let add = |pod: &Pod, keys: Value| request(host, Command::Add, keys).pod(pod);
    page.sees(add(&pod, json!({"bridge": "lo"})));
    page.sees(add(&pod, json!({})).ifname("eth%d"));
    page.sees(add(&pod, json!({})).netns("/run/none"));
    page.sees(add(&pod, json!({})).netns("/proc/self/ns/net"));
    let long = "c".repeat(240);
    page.sees(add(&pod, json!({"macspoofchk": true})).container(&long));
    add(
        &pod,
        json!({"isGateway": true, "ipam": ipam(host, &["10.1.0.0/24"])}),
    )
    .run()
    .success();
    page.sees(add(&pod, json!({})));
    let second = |keys: Value| add(&other, keys).container("c2");
    page.sees(second(
        json!({"isGateway": true, "ipam": ipam(host, &["10.2.0.0/24"])}),
    ));
    let folder = host
        .script("iptables-restore", "exit 1")
        .parent()
        .unwrap()
        .to_owned();
    let masquerade =
        json!({"ipMasq": true, "ipMasqBackend": "iptables", "ipam": ipam(host, &["10.1.0.0/24"])});
    page.sees(second(masquerade).env("PATH", format!("{}:/usr/bin:/bin", folder.display())));
}

pub(crate) fn delegates(host: &Host, page: &mut Page) {
    let pod = host.pod("d");
    for (name, body) in [
        ("mute", "exit 3"),
        ("garbage", "[ $CNI_COMMAND != ADD ] || echo oops"),
        ("empty", "echo '{}'"),
    ] {
        drop(host.script(name, body));
    }
    for kind in ["none", "../none", "mute", "garbage", "empty"] {
        page.sees(
            request(host, Command::Add, json!({"ipam": {"type": kind}}))
                .pod(&pod)
                .container("d"),
        );
    }
}

pub(crate) fn chains(host: &Host, page: &mut Page) {
    let pod = host.pod("e");
    let other = host.pod("f");
    let added = request(host, Command::Add, json!({"bridge": "br1"}))
        .pod(&pod)
        .container("e")
        .run()
        .result();
    let port = added.interfaces[1].name.as_str();
    for name in ["none", port] {
        let prev_result = json!({"cniVersion": "1.1.0", "interfaces": [{"name": name}]});
        let keys = json!({"bridge": "br2", "prevResult": prev_result});
        page.sees(request(host, Command::Add, keys).pod(&pod).container("f"));
    }
    let prev_result = json!({"cniVersion": "1.1.0", "interfaces": [{"name": port}]});
    let keys =
        json!({"bridge": "br1", "ipam": ipam(host, &["10.1.0.0/24"]), "prevResult": prev_result});
    page.sees(request(host, Command::Add, keys).pod(&pod).container("f"));
    // Another namespace, in which the name is free.
    page.sees(
        request(host, Command::Add, json!({"bridge": "br1"}))
            .pod(&other)
            .container("e"),
    );
}

pub(crate) fn differences(host: &Host, page: &mut Page) {
    let pod = host.pod("a");
    let mut keys = json!({"isGateway": true, "ipam": ipam(host, &["10.1.0.0/24"])});
    keys["ipam"]["routes"] = json!([{"dst": "10.9.0.0/16"}]);
    let request = |command, more: Value| {
        let mut keys = keys.clone();
        keys.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        request(host, command, keys).pod(&pod)
    };
    let added = request(Command::Add, json!({})).run().json();
    let check = |more: Value| {
        let mut keys = json!({"prevResult": added});
        keys.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        request(Command::Check, keys)
    };
    check(json!({})).run().silent_success();
    for more in [
        json!({"promiscMode": true}),
        json!({"hairpinMode": true}),
        json!({"ipMasq": true}),
        json!({"macspoofchk": true}),
    ] {
        page.sees(check(more));
    }
    for (place, wrong) in [
        ("/interfaces/2/mac", "c2:00:00:00:00:01"),
        ("/interfaces/2/sandbox", "/run/netns/other"),
        ("/ips/0/address", "10.1.0.2/16"),
        ("/routes/0/dst", "10.8.0.0/16"),
    ] {
        let mut told = added.clone();
        *told.pointer_mut(place).unwrap() = wrong.into();
        let without_gateway = json!({"prevResult": told, "isGateway": false});
        page.sees(check(without_gateway));
    }
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    page.sees(check(json!({})));
}
