//! The tool itself: what is wrong on purpose must be found. The plugins are shell scripts, so a
//! sweep is one of a few points.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};
use tempfile::TempDir;

/// A folder with plugins that is removed at the end.
struct Plugins(TempDir);

impl Plugins {
    fn new(test: &str, plugins: &[(&str, &str)]) -> Self {
        let folder = TempDir::with_prefix(test).unwrap();
        for (name, body) in plugins {
            let path = folder.path().join(name);
            fs::write(&path, format!("#!/bin/sh\nread -r stdin\n{body}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self(folder)
    }

    fn torture(&self, arguments: &[&str]) -> Output {
        let mut torture = Command::new(env!("CARGO_BIN_EXE_torture"));
        torture
            .args(arguments)
            .args([Path::new("--plugins"), self.0.path()]);
        torture.output().unwrap()
    }

    /// Fails unless the tool found defects, and prints all of these.
    #[track_caller]
    fn require_found(&self, arguments: &[&str], wanted: &[&str]) {
        let output = self.torture(arguments);
        let stdout = String::from_utf8_lossy(&output.stdout);
        let all = format!(
            "{arguments:?}: {}\n{stdout}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(output.status.code(), Some(1), "{all}");
        for text in wanted {
            assert!(stdout.contains(text), "no {text:?} in {all}");
        }
    }
}

const RESULT: &str = r#"echo '{"cniVersion":"1.1.0","ips":[{"address":"10.80.0.2/24"}]}'"#;

/// A plugin that does nothing, does it well, and runs `on_add` on ADD.
fn plugin(on_add: &str) -> String {
    format!("[ $CNI_COMMAND = ADD ] || exit 0\n{on_add}\n{RESULT}")
}

#[test]
fn what_a_killed_add_leaves_is_found() {
    let body = plugin("cd /var/lib/cni; : >pending; : >written; rm pending written");
    let plugins = Plugins::new("killed", &[("host-local", &body)]);
    plugins.require_found(
        &[
            "--filter",
            "host-local/ADD",
            "--kinds",
            "kill",
            "--every",
            "12",
        ],
        &[
            "left by DEL: host-local/ADD/kill/",
            "left by GC: ",
            "+ file: 100644 /var/lib/cni/pending",
        ],
    );
}

#[test]
fn a_document_that_is_missing_after_sigterm_is_found_and_the_state_that_is_left() {
    let body = plugin(
        "trap 'exit 1' TERM; : >/var/lib/cni/pending; : >/dev/null; rm /var/lib/cni/pending",
    );
    let plugins = Plugins::new("silent", &[("host-local", &body)]);
    plugins.require_found(
        &[
            "--filter",
            "host-local/ADD",
            "--kinds",
            "term",
            "--every",
            "6",
        ],
        &[
            "no document: host-local/ADD/term/",
            "found exit status 1, no output",
            "unclean: host-local/ADD/term/",
        ],
    );
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_success_that_is_reported_after_an_error_is_found() {
    let body = "file=/var/lib/cni/$CNI_CONTAINERID
        case $CNI_COMMAND in
        ADD) : 2>/dev/null >$file ;;
        CHECK) [ -e $file ] || { echo '{\"code\":100,\"msg\":\"gone\"}'; exit 1; }; exit 0 ;;
        DEL) rm -f $file; exit 0 ;;
        GC) rm -f /var/lib/cni/tortured; exit 0 ;;
        esac
        echo '{\"cniVersion\":\"1.1.0\"}'";
    // A colon is special to the shell, which exits when its redirection fails; another command goes
    // on.
    let body = body.replace(": 2>/dev/null >$file", "true 2>/dev/null >$file");
    let plugins = Plugins::new("hasty", &[("host-local", &body)]);
    plugins.require_found(
        &[
            "--filter",
            "host-local/ADD",
            "--filter",
            "EMFILE",
            "--kinds",
            "error",
        ],
        &["false success: host-local/ADD/error/0:", "at open", "gone"],
    );
}

#[test]
fn two_attachments_with_one_address_are_found_by_the_flood() {
    let plugins = Plugins::new(
        "same",
        &[("host-local", &plugin("")), ("bridge", &plugin(""))],
    );
    plugins.require_found(
        &["flood", "--seconds", "1", "--workers", "2"],
        &["duplicate: 10.80.0.2: w", "| alone |"],
    );
}

#[test]
fn what_a_flood_leaves_is_found() {
    let plugins = Plugins::new(
        "rest",
        &[
            ("host-local", &plugin(": >/var/lib/cni/$CNI_CONTAINERID")),
            ("bridge", &plugin("")),
        ],
    );
    plugins.require_found(
        &["flood", "--seconds", "1", "--workers", "2"],
        &["residue: + file: 100644 /var/lib/cni/w0n2s"],
    );
}

#[test]
fn where_nothing_fits_nothing_is_said() {
    let plugins = Plugins::new("none", &[("host-local", &plugin(""))]);
    let output = plugins.torture(&["--filter", "host-local/ADD/kill/9999:1/del"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no point fits"));
}
