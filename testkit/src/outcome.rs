//! How a run ended. Every accessor that does not find what it is asked for fails the test.

use super::verdict::{OrFail, fail};
use cni_types::{AddResult, Code, Error, Json};
use std::{
    fmt,
    process::{ExitStatus, Output},
    time::Duration,
};

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The plugin's stdout.
    pub stdout: String,
    /// The plugin's stderr.
    pub stderr: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// How long it took.
    pub duration: Duration,
    request: String,
}

impl Outcome {
    pub(super) fn new(request: String, output: &Output, duration: Duration) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
            status: output.status,
            duration,
            request,
        }
    }

    /// Fails the test unless the plugin succeeded.
    #[track_caller]
    pub fn success(&self) -> &Self {
        if !self.status.success() {
            fail(format_args!(
                "the plugin failed, {}: {}",
                self.status,
                self.stdout.trim()
            ));
        }
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

    /// The one document on stdout, for indexing: `json()["ips"][0]["address"]`.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).or_fail("read stdout as one JSON document")
    }

    /// The result of a successful ADD.
    #[track_caller]
    #[must_use]
    pub fn result(&self) -> AddResult {
        let json = Json::parse(self.success().stdout.as_bytes())
            .or_fail("read stdout as one JSON document");
        AddResult::from_json(&json).or_fail("read the result")
    }

    /// The error of a run that failed as the protocol wants it: exit status not 0, one error object.
    #[track_caller]
    #[must_use]
    pub fn error(&self) -> Error {
        if self.status.success() {
            fail("the plugin succeeded, an error is wanted");
        }
        if self.status.code().is_none() {
            fail(format_args!("the plugin was killed: {}", self.status));
        }
        Error::from_json(self.stdout.as_bytes()).or_fail("read the error object on stdout")
    }

    /// The error's code.
    #[track_caller]
    #[must_use]
    pub fn code(&self) -> Code {
        self.error().code
    }

    /// The error's text.
    #[track_caller]
    #[must_use]
    pub fn msg(&self) -> String {
        self.error().msg
    }

    /// The error's details.
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
