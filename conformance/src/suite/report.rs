//! The report, in one shape for all formats. `report.schema.json` describes it as JSON.

pub mod explain;
pub mod junit;
pub mod markdown;
pub mod table;
#[cfg(test)]
mod tests;

use super::{
    case::{Case, Clause, Level},
    kind::Kind,
    outcome::{Outcome, Verdict},
    plan::Item,
};
use serde::Serialize;
use std::{path::Path, time::Duration};

/// The version of the report's shape. It changes with every change that could break a reader.
const SCHEMA: u32 = 1;

/// The report.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The version of the report's shape.
    pub schema: u32,
    /// This program.
    pub tool: Tool,
    /// The folder with the plugins.
    pub bin_dir: String,
    /// From the first case to the last, in milliseconds.
    pub duration_ms: f64,
    /// The numbers of each outcome.
    pub summary: Summary,
    /// True if every MUST and every SHOULD is kept, as far as could be seen, and anything could be.
    pub conforms: bool,
    /// The plugins, in order.
    pub plugins: Vec<Plugin>,
    /// The cases: by plugin, then by case, then by version.
    pub results: Vec<CaseResult>,
}

/// A program and its version.
#[derive(Clone, Debug, Serialize)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
}

/// The numbers of each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The rule is kept.
    pub passed: usize,
    /// It is not.
    pub failed: usize,
    /// Something was seen about which the specification is silent, or says MAY.
    pub noted: usize,
    /// It could not be seen here.
    pub skipped: usize,
    /// The suite could not do its own part.
    pub errors: usize,
}

/// A plugin that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Its role in a network.
    pub kind: Kind,
    /// Its file.
    pub binary: String,
}

/// One case with one plugin in one version.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CaseResult {
    /// `family/case@version`.
    pub id: String,
    /// The plugin's name.
    pub plugin: String,
    /// The family.
    pub family: &'static str,
    /// The case without the version.
    pub case: &'static str,
    /// The version of the specification.
    pub version: &'static str,
    /// A sentence about a plugin that keeps the rule.
    pub title: &'static str,
    /// The level of the rule.
    pub level: Level,
    /// The rule.
    pub clause: Clause,
    /// The verdict: `outcome`, and what belongs to it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The time that it took, in milliseconds.
    pub duration_ms: f64,
    /// For `failed` and `error`: what was done, step by step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<String>,
}

impl Report {
    /// Puts together what came out: the outcomes are in the order of the items.
    #[must_use]
    pub fn new(bin_dir: &Path, items: &[Item], outcomes: &[Outcome], duration: Duration) -> Self {
        let mut plugins: Vec<Plugin> = Vec::new();
        for item in items {
            let profile = &item.subject.profile;
            if plugins.last().is_none_or(|last| last.name != profile.name) {
                plugins.push(Plugin {
                    name: profile.name.clone(),
                    kind: profile.kind,
                    binary: item.subject.binary().display().to_string(),
                });
            }
        }
        let results: Vec<CaseResult> = items
            .iter()
            .zip(outcomes)
            .map(|(item, outcome)| CaseResult::new(item, outcome))
            .collect();
        let summary = Summary::of(&results);
        Self {
            schema: SCHEMA,
            tool: Tool {
                name: "cni-conformance",
                version: env!("CARGO_PKG_VERSION"),
            },
            bin_dir: bin_dir.display().to_string(),
            duration_ms: milliseconds(duration),
            summary,
            conforms: summary.failed == 0
                && summary.errors == 0
                && summary.passed + summary.noted > 0,
            plugins,
            results,
        }
    }

    /// The report as JSON, as `report.schema.json` has it.
    #[must_use]
    pub fn json(&self) -> String {
        // Fails only for maps whose keys are not strings; a report has no such map.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Groups the results of the same case and plugin that differ in the version alone, which need
    /// not be neighbours.
    #[must_use]
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for result in &self.results {
            let same = groups
                .iter_mut()
                .find(|group| group.first.is_same_but_for_version(result));
            match same {
                Some(group) => group.versions.push(result.version),
                None => groups.push(Group {
                    first: result,
                    versions: vec![result.version],
                }),
            }
        }
        groups
    }

    /// The families that there are results of, in order.
    #[must_use]
    pub fn families(&self) -> Vec<&'static str> {
        let mut families: Vec<&'static str> =
            self.results.iter().map(|result| result.family).collect();
        families.sort_by_key(|family| {
            crate::suite::family::FAMILIES
                .iter()
                .position(|(known, _)| known == family)
        });
        families.dedup();
        families
    }
}

/// The same outcome in several versions.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The result in the oldest of them.
    pub first: &'a CaseResult,
    /// The versions.
    pub versions: Vec<&'static str>,
}

impl Summary {
    /// Counts.
    pub fn of<'a>(results: impl IntoIterator<Item = &'a CaseResult>) -> Self {
        let mut summary = Self::default();
        for result in results {
            match result.verdict {
                Verdict::Passed => summary.passed += 1,
                Verdict::Failed { .. } => summary.failed += 1,
                Verdict::Noted { .. } => summary.noted += 1,
                Verdict::Skipped { .. } => summary.skipped += 1,
                Verdict::Error { .. } => summary.errors += 1,
            }
        }
        summary
    }
}

impl CaseResult {
    fn new(item: &Item, outcome: &Outcome) -> Self {
        let Case {
            id,
            title,
            clause,
            level,
            ..
        } = *item.case;
        let journal = match outcome.verdict {
            Verdict::Failed { .. } | Verdict::Error { .. } => {
                outcome.journal.iter().map(ToString::to_string).collect()
            }
            Verdict::Passed | Verdict::Noted { .. } | Verdict::Skipped { .. } => Vec::new(),
        };
        Self {
            id: item.id(),
            plugin: item.subject.profile.name.clone(),
            family: item.case.family(),
            case: id,
            version: item.version.as_str(),
            title,
            level,
            clause,
            verdict: outcome.verdict.clone(),
            duration_ms: milliseconds(outcome.duration),
            journal,
        }
    }

    /// Returns true if both have the same verdict, apart from texts that name the version.
    fn is_same_but_for_version(&self, other: &Self) -> bool {
        self.case == other.case
            && self.plugin == other.plugin
            && self.verdict_without_version() == other.verdict_without_version()
    }

    fn verdict_without_version(&self) -> Verdict {
        let neutral = |text: &String| text.replace(self.version, "VERSION");
        match &self.verdict {
            Verdict::Failed { wanted, .. } => Verdict::Failed {
                wanted: neutral(wanted),
                // Differs from run to run.
                found: String::new(),
            },
            Verdict::Noted { notes } => Verdict::Noted {
                notes: notes.iter().map(neutral).collect(),
            },
            same => same.clone(),
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}
