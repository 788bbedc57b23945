//! The plugins as processes: signals, streams that are closed or full, input without bounds. Whatever happens, a runtime
//! gets exactly one JSON document, and an exit status that tells whether the request was served.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

use cni_types::{Code, Command};
use conformance::testbed::{self, Host, Invocation, bin_dir, fail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    process::{Child, ExitCode, Output, Stdio},
    time::{Duration, Instant},
};

const PLUGINS: [&str; 3] = ["bridge", "loopback", "host-local"];

fn main() -> ExitCode {
    testbed::main(testbed::tests![
        sigterm_while_stdin_is_open_is_an_error_document,
        sigterm_during_a_delegate_is_passed_on_and_is_an_error_document,
        a_delegate_that_ignores_sigterm_is_killed_and_its_records_are_released,
        a_reply_that_nobody_can_read_is_a_failure,
        no_stdin_is_code_6,
        bytes_that_are_not_text_are_refused,
        stdin_without_end_is_refused,
        json_without_end_is_refused,
        a_person_who_starts_a_plugin_is_told_what_it_is,
        version_needs_nothing,
    ])
}

/// The one document on stdout.
#[track_caller]
fn document(output: &Output) -> Value {
    let stdout = String::from_utf8_lossy(&output.stdout);
    let documents: Vec<Value> =
        serde_json::Deserializer::from_str(&stdout).into_iter().collect::<Result<_, _>>().unwrap();
    match <[Value; 1]>::try_from(documents) {
        Ok([document]) => document,
        Err(other) => fail(format_args!("{} documents: {stdout}", other.len())),
    }
}

/// Fails the test unless the plugin ended by itself with one error object of this code. Gives its text.
#[track_caller]
fn refusal(output: &Output, code: Code) -> String {
    let error = document(output);
    assert!(output.status.code().is_some_and(|status| status != 0), "{}", output.status);
    assert_eq!(error["code"], code.0, "{error}");
    assert!(error["cniVersion"].is_string(), "{error}");
    error["msg"].as_str().unwrap().to_owned()
}

fn conf(plugin: &str) -> Value {
    json!({"cniVersion": "1.1.0", "name": "net", "type": plugin, "ipam": {"ranges": [[{"subnet": "10.1.0.0/24"}]]}})
}

/// Waits for something that another process does.
#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        if Instant::now() > deadline {
            fail(format_args!("waited in vain: {what}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn terminate(child: &Child) {
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM).unwrap();
}

/// Whether the process watches for SIGTERM instead of dying of it.
fn watches_sigterm(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (Signal::SIGTERM as u32 - 1)) != 0
}

fn sigterm_while_stdin_is_open_is_an_error_document(host: &Host) {
    let pod = host.pod("a");
    let before = host.state(&[&pod]);
    for plugin in PLUGINS {
        let mut process = host.plugin(plugin, Command::Add).pod(&pod).process();
        let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"{").unwrap();
        wait_until("SIGTERM is caught", || watches_sigterm(&child));
        terminate(&child);
        let output = child.wait_with_output().unwrap();
        assert_eq!(refusal(&output, Code::TRY_AGAIN), "terminated by SIGTERM");
        drop(stdin);
    }
    assert_eq!(host.state(&[&pod]).difference(&before), "");
}

/// bridge with a script as its IPAM plugin, which notes what it gets.
fn bridge_with_ipam<'a>(host: &'a Host, script: &str) -> (Invocation<'a>, std::path::PathBuf) {
    let program = host.script("slow", script);
    let path = format!("{}:{}", program.parent().unwrap().display(), bin_dir().display());
    let conf = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "br0", "isGateway": true,
        "ipam": {"type": "slow"}
    });
    (host.plugin("bridge", Command::Add).env("CNI_PATH", path).conf(conf), program.with_file_name("slow.log"))
}

/// Starts bridge, terminates it while its delegate is at work, and gives its end and what the delegate noted.
fn terminate_during_delegate(host: &Host, script: &str) -> (Output, String) {
    let pod = host.pod("a");
    let before = host.state(&[&pod]);
    let (invocation, log) = bridge_with_ipam(host, script);
    let child = invocation.pod(&pod).process().stdout(Stdio::piped()).spawn().unwrap();
    let noted = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("the delegate is started", || noted().contains("ready"));
    terminate(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(host.state(&[&pod]).difference(&before), "", "something was left behind");
    (output, noted())
}

fn sigterm_during_a_delegate_is_passed_on_and_is_an_error_document(host: &Host) {
    let script = r#"
        echo "$CNI_COMMAND" >>"$0.log"
        [ "$CNI_COMMAND" = ADD ] || exit 0
        sleep 60 >/dev/null &
        trap 'echo TERM >>"$0.log"; kill $!; exit 1' TERM
        echo ready >>"$0.log"
        wait"#;
    let start = Instant::now();
    let (output, noted) = terminate_during_delegate(host, script);
    assert_eq!(refusal(&output, Code::TRY_AGAIN), "terminated by SIGTERM");
    assert_eq!(noted, "ADD\nready\nTERM\nDEL\n");
    assert!(start.elapsed() < Duration::from_secs(20), "the delegate ended at once, and so must the plugin");
}

fn a_delegate_that_ignores_sigterm_is_killed_and_its_records_are_released(host: &Host) {
    let script = r#"
        echo "$CNI_COMMAND" >>"$0.log"
        [ "$CNI_COMMAND" = ADD ] || exit 0
        trap '' TERM
        echo ready >>"$0.log"
        exec sleep 60"#;
    let start = Instant::now();
    let (output, noted) = terminate_during_delegate(host, script);
    assert_eq!(refusal(&output, Code::TRY_AGAIN), "terminated by SIGTERM");
    assert_eq!(noted, "ADD\nready\nDEL\n");
    assert!(start.elapsed() < Duration::from_secs(30), "it has 5 seconds");
}

fn a_reply_that_nobody_can_read_is_a_failure(host: &Host) {
    for plugin in PLUGINS {
        let (reader, closed) = io::pipe().unwrap();
        drop(reader);
        let full = File::options().write(true).open("/dev/full").unwrap();
        for stdout in [Stdio::from(closed), Stdio::from(full)] {
            let mut process = host.plugin(plugin, Command::Version).conf(conf(plugin)).process();
            let output = process.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
            let output = output.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(1));
            let log = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(log.starts_with("cannot print the reply: "), "{log}");
        }
    }
}

