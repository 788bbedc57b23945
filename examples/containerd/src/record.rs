//! A recorder that replaces a plugin: it runs the real plugin of the same name, passes everything
//! through, and writes a line about the call.
//!
//! The runtime's plugin folder has a link to this program for every plugin's name. Delegates are
//! found in the same folder, so they are recorded too. `<folder>/../plugins/NAME` is the real
//! plugin, `<folder>/../cni.jsonl` the record.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    fs::OpenOptions,
    io::{self, Read, Write},
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// One call of a plugin.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct CniCall {
    /// The start in seconds since 1970.
    pub began: f64,
    /// The duration in milliseconds.
    pub took: f64,
    pub plugin: String,
    pub command: String,
    pub container: String,
    /// The pod's name, if the runtime passes it in `CNI_ARGS`.
    #[serde(default)]
    pub pod: String,
    pub interface: String,
    pub netns: String,
    pub stdin: String,
    pub stdout: String,
    pub stderr: String,
    pub exit: Option<i32>,
}

/// Returns the time in seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64()).unwrap_or_default()
}

/// Returns the pod's name in `CNI_ARGS`.
fn pod_name(arguments: &str) -> String {
    let name = arguments.split(';').find_map(|argument| argument.strip_prefix("K8S_POD_NAME="));
    name.unwrap_or_default().to_owned()
}

/// Returns all recorded calls, in the order in which they ended.
pub fn read(records: &Path) -> io::Result<Vec<CniCall>> {
    let text = std::fs::read_to_string(records).unwrap_or_default();
    let calls: Result<Vec<CniCall>, _> = text.lines().map(serde_json::from_str).collect();
    Ok(calls?)
}

/// Returns true if another plugin made this call: a delegate gets the configuration of that plugin,
/// with another type than its own.
pub fn is_delegated(call: &CniCall) -> bool {
    let configuration: Value = serde_json::from_str(&call.stdin).unwrap_or_default();
    configuration.get("type").and_then(Value::as_str).is_some_and(|name| name != call.plugin)
}

/// Runs the real plugin and records it.
pub fn run(program: &Path) -> io::Result<ExitCode> {
    let absent = || io::Error::other("called without a name");
    let folder = program.parent().and_then(Path::parent).ok_or_else(absent)?;
    let plugin = program.file_name().ok_or_else(absent)?;
    let mut stdin = Vec::new();
    io::stdin().read_to_end(&mut stdin)?;

    let began = now();
    let clock = Instant::now();
    let mut child = Command::new(folder.join("plugins").join(plugin))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        // A plugin need not read its stdin.
        let _ = pipe.write_all(&stdin);
    }
    let output = child.wait_with_output()?;
    let took = clock.elapsed().as_secs_f64() * 1000.0;

    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let variable = |name| std::env::var(name).unwrap_or_default();
    let call = CniCall {
        began,
        took,
        plugin: plugin.to_string_lossy().into_owned(),
        command: variable("CNI_COMMAND"),
        container: variable("CNI_CONTAINERID"),
        pod: pod_name(&variable("CNI_ARGS")),
        interface: variable("CNI_IFNAME"),
        netns: variable("CNI_NETNS"),
        stdin: text(&stdin),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
        exit: output.status.code(),
    };
    let line = serde_json::to_string(&call)? + "\n";
    // The line is one write, so that concurrent calls do not mix their lines.
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(folder.join("cni.jsonl"))?
        .write_all(line.as_bytes())?;

    io::stderr().write_all(&output.stderr)?;
    io::stdout().write_all(&output.stdout)?;
    let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
