//! The host that a test has for itself.

use super::{invocation::Invocation, journal::Journal, pod::Pod, state, verdict::OrFail};
use cni_types::Command;
use sandbox::State;
use std::path::{Path, PathBuf};

const DATA: &str = "/run/cni-data";
const FILES: &str = "/run/cni-files";

/// A network namespace with `lo` and nothing else, an empty `/run`, an empty `/var/lib/cni`.
/// Threads that the test starts belong to the same host.
#[derive(Debug)]
pub struct Host {
    journal: Journal,
}

impl Host {
    /// Makes the calling thread a host.
    pub(super) fn new() -> Result<Self, sandbox::Error> {
        sandbox::become_host()?;
        Ok(Self {
            journal: Journal::default(),
        })
    }

    /// Makes a pod.
    #[must_use]
    pub fn pod(&self, name: &str) -> Pod {
        Pod::create(name)
    }

    /// A folder for `dataDir`, part of [`Host::state`]. Not made in advance: that is the plugin's
    /// work.
    #[must_use]
    pub fn data_dir(&self) -> &'static Path {
        Path::new(DATA)
    }

    /// Writes a file for the test and gives its path: a resolv.conf, a configuration. Not part of
    /// the state.
    #[must_use]
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        std::fs::create_dir_all(FILES).or_fail("make a folder");
        let path = Path::new(FILES).join(name);
        std::fs::write(&path, content).or_fail("write a file");
        path
    }

    /// The same for an executable shell script, to stand for a plugin: its folder is a `CNI_PATH`.
    /// `body` is without the first line.
    #[must_use]
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.file(name, "");
        sandbox::script::write(&path, body).or_fail("write a script");
        path
    }

    /// Prepares the run of a freshly built plugin: container `c1`, interface `eth0`, the built
    /// plugins as `CNI_PATH`, and no namespace until one is given.
    pub fn plugin(&self, name: &str, command: Command) -> Invocation<'_> {
        Invocation::new(&self.journal, name, command)
    }

    /// Reads what there is on the host, in the given pods and in the data folders.
    #[must_use]
    pub fn state(&self, pods: &[&Pod]) -> State {
        let pods: Vec<_> = pods.iter().map(|pod| pod.path()).collect();
        state::of(&pods).or_fail("read the state")
    }

    /// Adds a step to the report of a failure.
    pub fn note(&self, text: impl Into<String>) {
        self.journal.note(text);
    }

    /// Returns all that is known, for the report of a failure.
    pub(super) fn report(&self) -> String {
        let state = match state::of_everything() {
            Ok(state) => state.to_string(),
            Err(e) => format!("cannot be read: {e}"),
        };
        format!("\n{}\n--- state at the end\n{state}", self.journal.text())
    }
}
