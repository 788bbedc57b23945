//! The scene in which the rows of the table act.

use super::{Node, Side};
use crate::node::{V4, V6, try_tool};
use cni_types::{Command, IfName};
use serde_json::{Value, json};
use testkit::{Host, Invocation, OrFail, Outcome, Pod, Suite};

/// A host with one side's plugins, and a network with the usual keys.
pub(crate) struct Scene<'a> {
    pub(crate) host: &'a Host,
    pub(crate) side: Side,
    node: Node<'a>,
}

impl<'a> Scene<'a> {
    pub(crate) fn new(host: &'a Host, side: Side) -> Self {
        let ranges = json!([[{"subnet": V4}], [{"subnet": V6}]]);
        let keys = json!({
            "isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "nftables",
            "ipam": {"type": "host-local", "ranges": ranges},
        });
        Self {
            host,
            side,
            node: Node::new(host, Suite::Sid, keys),
        }
    }

    /// Returns a request; the keys in `more` replace the network's.
    pub(crate) fn request(&self, command: Command, pod: &Pod, more: Value) -> Invocation<'a> {
        self.node
            .request(self.side, command, &crate::node::id(pod), more)
            .pod(pod)
    }

    pub(crate) fn run(&self, command: Command, pod: &Pod, more: Value) -> Outcome {
        self.request(command, pod, more).run()
    }

    /// Makes a pod and attaches it.
    pub(crate) fn attached(&self, name: &str, more: Value) -> (Pod, Outcome) {
        let pod = self.host.pod(name);
        let added = self.run(Command::Add, &pod, more);
        added.success();
        (pod, added)
    }

    /// Runs CHECK with the result of ADD.
    pub(crate) fn check(&self, pod: &Pod, added: &Outcome, mut more: Value) -> Outcome {
        more["prevResult"] = added.json();
        self.run(Command::Check, pod, more)
    }

    /// Runs DEL with the result of ADD.
    pub(crate) fn del(&self, pod: &Pod, added: &Outcome, mut more: Value) -> Outcome {
        more["prevResult"] = added.json();
        self.run(Command::Del, pod, more)
    }

    pub(crate) fn gc(&self, valid: &[&str]) -> Outcome {
        let entry = |id: &&str| json!({"containerID": id, "ifname": "eth0"});
        let list: Vec<Value> = valid.iter().map(entry).collect();
        let keys = json!({"cni.dev/valid-attachments": list});
        self.node.request(self.side, Command::Gc, "", keys).run()
    }

    pub(crate) fn status(&self, more: Value) -> Outcome {
        self.node
            .request(self.side, Command::Status, "", more)
            .run()
    }

    /// Returns the number of reserved addresses.
    pub(crate) fn reserved(&self) -> usize {
        let entries = std::fs::read_dir(self.host.data_dir().join("net"))
            .into_iter()
            .flatten()
            .flatten();
        let is_address = |name: &str| name.starts_with("10.") || name.starts_with("fd01:");
        entries
            .filter(|entry| is_address(&entry.file_name().to_string_lossy()))
            .count()
    }
}

/// Returns the `ipam` of one subnet.
pub(crate) fn ipam(subnet: &str) -> Value {
    json!({"type": "host-local", "dataDir": "/run/cni-data", "ranges": [[{"subnet": subnet}]]})
}

/// Returns the outcome of a run, in words. Names that differ each time are replaced.
pub(crate) fn words(outcome: &Outcome) -> String {
    if outcome.status.success() {
        return "success".to_owned();
    }
    format!("error: {}", steady(&outcome.msg()))
}

/// Removes the random part of interfaces' names.
fn steady(text: &str) -> String {
    let mut words = text.split("veth");
    let mut steady = words.next().unwrap_or_default().to_owned();
    for rest in words {
        let named = rest
            .get(..8)
            .is_some_and(|digits| digits.chars().all(|c| c.is_ascii_hexdigit()));
        steady += if named { "vethX" } else { "veth" };
        steady += if named {
            rest.get(8..).unwrap_or_default()
        } else {
            rest
        };
    }
    steady
}

/// Returns the ends of pairs on the host.
pub(crate) fn ports() -> Vec<String> {
    let links = cni_net::Rtnl::open()
        .and_then(|mut rtnl| rtnl.links())
        .or_fail("list links");
    links
        .into_iter()
        .map(|link| link.name.to_string())
        .filter(|name| name.starts_with("veth"))
        .collect()
}

/// Returns the number of masquerade rules of a container.
pub(crate) fn rules_of(id: &str) -> usize {
    let rules = try_tool("nft list table inet cni_plugins_masquerade").unwrap_or_default();
    rules
        .lines()
        .filter(|line| line.contains(&format!("id: {id}\"")))
        .count()
}

/// Returns the hardware address of a link of the host.
pub(crate) fn mac(name: &str) -> Option<String> {
    let name = IfName::parse(name).or_fail("read a name");
    let link = cni_net::Rtnl::open()
        .and_then(|mut rtnl| rtnl.find_link(&name))
        .or_fail("look up a link");
    link.or_fail("find the link").mac.map(|mac| mac.to_string())
}
