//! The outcome of a flood.

use super::{Maker, Shared};
use cni_types::Command;
use std::{collections::BTreeMap, fmt::Write, sync::PoisonError, time::Duration};

/// So many different errors, duplicates and residues are kept as texts.
const KEPT: usize = 20;

/// The errors of the reference are no news.
const KEPT_OF_REFERENCE: usize = 2;

/// One flood, alone or beside the reference.
#[derive(Debug, Default)]
pub(crate) struct Phase {
    has_reference: bool,
    duration: Duration,
    operations: BTreeMap<&'static str, usize>,
    longest: Duration,
    pub(super) again: usize,
    pub(super) forgotten: usize,
    errors: usize,
    errors_of_reference: usize,
    duplicates: usize,
    residue: Vec<String>,
    texts: Vec<String>,
}

impl Phase {
    pub(super) fn new(has_reference: bool) -> Self {
        Self {
            has_reference,
            ..Self::default()
        }
    }

    /// Counts an operation that was run.
    pub(super) fn count(&mut self, command: Command, duration: Duration) {
        *self.operations.entry(command.as_str()).or_default() += 1;
        self.longest = self.longest.max(duration);
    }

    /// Notes an operation that failed for good.
    pub(super) fn error(&mut self, maker: Maker, text: &str) {
        match maker {
            Maker::Ours => {
                self.errors += 1;
                self.keep(format!("error: {text}"));
            }
            Maker::Reference => {
                self.errors_of_reference += 1;
                if self.errors_of_reference <= KEPT_OF_REFERENCE {
                    self.keep(format!("error of the reference: {text}"));
                }
            }
        }
    }

    /// Notes an address that two living attachments have.
    pub(super) fn duplicate(&mut self, text: &str) {
        self.duplicates += 1;
        self.keep(format!("duplicate: {text}"));
    }

    fn keep(&mut self, text: String) {
        if self.texts.len() < KEPT {
            self.texts.push(text);
        }
    }

    /// The end, with the lines of the state that differ.
    pub(super) fn end(&mut self, duration: Duration, residue: Vec<String>) {
        self.duration = duration;
        self.residue = residue;
    }

    fn operations(&self, command: Command) -> usize {
        self.operations
            .get(command.as_str())
            .copied()
            .unwrap_or_default()
    }
}

impl Shared<'_> {
    /// Writes something into the phase.
    pub(super) fn note(&self, write: impl FnOnce(&mut Phase)) {
        write(&mut self.phase.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The outcome of all floods.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(super) phases: Vec<Phase>,
    pub(super) seed: u64,
    pub(super) workers: usize,
}

impl Outcome {
    /// True if nothing is wrong with the plugins that are tortured.
    pub(crate) fn is_clean(&self) -> bool {
        self.phases
            .iter()
            .all(|phase| phase.errors + phase.duplicates + phase.residue.len() == 0)
    }

    /// Writes the defects, one line each.
    pub(crate) fn findings(&self) -> String {
        let mut text = String::new();
        for phase in &self.phases {
            phase
                .texts
                .iter()
                .for_each(|line| _ = writeln!(text, "{line}"));
            phase
                .residue
                .iter()
                .take(KEPT)
                .for_each(|line| _ = writeln!(text, "residue: {line}"));
        }
        text
    }

    /// The table, as Markdown.
    pub(crate) fn table(&self) -> String {
        let mut text = "| flood | minutes | ADD | CHECK | DEL | GC | forgotten | try again | errors | errors of the \
                        reference | duplicates | residues | longest |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
            .to_owned();
        for phase in &self.phases {
            let name = if phase.has_reference {
                "beside the reference"
            } else {
                "alone"
            };
            let counts = [Command::Add, Command::Check, Command::Del, Command::Gc]
                .map(|command| phase.operations(command).to_string())
                .join(" | ");
            let Phase {
                forgotten,
                again,
                errors,
                errors_of_reference,
                duplicates,
                ..
            } = phase;
            let _ = writeln!(
                text,
                "| {name} | {:.1} | {counts} | {forgotten} | {again} | {errors} | {errors_of_reference} | {duplicates} | \
                 {} | {:.2} s |",
                phase.duration.as_secs_f32() / 60.0,
                phase.residue.len(),
                phase.longest.as_secs_f32()
            );
        }
        let _ = writeln!(text, "\n{} workers, seed {}.", self.workers, self.seed);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(phase: Phase) -> Outcome {
        Outcome {
            phases: vec![phase],
            seed: 1,
            workers: 8,
        }
    }

    #[test]
    fn an_error_of_the_reference_is_no_defect_of_ours() {
        let mut phase = Phase::new(true);
        phase.error(Maker::Reference, "ADD: busy");
        assert!(outcome(phase).is_clean());
        let mut phase = Phase::new(true);
        phase.error(Maker::Ours, "ADD: busy");
        let outcome = outcome(phase);
        assert!(!outcome.is_clean() && outcome.findings() == "error: ADD: busy\n");
    }

    #[test]
    fn a_duplicate_or_a_residue_is_a_defect() {
        let mut phase = Phase::new(false);
        phase.duplicate("10.0.0.2: a and b");
        assert!(!outcome(phase).is_clean());
        let mut phase = Phase::new(false);
        phase.end(
            Duration::from_secs(6),
            vec!["+ host: link veth0".to_owned()],
        );
        let outcome = outcome(phase);
        assert!(!outcome.is_clean() && outcome.table().contains("| alone | 0.1 | 0 | 0 | 0 | 0 |"));
    }
}
