//! The run of a plugin: how it ended, and what it printed.

use super::mismatch::Mismatch;
use cni_types::{AddResult, Code, Json};
use serde_json::Value;
use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

/// The end of a plugin's run. Methods that expect something of it fail with a [`Mismatch`].
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

    /// The exit status and stdout in one line.
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
    /// Fails otherwise.
    pub fn succeeded(&self) -> Result<&Self, Mismatch> {
        Mismatch::unless(self.status.success(), "exit status 0", self.summary())?;
        Ok(self)
    }

    /// Fails unless the plugin ended by itself with an exit status other than 0.
    ///
    /// # Errors
    /// Fails otherwise.
    pub fn failed(&self) -> Result<&Self, Mismatch> {
        let failed = self.status.code().is_some_and(|code| code != 0);
        Mismatch::unless(failed, "an exit status other than 0", self.summary())?;
        Ok(self)
    }

    /// The one JSON document on stdout.
    ///
    /// # Errors
    /// Fails if stdout holds no document, more than one, or something else.
    pub fn document(&self) -> Result<Value, Mismatch> {
        serde_json::from_slice(&self.stdout).map_err(|e| {
            Mismatch::new(
                "one JSON document on stdout",
                format!("{}: {e}", self.summary()),
            )
        })
    }

    /// The result that a successful ADD printed.
    ///
    /// # Errors
    /// Fails if the plugin failed, or did not print one JSON object.
    pub fn result(&self) -> Result<Value, Mismatch> {
        let document = self.succeeded()?.document()?;
        Mismatch::unless(document.is_object(), "a result object on stdout", &document)?;
        Ok(document)
    }

    /// The error object that a failed plugin printed: with a numeric `code` and a `msg`.
    ///
    /// # Errors
    /// Fails if the plugin succeeded, or printed no such object.
    pub fn error(&self) -> Result<Value, Mismatch> {
        let document = self.failed()?.document()?;
        let is_error = document.get("code").is_some_and(Value::is_u64)
            && document
                .get("msg")
                .is_some_and(|msg| msg.as_str().is_some_and(|text| !text.is_empty()));
        Mismatch::unless(
            is_error,
            "an error object with a number as \"code\" and a text as \"msg\"",
            &document,
        )?;
        Ok(document)
    }

    /// The error object, which must have this code.
    ///
    /// # Errors
    /// Fails as [`Run::error`] does, and for another code.
    pub fn error_with(&self, code: Code) -> Result<Value, Mismatch> {
        let error = self.error()?;
        let found = error.get("code").and_then(Value::as_u64);
        Mismatch::unless(
            found == Some(code.0.into()),
            format!("an error with code {}", code.0),
            &error,
        )?;
        Ok(error)
    }
}

/// Decodes a result, whatever version it is written in.
///
/// # Errors
/// Fails if it is no result of the version that it names.
pub fn decode(result: &Value) -> Result<AddResult, Mismatch> {
    const WANTED: &str = "a result that can be decoded";
    let json = Json::parse(result.to_string().as_bytes())
        .map_err(|e| Mismatch::new(WANTED, format!("{e}: {result}")))?;
    AddResult::from_json(&json).map_err(|e| Mismatch::new(WANTED, format!("{e}: {result}")))
}
