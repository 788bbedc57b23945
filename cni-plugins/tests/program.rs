//! The program as it is called: by the name of a plugin, by another name, by its own.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use cni_plugins::names;
use sandbox::binaries;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    os::unix::{fs::symlink, process::CommandExt},
    process::{Command, Output},
};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_cni-plugins");

/// Makes an empty folder, which is removed at the end.
fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn files(folder: &TempDir) -> BTreeSet<String> {
    let entries = fs::read_dir(folder.path()).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Runs a program with a command in its environment, or none, and a configuration on stdin.
fn run(mut program: Command, command: Option<&str>, stdin: &str) -> Output {
    let file = sandbox::stdin::file(stdin.as_bytes()).unwrap();
    program.env_clear().stdin(file);
    let variables = command.map(|command| ("CNI_COMMAND", command));
    program.envs(variables).output().unwrap()
}

fn tool(arguments: &[&str]) -> Output {
    let mut program = Command::new(PROGRAM);
    program.args(arguments);
    run(program, None, "")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn each_name_answers_as_the_plugins_own_program() {
    binaries::build(&["--workspace"]).unwrap();
    let folder = folder();
    let installed = tool(&["--install", folder.path().to_str().unwrap()]);
    assert!(installed.status.success(), "{installed:?}");
    let conf = r#"{"cniVersion": "0.4.0", "name": "n", "type": "x", "vlan": "no number"}"#;
    for name in names() {
        for command in [None, Some("VERSION"), Some("CHECK"), Some("OTHER")] {
            let by_name = run(Command::new(folder.path().join(name)), command, conf);
            let own = run(Command::new(binaries::bin_dir().join(name)), command, conf);
            assert_eq!(by_name, own, "{name} {command:?}");
            assert!(
                command != Some("VERSION") || by_name.status.success(),
                "{name}: {by_name:?}"
            );
        }
        let about = run(Command::new(folder.path().join(name)), None, conf);
        let begin = format!("CNI {name} plugin v");
        assert!(text(&about.stderr).starts_with(&begin), "{about:?}");
    }
}

#[test]
fn the_name_that_it_is_called_as_counts_and_not_its_file() {
    let folder = folder();
    let link = folder.path().join("loopback");
    symlink(PROGRAM, &link).unwrap();
    let mut renamed = Command::new(PROGRAM);
    renamed.arg0("/nowhere/loopback");
    for program in [Command::new(&link), renamed] {
        let about = run(program, None, "");
        assert!(
            text(&about.stderr).starts_with("CNI loopback plugin v"),
            "{about:?}"
        );
    }
}

#[test]
fn a_request_by_an_unknown_name_is_one_json_error_in_the_version_that_it_asks_for() {
    for name in ["/opt/cni/bin/portmap", "cni-plugins", "Bridge", "", "/"] {
        for (stdin, version) in [
            (r#"{"cniVersion": "0.4.0", "name": "n"}"#, "0.4.0"),
            ("no JSON", "1.1.0"),
            ("", "1.1.0"),
        ] {
            for command in ["ADD", "VERSION", "OTHER"] {
                let mut program = Command::new(PROGRAM);
                program.arg0(OsStr::new(name));
                let output = run(program, Some(command), stdin);
                assert_eq!(output.status.code(), Some(1), "{output:?}");
                let error: Value = serde_json::from_slice(&output.stdout).unwrap();
                let code = error.get("code").and_then(Value::as_u64);
                assert_eq!(code, Some(4), "{error}");
                let said = error.get("cniVersion").and_then(Value::as_str);
                assert_eq!(said, Some(version), "{error}");
                let details = error.get("details").and_then(Value::as_str).unwrap();
                assert!(names().all(|name| details.contains(name)), "{details}");
            }
        }
    }
}

#[test]
fn list_prints_a_name_a_line() {
    let list = tool(&["--list"]);
    assert!(list.status.success());
    assert_eq!(
        text(&list.stdout).lines().collect::<Vec<_>>(),
        names().collect::<Vec<_>>()
    );
}

#[test]
fn a_list_that_cannot_be_printed_is_a_failure() {
    let mut program = Command::new(PROGRAM);
    program
        .arg("--list")
        .stdout(File::options().write(true).open("/dev/full").unwrap());
    assert_eq!(program.output().unwrap().status.code(), Some(1));
}

#[test]
fn help_and_version_are_printed() {
    for (arguments, wanted) in [
        (["--help"], "usage: cni-plugins"),
        (["-h"], "usage: cni-plugins"),
        (["--version"], env!("CARGO_PKG_VERSION")),
        (["-V"], env!("CARGO_PKG_VERSION")),
    ] {
        let output = tool(&arguments);
        assert!(output.status.success(), "{output:?}");
        assert!(text(&output.stdout).contains(wanted), "{output:?}");
    }
}

#[test]
fn arguments_that_make_no_sense_change_nothing() {
    let folder = folder();
    let directory = folder.path().to_str().unwrap();
    for arguments in [
        &[][..],
        &["--list", "bridge"],
        &["--install"],
        &["--instal", directory],
        &["--install", directory, "loopback", "portmap"],
        &["--install", directory, "../loopback"],
        &["--install", directory, ""],
        &[directory],
    ] {
        let output = tool(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty());
    }
    assert_eq!(files(&folder), BTreeSet::new());
}

#[test]
fn install_puts_only_the_named_ones_there() {
    let folder = folder();
    let directory = folder.path().to_str().unwrap();
    let output = tool(&["--install", directory, "static", "loopback", "static"]);
    assert!(output.status.success(), "{output:?}");
    let wanted = ["loopback", "static"].map(str::to_owned);
    assert_eq!(files(&folder), wanted.into());
}
