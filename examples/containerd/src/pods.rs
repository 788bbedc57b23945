//! kubelet's own list of its pods, for a script: a line for each.

use crate::runtime::Outcome;
use serde_json::Value;

/// Reads kubelet's answer to `/pods` from stdin, and prints a line for each pod, sorted by name:
/// name, phase, `ready` or `not-ready`, address, restarts, and the id of the first container.
pub fn print() -> Outcome<()> {
    let list: Value = serde_json::from_reader(std::io::stdin())?;
    let mut lines: Vec<String> = array(&list, "/items").map(line).collect();
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn line(pod: &Value) -> String {
    let ready = array(pod, "/status/conditions")
        .any(|condition| text(condition, "/type") == "Ready" && text(condition, "/status") == "True");
    let containers: Vec<&Value> = array(pod, "/status/containerStatuses").collect();
    let restarts: u64 = containers.iter().filter_map(|one| one.get("restartCount")?.as_u64()).sum();
    let id = containers.first().map_or("-", |one| text(one, "/containerID"));
    format!(
        "{} {} {} {} {restarts} {}",
        text(pod, "/metadata/name"),
        text(pod, "/status/phase"),
        if ready { "ready" } else { "not-ready" },
        text(pod, "/status/podIP"),
        id.trim_start_matches("containerd://"),
    )
}

fn array<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

/// Returns `-` for an empty word, so that every line has the same number of words.
fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or("-")
}
