//! The steps of a case, in order: kept for the report of a failure, and for `explain`.

use sandbox::Run;
use std::{
    fmt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// One step of a case.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The suite did something, or saw something.
    Step(String),
    /// A plugin was run.
    Run(Box<RunEntry>),
}

/// The run of a plugin, whole.
#[derive(Clone, Debug)]
pub struct RunEntry {
    /// The program.
    pub program: PathBuf,
    /// Its environment.
    pub environment: Vec<(String, String)>,
    /// Its stdin.
    pub stdin: String,
    /// Its end.
    pub run: Run,
    /// The changes on the host and in the containers meanwhile, if they were asked for.
    pub changes: Option<String>,
}

/// Steps in order; threads of one case share it.
#[derive(Debug, Default)]
pub(super) struct Journal(Mutex<Vec<Entry>>);

impl Journal {
    pub(super) fn push(&self, entry: Entry) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }

    pub(super) fn into_entries(self) -> Vec<Entry> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(text) => writeln!(f, "· {}", text.trim_end().replace('\n', "\n  ")),
            Self::Run(entry) => entry.fmt(f),
        }
    }
}

impl fmt::Display for RunEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = self
            .environment
            .iter()
            .find(|(name, _)| name == "CNI_COMMAND");
        let command = command.map_or("(no CNI_COMMAND)", |(_, value)| value.as_str());
        writeln!(f, "▶ {command} {}", self.program.display())?;
        for (name, value) in &self.environment {
            writeln!(f, "    {name}={value}")?;
        }
        let mut part = |name: &str, text: &str| match text.trim_end() {
            "" => Ok(()),
            text => writeln!(f, "  {name}\n    {}", text.replace('\n', "\n    ")),
        };
        part("stdin", &self.stdin)?;
        part("stdout", &self.run.stdout_text())?;
        part("stderr", &self.run.stderr_text())?;
        if let Some(changes) = &self.changes {
            part("changes", if changes.is_empty() { "none" } else { changes })?;
        }
        let ended = self.run.status;
        writeln!(
            f,
            "  {ended} after {:.1} ms",
            self.run.duration.as_secs_f64() * 1000.0
        )
    }
}
