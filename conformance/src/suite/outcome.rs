//! The outcome of a case: its verdict, and what led to it.

use super::{journal::Entry, reading::Reading};
use serde::Serialize;
use std::time::Duration;

/// The verdict on one plugin in one version. In a report, `outcome` names the variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum Verdict {
    /// The plugin keeps the rule.
    Passed,
    /// The plugin breaks the rule.
    Failed {
        /// The behaviour that the rule asks for.
        wanted: String,
        /// The behaviour that was seen.
        found: String,
    },
    /// The specification is silent, or says MAY: there is something to report, and no failure.
    Noted {
        /// The behaviour that was seen.
        notes: Vec<String>,
    },
    /// The case cannot be run here. Never counted as passed.
    Skipped {
        /// The thing that is missing.
        reason: String,
    },
    /// The suite could not do its own part.
    Error {
        /// The cause.
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

/// All that is known of a case after it ran.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The time that it took.
    pub duration: Duration,
    /// The steps, in order.
    pub journal: Vec<Entry>,
    /// The measured runs, in order. Only [`ROUND`](super::meter::ROUND) measures.
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
