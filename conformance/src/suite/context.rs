//! The surroundings of a case: a host of its own, the plugin under test, the state of everything.

use super::{
    double::{Double, Reply},
    failure::Failure,
    fixture::{self, MASTER},
    glob::matches,
    journal::{Entry, Journal},
    kind::Kind,
    profile::Profile,
    reading::Reading,
    subject::Subject,
};
use cni_types::{Command, SpecVersion};
use sandbox::{Netns, State};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The name of the network in every configuration.
pub(super) const NETWORK: &str = "conformance";

/// `${BRIDGE}` in profiles.
const BRIDGE: &str = "cnf0";
/// `${DATA_DIR}` in profiles. Not made in advance: that is the plugin's work.
const DATA_DIR: &str = "/run/cni-conformance/data";
/// For the case's own files; no part of the state.
pub(super) const FILES: &str = "/run/cni-conformance/files";

/// One case's view of one plugin in one version. Threads may share it.
#[derive(Debug)]
pub struct Context<'a> {
    subject: &'a Subject,
    version: SpecVersion,
    explaining: bool,
    journal: Journal,
    notes: Mutex<Vec<String>>,
    readings: Mutex<Vec<Reading>>,
}

/// The things that a case leaves in its context.
pub(super) struct Record {
    pub(super) journal: Vec<Entry>,
    pub(super) notes: Vec<String>,
    pub(super) readings: Vec<Reading>,
}

impl<'a> Context<'a> {
    /// Makes the calling thread a host, with what the profile's configuration refers to.
    pub(super) fn new(
        subject: &'a Subject,
        version: SpecVersion,
        explaining: bool,
    ) -> Result<Self, Failure> {
        sandbox::become_host()?;
        for folder in &subject.profile.state_dirs {
            sandbox::mount_tmpfs_over(folder)?;
        }
        let config = Value::Object(subject.profile.config.clone()).to_string();
        if subject.profile.kind == Kind::Chained {
            fixture::ensure_bridge()?;
        }
        if config.contains("${MASTER}") {
            fixture::create_master()?;
        }
        std::fs::create_dir_all(FILES)?;
        Ok(Self {
            subject,
            version,
            explaining,
            journal: Journal::default(),
            notes: Mutex::default(),
            readings: Mutex::default(),
        })
    }

    /// The version of the specification that requests are made in.
    #[must_use]
    pub fn version(&self) -> SpecVersion {
        self.version
    }

