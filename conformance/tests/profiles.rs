//! Profiles and configurations of a person who tests a plugin that the suite does not know.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use sandbox::binaries;
use std::{fs, path::Path, process::Command};

/// `run` with a configuration alone: exit status, and what was printed.
fn run_with(config: &str, filter: &str) -> (Option<i32>, String) {
    binaries::build(&["--workspace"]).unwrap();
    let name = format!(
        "config-{}-{}.json",
        filter.replace('/', "-"),
        std::process::id()
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, config).unwrap();
    let mut suite = Command::new(env!("CARGO_BIN_EXE_cni-conformance"));
    suite
        .args(["run", "--quiet", "--filter", filter, "--bin-dir"])
        .arg(binaries::bin_dir());
    let output = suite.arg("--config").arg(&file).output().unwrap();
    fs::remove_file(file).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

#[test]
fn a_configuration_that_cannot_work_is_told_once() {
    let config = r#"{"type": "bridge", "bridge": "lo"}"#;
    let (status, text) = run_with(config, "@1.1.0");
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(text.matches("FAILED").count(), 1, "{text}");
    assert!(
        text.contains("FAILED bridge lifecycle/add-succeeds @ 1.1.0"),
        "{text}"
    );
    assert!(
        text.contains("ADD fails with the profile's configuration: exit status 1"),
        "{text}"
    );
}

#[test]
fn a_selection_of_which_nothing_could_be_seen_is_no_success() {
    let (status, text) = run_with(
        r#"{"type": "bridge", "bridge": "lo"}"#,
        "lifecycle/del-twice",
    );
    assert_eq!(status, Some(2), "{text}");
    assert!(
        text.contains("skipped") && !text.contains(" passed"),
        "{text}"
    );
}

fn suite(arguments: &[&str], paths: &[&Path]) -> (Option<i32>, String) {
    let mut suite = Command::new(env!("CARGO_BIN_EXE_cni-conformance"));
    suite
        .args(arguments)
        .args(paths)
        .arg("--bin-dir")
        .arg(binaries::bin_dir());
    let output = suite.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

fn file(name: &str, content: &str) -> std::path::PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, content).unwrap();
    file
}

#[test]
fn a_configuration_of_another_type_than_the_plugin_is_refused() {
    let config = file("another-type.json", r#"{"type":"host-local"}"#);
    let (code, text) = suite(&["run", "--plugin", "bridge", "--config"], &[&config]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("is a configuration of host-local: another type"),
        "{text}"
    );
}

#[test]
fn the_command_that_explains_a_failure_works_as_printed() {
    // Without its interface the plugin keeps no rule about it.
    let config = file(
        "it fails.json",
        r#"{"type":"bridge","bridge":"a name that is too long"}"#,
    );
    let filter = [
        "run",
        "--quiet",
        "--filter",
        "*:lifecycle/add-succeeds@1.1.0",
        "--config",
    ];
    let (code, text) = suite(&filter, &[&config]);
    assert_eq!(code, Some(1), "{text}");
    let command = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("more    cni-conformance "));
    let program = env!("CARGO_BIN_EXE_cni-conformance");
    let output = Command::new("sh")
        .arg("-c")
        .arg(format!("{program} {}", command.unwrap()))
        .output();
    let output = output.unwrap();
    let explained = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{explained}{:?}",
        output.stderr
    );
    assert!(explained.contains("a name that is too long"), "{explained}");
}

#[test]
fn a_profile_alone_means_the_plugins_that_it_describes() {
    let profile = file(
        "only.json",
        r#"{"name":"loopback","kind":"interface","config":{}}"#,
    );
    let filter = [
        "run",
        "--quiet",
        "--filter",
        "protocol/version-echo",
        "--profile",
    ];
    let (_, text) = suite(&filter, &[&profile]);
    assert!(
        text.contains("loopback (interface)") && !text.contains("bridge (interface)"),
        "{text}"
    );
}

#[test]
fn a_usage_error_is_two_lines() {
    let (code, text) = suite(&["rnu"], &[]);
    assert_eq!((code, text.lines().count()), (Some(2), 2), "{text}");
}
