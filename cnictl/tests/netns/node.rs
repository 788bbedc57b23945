//! A node with configurations, plugins and state of its own, on which tests run cnictl.

use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use testkit::{Host, OrFail, bin_dir, fail};

/// The node's root directory.
const ROOT: &str = "/run/node";

/// A host with a root folder that has `/etc/cni/net.d`, and `/opt/cni/bin` with the built plugins.
pub(crate) struct Node<'a> {
    host: &'a Host,
}

/// The outcome of a run of cnictl or of another program.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl<'a> Node<'a> {
    pub(crate) fn new(host: &'a Host) -> Self {
        let node = Self { host };
        fs::create_dir_all(node.path("etc/cni/net.d")).or_fail("make net.d");
        fs::create_dir_all(node.path("opt/cni/bin")).or_fail("make bin");
        for plugin in cni_plugins::names() {
            node.link(plugin);
        }
        node
    }

    /// Returns a path below the node's root.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        Path::new(ROOT).join(path)
    }

    /// Installs a built plugin as a symbolic link.
    fn link(&self, plugin: &str) {
        std::os::unix::fs::symlink(
            bin_dir().join(plugin),
            self.path("opt/cni/bin").join(plugin),
        )
        .or_fail("link a plugin");
    }

    /// Writes a file below the node's root and returns its path.
    pub(crate) fn file(&self, path: &str, content: impl ToString) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap_or(&path)).or_fail("make a folder");
        fs::write(&path, content.to_string()).or_fail("write a file");
        path
    }

    /// Writes a network configuration into `/etc/cni/net.d` and returns its path.
    pub(crate) fn network(&self, file: &str, content: impl ToString) -> PathBuf {
        self.file(&format!("etc/cni/net.d/{file}"), content)
    }

    /// Returns the path of cnictl.
    pub(crate) fn cnictl_path(&self) -> PathBuf {
        bin_dir().join("cnictl")
    }

    /// Runs cnictl for this node.
    pub(crate) fn cnictl(&self, arguments: &[&str]) -> Outcome {
        self.cnictl_with(arguments, &[])
    }

    /// Runs cnictl for this node with these variables.
    pub(crate) fn cnictl_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Outcome {
        let mut command = Command::new(self.cnictl_path());
        command.args(arguments).args(["--root", ROOT]);
        self.run(command, variables)
    }

    /// Runs a program with these variables only.
    pub(crate) fn run(&self, mut command: Command, variables: &[(&str, &str)]) -> Outcome {
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(variables.iter().copied());
        let output = command.output().or_fail("run a program");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let outcome = Outcome {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        self.host.note(format!("{command:?}\n{outcome:#?}"));
        outcome
    }
}

impl Outcome {
    /// Requires the exit status.
    #[track_caller]
    pub(crate) fn exit(&self, wanted: i32) -> &Self {
        if self.code != Some(wanted) {
            fail(format_args!(
                "exit status {:?}, expected {wanted}: {}{}",
                self.code, self.stdout, self.stderr
            ));
        }
        self
    }

    /// Requires exit status 0.
    #[track_caller]
    pub(crate) fn success(&self) -> &Self {
        self.exit(0)
    }

    /// Returns stdout, which must be JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).or_fail(&format!("read as JSON: {}", self.stdout))
    }

    /// Requires `wanted` to occur in stdout or stderr.
    #[track_caller]
    pub(crate) fn says(&self, wanted: &str) -> &Self {
        if !self.stdout.contains(wanted) && !self.stderr.contains(wanted) {
            fail(format_args!(
                "{wanted:?} is not in:\n{}{}",
                self.stdout, self.stderr
            ));
        }
        self
    }
}
