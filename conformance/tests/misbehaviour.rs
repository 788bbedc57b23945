//! The suite survives what plugins do: it ends in bounded time and memory, leaves no process
//! behind, and says what is wrong.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A folder with a plugin called loopback.
struct Folder(TempDir);

impl Folder {
    fn new(name: &str, plugin: &[u8], mode: u32) -> Self {
        let folder = TempDir::with_prefix_in(name, env!("CARGO_TARGET_TMPDIR")).unwrap();
        let file = folder.path().join("loopback");
        fs::write(&file, plugin).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        Self(folder)
    }

    fn script(name: &str, script: &str) -> Self {
        Self::new(name, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o755)
    }

    fn run(&self, arguments: &[&str]) -> (Output, String) {
        let mut suite = Command::new(env!("CARGO_BIN_EXE_cni-conformance"));
        let output = suite
            .arg("run")
            .arg("--bin-dir")
            .arg(self.0.path())
            .args(arguments)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        (output, text)
    }
}

/// Returns true if a sleep of so many seconds is running.
fn is_alive(seconds: &str) -> bool {
    fs::read_dir("/proc").unwrap().flatten().any(|process| {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command) == format!("sleep\0{seconds}\0")
    })
}

#[test]
fn what_cannot_be_started_is_refused_with_the_reason() {
    let other_machine = [
        &b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xff\xfe\x01\0\0\0"[..],
        &[0; 400],
    ]
    .concat();
    for (name, plugin, mode, wanted) in [
        (
            "not-executable",
            &b"#!/bin/sh\n"[..],
            0o644,
            "it is not executable",
        ),
        (
            "other-machine",
            &other_machine,
            0o755,
            "one for another machine",
        ),
        (
            "no-interpreter",
            b"#!/nowhere/python9\n",
            0o755,
            "the interpreter or loader that it names is not there",
        ),
    ] {
        let (output, text) = Folder::new(name, plugin, mode).run(&[]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(
            text.starts_with("cni-conformance: ") && text.lines().count() == 1,
            "{text}"
        );
        assert!(
            text.contains("/loopback cannot be started: ") && text.contains(wanted),
            "{text}"
        );
    }
}

#[test]
fn nothing_is_said_of_a_folder_in_which_nothing_can_be_seen() {
    let folder = Folder::script("none", "exit 1");
    fs::rename(
        folder.0.path().join("loopback"),
        folder.0.path().join("bridge"),
    )
    .unwrap();
    let (output, text) = folder.run(&["--filter", "protocol/add"]);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("skipped bridge protocol/add-one-document @ 0.1.0 0.2.0"),
        "{text}"
    );
    assert!(
        text.contains("the configuration needs the plugin host-local"),
        "{text}"
    );
    for (arguments, wanted) in [
        (&["--plugin", "loopback"][..], "no plugin loopback in "),
        (
            &["--plugin", "frob"],
            "no profile for the plugin frob: give its configuration by --config FILE",
        ),
        (&["--filter", "frob"], "no case matches"),
    ] {
        let (output, text) = folder.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(wanted), "{text}");
    }
}

#[test]
fn a_plugin_that_hangs_does_not_keep_the_suite() {
    let start = Instant::now();
    let folder = Folder::script("hangs", "sleep 600");
    let (output, text) = folder.run(&[
        "--filter",
        "*:protocol/add-one*@1.1.0",
        "--filter",
        "*:chains/*@1.1.0",
        "--timeout",
        "0.2",
    ]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("an end within 200ms"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_plugin_that_prints_without_end_does_not_fill_the_memory() {
    let folder = Folder::script("endless", "exec cat /dev/zero");
    let (output, text) = folder.run(&["--filter", "*:protocol/add-one*@1.1.0"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("at most 16 MiB of output"), "{text}");
}

/// In a session of its own, as a daemon is, and with the plugin's streams open.
#[test]
fn a_process_that_a_plugin_leaves_behind_is_ended() {
    let number = format!("600.{}", std::process::id());
    let folder = Folder::script(
        "daemon",
        &format!("setsid sleep {number} &\necho '{{\"cniVersion\":\"1.1.0\"}}'"),
    );
    let arguments = [
        "--filter",
        "*:protocol/add-one*@1.1.0",
        "--filter",
        "*:chains/status*@1.1.0",
        "--timeout",
        "1",
    ];
    let (output, text) = folder.run(&arguments);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!is_alive(&number), "{text}");
}

/// The wrong code is seen in another case than the one about codes.
#[test]
fn a_code_that_the_specification_does_not_know_is_seen_wherever_it_is_given() {
    let script = r#"cat >/dev/null
case $CNI_COMMAND in
  VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}' ;;
  CHECK) echo '{"cniVersion":"1.1.0","code":42,"msg":"no"}'; exit 1 ;;
  *) echo '{"cniVersion":"1.1.0"}' ;;
esac"#;
    let folder = Folder::script("codes", script);
    let (output, text) = folder.run(&["--filter", "protocol/error-codes@1.1.0"]);
    assert!(output.status.success(), "{text}");
    let (output, text) = folder.run(&[
        "--filter",
        "protocol/error-codes@1.1.0",
        "--filter",
        "lifecycle/check-after-add@1.1.0",
    ]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("FAILED loopback protocol/error-codes @ 1.1.0"),
        "{text}"
    );
    assert!(
        text.contains("in lifecycle/check-after-add: {\"cniVersion\":\"1.1.0\",\"code\":42"),
        "{text}"
    );
}

/// Some cases are run in versions that it does not speak.
#[test]
fn a_plugin_that_does_not_speak_the_newest_version_is_looked_at_in_the_others() {
    let script = r#"case $CNI_COMMAND,$(cat) in
  VERSION,*) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
  *'"cniVersion":"1.0.0"'*) echo '{"cniVersion":"1.0.0"}' ;;
  *) echo '{"cniVersion":"1.0.0","code":1,"msg":"incompatible version"}'; exit 1 ;;
esac"#;
    let folder = Folder::script("older", script);
    let (output, text) = folder.run(&[
        "--filter",
        "protocol/result-version",
        "--filter",
        "protocol/unknown-version",
    ]);
    assert!(output.status.success(), "{text}");
    assert!(
        text.contains("VERSION does not list 1.1.0") && !text.contains("ADD fails"),
        "{text}"
    );
    let (output, text) = folder.run(&["--filter", "faults/closed-stdout"]);
    assert!(
        output.status.success() && text.contains("1.0.0") && text.contains("1 passed"),
        "{text}"
    );
}

/// It is in a process group of its own, so what a terminal sends does not reach it.
#[test]
fn a_suite_that_is_ended_takes_its_plugins_along() {
    let number = format!("601.{}", std::process::id());
    let folder = Folder::script("ended", &format!("exec sleep {number}"));
    let mut suite = Command::new(env!("CARGO_BIN_EXE_cni-conformance"));
    let mut suite = suite
        .arg("run")
        .arg("--bin-dir")
        .arg(folder.0.path())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !is_alive(&number) && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = Pid::from_raw(suite.id().cast_signed());
    kill(pid, Signal::SIGTERM).unwrap();
    assert_eq!(suite.wait().unwrap().code(), Some(143));
    assert!(!is_alive(&number));
}
