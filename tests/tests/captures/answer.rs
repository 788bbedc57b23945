//! The recorded answer, turned into the one that is wanted here and now. After that the two must be
//! equal.
//!
//! - Names of host veths and MAC addresses are random. Each recorded one stands for the actual one
//!   in its place, also in the `prevResult` of later requests, so that CHECK has something to
//!   verify.
//! - Paths of namespaces and of data folders are those of the test.
//! - Better than the reference: `mtu` of interfaces at 1.1.0, VERSION's `cniVersion` (spec section
//!   5), and loopback's shape before 1.0.0.

use crate::recording::Recording;
use cni_types::{Command, MacAddr};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Recorded texts and what stands for them in the replay.
#[derive(Debug, Default)]
pub(crate) struct Substitutes(BTreeMap<String, String>);

impl Substitutes {
    pub(crate) fn insert(&mut self, recorded: impl Into<String>, actual: impl Into<String>) {
        self.0.insert(recorded.into(), actual.into());
    }

    /// The value with every known text replaced.
    pub(crate) fn apply(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => json!(self.0.get(text).unwrap_or(text)),
            Value::Array(values) => values.iter().map(|value| self.apply(value)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(key, value)| (key.clone(), self.apply(value)))
                .collect(),
            other => other.clone(),
        }
    }

    /// Learns which actual random values stand for the recorded ones, interface by interface.
    pub(crate) fn learn(&mut self, recording: &Recording, actual: &Value) {
        let interfaces =
            |result: &Value| result["interfaces"].as_array().cloned().unwrap_or_default();
        for (recorded, actual) in interfaces(&recording.stdout)
            .iter()
            .zip(&interfaces(actual))
        {
            let text = |interface: &Value, key: &str| {
                interface[key].as_str().unwrap_or_default().to_owned()
            };
            let old = text(recorded, "name");
            let new = text(actual, "name");
            if is_random_veth(&old) && is_random_veth(&new) {
                self.insert(old, new);
            }
            let old = text(recorded, "mac");
            let new = text(actual, "mac");
            let requested = recording
                .variable("CNI_ARGS")
                .contains(&format!("MAC={old}"));
            let usable = |mac: &str| mac.parse().is_ok_and(|mac: MacAddr| mac != MacAddr::ZERO);
            if !requested && usable(&old) && usable(&new) {
                self.insert(old, new);
            }
        }
    }

    /// The answer that is wanted.
    pub(crate) fn wanted(&self, recording: &Recording) -> Value {
        let mut wanted = self.apply(&recording.stdout);
        match (recording.plugin.as_str(), recording.command()) {
            (_, Command::Version) => wanted["cniVersion"] = json!(recording.version()),
            ("loopback", Command::Add) => {
                assert_eq!(
                    recording.version(),
                    "0.3.1",
                    "another version may need no correction"
                );
                wanted["dns"] = json!({});
                for (ip, version) in wanted["ips"]
                    .as_array_mut()
                    .unwrap()
                    .iter_mut()
                    .zip(["4", "6"])
                {
                    ip["version"] = json!(version);
                }
            }
            ("bridge", Command::Add) if recording.version() == "1.1.0" => {
                for interface in wanted["interfaces"].as_array_mut().unwrap() {
                    interface["mtu"] = json!(1500);
                }
            }
            _ => {}
        }
        wanted
    }
}

fn is_random_veth(name: &str) -> bool {
    name.strip_prefix("veth")
        .is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}
