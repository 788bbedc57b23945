//! Runs what was planned: each case on a thread that is a host of its own, several at once,
//! reported in order.

use super::{
    add_probe::AddProbe,
    case::Level,
    context::{Context, Record},
    error_codes,
    failure::Failure,
    journal::Entry,
    outcome::{Outcome, Verdict},
    plan::Item,
};
use std::{
    slice,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The way in which cases are run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of cases at once.
    pub jobs: usize,
    /// True if the journal shows what each run of a plugin changed.
    pub explaining: bool,
}

/// The progress, reported after each case, from the thread that ran it.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The case that has just ended.
    pub item: &'a Item,
    /// The verdict.
    pub verdict: &'a Verdict,
    /// The number of cases that have ended.
    pub done: usize,
    /// Of how many.
    pub total: usize,
}

/// Runs all items. The process must have entered the sandbox ([`sandbox::enter`]). The outcomes are
/// in the order of the items.
#[must_use]
pub fn run(
    items: &[Item],
    options: Options,
    tell: &(dyn Fn(&Progress<'_>) + Sync),
) -> Vec<Outcome> {
    let add_probe = AddProbe::of(items);
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let outcomes: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    let work = || {
        while let index = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(index)
        {
            let outcome = on_own_host(item, &add_probe, options.explaining);
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            tell(&Progress {
                item,
                verdict: &outcome.verdict,
                done,
                total: items.len(),
            });
            outcomes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((index, outcome));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, items.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(index, _)| *index);
    let mut outcomes: Vec<Outcome> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    error_codes::check(items, &mut outcomes);
    outcomes
}

/// Runs one item alone, without progress and without the details for `explain`. The process must
/// have entered the sandbox ([`sandbox::enter`]).
#[must_use]
pub fn run_alone(item: &Item) -> Outcome {
    let items = slice::from_ref(item);
    let mut outcome = on_own_host(item, &AddProbe::of(items), false);
    error_codes::check(items, slice::from_mut(&mut outcome));
    outcome
}

/// Runs a case on a thread of its own, since a thread becomes a host once and for all.
fn on_own_host(item: &Item, add_probe: &AddProbe, explaining: bool) -> Outcome {
    let start = Instant::now();
    if let Some(reason) = item.skip_reason().or_else(|| add_probe.reason(item)) {
        return Outcome::without_steps(Verdict::Skipped { reason }, Duration::ZERO);
    }
    let error = |reason| Outcome::without_steps(Verdict::Error { reason }, start.elapsed());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(item.id());
        match thread.spawn_scoped(scope, || one(item, explaining)) {
            Ok(thread) => thread
                .join()
                .unwrap_or_else(|_| error("the case panicked".to_owned())),
            Err(e) => error(format!("cannot start a thread: {e}")),
        }
    })
}

fn one(item: &Item, explaining: bool) -> Outcome {
    let start = Instant::now();
    let context = match Context::new(&item.subject, item.version, explaining) {
        Ok(context) => context,
        Err(failure) => {
            let verdict = verdict(item.case.level, Err(failure), Vec::new());
            return Outcome::without_steps(verdict, start.elapsed());
        }
    };
    let ended = (item.case.body)(&context);
    let duration = start.elapsed();
    let state = if explaining || matches!(ended, Err(Failure::Mismatch { .. })) {
        context.state().map(|state| state.to_string()).ok()
    } else {
        None
    };
    sandbox::end_processes();
    let Record {
        mut journal,
        notes,
        readings,
    } = context.into_record();
    journal
        .extend(state.map(|state| Entry::Step(format!("the state at the end\n{}", shown(&state)))));
    Outcome {
        verdict: verdict(item.case.level, ended, notes),
        duration,
        journal,
        readings,
    }
}

/// Without the kernel parameters, of which a host has hundreds.
fn shown(state: &str) -> String {
    let lines = state.lines().filter(|line| !line.contains(": sysctl "));
    lines.collect::<Vec<_>>().join("\n")
}

fn verdict(level: Level, ended: Result<(), Failure>, mut notes: Vec<String>) -> Verdict {
    match ended {
        Ok(()) if notes.is_empty() => Verdict::Passed,
        Ok(()) => Verdict::Noted { notes },
        Err(Failure::Mismatch { wanted, found }) if level == Level::May => {
            notes.push(format!("not {wanted}, but {found}"));
            Verdict::Noted { notes }
        }
        Err(Failure::Mismatch { wanted, found }) => Verdict::Failed { wanted, found },
        Err(Failure::Skip(reason)) => Verdict::Skipped { reason },
        Err(Failure::Suite(reason)) => Verdict::Error { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_may_case_finds_is_a_note() {
        let mismatch = || Err(Failure::mismatch("a", "b"));
        assert!(matches!(
            verdict(Level::Must, mismatch(), Vec::new()),
            Verdict::Failed { .. }
        ));
        assert_eq!(
            verdict(Level::May, mismatch(), Vec::new()),
            Verdict::Noted {
                notes: vec!["not a, but b".to_owned()]
            }
        );
        assert_eq!(
            verdict(Level::Must, Ok(()), vec!["n".to_owned()]),
            Verdict::Noted {
                notes: vec!["n".to_owned()]
            }
        );
        assert_eq!(
            verdict(Level::Must, Err(Failure::skip("x")), Vec::new()),
            Verdict::Skipped {
                reason: "x".to_owned()
            }
        );
    }
}