fn no_stdin_is_code_6(host: &Host) {
    for plugin in PLUGINS {
        for command in [Command::Add, Command::Del, Command::Check, Command::Status, Command::Gc] {
            let mut process = host.plugin(plugin, command).netns("/run/netns/none").process();
            let output = process.stdin(Stdio::null()).output().unwrap();
            assert!(refusal(&output, Code::DECODE).starts_with("error unmarshall network config: "));
        }
        // Not even a descriptor.
        let mut shell = std::process::Command::new("/bin/sh");
        shell.args(["-c", r#"exec "$0" <&-"#]).arg(bin_dir().join(plugin)).env_clear();
        shell.envs([("CNI_COMMAND", "STATUS"), ("CNI_PATH", "/nonexistent")]);
        assert!(refusal(&shell.output().unwrap(), Code::DECODE).starts_with("error unmarshall"));
    }
}

fn bytes_that_are_not_text_are_refused(host: &Host) {
    use std::os::unix::ffi::OsStrExt;
    let garbage = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    let path = host.file("garbage", "");
    fs::write(&path, b"{\"name\":\"\xff\xfe\"}").unwrap();
    for plugin in PLUGINS {
        let mut process = host.plugin(plugin, Command::Del).process();
        let output = process.stdin(File::open(&path).unwrap()).output().unwrap();
        refusal(&output, Code::DECODE);
        let invocation = host.plugin(plugin, Command::Del).conf(conf(plugin));
        let output = invocation.clone().env("CNI_CONTAINERID", garbage).process().output().unwrap();
        assert_eq!(refusal(&output, Code::INVALID_ENVIRONMENT), "invalid characters in containerID");
        let output = invocation.env("CNI_COMMAND", garbage).process().output().unwrap();
        assert!(refusal(&output, Code::INVALID_ENVIRONMENT).starts_with("unknown CNI_COMMAND: "));
    }
}

/// 64 MiB is the most. It is fed for as long as it is taken.
fn stdin_without_end_is_refused(host: &Host) {
    let mut process = host.plugin("host-local", Command::Status).process();
    let mut child = process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        let spaces = vec![b' '; 1 << 20];
        (0..1024).take_while(|_| stdin.write_all(&spaces).is_ok()).count()
    });
    let output = child.wait_with_output().unwrap();
    let msg = refusal(&output, Code::IO);
    assert!(msg.starts_with("error reading from stdin: ") && msg.contains("larger than 64 MiB"), "{msg}");
    assert!((60..80).contains(&feeder.join().unwrap()));
}

fn json_without_end_is_refused(host: &Host) {
    for plugin in PLUGINS {
        for unit in ["[", r#"{"ipam":"#, r#"{"prevResult":["#] {
            let invocation = host.plugin(plugin, Command::Del).conf(unit.repeat(100_000));
            assert!(
                refusal(&invocation.process().output().unwrap(), Code::DECODE).contains("recursion limit")
            );
        }
    }
}

fn a_person_who_starts_a_plugin_is_told_what_it_is(_: &Host) {
    for plugin in PLUGINS {
        let output = std::process::Command::new(bin_dir().join(plugin)).env_clear().output().unwrap();
        assert!(output.status.success() && output.stdout.is_empty());
        let about = String::from_utf8(output.stderr).unwrap();
        assert!(about.starts_with(&format!("CNI {plugin} plugin v")), "{about}");
        assert!(about.contains("0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{about}");
    }
}

fn version_needs_nothing(_: &Host) {
    for plugin in PLUGINS {
        let mut process = std::process::Command::new(Path::new(bin_dir()).join(plugin));
        let output = process.env_clear().env("CNI_COMMAND", "VERSION").stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success());
        let versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
        assert_eq!(document(&output), json!({"cniVersion": "1.1.0", "supportedVersions": versions}));
    }
}
