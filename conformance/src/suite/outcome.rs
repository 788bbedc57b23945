//! The outcome of a case: its verdict, and what led to it.

use super::{journal::Entry, reading::Reading};
use serde::Serialize;
use std::time::Duration;

/// How a case did with one plugin in one version. In a report, `outcome` names the variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Verdict {
    /// The plugin keeps the rule.
    Passed,
    /// The plugin breaks the rule.
    Failed {
        /// What the rule wants.
        wanted: String,
        /// What was seen.
        found: String,
    },
    /// The specification is silent, or says MAY: there is something to report, and no failure.
    Noted {
        /// What was seen.
        notes: Vec<String>,
    },
    /// The case cannot be run here. Never counted as passed.
    Skipped {
        /// What is missing.
        reason: String,
    },
    /// The suite could not do its own part.
    Error {
        /// What kept it from doing so.
        reason: String,
    },
}

impl Verdict {
    /// The word for it in a report.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed { .. } => "failed",
            Self::Noted { .. } => "noted",
            Self::Skipped { .. } => "skipped",
            Self::Error { .. } => "error",
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
    /// What was measured, run by run. Only [`ROUND`](super::meter::ROUND) measures.
    pub readings: Vec<Reading>,
}

impl Outcome {
    /// The outcome of a case that ended before it had done anything.
    pub(super) fn without_steps(verdict: Verdict, duration: Duration) -> Self {
        Self {
            verdict,
            duration,
            journal: Vec::new(),
            readings: Vec::new(),
        }
    }
}
