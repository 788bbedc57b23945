//! The outcome of a case: its verdict, and what led to it.

use super::journal::Entry;
use std::time::Duration;

/// How a case did with one plugin in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rule is kept.
    Passed,
    /// It is not.
    Failed {
        /// What the rule wants.
        wanted: String,
        /// What was seen.
        found: String,
    },
    /// The specification is silent, or says MAY: what was seen.
    Noted(Vec<String>),
    /// It could not be seen here, for this reason. Never counted as passed.
    Skipped(String),
    /// The suite could not do its own part.
    Error(String),
}

impl Verdict {
    /// As the report writes it.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed { .. } => "failed",
            Self::Noted(_) => "noted",
            Self::Skipped(_) => "skipped",
            Self::Error(_) => "error",
        }
    }
}

/// What is known of a case after it ran.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it did.
    pub verdict: Verdict,
    /// How long it took.
    pub duration: Duration,
    /// What was done, step by step.
    pub journal: Vec<Entry>,
}
