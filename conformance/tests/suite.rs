//! The suite on the workspace's own plugins, each case in each version: none may fail.
//!
//! `CNI_TEST_BIN_DIR` names other plugins, the reference's for instance.

use conformance::suite::{self, Item, Options, Profile, Selection, Subject, Verdict};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use sandbox::{self, binaries};
use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = Arguments::from_args();
    // Most of a case's time the kernel makes it wait, so there may be more of them than processors.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    binaries::build(&["--workspace"])?;
    let subjects = subjects()?;
    let mut items = suite::plan(suite::cases(), &subjects, &Selection::default());
    items.extend(suite::plan(
        suite::swap::CASES,
        &subjects,
        &Selection::default(),
    ));
    if !arguments.list {
        sandbox::enter()?;
    }
    let trials = items
        .into_iter()
        .map(|item| Trial::ignorable_test(item.full_id(), move || run(&item)));
    Ok(libtest_mimic::run(&arguments, trials.collect()).exit_code())
}

fn subjects() -> Result<Vec<Arc<Subject>>, Box<dyn Error>> {
    let bin_dir = binaries::bin_dir().to_owned();
    let mut profiles = Profile::built_in()?;
    profiles.retain(|profile| bin_dir.join(&profile.binary).is_file());
    let double = Some(env!("CARGO_BIN_EXE_cni-conformance").into());
    let limit = Duration::from_secs(60);
    // The same build stands for the other.
    let other = Some(bin_dir.clone());
    let subject = |profile| {
        let bin_dir = bin_dir.clone();
        let double = double.clone();
        let other = other.clone();
        Arc::new(Subject {
            profile,
            bin_dir,
            double,
            other,
            limit,
        })
    };
    Ok(profiles.into_iter().map(subject).collect())
}

fn run(item: &Item) -> Result<Completion, Failed> {
    let outcomes = suite::run(
        std::slice::from_ref(item),
        Options {
            jobs: 1,
            explaining: false,
        },
        &|_| (),
    );
    let outcome = outcomes.first().ok_or("the case did not run")?;
    match &outcome.verdict {
        Verdict::Passed | Verdict::Noted { .. } => Ok(Completion::Completed),
        Verdict::Skipped { reason } => Ok(Completion::ignored_with(reason)),
        Verdict::Failed { .. } | Verdict::Error { .. } => {
            Err(suite::report::explain::run(item, outcome).into())
        }
    }
}
