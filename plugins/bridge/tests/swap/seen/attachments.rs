//! Rows about what attachments leave behind, share and lose.

use super::{
    Row,
    scene::{ipam, mac, ports, rules_of, words},
};
use crate::node::{id, path, tool};
use cni_types::Command;
use sandbox::probe::ping;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};
use testkit::OrFail;

pub(crate) const ROWS: &[Row] = &[
    Row {
        what: "DEL with an empty `CNI_NETNS`, nftables masquerade: rules left of 2",
        reference: "2",
        ours: "0",
        see: |scene| {
            let (pod, added) = scene.attached("a", json!({}));
            pod.remove();
            let del = scene
                .request(Command::Del, &pod, json!({"prevResult": added.json()}))
                .netns("");
            del.run().success();
            rules_of("a").to_string()
        },
    },
    Row {
        what: "DEL without `prevResult`, nftables masquerade: rules left of 2",
        reference: "0",
        ours: "0",
        see: |scene| {
            let (pod, _) = scene.attached("a", json!({}));
            scene.run(Command::Del, &pod, json!({})).success();
            rules_of("a").to_string()
        },
    },
    Row {
        what: "DEL, nftables masquerade, where the program `iptables` is installed",
        reference: "error, over a chain that is not there",
        ours: "success",
        see: |scene| {
            let (pod, added) = scene.attached("a", json!({}));
            let del = scene.request(Command::Del, &pod, json!({"prevResult": added.json()}));
            let outcome = del.env("PATH", path()).run();
            if !outcome.status.success() && outcome.msg().contains("does not exist") {
                return "error, over a chain that is not there".to_owned();
            }
            words(&outcome)
        },
    },
    Row {
        what: "DEL while the namespace lives on without its path: ends of pairs left",
        reference: "1",
        ours: "0",
        see: |scene| {
            let (pod, added) = scene.attached("a", json!({}));
            let held = cni_net::Netns::open(pod.path()).or_fail("hold the namespace");
            pod.remove();
            let _ = scene.del(&pod, &added, json!({}));
            let left = ports().len().to_string();
            drop(held);
            left
        },
    },
    Row {
        what: "DEL after a second network was refused in the same pod: the first one's `eth0`",
        reference: "deleted",
        ours: "stays",
        see: |scene| {
            let (pod, _) = scene.attached("a", json!({}));
            let second = json!({"name": "second"});
            let _ = scene.run(Command::Add, &pod, second.clone()).error();
            let _ = scene.run(Command::Del, &pod, second);
            if ports().is_empty() {
                "deleted"
            } else {
                "stays"
            }
            .to_owned()
        },
    },
    Row {
        what: "DEL where `eth0` is another plugin's device: the device",
        reference: "deleted",
        ours: "stays",
        see: |scene| {
            let pod = scene.host.pod("a");
            pod.inside(|| tool("ip link add eth0 type bridge"));
            let _ = scene.run(Command::Del, &pod, json!({}));
            let left = pod.inside(|| tool("ip -o link show"));
            if left.contains("eth0") {
                "stays"
            } else {
                "deleted"
            }
            .to_owned()
        },
    },
    Row {
        what: "First ping from the host, within 100 ms, to an address that another pod had before",
        reference: "lost",
        ours: "answered",
        see: |scene| {
            scene.attached("a", json!({}));
            tool("ip neigh replace 10.1.0.3 lladdr 02:00:00:00:00:99 dev cni0 nud stale");
            scene.attached("b", json!({}));
            let outcome = ping([10, 1, 0, 3].into(), Duration::from_millis(100));
            if outcome.is_ok() { "answered" } else { "lost" }.to_owned()
        },
    },
    Row {
        what: "GC that lists one of two pods: addresses, pairs, rules left of the other",
        reference: "2, 1, 2",
        ours: "0, 0, 0",
        see: |scene| {
            let (kept, _) = scene.attached("kept", json!({}));
            scene.attached("lost", json!({}));
            scene.gc(&[&id(&kept)]).success();
            format!(
                "{}, {}, {}",
                scene.reserved() - 2,
                ports().len() - 1,
                rules_of("lost")
            )
        },
    },
    Row {
        what: "ADD fails in IPAM: pairs left",
        reference: "1",
        ours: "0",
        see: |scene| {
            let pod = scene.host.pod("a");
            let _ = scene.run(Command::Add, &pod, no_address()).error();
            ports().len().to_string()
        },
    },
    Row {
        what: "ADD again after that, with IPAM mended",
        reference: "error: container veth name (\"eth0\") peer provided (\"vethX\") already exists",
        ours: "success",
        see: |scene| {
            let pod = scene.host.pod("a");
            let _ = scene.run(Command::Add, &pod, no_address()).error();
            words(&scene.run(Command::Add, &pod, json!({})))
        },
    },
    Row {
        what: "ADD refused since the bridge has another address: pairs, routes of the pod left",
        reference: "1, 4",
        ours: "0, 0",
        see: |scene| {
            tool("ip link add cni0 type bridge");
            tool("ip addr add 10.1.0.77/24 dev cni0");
            let pod = scene.host.pod("a");
            let _ = scene
                .run(Command::Add, &pod, json!({"ipam": ipam("10.1.0.0/24")}))
                .error();
            let routes = pod.inside(|| tool("ip -4 route show table all"));
            format!("{}, {}", ports().len(), routes.lines().count())
        },
    },
    Row {
        what: "ADD to a bridge whose last port left (its address is all zero then)",
        reference: "error: failed to set bridge addr: could not set bridge's mac: invalid argument",
        ours: "success",
        see: |scene| {
            tool("ip link add cni0 type bridge");
            tool("ip link set cni0 up");
            tool("ip link add one type veth peer name two");
            tool("ip link set one master cni0");
            tool("ip link del one");
            let pod = scene.host.pod("a");
            words(&scene.run(Command::Add, &pod, json!({})))
        },
    },
    Row {
        what: "The bridge's own address while six pods come and go, no gateway",
        reference: "changes",
        ours: "stays",
        see: |scene| {
            let keys = json!({"isDefaultGateway": false, "ipMasq": false});
            let mut seen = BTreeSet::new();
            for _ in 0..3 {
                let attached = ["a", "b"].map(|name| scene.attached(name, keys.clone()));
                seen.insert(mac("cni0"));
                for (pod, added) in attached {
                    scene.del(&pod, &added, keys.clone()).success();
                    pod.remove();
                }
            }
            if seen.len() == 1 { "stays" } else { "changes" }.to_owned()
        },
    },
    Row {
        what: "ADD in a chain with a `prevResult` that names a veth end of the host",
        reference: "another pair is tried; error: container veth name (\"eth0\") peer provided (\"vethX\") already exists",
        ours: "it becomes the port",
        see: |scene| {
            let pod = scene.host.pod("a");
            tool("ip link add port0 type veth peer name eth0 netns a");
            let interfaces = json!([{"name": "port0"}, {"name": "eth0", "sandbox": pod.path()}]);
            let prev = json!({"cniVersion": "1.1.0", "interfaces": interfaces});
            let outcome = scene.run(Command::Add, &pod, json!({"prevResult": prev}));
            if tool("ip -o link show port0").contains("master cni0") {
                return "it becomes the port".to_owned();
            }
            format!("another pair is tried; {}", words(&outcome))
        },
    },
    Row {
        what: "ADD after a plugin without interface on the host: its part of the result",
        reference: "lost",
        ours: "kept",
        see: |scene| {
            let pod = scene.host.pod("a");
            let prev = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "lo", "sandbox": pod.path()}]});
            let told = scene
                .run(Command::Add, &pod, json!({"prevResult": prev}))
                .json();
            let is_kept = told["interfaces"]
                .as_array()
                .unwrap()
                .iter()
                .any(|i| i["name"] == "lo");
            if is_kept { "kept" } else { "lost" }.to_owned()
        },
    },
];

/// Returns the `ipam` of a pool that is exhausted from the start.
fn no_address() -> Value {
    json!({"ipam": {"type": "host-local", "dataDir": "/run/full", "ranges": [[
        {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.1", "rangeEnd": "10.1.0.1", "gateway": "10.1.0.1"}
    ]]}})
}
