//! SIGTERM as an event that is polled, not as an interruption.
//!
//! The signal's handler only makes a socket readable, so it never interrupts an operation. Long
//! waits (stdin, a delegate, an event of the kernel) poll that socket along with their own
//! descriptors, and ADD checks it between its steps. In both cases it becomes an ordinary error:
//! the rollback runs, and a JSON error is printed. Blocking the signal and reading a signalfd(2)
//! would do the same for this process, but a delegate would inherit the mask, and could not be
//! stopped.

use crate::{
    error::{Code, Error},
    signals,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::Signal,
};
use signal_hook::{consts::SIGTERM, low_level::pipe};
use std::{
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::Arc,
    time::{Duration, Instant},
};

/// A request to stop, by SIGTERM or by a timeout.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    signalled: Option<Arc<UnixStream>>,
    deadline: Option<Instant>,
}

/// The outcome of a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitOutcome {
    /// The descriptor is ready, or its other end is closed.
    Ready,
    /// The process was asked to stop.
    Stopped,
    /// The deadline passed.
    TimedOut,
}

impl Stop {
    /// Watches for SIGTERM from now on. If that fails, the signal keeps its default effect, and the
    /// request can still be served.
    #[must_use]
    pub fn on_sigterm() -> Self {
        let watch = || {
            let (signalled, handler) = UnixStream::pair()?;
            pipe::register(SIGTERM, handler)?;
            signals::unblock(Signal::SIGTERM)?;
            Ok::<_, std::io::Error>(Arc::new(signalled))
        };
        Self {
            signalled: watch().ok(),
            deadline: None,
        }
    }

    /// Requests a stop after this time: for callers of programs that may hang.
    #[must_use]
    pub fn after(timeout: Duration) -> Self {
        Self {
            signalled: None,
            deadline: Instant::now().checked_add(timeout),
        }
    }

    /// Never requests a stop: for callers without a process of their own, and during a rollback.
    #[must_use]
    pub fn never() -> Self {
        Self::default()
    }

    /// Checks that the process was not asked to stop. The socket stays readable, so all later calls
    /// fail too.
    ///
    /// # Errors
    /// Fails with code 11 after a request to stop, since the same request may succeed later, and
    /// with 5 if poll(2) fails, so that the state is unknown.
    pub fn check(&self) -> Result<(), Error> {
        if self.has_passed() {
            return Err(Error::new(
                Code::TRY_AGAIN,
                "no time is left for the request",
            ));
        }
        let Some(signalled) = &self.signalled else {
            return Ok(());
        };
        let mut fds = [PollFd::new(signalled.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(0) | Err(Errno::EINTR) => Ok(()),
            Ok(_) => Err(Self::error()),
            Err(errno) => Err(Error::new(
                Code::IO,
                format!("cannot look for a request to stop: poll: {}", errno.desc()),
            )),
        }
    }

    fn has_passed(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Returns the error of a request that was stopped.
    #[must_use]
    pub fn error() -> Error {
        Error::new(Code::TRY_AGAIN, "terminated by SIGTERM")
            .with_details("the request was not completed")
    }

    /// Waits until `fd` is readable, the process is asked to stop, or `deadline` passes.
    ///
    /// # Errors
    /// Fails if poll(2) does, except with EINTR.
    pub fn wait_readable(
        &self,
        fd: BorrowedFd<'_>,
        deadline: Option<Instant>,
    ) -> Result<WaitOutcome, Errno> {
        self.wait_for_any(&[(fd, PollFlags::POLLIN)], deadline)
    }

    /// Waits until one of `fds` is ready for its events, the process is asked to stop, or
    /// `deadline` passes.
    pub(crate) fn wait_for_any(
        &self,
        fds: &[(BorrowedFd<'_>, PollFlags)],
        deadline: Option<Instant>,
    ) -> Result<WaitOutcome, Errno> {
        let until = self.deadline.into_iter().chain(deadline).min();
        loop {
            let mut polled: Vec<PollFd<'_>> = fds
                .iter()
                .map(|(fd, wanted)| PollFd::new(*fd, *wanted))
                .collect();
            polled.extend(
                self.signalled
                    .iter()
                    .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
            );
            let left = until.map(|at| at.saturating_duration_since(Instant::now()));
            match poll(&mut polled, timeout(left)) {
                Ok(0) | Err(Errno::EINTR) if left == Some(Duration::ZERO) => {
                    return Ok(if self.has_passed() {
                        WaitOutcome::Stopped
                    } else {
                        WaitOutcome::TimedOut
                    });
                }
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => {
                    let stopped = polled.get(fds.len()).and_then(PollFd::any) == Some(true);
                    return Ok(if stopped || self.has_passed() {
                        WaitOutcome::Stopped
                    } else {
                        WaitOutcome::Ready
                    });
                }
                Err(_) if self.has_passed() => return Ok(WaitOutcome::Stopped),
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Returns poll's timeout, rounded up to whole milliseconds so that no wait ends before its
/// deadline.
fn timeout(left: Option<Duration>) -> PollTimeout {
    let Some(left) = left else {
        return PollTimeout::NONE;
    };
    let millis = left.as_micros().div_ceil(1000);
    PollTimeout::try_from(millis.min(60_000)).unwrap_or(PollTimeout::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let deadline = start + Duration::from_millis(20);
        assert_eq!(
            Stop::never().wait_readable(ours.as_fd(), Some(deadline)),
            Ok(WaitOutcome::TimedOut)
        );
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn an_expired_timeout_asks_to_stop() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let stop = Stop::after(Duration::from_millis(20));
        assert!(stop.check().is_ok());
        assert_eq!(
            stop.wait_readable(ours.as_fd(), None),
            Ok(WaitOutcome::Stopped)
        );
        assert!(start.elapsed() >= Duration::from_millis(20));
        assert_eq!(stop.check().unwrap_err().code, Code::TRY_AGAIN);
    }

    #[test]
    fn a_closed_peer_counts_as_readable() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        assert_eq!(
            Stop::never().wait_readable(ours.as_fd(), None),
            Ok(WaitOutcome::Ready)
        );
    }
}
