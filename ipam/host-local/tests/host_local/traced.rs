//! Runs the real binary from system call to system call, with ptrace(2).

use crate::program::{Answer, Request};
use nix::sys::signal::Signal;
use sandbox::trace::{self, Injection};
use std::time::Duration;

/// The time limit of a run.
const LIMIT: Duration = Duration::from_secs(60);

/// A traced run.
pub(crate) struct Traced {
    /// The answer; empty if the program was killed.
    pub(crate) answer: Answer,
    /// The number of system calls that were begun.
    pub(crate) system_calls: usize,
    /// The most memory that was in use, in KiB; 0 for a killed program.
    pub(crate) peak_memory: u64,
    /// True if the program was killed.
    pub(crate) was_killed: bool,
}

/// Runs the request, and kills the program before its system call with this number, counted from 1.
pub(crate) fn run(request: &Request, kill_before: Option<usize>) -> Traced {
    follow(
        request,
        kill_before.map(|before| Injection {
            before,
            signal: Signal::SIGKILL,
        }),
    )
}

/// Runs the request, and sends the program a signal before its system call with this number.
pub(crate) fn run_until(request: &Request, before: usize, signal: Signal) -> Traced {
    follow(request, Some(Injection { before, signal }))
}

fn follow(request: &Request, injection: Option<Injection>) -> Traced {
    let child = request.spawn_as(trace::stopped(env!("CARGO_BIN_EXE_host-local")));
    let traced = trace::follow(&child, injection, LIMIT).unwrap();
    Traced {
        answer: request.answer_of(child, traced.status),
        system_calls: traced.system_calls,
        peak_memory: traced.peak_memory,
        was_killed: traced.was_injected,
    }
}
