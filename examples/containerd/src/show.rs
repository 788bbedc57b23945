//! The output for people.

use crate::record::{self, CniCall};
use serde_json::Value;

/// Shows a call to the runtime: time, name, subject, duration and outcome.
pub fn cri_call(at: f64, took: f64, name: &str, subject: &str, outcome: &str) {
    println!("{at:8.3}  CRI  {:<40} {:>9.1} ms   {outcome}", format!("{name} {subject}"), took * 1000.0);
}

/// Shows a call of a plugin; one that another plugin made is indented.
pub fn cni_call(at: f64, call: &CniCall) {
    let indent = if record::is_delegated(call) { "      " } else { "    " };
    let name = format!("{indent}{} {} {} {}", call.plugin, call.command, call.interface, call.pod);
    println!("{at:8.3}  CNI  {name:<40} {:>9.1} ms   {}", call.took, answer(call));
}

/// Shows a line of the runtime's log about a call to it.
pub fn log_line(at: f64, text: &str) {
    println!("{at:8.3}  CRI  {text}");
}

fn answer(call: &CniCall) -> String {
    let value: Value = serde_json::from_str(&call.stdout).unwrap_or_default();
    if call.exit != Some(0) {
        let said = value.get("msg").and_then(Value::as_str).unwrap_or(&call.stderr);
        return format!("FAILED: {said}");
    }
    let addresses = value.get("ips").and_then(Value::as_array).into_iter().flatten();
    let addresses: Vec<&str> = addresses.filter_map(|ip| ip.get("address")?.as_str()).collect();
    match (call.command.as_str(), call.netns.is_empty()) {
        ("DEL", true) => "(no netns)".to_owned(),
        _ => addresses.join(" "),
    }
}

/// Shows a check, and returns if it passed.
pub fn point(holds: bool, what: &str) {
    println!("          {}  {what}", if holds { "ok  " } else { "FAIL" });
}

pub fn heading(text: &str) {
    println!("\n          {text}");
}
