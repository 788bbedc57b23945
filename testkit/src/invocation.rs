//! One run of a plugin, as a runtime would do it: environment and stdin, nothing else.

use super::{host::Host, outcome::Outcome, pod::Pod, verdict::OrFail};
use cni_types::Command;
use sandbox::binaries::bin_dir;
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    time::Instant,
};

/// A run in preparation.
#[derive(Clone, Debug)]
#[must_use]
pub struct Invocation<'a> {
    host: &'a Host,
    program: PathBuf,
    environment: Vec<(String, OsString)>,
    stdin: String,
}

impl<'a> Invocation<'a> {
    pub(super) fn new(host: &'a Host, plugin: &str, command: Command) -> Self {
        Self {
            host,
            program: bin_dir().join(plugin),
            environment: Vec::new(),
            stdin: String::new(),
        }
        .env("CNI_COMMAND", command.as_str())
        .env("CNI_CONTAINERID", "c1")
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", bin_dir())
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self = self.without(name);
        self.environment
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Removes a variable.
    pub fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(key, _)| key != name);
        self
    }

    /// `CNI_CONTAINERID`.
    pub fn container(self, id: &str) -> Self {
        self.env("CNI_CONTAINERID", id)
    }

    /// `CNI_IFNAME`.
    pub fn ifname(self, name: &str) -> Self {
        self.env("CNI_IFNAME", name)
    }

    /// `CNI_NETNS`, of a pod that is or was there.
    pub fn pod(self, pod: &Pod) -> Self {
        self.env("CNI_NETNS", pod.path())
    }

    /// `CNI_NETNS`, any text.
    pub fn netns(self, path: impl AsRef<Path>) -> Self {
        self.env("CNI_NETNS", path.as_ref())
    }

    /// `CNI_ARGS`.
    pub fn args(self, args: &str) -> Self {
        self.env("CNI_ARGS", args)
    }

    /// The configuration: a `serde_json::Value` or any text.
    pub fn conf(mut self, conf: impl ToString) -> Self {
        self.stdin = conf.to_string();
        self
    }

    /// Runs another program than the built plugin, the reference's for instance.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// The prepared process, for a test that wants to kill it, trace it or limit it. Stdin is set; only the
    /// given variables are in its environment, and this process's `PATH` unless one was given.
    #[must_use]
    pub fn process(&self) -> std::process::Command {
        let mut process = std::process::Command::new(&self.program);
        process
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        process.envs(self.environment.iter().map(|(key, value)| (key, value)));
        process.stdin(sandbox::stdin::file(self.stdin.as_bytes()).or_fail("prepare stdin"));
        process
    }

    /// Runs the plugin to its end.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let start = Instant::now();
        let output = self
            .process()
            .output()
            .or_fail(&format!("run {}", self.program.display()));
        let outcome = Outcome::new(self.describe(), &output, start.elapsed());
        self.host.note(outcome.to_string());
        outcome
    }

    fn describe(&self) -> String {
        let variables: Vec<String> = self
            .environment
            .iter()
            .map(|(key, value)| format!("{key}={}", value.display()))
            .collect();
        format!(
            "{} {}\n--- stdin\n{}",
            variables.join(" "),
            self.program.display(),
            self.stdin
        )
    }
}
