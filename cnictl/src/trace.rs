//! `--trace`: a report of every run of a plugin, at its start and at its end.

use crate::{
    arguments::Arguments,
    networks,
    screen::{self, indented},
};
use cni_runtime::{Event, Runtime};
use cni_types::{Command, Environment, Json};
use std::{io::Write, path::Path};

/// Returns the runtime for a command line, which reports its runs if the command line has
/// `--trace`.
pub(crate) fn runtime(arguments: &Arguments) -> Runtime {
    let runtime = Runtime::new(
        &arguments.paths.bin_dirs(),
        networks::cache(&arguments.paths),
    );
    if !arguments.trace {
        // As with cnitool, the user sees the log of plugins.
        return runtime.on_exit(|event| write(&event.stderr));
    }
    if arguments.json {
        return runtime.on_exit(|event| write(&as_json(event)));
    }
    let report_start = |program: &Path, command: Command| {
        write(&format!(">>> {} {}\n", command.as_str(), program.display()));
    };
    runtime
        .on_start(report_start)
        .on_exit(|event| write(&as_text(event)))
}

/// Writes to stderr, on which nobody may listen: errors are ignored.
fn write(text: &str) {
    let _ = std::io::stderr()
        .lock()
        .write_all(screen::readable(text).as_bytes());
}

/// Returns the names and values of the variables of CNI.
fn variables(environment: &Environment) -> Vec<(String, String)> {
    let all = environment
        .iter()
        .map(|(name, value)| (name.to_string_lossy(), value.to_string_lossy()));
    all.filter(|(name, _)| name.starts_with("CNI_"))
        .map(|(name, value)| (name.into_owned(), value.into_owned()))
        .collect()
}

fn milliseconds(event: &Event) -> f64 {
    (event.duration.as_secs_f64() * 1e5).round() / 100.0
}

/// Returns the report of a run for people.
fn as_text(event: &Event) -> String {
    let mut text = format!(
        "=== {} {}: {}, {:.2} ms\n",
        event.command.as_str(),
        event.program.display(),
        event.status,
        milliseconds(event)
    );
    for (name, value) in variables(&event.environment) {
        text += &format!("{name}={value}\n");
    }
    for (name, content) in [
        ("stdin", &event.stdin),
        ("stdout", &event.stdout),
        ("stderr", &event.stderr),
    ] {
        if !content.is_empty() {
            text += &format!("--- {name}\n{}\n", indented_if_json(content));
        }
    }
    text
}

/// Returns the report of a run as one line of JSON.
fn as_json(event: &Event) -> String {
    let document = |text: &str| Json::parse(text.as_bytes()).unwrap_or_else(|_| text.into());
    let line = serde_json::json!({
        "command": event.command.as_str(),
        "plugin": event.plugin,
        "program": event.program,
        "environment": variables(&event.environment).into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "stdin": document(&event.stdin),
        "stdout": document(&event.stdout),
        "stderr": event.stderr,
        "exitStatus": event.status.code(),
        "milliseconds": milliseconds(event),
    });
    screen::readable_json(&format!("{line}\n"))
}

/// Returns JSON with indentation, other text as it is.
fn indented_if_json(content: &str) -> String {
    match Json::parse(content.as_bytes()) {
        Ok(json) => indented(&json),
        Err(_) => content.trim_end().to_owned(),
    }
}
