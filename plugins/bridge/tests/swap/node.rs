//! A node with both implementations, and requests to either.

use crate::quirks;
use cni_types::Command;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use testkit::{Host, Invocation, OrFail, Outcome, Pod, Suite, bin_dir, fail, require};

pub(crate) const BRIDGE: &str = "cni0";
pub(crate) const V4: &str = "10.1.0.0/24";
pub(crate) const V6: &str = "fd01::/64";

/// The implementation whose binary is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Ours,
    Reference,
}

impl Side {
    /// Returns a name for a test in which `self` acts first and the other side second.
    pub(crate) fn before(self, other: Self) -> String {
        let name = |side| match side {
            Self::Ours => "ours",
            Self::Reference => "reference",
        };
        format!("{}_then_{}", name(self), name(other))
    }
}

/// The host, the network's configuration, and the path of the reference.
pub(crate) struct Node<'a> {
    pub(crate) host: &'a Host,
    pub(crate) suite: Suite,
    reference: PathBuf,
    keys: Map<String, Value>,
}

impl<'a> Node<'a> {
    /// Returns a node; ends the test if the reference is missing.
    pub(crate) fn new(host: &'a Host, suite: Suite, keys: Value) -> Self {
        let reference = suite.require();
        // The reference runs nft, and the state is read by it.
        require_tool("nft");
        let base = json!({"cniVersion": version(suite), "name": "net", "type": "bridge", "bridge": BRIDGE});
        let mut keys: Map<_, _> = base
            .as_object()
            .unwrap()
            .clone()
            .into_iter()
            .chain(object(keys))
            .collect();
        if let Some(ipam) = keys.get_mut("ipam").and_then(Value::as_object_mut) {
            ipam.insert("dataDir".to_owned(), json!(host.data_dir()));
        }
        Self {
            host,
            suite,
            reference,
            keys,
        }
    }

    /// Returns a request to one side, which finds its own IPAM plugin.
    pub(crate) fn request(
        &self,
        side: Side,
        command: Command,
        id: &str,
        more: Value,
    ) -> Invocation<'a> {
        let conf: Map<_, _> = self.keys.clone().into_iter().chain(object(more)).collect();
        let folder = match side {
            Side::Ours => bin_dir(),
            Side::Reference => &self.reference,
        };
        let mut request = self
            .host
            .plugin("bridge", command)
            .program(folder.join("bridge"));
        request = request
            .env("CNI_PATH", folder)
            .container(id)
            .conf(Value::Object(conf));
        match quirks::path(self, side, command) {
            Some(path) => request.env("PATH", path),
            None => request.env("PATH", path()),
        }
    }

    pub(crate) fn add(&self, side: Side, pod: &Pod) -> Outcome {
        let outcome = self
            .request(side, Command::Add, &id(pod), json!({}))
            .pod(pod)
            .run();
        outcome.success();
        outcome
    }

    pub(crate) fn check(&self, side: Side, pod: &Pod, added: &Outcome) {
        let keys = json!({"prevResult": added.json()});
        self.request(side, Command::Check, &id(pod), keys)
            .pod(pod)
            .run()
            .silent_success();
    }

    pub(crate) fn del(&self, side: Side, pod: &Pod, added: &Outcome) {
        let keys = json!({"prevResult": added.json()});
        self.request(side, Command::Del, &id(pod), keys)
            .pod(pod)
            .run()
            .silent_success();
    }

    /// Asserts that the request fails with this text.
    pub(crate) fn fail(
        &self,
        command: Command,
        side: Side,
        pod: &Pod,
        added: &Outcome,
        text: &str,
    ) {
        let keys = json!({"prevResult": added.json()});
        let msg = self
            .request(side, command, &id(pod), keys)
            .pod(pod)
            .run()
            .msg();
        if !msg.contains(text) {
            fail(format_args!("{msg:?}, wanted a text with {text:?}"));
        }
    }

    /// Runs GC with one pod as the only valid attachment. Always in version 1.1.0, the first with
    /// GC.
    pub(crate) fn gc(&self, side: Side, valid: &Pod) {
        let list = json!([{"containerID": id(valid), "ifname": "eth0"}]);
        let keys = json!({"cniVersion": "1.1.0", "cni.dev/valid-attachments": list});
        self.request(side, Command::Gc, "", keys)
            .run()
            .silent_success();
    }

    pub(crate) fn key(&self, name: &str) -> Option<&Value> {
        self.keys.get(name)
    }
}

/// Returns the newest version of the specification that both sides support.
fn version(suite: Suite) -> &'static str {
    match suite {
        Suite::Bookworm => "1.0.0",
        Suite::Sid => "1.1.0",
    }
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().or_fail("read an object")
}

/// Returns a pod's container id, which is its name.
pub(crate) fn id(pod: &Pod) -> String {
    pod.path()
        .file_name()
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

/// Returns the `PATH` with the folders of the administrator's programs.
pub(crate) fn path() -> String {
    format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    )
}

/// Returns the path of a program, or `None`.
pub(crate) fn find_tool(name: &str) -> Option<PathBuf> {
    path()
        .split(':')
        .map(|folder| PathBuf::from(folder).join(name))
        .find(|file| file.is_file())
}

/// Ignores the test if the machine lacks a program.
pub(crate) fn require_tool(name: &str) {
    require(&format!("the program {name}"), find_tool(name).is_some());
}

/// Runs a program of the machine on the host; returns `None` if it failed.
pub(crate) fn try_tool(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let mut command = std::process::Command::new(words.next().unwrap());
    let output = command
        .args(words)
        .env("PATH", path())
        .output()
        .or_fail(line);
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Does the same for a program that must not fail.
pub(crate) fn tool(line: &str) -> String {
    try_tool(line).unwrap_or_else(|| fail(format_args!("{line} failed")))
}
