//! Tests of plugins on real network namespaces, without root.
//!
//! A test target has `harness = false`, a function `fn(&Host)` for each test, and this `main`:
//!
//! ```text
//! fn main() -> std::process::ExitCode {
//!     testkit::main(testkit::tests![
//!         del_succeeds_when_netns_is_gone,
//!         add_is_undone_after_an_ipam_failure,
//!     ])
//! }
//! ```
//!
//! The process builds the workspace's binaries, enters the sandbox before any thread exists, and
//! gives each test a thread that is a [`Host`] of its own; so tests run in parallel and see nothing
//! of each other. Whatever assertion fails, the report shows every run of a plugin and the state of
//! the host. A test for which the kernel lacks something is ignored and says why; with
//! `CNI_TEST_REQUIRE_ALL=1` it fails.

mod fields;
mod host;
mod invocation;
mod journal;
mod outcome;
mod pod;
mod reference;
pub mod rules;
mod state;
mod verdict;

pub use fields::fields_of;
pub use host::Host;
pub use invocation::Invocation;
pub use outcome::Outcome;
pub use pod::Pod;
pub use reference::Suite;
pub use sandbox::{State, binaries::bin_dir};
pub use verdict::{OrFail, fail, only_where, require};

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use sandbox::binaries;
use std::{fmt::Display, process::ExitCode};
use verdict::Verdict;

/// One test: a name and what it does on its host.
pub struct Test {
    name: String,
    body: Box<dyn FnOnce(&Host) + Send>,
}

impl Test {
    /// A test. For plain functions [`tests!`](crate::tests) is shorter; this is for tables of
    /// cases.
    pub fn new(name: impl Into<String>, body: impl FnOnce(&Host) + Send + 'static) -> Self {
        Self {
            name: name.into(),
            body: Box::new(body),
        }
    }

    fn into_trial(self) -> Trial {
        let Self { name, body } = self;
        let label = name.clone();
        Trial::ignorable_test(name, move || run(&label, body))
    }
}

/// A list of [`Test`]s from functions `fn(&Host)`, each called as its function.
#[macro_export]
macro_rules! tests {
    ($($test:ident),* $(,)?) => {
        vec![$($crate::Test::new(stringify!($test), $test)),*]
    };
}

/// Runs the tests that the command line asks for: the whole `main` of a test target.
#[must_use]
pub fn main(tests: Vec<Test>) -> ExitCode {
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(e) = prepare()
    {
        return refuse(&e);
    }
    let trials = tests.into_iter().map(Test::into_trial).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Everything that must happen while the process has one thread and the machine's network (a
/// registry, perhaps).
fn prepare() -> Result<(), Box<dyn Display>> {
    binaries::build(&["--workspace"]).map_err(|e| Box::new(e) as Box<dyn Display>)?;
    sandbox::enter().map_err(|e| Box::new(e) as Box<dyn Display>)?;
    verdict::keep_panics_of_tests();
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the sentence a person needs to see")]
fn refuse(error: &dyn Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// Runs one test on a thread of its own, since the thread becomes the host.
fn run(name: &str, body: Box<dyn FnOnce(&Host) + Send>) -> Result<Completion, Failed> {
    let thread =
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let host = Host::new()?;
                Ok(verdict::of(|| body(&host))
                    .map_failure(|text| format!("{text}\n{}", host.report())))
            });
    let ended = thread
        .map_err(|e| Failed::from(format!("cannot start a thread: {e}")))?
        .join();
    let verdict: Result<Verdict, sandbox::Error> =
        ended.map_err(|_| Failed::from("the host's thread died"))?;
    match verdict.map_err(|e| Failed::from(format!("no host for the test: {e}")))? {
        Verdict::Passed => Ok(Completion::Completed),
        Verdict::Failed(text) => Err(text.into()),
        Verdict::MissingFeature(what) if verdict::require_all() => {
            Err(format!("missing here: {what}").into())
        }
        Verdict::MissingFeature(what) | Verdict::OtherKernel(what) => {
            Ok(Completion::ignored_with(what))
        }
    }
}
