//! The run of a plugin: how it ended, and what it printed.

use super::failure::{Failure, require};
use cni_types::{AddResult, Code, Json};
use serde_json::Value;
use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

/// How the run of a plugin ended. What looks into it gives a [`Failure`] where it is not as wanted.
#[derive(Clone, Debug)]
pub struct Run {
    /// The plugin's stdout.
    pub stdout: Vec<u8>,
    /// The plugin's stderr.
    pub stderr: Vec<u8>,
    /// Its exit status.
    pub status: ExitStatus,
    /// From its start to its end.
    pub duration: Duration,
}

impl Run {
    /// The plugin's stdout as text.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The plugin's stderr as text.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// How it ended, and what it said, in one line.
    #[must_use]
    pub fn summary(&self) -> String {
        let ended = match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("killed by signal {signal}"),
            (None, None) => self.status.to_string(),
        };
        let said = match serde_json::from_slice::<Value>(&self.stdout) {
            Ok(document) => document.to_string(),
            Err(_) => format!("{:?}", self.stdout_text()),
        };
        if self.stdout.is_empty() {
            format!("{ended}, no output")
        } else {
            format!("{ended}, {said}")
        }
    }

    /// Fails unless the exit status is 0.
    ///
    /// # Errors
    /// The mismatch.
    pub fn succeeded(&self) -> Result<&Self, Failure> {
        require(self.status.success(), "exit status 0", self.summary())?;
        Ok(self)
    }

    /// Fails unless the plugin ended by itself with an exit status other than 0.
    ///
    /// # Errors
    /// The mismatch.
    pub fn failed(&self) -> Result<&Self, Failure> {
        let failed = self.status.code().is_some_and(|code| code != 0);
        require(failed, "an exit status other than 0", self.summary())?;
        Ok(self)
    }

    /// The one JSON document on stdout.
    ///
    /// # Errors
    /// Where there is none, more than one, or something else.
    pub fn document(&self) -> Result<Value, Failure> {
        serde_json::from_slice(&self.stdout).map_err(|e| {
            Failure::mismatch(
                "one JSON document on stdout",
                format!("{}: {e}", self.summary()),
            )
        })
    }

    /// The result that a successful ADD printed.
    ///
    /// # Errors
    /// Where the plugin failed, or did not print one JSON object.
    pub fn result(&self) -> Result<Value, Failure> {
        let document = self.succeeded()?.document()?;
        require(document.is_object(), "a result object on stdout", &document)?;
        Ok(document)
    }

    /// The error object that a failed plugin printed: with a numeric `code` and a `msg`.
    ///
    /// # Errors
    /// Where the plugin succeeded, or printed no such object.
    pub fn error(&self) -> Result<Value, Failure> {
        let document = self.failed()?.document()?;
        let is_error = document.get("code").is_some_and(Value::is_u64)
            && document
                .get("msg")
                .is_some_and(|msg| msg.as_str().is_some_and(|text| !text.is_empty()));
        require(
            is_error,
            "an error object with a number as \"code\" and a text as \"msg\"",
            &document,
        )?;
        Ok(document)
    }

    /// The error object, which must have this code.
    ///
    /// # Errors
    /// As [`Run::error`], and for another code.
    pub fn error_with(&self, code: Code) -> Result<Value, Failure> {
        let error = self.error()?;
        let found = error.get("code").and_then(Value::as_u64);
        require(
            found == Some(code.0.into()),
            format!("an error with code {}", code.0),
            &error,
        )?;
        Ok(error)
    }
}

/// A result as values, whatever version it is written in.
///
/// # Errors
/// Where it is no result of the version that it names.
pub fn decode(result: &Value) -> Result<AddResult, Failure> {
    let json = Json::parse(result.to_string().as_bytes())
        .map_err(|e| Failure::suite("read a result", e))?;
    AddResult::from_json(&json)
        .map_err(|e| Failure::mismatch("a result that can be decoded", format!("{e}: {result}")))
}
