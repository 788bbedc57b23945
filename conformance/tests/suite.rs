//! Runs every case of the suite, in each version, on the workspace's own plugins: no case may fail.
//!
//! `CNI_TEST_BIN_DIR` names the folder of other plugins to test, for instance the reference's.

use conformance::suite::{self, Item, Profile, Selection, Subject, Verdict};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use sandbox::{self, binaries};
use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = Arguments::from_args();
    // A case mostly waits for the kernel, so more of them may run than there are processors.
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

/// Returns the plugins with a built-in profile that are in the folder.
fn subjects() -> Result<Vec<Arc<Subject>>, Box<dyn Error>> {
    let bin_dir = binaries::bin_dir().to_owned();
    let mut profiles = Profile::built_in()?;
    profiles.retain(|profile| bin_dir.join(&profile.binary).is_file());
    let double = Some(env!("CARGO_BIN_EXE_cni-conformance").into());
    let limit = Duration::from_secs(60);
    // There is only one build, so it takes the place of the other one too.
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

/// Runs one case; the text of a failure is that of `explain`.
fn run(item: &Item) -> Result<Completion, Failed> {
    let outcome = suite::run_alone(item);
    match &outcome.verdict {
        Verdict::Passed | Verdict::Noted { .. } => Ok(Completion::Completed),
        Verdict::Skipped { reason } => Ok(Completion::ignored_with(reason)),
        Verdict::Failed { .. } | Verdict::Error { .. } => {
            Err(suite::report::explain::run(item, &outcome).into())
        }
    }
}
