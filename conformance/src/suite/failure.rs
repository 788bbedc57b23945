//! The reasons for which a case did not pass.

use cni_net::NetError;
use sandbox::{Mismatch, RunError};
use serde_json::Value;
use std::{fmt::Display, io};

/// The reason for which a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The plugin did something else than the rule wants.
    Mismatch {
        /// The behaviour that the rule asks for.
        wanted: String,
        /// The behaviour that was seen.
        found: String,
    },
    /// The rule cannot be checked here, for this reason.
    Skip(String),
    /// The suite could not do its own part.
    Suite(String),
}

impl Failure {
    /// The plugin did something else than the rule wants.
    pub fn mismatch(wanted: impl Into<String>, found: impl Display) -> Self {
        Self::Mismatch {
            wanted: wanted.into(),
            found: found.to_string(),
        }
    }

    /// The rule cannot be checked here.
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::Skip(reason.into())
    }

    /// The suite could not do its own part.
    pub fn suite(what: &str, error: impl Display) -> Self {
        Self::Suite(format!("{what}: {error}"))
    }
}

impl From<NetError> for Failure {
    fn from(e: NetError) -> Self {
        Self::Suite(e.to_string())
    }
}

impl From<Mismatch> for Failure {
    fn from(Mismatch { wanted, found }: Mismatch) -> Self {
        Self::Mismatch { wanted, found }
    }
}

impl From<RunError> for Failure {
    fn from(e: RunError) -> Self {
        match e {
            RunError::Mismatch(mismatch) => mismatch.into(),
            RunError::Io { .. } => Self::Suite(e.to_string()),
        }
    }
}

impl From<sandbox::Error> for Failure {
    fn from(e: sandbox::Error) -> Self {
        Self::Suite(e.to_string())
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Self {
        Self::Suite(e.to_string())
    }
}

/// Fails unless `kept`: `wanted` is what the rule wants, `found` what was seen.
///
/// # Errors
/// The mismatch.
pub fn require(kept: bool, wanted: impl Into<String>, found: impl Display) -> Result<(), Failure> {
    Ok(Mismatch::unless(kept, wanted, found)?)
}

/// Returns the value at a JSON pointer, as `/ips/0/address`; `null` if there is no such value.
#[must_use]
pub fn at<'v>(value: &'v Value, pointer: &str) -> &'v Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// Fails unless both are the same JSON: `what` names the thing, as in "the result's cniVersion".
///
/// # Errors
/// The mismatch.
pub fn require_same(what: &str, wanted: &Value, found: &Value) -> Result<(), Failure> {
    require(wanted == found, format!("{what}: {wanted}"), found)
}
