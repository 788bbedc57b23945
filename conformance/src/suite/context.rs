//! The context in which a case runs: a host of its own, the plugin under test, and the case's
//! notes.

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

/// The value of `${BRIDGE}` in profiles.
const BRIDGE: &str = "cnf0";
/// The value of `${DATA_DIR}` in profiles. The suite does not create the folder: the plugin must.
const DATA_DIR: &str = "/run/cni-conformance/data";
/// The folder of the case's own files, which are no part of the state.
pub(super) const FILES: &str = "/run/cni-conformance/files";

/// The context of one case with one plugin in one version. Threads may share it.
#[derive(Debug)]
pub struct Context<'a> {
    subject: &'a Subject,
    version: SpecVersion,
    explaining: bool,
    journal: Journal,
    notes: Mutex<Vec<String>>,
    readings: Mutex<Vec<Reading>>,
}

/// The record of a case, for its report.
pub(super) struct Record {
    pub(super) journal: Vec<Entry>,
    pub(super) notes: Vec<String>,
    pub(super) readings: Vec<Reading>,
}

impl<'a> Context<'a> {
    /// Makes the calling thread a host, with the interfaces and folders that the profile needs.
    ///
    /// # Errors
    /// Fails if the kernel refuses the namespaces, a mount or an interface.
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

    /// Returns the version of the specification in which requests are made.
    #[must_use]
    pub fn version(&self) -> SpecVersion {
        self.version
    }

    /// Returns the profile of the plugin under test.
    #[must_use]
    pub fn profile(&self) -> &Profile {
        &self.subject.profile
    }

    /// Returns the path of the plugin's file.
    #[must_use]
    pub fn binary(&self) -> PathBuf {
        self.subject.binary()
    }

    /// Returns the folder with the plugin and its delegates: `CNI_PATH`.
    #[must_use]
    pub fn bin_dir(&self) -> &Path {
        &self.subject.bin_dir
    }

    /// Returns the folder with another build of the plugin. Cases that use it need
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

    /// Creates a plugin called `name`, in a folder of its own, that gives these replies and records
    /// its requests. Operations without a reply succeed and print nothing. Cases that use it need
    /// [`Need::Double`](super::Need::Double).
    ///
    /// # Errors
    /// Skips the case if the suite's own program is not at hand. Fails if the files cannot be
    /// written.
    pub fn double(&self, name: &str, replies: &[(Command, Reply)]) -> Result<Double, Failure> {
        Double::install(
            self.own_program()?,
            &Path::new(FILES).join(format!("double-{name}")),
            name,
            replies,
        )
    }

    /// Returns the path of the suite's own program, which can stand in for another one.
    ///
    /// # Errors
    /// Skips the case if the program is not at hand.
    pub(super) fn own_program(&self) -> Result<&Path, Failure> {
        let program = self.subject.double.as_deref();
        program.ok_or_else(|| Failure::skip("the suite's own program is not at hand"))
    }

    /// Returns the time that a run of the plugin may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.subject.limit
    }

    /// Returns the folder for which `${DATA_DIR}` stands. It exists only if the plugin or the case
    /// created it.
    #[must_use]
    pub fn data_dir(&self) -> &'static Path {
        Path::new(DATA_DIR)
    }

    /// Returns the request configuration that a runtime derives from the profile's configuration:
    /// with `cniVersion`, `name` and `type`, and with the values of placeholders.
    #[must_use]
    pub fn config(&self) -> Value {
        let text = Value::Object(self.profile().config.clone()).to_string();
        let text = text
            .replace("${DATA_DIR}", DATA_DIR)
            .replace("${BRIDGE}", BRIDGE);
        let text = text
            .replace("${MASTER}", MASTER)
            .replace("${IFNAME}", &self.profile().ifname);
        // No placeholder's value has a symbol that JSON escapes, so the text is still JSON.
        let mut config: Value = serde_json::from_str(&text).unwrap_or_default();
        if let Some(config) = config.as_object_mut() {
            config.insert("cniVersion".to_owned(), json!(self.version.as_str()));
            config.insert("name".to_owned(), json!(NETWORK));
            config.insert("type".to_owned(), json!(self.profile().name));
        }
        config
    }

    /// Creates a network namespace at `/run/netns/<name>`, which is part of the state. It can be a
    /// container, or a host outside the case's own.
    ///
    /// # Errors
    /// Fails if the name is taken, or if the kernel refuses.
    pub fn netns(&self, name: &str) -> Result<Netns, Failure> {
        Ok(Netns::create(name)?)
    }

    /// Reads the present state of the host, the containers and the files that a plugin may change.
    ///
    /// # Errors
    /// Fails if the kernel refuses a request.
    pub fn state(&self) -> Result<State, Failure> {
        let mut folders = vec![PathBuf::from(DATA_DIR), PathBuf::from("/var/lib/cni")];
        folders.extend(self.profile().state_dirs.iter().cloned());
        Ok(State::read(&folders)?)
    }

    /// Requires the state to be as it was `before`, except for the changes that the profile allows
    /// to stay.
    ///
    /// # Errors
    /// Fails with every other line that was added or removed. `since` names what happened in the
    /// meantime.
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

    /// Requires the same as [`Context::require_unchanged`], after a DEL without prevResult. Of a
    /// chained plugin, which may keep no records and depend on prevResult, the changes are only
    /// noted.
    ///
    /// # Errors
    /// Fails as `require_unchanged` if the plugin is not chained.
    pub fn require_freed(&self, before: &State, since: &str) -> Result<(), Failure> {
        match self.require_unchanged(before, since) {
            Err(Failure::Mismatch { found, .. }) if self.profile().kind == Kind::Chained => {
                self.note(format!("without prevResult it leaves {found}"));
                Ok(())
            }
            other => other,
        }
    }

    /// Returns true for an added line that matches a pattern of the profile. Returns true also for
    /// a removed line if an added one matches the same pattern, because the value has changed: the
    /// record of the last address, a kernel parameter.
    fn is_expected(&self, change: &str, changes: &[String]) -> bool {
        self.profile().stays.iter().any(|pattern| {
            let is_added = |change: &str| {
                change
                    .strip_prefix("+ ")
                    .is_some_and(|line| matches(pattern, line))
            };
            match change.strip_prefix("- ") {
                Some(line) => matches(pattern, line) && changes.iter().any(|other| is_added(other)),
                None => is_added(change),
            }
        })
    }

    /// Writes a file for the case and returns its path. The file is no part of the state.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
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

    /// Records what the suite did or found, for the report of a failure and for `explain`.
    pub fn step(&self, text: impl Into<String>) {
        self.enter(Entry::Step(text.into()));
    }

    /// Adds an entry to the journal.
    pub(super) fn enter(&self, entry: Entry) {
        self.journal.push(entry);
    }

    /// Returns the present state for `explain`, which shows the changes of each run; else `None`,
    /// because reading the state takes longer than a run.
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

    /// Ends the case and returns its record.
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
