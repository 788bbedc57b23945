//! The verdict on a test: passed, failed with a text, or ignored because this kernel cannot run it.
//!
//! A test reports every verdict but the first by a panic, so that it is a plain function with plain
//! assertions.

use std::{
    cell::RefCell,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The verdict on a test.
pub(super) enum Verdict {
    Passed,
    Failed(String),
    /// The kernel lacks the feature of this name, which the test needs.
    MissingFeature(String),
    /// The test is for other kernels, for this reason.
    OtherKernel(String),
}

impl Verdict {
    /// Returns the verdict, with the text of a failure replaced by `more` of it.
    pub(super) fn map_failure(self, more: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(more(text)),
            other => other,
        }
    }
}

/// The payload of the panic of [`require`].
struct MissingFeature(String);

/// The payload of the panic of [`only_where`].
struct OtherKernel(String);

thread_local! {
    /// The text of the panic that ended the test of this thread, empty before; `None` in a thread
    /// without a test.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a panic hook that keeps the text of a panic in a test for the test's report. Printed at
/// once, it would be mixed into the list of tests.
pub(super) fn keep_panics_of_tests() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let kept = PANIC.with_borrow_mut(|text| {
            text.as_mut()
                .map(|text| *text = panic.to_string())
                .is_some()
        });
        if !kept {
            print(panic);
        }
    }));
}

/// Runs a test's body and returns the verdict.
pub(super) fn of(body: impl FnOnce()) -> Verdict {
    PANIC.set(Some(String::new()));
    let ended = catch_unwind(AssertUnwindSafe(body));
    let text = PANIC.take().unwrap_or_default();
    match ended {
        Ok(()) => Verdict::Passed,
        Err(thrown) => match thrown.downcast::<MissingFeature>() {
            Ok(missing) => Verdict::MissingFeature(missing.0),
            Err(thrown) => match thrown.downcast::<OtherKernel>() {
                Ok(other) => Verdict::OtherKernel(other.0),
                Err(_) => Verdict::Failed(text),
            },
        },
    }
}

/// Returns true if the user wants a missing kernel feature to fail the test.
pub(super) fn require_all() -> bool {
    std::env::var_os("CNI_TEST_REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// Ends the test as ignored if `there` is false: the kernel lacks the feature `what`. With
/// `CNI_TEST_REQUIRE_ALL=1` the test fails instead.
pub fn require(what: &str, there: bool) {
    if !there {
        // Unlike panic!, this does not call the panic hook, which would keep a text.
        std::panic::resume_unwind(Box::new(MissingFeature(what.to_owned())));
    }
}

/// Ends the test as ignored if `holds` is false: the test is only for kernels on which `condition`
/// is true. The test is ignored with `CNI_TEST_REQUIRE_ALL=1` too, since a test of the behaviour
/// without a feature cannot run on a kernel that has the feature.
pub fn only_where(condition: &str, holds: bool) {
    if !holds {
        std::panic::resume_unwind(Box::new(OtherKernel(format!("only where {condition}"))));
    }
}

/// Fails the test with `text`.
///
/// # Panics
/// Always.
#[track_caller]
#[expect(clippy::panic, reason = "that is how a test fails")]
pub fn fail(text: impl Display) -> ! {
    panic!("{text}")
}

/// The conversion into the value, which fails the test if there is no value.
pub trait OrFail<T> {
    /// Returns the value, or fails the test with `what`, which names the operation or the value.
    fn or_fail(self, what: &str) -> T;
}

impl<T, E: Display> OrFail<T> for Result<T, E> {
    #[track_caller]
    fn or_fail(self, what: &str) -> T {
        match self {
            Ok(value) => value,
            Err(e) => fail(format_args!("{what}: {e}")),
        }
    }
}

impl<T> OrFail<T> for Option<T> {
    #[track_caller]
    fn or_fail(self, what: &str) -> T {
        match self {
            Some(value) => value,
            None => fail(format_args!("{what}: there is none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_ends_has_passed() {
        assert!(matches!(
            of(|| require("a loopback interface", true)),
            Verdict::Passed
        ));
    }

    #[test]
    fn a_missing_feature_is_not_a_failure_and_is_named() {
        let verdict = of(|| require("bridge VLAN filtering", false));
        assert!(
            matches!(verdict, Verdict::MissingFeature(what) if what == "bridge VLAN filtering")
        );
    }

    #[test]
    fn a_test_for_other_kernels_is_not_a_missing_feature() {
        let verdict = of(|| only_where("nothing works", false));
        assert!(matches!(verdict, Verdict::OtherKernel(why) if why == "only where nothing works"));
        assert!(matches!(
            of(|| only_where("all works", true)),
            Verdict::Passed
        ));
    }

    #[test]
    fn a_failed_assertion_keeps_its_text_and_place() {
        keep_panics_of_tests();
        let Verdict::Failed(text) = of(|| fail("no luck")) else {
            panic!("it passed")
        };
        assert!(
            text.contains("no luck") && text.contains("verdict.rs"),
            "{text}"
        );
    }
}