    /// The plugin under test.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.subject.profile
    }

    /// The plugin's binary.
    #[must_use]
    pub fn binary(&self) -> PathBuf {
        self.subject.binary()
    }

    /// The folder with the plugin and its delegates: `CNI_PATH`.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.subject.bin_dir
    }

    /// The folder with another build of the plugin. Cases that use it need
    /// [`Need::Other`](super::Need::Other).
    ///
    /// # Errors
    /// Skips the case if no other build was given.
    pub fn other(&self) -> Result<&Path, Failure> {
        self.subject
            .other
            .as_deref()
            .ok_or_else(|| Failure::skip("there is no other build of the plugin"))
    }

    /// Makes a plugin called `name`, in a folder of its own, that gives these replies and notes its
    /// requests. Operations without a reply succeed and print nothing. Cases that use it need
    /// [`Need::Double`](super::Need::Double).
    ///
    /// # Errors
    /// Fails if it cannot be put there.
    pub fn double(&self, name: &str, replies: &[(Command, Reply)]) -> Result<Double, Failure> {
        Double::install(
            self.own_program()?,
            &Path::new(FILES).join(format!("double-{name}")),
            name,
            replies,
        )
    }

    /// The suite's own program, which can stand in for another one.
    ///
    /// # Errors
    /// Skips the case if the program is not at hand.
    pub(super) fn own_program(&self) -> Result<&Path, Failure> {
        let program = self.subject.double.as_deref();
        program.ok_or_else(|| Failure::skip("the suite's own program is not at hand"))
    }

    /// The time that a run of the plugin may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.subject.limit
    }

    /// The folder for which `${DATA_DIR}` stands. The plugin makes it, if the case does not.
    #[must_use]
    pub fn data_dir(&self) -> &'static Path {
        Path::new(DATA_DIR)
    }

    /// The profile's configuration as a runtime derives it: with `cniVersion`, `name` and `type`.
    #[must_use]
    pub fn config(&self) -> Value {
        let text = Value::Object(self.profile().config.clone()).to_string();
        let text = text
            .replace("${DATA_DIR}", DATA_DIR)
            .replace("${BRIDGE}", BRIDGE);
        let text = text
            .replace("${MASTER}", MASTER)
            .replace("${IFNAME}", &self.profile().ifname);
        // A placeholder's value has nothing in it that JSON would escape.
        let mut config: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(config) = config.as_object_mut() {
            config.insert("cniVersion".to_owned(), json!(self.version.as_str()));
            config.insert("name".to_owned(), json!(NETWORK));
            config.insert("type".to_owned(), json!(self.profile().name));
        }
        config
    }

    /// A network namespace at `/run/netns/<name>`: part of the state, and good for a host outside
    /// as well.
    ///
    /// # Errors
    /// Fails if the name is taken or the kernel refuses.
    pub fn netns(&self, name: &str) -> Result<Netns, Failure> {
        Ok(Netns::create(name)?)
    }

    /// The state of everything, now.
    ///
    /// # Errors
    /// Fails if the kernel refuses a request.
    pub fn state(&self) -> Result<State, Failure> {
        let mut folders = vec![PathBuf::from(DATA_DIR), PathBuf::from("/var/lib/cni")];
        folders.extend(self.profile().state_dirs.iter().cloned());
        Ok(State::read(&folders)?)
    }

    /// Fails unless the state is as it was, but for what the profile says may stay.
    ///
    /// # Errors
    /// The mismatch, with every line that came or went.
    pub fn require_unchanged(&self, before: &State, since: &str) -> Result<(), Failure> {
        let changes = self.state()?.changes_since(before);
        let residue: Vec<&str> = changes
            .iter()
            .filter(|line| !self.is_expected(line, &changes))
            .map(String::as_str)
            .collect();
        if residue.is_empty() {
            return Ok(());
        }
        Err(Failure::mismatch(
            format!("everything as it was before {since}"),
            residue.join("\n"),
        ))
    }

    /// As [`Context::require_unchanged`], after a DEL without prevResult. A chained plugin may know
    /// of an attachment by prevResult alone: what it leaves is worth a note.
    ///
    /// # Errors
    /// The same, for a plugin that is not chained.
    pub fn require_freed(&self, before: &State, since: &str) -> Result<(), Failure> {
        match self.require_unchanged(before, since) {
            Err(Failure::Mismatch { found, .. }) if self.profile().kind == Kind::Chained => {
                self.note(format!("without prevResult it leaves {found}"));
                Ok(())
            }
            other => other,
        }
    }

    /// Returns true for a line that came and fits a pattern of the profile, and for one that went
    /// if another came that fits the same pattern: the record of the last address, a kernel
    /// parameter.
    fn is_expected(&self, change: &str, changes: &[String]) -> bool {
        self.profile().stays.iter().any(|pattern| {
            let comes = |change: &str| {
                change
                    .strip_prefix("+ ")
                    .is_some_and(|line| matches(pattern, line))
            };
            match change.strip_prefix("- ") {
                Some(line) => matches(pattern, line) && changes.iter().any(|other| comes(other)),
                None => comes(change),
            }
        })
    }

    /// A file for the case, and its path. No part of the state.
    ///
    /// # Errors
    /// Fails if it cannot be written.
    pub fn file(&self, name: &str, content: &str) -> Result<PathBuf, Failure> {
        let path = Path::new(FILES).join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// Adds a note on something about which the specification is silent. A case that passes with
    /// notes is reported as noted.
    pub fn note(&self, text: impl Into<String>) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(text.into());
    }

    /// Says what the suite did or saw, for the report of a failure and for `explain`.
    pub fn step(&self, text: impl Into<String>) {
        self.enter(Entry::Step(text.into()));
    }

    pub(super) fn enter(&self, entry: Entry) {
        self.journal.push(entry);
    }

    /// Each run's changes are shown by `explain` only: they take longer than the run.
    pub(super) fn state_if_explaining(&self) -> Result<Option<State>, Failure> {
        self.explaining.then(|| self.state()).transpose()
    }

    /// Adds measured runs to the outcome.
    pub(super) fn keep_readings(&self, readings: Vec<Reading>) {
        self.readings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(readings);
    }

    pub(super) fn into_record(self) -> Record {
        Record {
            journal: self.journal.into_entries(),
            notes: self
                .notes
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
            readings: self
                .readings
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        }
    }
}
