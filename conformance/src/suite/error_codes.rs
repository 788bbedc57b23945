//! The codes of all errors that plugins return in any case. Many cases make a plugin fail, each in
//! another way, and a code that the specification does not know is wrong in all of them. Such a
//! code fails the one case about codes.

use super::{
    ids::ERROR_CODES,
    journal::{Entry, RunEntry},
    outcome::{Outcome, Verdict},
    plan::Item,
};
use serde_json::Value;
use std::sync::Arc;

/// The code for a namespace that cannot be used. The specification does not list it, but plugins
/// commonly return it, so it is tolerated.
pub(super) const NAMESPACE: u64 = 8;

/// Returns true if the specification lists the code (section 5, Error), or leaves it to the plugin.
pub(super) fn is_known(code: u64) -> bool {
    matches!(code, 1..=7 | 11 | 50 | 51 | 100..)
}

/// Fails the case about codes if another case of the same plugin in the same version has an error
/// with an unknown code. A case about codes that has not passed stays as it is.
pub(super) fn check(items: &[Item], outcomes: &mut [Outcome]) {
    let mut found: Vec<(usize, String)> = Vec::new();
    for (index, item) in items
        .iter()
        .enumerate()
        .filter(|(_, item)| item.case.id == ERROR_CODES)
    {
        let others = items.iter().zip(outcomes.iter());
        let mut others = others.filter(|(other, _)| {
            Arc::ptr_eq(&other.subject, &item.subject) && other.version == item.version
        });
        let error = others.find_map(|(other, outcome)| {
            let error = error_with_unknown_code(other, outcome)?;
            Some(format!("in {}: {error}", other.case.id))
        });
        found.extend(error.map(|error| (index, error)));
    }
    for (index, found) in found {
        if let Some(outcome) = outcomes.get_mut(index)
            && matches!(outcome.verdict, Verdict::Passed | Verdict::Noted { .. })
        {
            let wanted = "a code that the specification lists, or one from 100 on, in every error"
                .to_owned();
            outcome.verdict = Verdict::Failed { wanted, found };
        }
    }
}

/// Returns the first error with an unknown code that the plugin returned; errors of delegates and
/// doubles do not count.
fn error_with_unknown_code(item: &Item, outcome: &Outcome) -> Option<Value> {
    let binary = item.subject.binary();
    let runs = outcome.journal.iter().filter_map(|entry| match entry {
        Entry::Run(run) => Some(run.as_ref()),
        Entry::Step(_) => None,
    });
    let mut errors = runs
        .filter(|run| run.program == binary)
        .filter_map(error_of);
    errors.find(|error| {
        let code = error.get("code").and_then(Value::as_u64);
        code.is_some_and(|code| code != NAMESPACE && !is_known(code))
    })
}

/// Returns the error that the run printed; `None` if it succeeded or printed no document.
fn error_of(entry: &RunEntry) -> Option<Value> {
    if entry.run.status.success() {
        None
    } else {
        entry.run.document().ok()
    }
}
