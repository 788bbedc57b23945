//! Rows about what is reported, and what is not.

use super::{
    Row,
    scene::{Scene, ipam, ports, words},
};
use crate::node::tool;
use cni_types::Command;
use serde_json::{Value, json};
use testkit::{Outcome, Pod};

pub(crate) const ROWS: &[Row] = &[
    Row {
        what: "DEL with a plain file as `CNI_NETNS`",
        reference: "error: unknown FS magic on \"/run/cni-files/plain\": 1021994",
        ours: "success",
        see: |scene| {
            let (pod, added) = scene.attached("a", json!({}));
            let file = scene.host.file("plain", "");
            let del = scene
                .request(Command::Del, &pod, json!({"prevResult": added.json()}))
                .netns(file);
            words(&del.run())
        },
    },
    Row {
        what: "ADD with the plugin's own namespace: addresses left reserved",
        reference: "2",
        ours: "0",
        see: |scene| {
            let pod = scene.host.pod("a");
            let outcome = scene
                .request(Command::Add, &pod, json!({}))
                .netns("/proc/self/ns/net")
                .run();
            assert!(!outcome.status.success());
            scene.reserved().to_string()
        },
    },
    Row {
        what: "CHECK with the masquerade rules flushed",
        reference: "success",
        ours: "error: masquerade rules missing: found 0, wanted 2",
        see: |scene| {
            after(scene, json!({}), |_| {
                drop(tool(
                    "nft flush chain inet cni_plugins_masquerade masq_checks",
                ))
            })
        },
    },
    Row {
        what: "CHECK with the gateway's address gone",
        reference: "success",
        ours: "error: Bridge interface cni0 lacks the gateway address, wanted 10.1.0.1/24",
        see: |scene| {
            after(scene, json!({}), |_| {
                drop(tool("ip addr del 10.1.0.1/24 dev cni0"))
            })
        },
    },
    Row {
        what: "CHECK with forwarding off",
        reference: "success",
        ours: "error: net.ipv4.ip_forward is \"0\", wanted 1",
        see: |scene| {
            after(scene, json!({}), |_| {
                std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap()
            })
        },
    },
    Row {
        what: "CHECK with hairpin mode off, wanted on",
        reference: "success",
        ours: "error: vethX has hairpin mode false, wanted true",
        see: |scene| {
            after(scene, json!({"hairpinMode": true}), |_| {
                port("type bridge_slave hairpin off")
            })
        },
    },
    Row {
        what: "CHECK with port isolation off, wanted on",
        reference: "success",
        ours: "error: vethX has port isolation false, wanted true",
        see: |scene| {
            after(scene, json!({"portIsolation": true}), |_| {
                port("type bridge_slave isolated off")
            })
        },
    },
    Row {
        what: "CHECK with the bridge down",
        reference: "success",
        ours: "error: Bridge interface cni0 is down, wanted up",
        see: |scene| after(scene, json!({}), |_| drop(tool("ip link set cni0 down"))),
    },
    Row {
        what: "CHECK with the port off the bridge",
        reference: "error: CNI veth created for bridge cni0 was not found",
        ours: "error: vethX is not a port of bridge cni0",
        see: |scene| after(scene, json!({}), |_| port("nomaster")),
    },
    Row {
        what: "CHECK with the host's end down",
        reference: "success",
        ours: "error: vethX is down, wanted up",
        see: |scene| after(scene, json!({}), |_| port("down")),
    },
    Row {
        what: "CHECK with the container's interface down",
        reference: "error: Failed to find Gateway 10.1.0.1 for interface eth0",
        ours: "error: Interface eth0 is down, wanted up",
        see: |scene| {
            after(scene, json!({}), |pod| {
                pod.inside(|| drop(tool("ip link set eth0 down")))
            })
        },
    },
    Row {
        what: "CHECK without `ipam`",
        reference: "error: no plugin name provided",
        ours: "success",
        see: |scene| after(scene, json!({"ipam": {}}), |_| ()),
    },
    Row {
        what: "CHECK after a later plugin added an interface with an address",
        reference: "error: Failed to match addr 10.7.0.2/24 on interface eth0",
        ours: "success",
        see: |scene| {
            let (pod, added) = scene.attached("a", json!({}));
            let mut told = added.json();
            told["interfaces"]
                .as_array_mut()
                .unwrap()
                .push(json!({"name": "net1", "sandbox": pod.path()}));
            told["ips"]
                .as_array_mut()
                .unwrap()
                .push(json!({"interface": 3, "address": "10.7.0.2/24"}));
            words(&scene.run(Command::Check, &pod, json!({"prevResult": told})))
        },
    },
    Row {
        what: "ADD to a bridge with 1023 ports",
        reference: "error: failed to connect \"vethX\" to bridge cni0: exchange full",
        ours: "error: bridge cni0 has no free port (1023 used)",
        see: |scene| {
            tool("ip link add cni0 type bridge");
            let pair = |at| {
                format!("link add p{at} type veth peer name f{at}\nlink set p{at} master cni0\n")
            };
            let file = scene
                .host
                .file("pairs", &(0..1023).map(pair).collect::<String>());
            tool(&format!("ip -batch {}", file.display()));
            words(&scene.run(Command::Add, &scene.host.pod("a"), json!({})))
        },
    },
    Row {
        what: "ADD with `mtu` 70000",
        reference: "error: failed to create bridge \"cni0\": could not add \"cni0\": invalid argument",
        ours: "error: invalid MTU 70000: it is too large",
        see: |scene| words(&scene.run(Command::Add, &scene.host.pod("a"), json!({"mtu": 70000}))),
    },
    Row {
        what: "`accept_ra` of the container's interface",
        reference: "1",
        ours: "0",
        see: |scene| {
            let (pod, _) = scene.attached("a", json!({}));
            let file = "/proc/sys/net/ipv6/conf/eth0/accept_ra";
            pod.inside(|| std::fs::read_to_string(file).unwrap().trim().to_owned())
        },
    },
    Row {
        what: "IPv6 gateway on a bridge with `disable_ipv6` = 1: the error names the parameter",
        reference: "no: failed to set bridge addr: could not add IP address fd01::1/64 to \"cni0\": permission denied",
        ours: "yes",
        see: |scene| {
            tool("ip link add cni0 type bridge");
            std::fs::write("/proc/sys/net/ipv6/conf/cni0/disable_ipv6", "1").unwrap();
            let pod = scene.host.pod("a");
            let error = scene.run(Command::Add, &pod, json!({})).error();
            if error.to_string().contains("disable_ipv6") {
                "yes".to_owned()
            } else {
                format!("no: {}", error.msg)
            }
        },
    },
    Row {
        what: "A default route of IPAM without next hop, with `isDefaultGateway`",
        reference: "error",
        ours: "success",
        see: |scene| {
            let pod = scene.host.pod("a");
            let mut ipam = ipam("10.1.0.0/24");
            ipam["routes"] = json!([{"dst": "0.0.0.0/0"}]);
            let outcome = scene.run(Command::Add, &pod, json!({"ipam": ipam}));
            if outcome.status.success() {
                "success"
            } else {
                "error"
            }
            .to_owned()
        },
    },
    Row {
        what: "The result of 1.1.0 has the MTU",
        reference: "no",
        ours: "yes",
        see: |scene| {
            let (_, added) = scene.attached("a", json!({}));
            if added.json()["interfaces"][2]["mtu"].is_number() {
                "yes"
            } else {
                "no"
            }
            .to_owned()
        },
    },
    Row {
        what: "STATUS with another link in the bridge's place",
        reference: "success",
        ours: "error: failed to create bridge \"cni0\": \"cni0\" already exists but is not a bridge",
        see: |scene| {
            tool("ip link add cni0 type veth peer name other");
            words(&scene.status(json!({})))
        },
    },
    Row {
        what: "An error's `code` and `cniVersion`, for two modes that exclude each other",
        reference: "999, none",
        ours: "7, 1.1.0",
        see: |scene| {
            let pod = scene.host.pod("a");
            let error = scene
                .run(
                    Command::Add,
                    &pod,
                    json!({"hairpinMode": true, "promiscMode": true}),
                )
                .json();
            format!(
                "{}, {}",
                error["code"],
                error["cniVersion"].as_str().unwrap_or("none")
            )
        },
    },
];

/// Sets an attachment up, changes something, and runs CHECK.
fn after(scene: &Scene<'_>, keys: Value, change: impl FnOnce(&Pod)) -> String {
    let (pod, added) = scene.attached("a", keys.clone());
    change(&pod);
    let outcome: Outcome = scene.check(&pod, &added, keys);
    words(&outcome)
}

/// Changes the host's end.
fn port(change: &str) {
    let port = ports().pop().unwrap();
    tool(&format!("ip link set {port} {change}"));
}
