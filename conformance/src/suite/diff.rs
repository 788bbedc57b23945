//! The same requests to two builds of a plugin, each on a host of its own, and the answers beside
//! each other. For who replaces one by the other: not every difference is a fault, but each should
//! be known.

use super::{
    case::{Case, Clause},
    context::Context,
    failure::Failure,
    journal::Entry,
    outcome::Outcome,
};
use cni_types::Command;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Sends the requests; what they answer is in the outcome's journal.
pub static REQUESTS: Case = Case::may(
    "diff/requests",
    "the requests whose answers are compared",
    Clause::silent("nothing is required; two builds are compared"),
)
.body(send);

fn send(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    let run = |name: &str, request: super::Request<'_>| {
        context.step(name);
        request.run()
    };
    run("VERSION", context.request(Command::Version))?;
    let added = run("ADD", attachment.request(Command::Add))?;
    if let Ok(result) = added.result() {
        attachment.remember(result);
    }
    run("ADD again", attachment.request(Command::Add))?;
    run("CHECK", attachment.request(Command::Check))?;
    run(
        "CHECK without prevResult",
        attachment.request(Command::Check).without_key("prevResult"),
    )?;
    run("STATUS", context.request(Command::Status))?;
    let all = json!([{"containerID": "c1", "ifname": context.profile().ifname}]);
    run(
        "GC",
        context
            .request(Command::Gc)
            .key("cni.dev/valid-attachments", all),
    )?;
    run("DEL", attachment.request(Command::Del))?;
    run("DEL again", attachment.request(Command::Del))?;
    run(
        "DEL without netns",
        attachment.request(Command::Del).env("CNI_NETNS", ""),
    )?;
    refusals(context)
}

/// Requests that no plugin can serve.
fn refusals(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c2")?;
    let add = || attachment.request(Command::Add);
    let refused = [
        ("no such command", add().env("CNI_COMMAND", "PUT")),
        ("no container id", add().without_env("CNI_CONTAINERID")),
        ("bad container id", add().env("CNI_CONTAINERID", "a/b")),
        ("no interface name", add().without_env("CNI_IFNAME")),
        ("bad interface name", add().env("CNI_IFNAME", "a/b")),
        ("no netns", add().without_env("CNI_NETNS")),
        ("missing netns", add().env("CNI_NETNS", "/run/netns/nosuch")),
        ("bad network name", add().key("name", "../x")),
        ("unsupported version", add().key("cniVersion", "9.8.7")),
        ("stdin is no JSON", add().stdin("{")),
        ("no stdin", add().stdin("")),
    ];
    for (name, request) in refused {
        context.step(name);
        request.run()?;
        attachment.request(Command::Del).run()?;
    }
    Ok(())
}

/// One value that differs: its place, and both values. `null` stands for a missing one.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The request, as in "CHECK without prevResult".
    pub request: String,
    /// The part of the answer: `exit status`, or a JSON pointer into the document on stdout.
    pub at: String,
    /// The one's value.
    pub a: Value,
    /// The other's.
    pub b: Value,
}

/// Returns the differences between two outcomes of [`REQUESTS`].
#[must_use]
pub fn differences(a: &Outcome, b: &Outcome) -> Vec<Difference> {
    let a = answers(a);
    let b = answers(b);
    let requests: Vec<&String> = a.iter().chain(&b).map(|(request, _)| request).collect();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for request in requests.into_iter().filter(|request| seen.insert(*request)) {
        let of = |answers: &[(String, BTreeMap<String, Value>)]| {
            answers
                .iter()
                .find(|(name, _)| name == request)
                .map(|(_, answer)| answer.clone())
                .unwrap_or_default()
        };
        let a = of(&a);
        let b = of(&b);
        let places: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        for at in places {
            let a = a.get(at).cloned().unwrap_or_default();
            let b = b.get(at).cloned().unwrap_or_default();
            if a != b {
                found.push(Difference {
                    request: request.clone(),
                    at: at.clone(),
                    a,
                    b,
                });
            }
        }
    }
    found
}

/// The first run after each step that names a request.
fn answers(outcome: &Outcome) -> Vec<(String, BTreeMap<String, Value>)> {
    let mut answers = Vec::new();
    let mut name = None;
    for entry in &outcome.journal {
        match entry {
            Entry::Step(text) => name = Some(text.clone()),
            Entry::Run(entry) => {
                if let Some(name) = name.take() {
                    let mut answer = BTreeMap::from([(
                        "exit status".to_owned(),
                        json!(entry.run.status.code()),
                    )]);
                    match entry.run.document() {
                        Ok(document) => flatten("", &steady(document), &mut answer),
                        Err(_) => {
                            drop(answer.insert("stdout".to_owned(), json!(entry.run.stdout_text())))
                        }
                    }
                    answers.push((name, answer));
                }
            }
        }
    }
    answers
}

/// Removes the values that differ from run to run: the host's interface names, MAC addresses, and
/// an error's details, which are for people and may contain the time.
fn steady(mut document: Value) -> Value {
    if let Some(document) = document.as_object_mut() {
        document.remove("details");
    }
    let interfaces = document
        .pointer_mut("/interfaces")
        .and_then(Value::as_array_mut);
    for interface in interfaces
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
    {
        if interface
            .get("mac")
            .is_some_and(|mac| mac != "" && mac != "00:00:00:00:00:00")
        {
            interface.insert("mac".to_owned(), json!("(some)"));
        }
        let random = interface
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|name| {
                name.strip_prefix("veth")
                    .is_some_and(|rest| rest.len() == 8)
            });
        if random {
            interface.insert("name".to_owned(), json!("veth(some)"));
        }
    }
    document
}

/// All leaves by their JSON pointers.
fn flatten(at: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members
                .iter()
                .for_each(|(key, value)| flatten(&format!("{at}/{key}"), value, leaves));
        }
        Value::Array(items) if !items.is_empty() => {
            items
                .iter()
                .enumerate()
                .for_each(|(i, value)| flatten(&format!("{at}/{i}"), value, leaves));
        }
        leaf => drop(leaves.insert(at.to_owned(), leaf.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_found_by_their_pointers() {
        let mut leaves = BTreeMap::new();
        flatten("", &json!({"a": [1, {"b": null}], "c": {}}), &mut leaves);
        assert_eq!(
            leaves,
            BTreeMap::from([
                ("/a/0".to_owned(), json!(1)),
                ("/a/1/b".to_owned(), Value::Null),
                ("/c".to_owned(), json!({})),
            ])
        );
    }

    #[test]
    fn what_no_build_can_repeat_is_made_steady() {
        let document = json!({"interfaces": [{"name": "veth0a1b2c3d", "mac": "02:00:00:00:00:01"}, {"name": "lo", "mac": ""}]});
        let wanted = json!({"interfaces": [{"name": "veth(some)", "mac": "(some)"}, {"name": "lo", "mac": ""}]});
        assert_eq!(steady(document), wanted);
    }
}
