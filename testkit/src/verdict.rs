//! The end of a test: passed, failed with a text, or impossible on this kernel.
//!
//! All three travel as panics or their absence, so that a test is a plain function with plain
//! assertions.

use std::{
    cell::RefCell,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// The end of a test.
pub(super) enum Verdict {
    Passed,
    Failed(String),
    /// The kernel lacks what the test needs.
    Missing(String),
    /// The test is for other kernels.
    NotHere(String),
}

impl Verdict {
    pub(super) fn map_failure(self, more: impl FnOnce(String) -> String) -> Self {
        match self {
            Self::Failed(text) => Self::Failed(more(text)),
            other => other,
        }
    }
}

/// The panic of [`require`].
struct Missing(String);

/// The panic of [`only_where`].
struct NotHere(String);

thread_local! {
    /// In the thread of a test: the text of the panic that ended it. `None` in all other threads.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps the texts of panics in tests for their reports, instead of mixing them into the list of
/// tests.
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

/// Runs a test's body.
pub(super) fn of(body: impl FnOnce()) -> Verdict {
    PANIC.set(Some(String::new()));
    let ended = catch_unwind(AssertUnwindSafe(body));
    let text = PANIC.take().unwrap_or_default();
    match ended {
        Ok(()) => Verdict::Passed,
        Err(thrown) => match thrown.downcast::<Missing>() {
            Ok(missing) => Verdict::Missing(missing.0),
            Err(thrown) => match thrown.downcast::<NotHere>() {
                Ok(other) => Verdict::NotHere(other.0),
                Err(_) => Verdict::Failed(text),
            },
        },
    }
}

/// Returns true if a missing kernel feature is a failure.
pub(super) fn require_all() -> bool {
    std::env::var_os("CNI_TEST_REQUIRE_ALL").is_some_and(|value| value == "1")
}

/// Ends the test as ignored unless `there`: `what` is the kernel feature that it needs.
pub fn require(what: &str, there: bool) {
    if !there {
        // Not a panic: the hook has nothing to keep.
        std::panic::resume_unwind(Box::new(Missing(what.to_owned())));
    }
}

/// Ends the test as ignored unless `holds`: `condition` is why, and nothing that anybody could
/// mend. Thus with `CNI_TEST_REQUIRE_ALL=1` too: a test of what is said on a lesser kernel cannot
/// run on a complete one.
pub fn only_where(condition: &str, holds: bool) {
    if !holds {
        std::panic::resume_unwind(Box::new(NotHere(format!("only where {condition}"))));
    }
}

/// Ends the test as failed.
///
/// # Panics
/// Always.
#[track_caller]
#[expect(clippy::panic, reason = "that is how a test fails")]
pub fn fail(text: impl Display) -> ! {
    panic!("{text}")
}

/// The value, or the end of the test.
pub trait OrFail<T> {
    /// Fails the test, saying what was tried, if there is no value.
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
        assert!(matches!(verdict, Verdict::Missing(what) if what == "bridge VLAN filtering"));
    }

    #[test]
    fn a_test_for_other_kernels_is_not_a_missing_feature() {
        let verdict = of(|| only_where("nothing works", false));
        assert!(matches!(verdict, Verdict::NotHere(why) if why == "only where nothing works"));
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
