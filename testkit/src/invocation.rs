//! One run of a plugin, as a runtime would do it: environment and stdin, nothing else.

use super::{journal::Journal, outcome::Outcome, pod::Pod, verdict::OrFail};
use cni_types::Command;
use sandbox::{Request, Spawned, binaries::bin_dir};
use serde_json::Value;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The time in which every run must end: longer than any wait of a plugin, even on a busy machine.
const LIMIT: Duration = Duration::from_secs(300);

/// A run in preparation.
#[derive(Clone, Debug)]
#[must_use]
pub struct Invocation<'a> {
    journal: &'a Journal,
    request: Request,
}

impl<'a> Invocation<'a> {
    pub(super) fn new(journal: &'a Journal, plugin: &str, command: Command) -> Self {
        let request = Request::new(bin_dir().join(plugin), command, bin_dir(), Value::Null)
            .with_stdin("")
            .env("CNI_CONTAINERID", "c1")
            .env("CNI_IFNAME", "eth0");
        Self { journal, request }
    }

    /// Sets a variable.
    pub fn env(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        Self {
            request: self.request.env(name, value),
            ..self
        }
    }

    /// Removes a variable.
    pub fn without(self, name: &str) -> Self {
        Self {
            request: self.request.without_env(name),
            ..self
        }
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
    pub fn conf(self, conf: impl ToString) -> Self {
        Self {
            request: self.request.with_stdin(conf.to_string()),
            ..self
        }
    }

    /// Runs another program than the built plugin, the reference's for instance.
    pub fn program(self, program: impl Into<PathBuf>) -> Self {
        Self {
            request: self.request.with_program(program),
            ..self
        }
    }

    /// The prepared process, for a test that wants to kill it, trace it or limit it.
    #[must_use]
    pub fn process(&self) -> std::process::Command {
        self.request.process().or_fail("prepare stdin")
    }

    /// Runs the plugin to its end.
    #[must_use]
    pub fn run(&self) -> Outcome {
        let run = Spawned::start(self.process(), LIMIT)
            .and_then(Spawned::finish)
            .or_fail(&format!("run {}", self.request.program().display()));
        let outcome = Outcome::new(self.request.to_string(), run);
        self.journal.note(outcome.to_string());
        outcome
    }
}
