//! The host that a test has for itself.

use super::{invocation::Invocation, pod::Pod, state::State, verdict::OrFail};
use cni_types::Command;
use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

const DATA: &str = "/run/cni-data";
const FILES: &str = "/run/cni-files";

/// A network namespace with `lo` and nothing else, an empty `/run`, an empty `/var/lib/cni`. Threads that the
/// test starts belong to the same host.
#[derive(Debug)]
pub struct Host {
    journal: Mutex<Vec<String>>,
}

impl Host {
    /// Makes the calling thread a host.
    pub(super) fn new() -> Result<Self, sandbox::Error> {
        sandbox::become_host()?;
        Ok(Self {
            journal: Mutex::default(),
        })
    }

    /// Makes a pod.
    #[must_use]
    pub fn pod(&self, name: &str) -> Pod {
        Pod::create(name)
    }

    /// A folder for `dataDir`, part of [`Host::state`]. Not made in advance: that is the plugin's work.
    #[must_use]
    pub fn data_dir(&self) -> &'static Path {
        Path::new(DATA)
    }

    /// Writes a file for the test and gives its path: a resolv.conf, a configuration. Not part of the state.
    #[must_use]
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        std::fs::create_dir_all(FILES).or_fail("make a folder");
        let path = Path::new(FILES).join(name);
        std::fs::write(&path, content).or_fail("write a file");
        path
    }

    /// The same for an executable shell script, to stand for a plugin: its folder is a `CNI_PATH`. `body` is without the first line.
    #[must_use]
    pub fn script(&self, name: &str, body: &str) -> PathBuf {
        let path = self.file(name, "");
        sandbox::script::write(&path, body).or_fail("write a script");
        path
    }

    /// Prepares the run of a freshly built plugin: container `c1`, interface `eth0`, the built plugins as
    /// `CNI_PATH`, and no namespace until one is given.
    pub fn plugin(&self, name: &str, command: Command) -> Invocation<'_> {
        Invocation::new(self, name, command)
    }

    /// What there is now on the host, in the given pods and in the data folders, as comparable text.
    #[must_use]
    pub fn state(&self, pods: &[&Pod]) -> State {
        State::of(&pods.iter().map(|pod| pod.path()).collect::<Vec<_>>())
    }

    /// Notes what happened, for the report of a failure.
    pub fn note(&self, text: impl Into<String>) {
        self.journal
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(text.into());
    }

    /// All that is known, for the report of a failure.
    pub(super) fn report(&self) -> String {
        let journal = self
            .journal
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        format!(
            "\n{}\n--- state at the end\n{}",
            journal.join("\n"),
            State::of_everything()
        )
    }
}
