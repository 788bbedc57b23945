//! The recorded requests, as they stand in `conformance/captures`.

use cni_types::Command;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Each runtime and what it sent.
pub(crate) const RUNTIMES: [(&str, &str); 4] = [
    ("cnitool", include_str!("../../captures/cnitool.jsonl")),
    (
        "containerd",
        include_str!("../../captures/containerd.jsonl"),
    ),
    ("crio", include_str!("../../captures/crio.jsonl")),
    ("podman", include_str!("../../captures/podman.jsonl")),
];

/// One request and the reference's answer to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Recording {
    pub(crate) runtime: String,
    pub(crate) plugin: String,
    command: String,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) stdin: Value,
    /// `null` if the plugin printed nothing.
    pub(crate) stdout: Value,
    pub(crate) rc: i32,
}

impl Recording {
    /// All requests of a runtime, in their order.
    pub(crate) fn all_of(runtime: &str) -> Vec<Self> {
        let (_, lines) = RUNTIMES
            .into_iter()
            .find(|(name, _)| *name == runtime)
            .unwrap();
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    pub(crate) fn command(&self) -> Command {
        Command::parse(&self.command).unwrap()
    }

    /// A variable; empty if it was not set.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.env.get(name).map_or("", String::as_str)
    }

    /// The version that the configuration asks for.
    pub(crate) fn version(&self) -> &str {
        self.stdin["cniVersion"].as_str().unwrap()
    }
}
