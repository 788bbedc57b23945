//! A case counts only if it fails for a plugin that is broken: each is run against every fault that
//! it names, put before a good plugin of the workspace.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failing test may panic"
)]

use cni_types::Command;
use conformance::suite::{
    self, Case, Double, Fault, Item, Level, Profile, Selection, Subject, Verdict, double::Reply,
    fault,
};
use libtest_mimic::{Arguments, Failed, Trial};
use sandbox::{self, binaries};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

/// A good chained plugin, of which the workspace has none: the suite's own double, which passes on
/// what it gets.
const PASSER: &str = "passer";

/// The suite's own program, which stands in for plugins.
const PROGRAM: &str = env!("CARGO_BIN_EXE_cni-conformance");

/// A broken plugin may hang, and must be found out.
const LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of a case's time the kernel makes it wait, so there may be more of them than processors.
    arguments.test_threads = arguments.test_threads.or(Some(8));
    binaries::build(&["--workspace"]).unwrap();
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("broken-{}", std::process::id()));
    let mut trials = Vec::new();
    for (number, (case, fault)) in faults().enumerate() {
        let folder = folder.join(number.to_string());
        let name = format!("{} notices a plugin that {}", case.id, fault.name);
        trials.push(Trial::test(name, move || is_noticed(case, fault, &folder)));
    }
    if !arguments.list {
        sandbox::enter().unwrap();
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let _ = fs::remove_dir_all(folder);
    conclusion.exit_code()
}

fn faults() -> impl Iterator<Item = (&'static Case, &'static Fault)> {
    suite::cases()
        .iter()
        .chain(suite::swap::CASES)
        .flat_map(|case| case.faults.iter().map(move |fault| (case, fault)))
}

fn is_noticed(case: &'static Case, fault: &Fault, folder: &Path) -> Result<(), Failed> {
    let profile = profile_for(case, fault);
    let good_folder = good_folder(folder, &profile);
    let good = item(case, profile.clone(), good_folder.clone());
    let is_may = case.level == Level::May;
    match verdict(&good) {
        Verdict::Passed => {}
        Verdict::Noted { .. } if !is_may => {}
        other => return Err(format!("the good {} is {other:?}", profile.name).into()),
    }
    let bad = item(
        case,
        profile.clone(),
        broken_folder(case, fault, folder, &good_folder.join(&profile.binary)),
    );
    match verdict(&bad) {
        Verdict::Failed { .. } => Ok(()),
        Verdict::Noted { .. } if is_may => Ok(()),
        other => Err(format!("the broken {} is {other:?}", profile.name).into()),
    }
}

fn profile_for(case: &'static Case, fault: &Fault) -> Profile {
    let profiles = Profile::built_in().unwrap();
    let named = |name: &str| {
        profiles
            .iter()
            .find(|profile| profile.name == name)
            .unwrap()
            .clone()
    };
    let applies = |profile: &Profile| !plan(case, profile.clone(), PathBuf::new()).is_empty();
    // A case is tried with the first plugin to which it applies.
    let wanted: Vec<&str> = cni_plugins::names()
        .filter(|name| fault.of.is_none_or(|of| of == *name))
        .collect();
    let found = wanted
        .into_iter()
        .map(named)
        .chain([passer()])
        .find(applies);
    found.unwrap_or_else(|| {
        panic!(
            "{} applies to none of the plugins that could have the fault",
            case.id
        )
    })
}

fn passer() -> Profile {
    Profile::parse(
        PASSER,
        &format!(r#"{{"name":"{PASSER}","kind":"chained","config":{{}}}}"#),
    )
    .unwrap()
}

/// The folder with the good plugin.
fn good_folder(folder: &Path, profile: &Profile) -> PathBuf {
    if profile.name != PASSER {
        return binaries::bin_dir().to_owned();
    }
    let folder = folder.join("good");
    let reply = Reply::passing_on(serde_json::json!({}));
    Double::install(
        Path::new(PROGRAM),
        &folder,
        PASSER,
        &[(Command::Add, reply)],
    )
    .unwrap();
    folder
}

/// The broken plugin under the good one's name, and the other good ones beside it.
fn broken_folder(case: &Case, fault: &Fault, folder: &Path, good: &Path) -> PathBuf {
    fs::create_dir_all(folder).unwrap();
    for name in cni_plugins::names().filter(|name| !good.ends_with(name)) {
        symlink(binaries::bin_dir().join(name), folder.join(name)).unwrap();
    }
    fault::install(folder, Path::new(PROGRAM), good, case.id, fault).unwrap();
    folder.to_owned()
}

fn plan(case: &'static Case, profile: Profile, bin_dir: PathBuf) -> Vec<Item> {
    let double = Some(PROGRAM.into());
    let other = Some(bin_dir.clone());
    let subject = Arc::new(Subject {
        profile,
        bin_dir,
        double,
        other,
        limit: LIMIT,
    });
    suite::plan(
        std::slice::from_ref(case),
        &[subject],
        &Selection::default(),
    )
}

/// In the newest version.
fn item(case: &'static Case, profile: Profile, bin_dir: PathBuf) -> Item {
    plan(case, profile, bin_dir).pop().unwrap()
}

fn verdict(item: &Item) -> Verdict {
    suite::run_alone(item).verdict
}
