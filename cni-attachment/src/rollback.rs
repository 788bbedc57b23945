//! Rollback of a failed ADD.
//!
//! Every step that leaves something behind registers its undo function at once. If a later step
//! fails, the process is asked to stop, or code panics, all steps are undone in reverse order; each
//! is tried, even if the previous one failed. Addresses are freed last, and only if all else
//! succeeded: they must not be given out while an interface answers for them. State of the network
//! (a bridge, its address, forwarding) stays, since another container may depend on it already.

use cni_types::{Code, Error, log};

type Step<'a> = (&'static str, Box<dyn FnOnce() -> Result<(), Error> + 'a>);

/// The completed steps, each with its undo function. Dropping it without [`Self::finish`], as a
/// panic does, undoes them.
pub struct Rollback<'a> {
    plugin: &'static str,
    steps: Vec<Step<'a>>,
    addresses: Option<Step<'a>>,
}

impl<'a> Rollback<'a> {
    /// Begins an ADD. `plugin` prefixes the log of a rollback after a panic.
    #[must_use]
    pub fn new(plugin: &'static str) -> Self {
        Self {
            plugin,
            steps: Vec::new(),
            addresses: None,
        }
    }

    /// Registers the undo function of a step; `what` names the undoing in an error.
    pub fn on_failure(
        &mut self,
        what: &'static str,
        step: impl FnOnce() -> Result<(), Error> + 'a,
    ) {
        self.steps.push((what, Box::new(step)));
    }

    /// Registers the function that frees the addresses after everything else was undone.
    pub fn on_failure_last(
        &mut self,
        what: &'static str,
        step: impl FnOnce() -> Result<(), Error> + 'a,
    ) {
        self.addresses = Some((what, Box::new(step)));
    }

    /// Ends the ADD: keeps everything if it succeeded, else undoes everything.
    ///
    /// # Errors
    /// Fails if the ADD failed, with its error as the cause.
    pub fn finish<T>(self, outcome: Result<T, Error>) -> Result<T, Error> {
        match outcome {
            Ok(result) => {
                self.keep();
                Ok(result)
            }
            Err(cause) => Err(self.roll_back(cause)),
        }
    }

    fn keep(mut self) {
        self.steps.clear();
        self.addresses = None;
    }

    /// Undoes everything. The cause stays the error; failures to undo are added to its details,
    /// each reason once, since the cause often makes the rollback fail too.
    fn roll_back(mut self, cause: Error) -> Error {
        let mut reasons = vec![cause.clone()];
        self.failures()
            .into_iter()
            .fold(cause, |error, (what, reason)| {
                if reasons.iter().any(|known| known.msg.contains(&reason.msg)) {
                    return error
                        .and_details(&format!("cleaning up: {what}: failed for the same reason"));
                }
                let error = error.and_details(&format!("cleaning up: {what}: {reason}"));
                reasons.push(reason);
                error
            })
    }

    fn failures(&mut self) -> Vec<(&'static str, Error)> {
        let mut failures = Vec::new();
        while let Some((what, step)) = self.steps.pop() {
            if let Err(e) = step() {
                failures.push((what, e));
            }
        }
        match self.addresses.take() {
            Some((what, step)) if failures.is_empty() => {
                failures.extend(step().err().map(|reason| (what, reason)));
            }
            Some((what, _)) => failures.push((what, left_to_del())),
            None => {}
        }
        failures
    }
}

fn left_to_del() -> Error {
    Error::new(
        Code::TRY_AGAIN,
        "left to DEL, as the interface may still have them",
    )
}

impl Drop for Rollback<'_> {
    /// Only a panic leaves steps here.
    fn drop(&mut self) {
        for (what, reason) in self.failures() {
            log::warn(self.plugin, format_args!("cleaning up: {what}: {reason}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn steps_are_undone_in_reverse_and_all_of_them() {
        let order = RefCell::new(Vec::new());
        let mut rollback = Rollback::new("test");
        rollback.on_failure("first", || {
            order.borrow_mut().push(1);
            Ok(())
        });
        rollback.on_failure("second", || {
            order.borrow_mut().push(2);
            Err(Error::new(Code::IO, "stuck"))
        });
        let error = rollback.roll_back(Error::new(Code::OTHER, "cause"));
        assert_eq!(*order.borrow(), [2, 1]);
        assert_eq!(
            (error.msg.as_str(), error.details.as_str()),
            ("cause", "cleaning up: second: stuck")
        );
    }

    #[test]
    fn a_clean_up_that_fails_for_the_same_reason_does_not_repeat_it() {
        let mut rollback = Rollback::new("test");
        let refused =
            |details: &str| Error::new(Code::KERNEL, "no permission").with_details(details);
        rollback.on_failure("third", move || Err(Error::new(Code::IO, "stuck")));
        rollback.on_failure("second", move || Err(Error::new(Code::IO, "stuck")));
        rollback.on_failure("first", move || Err(refused("and advice")));
        let error = rollback.roll_back(refused("and advice").context("failed to set up"));
        assert_eq!(error.msg, "failed to set up: no permission");
        assert_eq!(
            error.details,
            "and advice; cleaning up: first: failed for the same reason; cleaning up: second: stuck; \
             cleaning up: third: failed for the same reason"
        );
    }

    #[test]
    fn addresses_are_freed_last_and_not_if_something_is_left() {
        for is_stuck in [false, true] {
            let order = RefCell::new(Vec::new());
            let mut rollback = Rollback::new("test");
            rollback.on_failure_last("freeing addresses", || {
                order.borrow_mut().push("addresses");
                Ok(())
            });
            rollback.on_failure("removing the pair", || {
                order.borrow_mut().push("pair");
                if is_stuck {
                    Err(Error::new(Code::IO, "stuck"))
                } else {
                    Ok(())
                }
            });
            let error = rollback.roll_back(Error::new(Code::OTHER, "cause"));
            if is_stuck {
                assert_eq!(*order.borrow(), ["pair"]);
                assert!(error.details.ends_with(
                    "freeing addresses: left to DEL, as the interface may still have them"
                ));
            } else {
                assert_eq!(*order.borrow(), ["pair", "addresses"]);
                assert_eq!(error.details, "");
            }
        }
    }

    #[test]
    fn nothing_is_undone_after_success() {
        let undone = RefCell::new(false);
        let mut rollback = Rollback::new("test");
        for last in [false, true] {
            let step = || {
                *undone.borrow_mut() = true;
                Ok(())
            };
            if last {
                rollback.on_failure_last("step", step)
            } else {
                rollback.on_failure("step", step)
            }
        }
        rollback.keep();
        assert!(!*undone.borrow());
    }

    #[test]
    fn a_panic_undoes_everything() {
        let undone = RefCell::new(false);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut rollback = Rollback::new("test");
            rollback.on_failure("step", || {
                *undone.borrow_mut() = true;
                Ok(())
            });
            panic!("in the middle");
        }));
        assert!(outcome.is_err() && *undone.borrow());
    }
}
