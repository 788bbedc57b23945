//! The outcome of a run of a plugin. An accessor fails the test if the outcome does not have what
//! it should return.

use super::verdict::{OrFail, fail};
use cni_types::{AddResult, Code, Error};
use sandbox::{Run, decode};
use std::{fmt, process::ExitStatus, time::Duration};

/// The outcome of a run of a plugin.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The plugin's stdout.
    pub stdout: String,
    /// The plugin's stderr.
    pub stderr: String,
    /// The plugin's exit status.
    pub status: ExitStatus,
    /// The time from the plugin's start to its end.
    pub duration: Duration,
    run: Run,
    request: String,
}

impl Outcome {
    pub(super) fn new(request: String, run: Run) -> Self {
        Self {
            stdout: run.stdout_text(),
            stderr: run.stderr_text(),
            status: run.status,
            duration: run.duration,
            run,
            request,
        }
    }

    /// Fails the test unless the plugin succeeded.
    #[track_caller]
    pub fn success(&self) -> &Self {
        self.run.succeeded().or_fail("run the plugin");
        self
    }

    /// Fails the test unless the plugin succeeded and printed nothing: DEL, CHECK, STATUS, GC.
    #[track_caller]
    pub fn silent_success(&self) {
        if !self.success().stdout.is_empty() {
            fail(format_args!(
                "the plugin printed a document where none is wanted: {}",
                self.stdout.trim()
            ));
        }
    }

    /// Returns the one document on stdout, for indexing: `json()["ips"][0]["address"]`.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        self.run.document().or_fail("read stdout")
    }

    /// Returns the result of an ADD; fails the test unless the ADD succeeded.
    #[track_caller]
    #[must_use]
    pub fn result(&self) -> AddResult {
        let result = self.run.result().or_fail("read the result");
        decode(&result).or_fail("read the result")
    }

    /// Returns the error of a run; fails the test unless the run failed as the protocol demands,
    /// with an exit status other than 0 and one error object.
    #[track_caller]
    #[must_use]
    pub fn error(&self) -> Error {
        self.run.failed().or_fail("see the plugin fail");
        Error::from_json(self.stdout.as_bytes()).or_fail("read the error object on stdout")
    }

    /// Returns the code of the [`error`](Self::error).
    #[track_caller]
    #[must_use]
    pub fn code(&self) -> Code {
        self.error().code
    }

    /// Returns the `msg` of the [`error`](Self::error).
    #[track_caller]
    #[must_use]
    pub fn msg(&self) -> String {
        self.error().msg
    }

    /// Returns the `details` of the [`error`](Self::error).
    #[track_caller]
    #[must_use]
    pub fn details(&self) -> String {
        self.error().details
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "=== {}", self.request)?;
        writeln!(f, "--- {} after {:.1?}, stdout", self.status, self.duration)?;
        writeln!(f, "{}", self.stdout.trim_end())?;
        if !self.stderr.is_empty() {
            writeln!(f, "--- stderr\n{}", self.stderr.trim_end())?;
        }
        Ok(())
    }
}
