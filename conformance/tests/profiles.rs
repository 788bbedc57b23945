//! What a person gives who tests a plugin that the suite does not know.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use conformance::binaries;
use std::{fs, path::Path, process::Command};

/// `run` with a configuration alone: exit status, and what was printed.
fn run_with(config: &str, filter: &str) -> (Option<i32>, String) {
    binaries::build(&["--workspace"]).unwrap();
    let name = format!("config-{}-{}.json", filter.replace('/', "-"), std::process::id());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, config).unwrap();
    let mut suite = Command::new(env!("CARGO_BIN_EXE_cni-conformance"));
    suite.args(["run", "--quiet", "--filter", filter, "--bin-dir"]).arg(binaries::bin_dir());
    let output = suite.arg("--config").arg(&file).output().unwrap();
    fs::remove_file(file).unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text)
}

#[test]
fn a_configuration_that_cannot_work_is_told_once() {
    let config = r#"{"type": "bridge", "bridge": "lo"}"#;
    let (status, text) = run_with(config, "@1.1.0");
    assert_eq!(status, Some(1), "{text}");
    assert_eq!(text.matches("FAILED").count(), 1, "{text}");
    assert!(text.contains("FAILED bridge lifecycle/add-succeeds @ 1.1.0"), "{text}");
    assert!(text.contains("ADD fails with the profile's configuration: exit status 1"), "{text}");
}

#[test]
fn a_selection_of_which_nothing_could_be_seen_is_no_success() {
    let (status, text) = run_with(r#"{"type": "bridge", "bridge": "lo"}"#, "lifecycle/del-twice");
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("skipped") && !text.contains(" passed"), "{text}");
}
