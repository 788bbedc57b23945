//! `swap`, `diff` and `bench` as a person calls them, on the workspace's own plugins.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use sandbox::binaries;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};
use tempfile::TempDir;

fn run(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cni-conformance"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    (output, text)
}

fn ours() -> &'static str {
    binaries::build(&["--workspace"]).unwrap();
    binaries::bin_dir().to_str().unwrap()
}

/// A loopback that answers VERSION in its own way, and the rest as ours does.
fn another(name: &str) -> TempDir {
    let folder = TempDir::with_prefix_in(name, env!("CARGO_TARGET_TMPDIR")).unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$CNI_COMMAND\" = VERSION ] || exec {}/loopback\necho '{}'\n",
        ours(),
        r#"{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}"#
    );
    let file = folder.path().join("loopback");
    fs::write(&file, script).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn diff_of_a_build_with_itself_finds_nothing() {
    let (output, text) = run(&["diff", "--a", ours(), "--b", ours(), "--filter", "@1.1.0"]);
    assert!(output.status.success(), "{text}");
    for plugin in cni_plugins::names() {
        assert!(
            text.contains(&format!("{plugin} 1.1.0: the same")),
            "{text}"
        );
    }
}

#[test]
fn diff_lists_each_value_that_differs() {
    let folder = another("diff");
    let b = folder.path().to_str().unwrap();
    let (output, text) = run(&[
        "diff",
        "--a",
        ours(),
        "--b",
        b,
        "--plugin",
        "loopback",
        "--filter",
        "@1.0.0",
    ]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("VERSION, /supportedVersions/0\n    a \"0.1.0\"\n    b \"0.4.0\""),
        "{text}"
    );
}

#[test]
fn swap_goes_both_ways() {
    let (output, text) = run(&[
        "swap",
        "--a",
        ours(),
        "--b",
        ours(),
        "--plugin",
        "bridge",
        "--filter",
        "@1.1.0",
    ]);
    assert!(output.status.success(), "{text}");
    assert_eq!(text.matches("ADD by ").count(), 2, "{text}");
    assert_eq!(text.matches("3 passed in").count(), 2, "{text}");
}

#[test]
fn bench_measures_every_operation() {
    let (output, text) = run(&[
        "bench",
        ours(),
        "--plugin",
        "host-local",
        "--rounds",
        "2",
        "--format",
        "json",
    ]);
    assert!(output.status.success(), "{text}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = report.pointer("/rows").unwrap().as_array().unwrap();
    let commands: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.pointer("/command")?.as_str())
        .collect();
    assert_eq!(commands, ["VERSION", "ADD", "CHECK", "STATUS", "DEL"]);
    for row in rows {
        for value in ["wallMs", "peakKib"] {
            let found = row
                .pointer(&format!("/medians/0/{value}"))
                .and_then(serde_json::Value::as_f64);
            assert!(found.is_some_and(|found| found > 0.0), "{row}");
        }
    }
}
