//! Runs the real binary from system call to system call, with ptrace(2).

use crate::program::{Answer, Request};
use nix::{
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{process::Child, process::Command};

/// What a traced run was like.
pub(crate) struct Traced {
    /// The answer; that of a killed program is none.
    pub(crate) answer: Answer,
    /// How many system calls were begun.
    pub(crate) system_calls: usize,
    /// The most memory that was in use, in KiB; 0 for a killed program.
    pub(crate) peak_memory: u64,
    /// Whether the program was killed.
    pub(crate) was_killed: bool,
}

/// Runs the request, and kills the program before its system call with this number, counted from 1.
pub(crate) fn run(request: &Request, kill_before: Option<usize>) -> Traced {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -STOP $$; exec \"$0\"", env!("CARGO_BIN_EXE_host-local")]);
    let child = request.spawn_as(shell);
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    assert!(matches!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)), Ok(WaitStatus::Stopped(..))));
    ptrace::attach(pid).unwrap();
    assert!(matches!(waitpid(pid, None), Ok(WaitStatus::Stopped(..))));
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
    ptrace::setoptions(pid, options | Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACEEXIT).unwrap();
    kill(pid, Signal::SIGCONT).unwrap();
    step(request, child, pid, kill_before, options)
}

fn step(request: &Request, child: Child, pid: Pid, kill_before: Option<usize>, options: Options) -> Traced {
    // From one stop to the next: at each system call there are two.
    let (mut is_plugin, mut stops) = (false, 0);
    loop {
        ptrace::syscall(pid, None).unwrap();
        match waitpid(pid, None).unwrap() {
            WaitStatus::PtraceEvent(_, _, event) if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 => {
                (is_plugin, stops) = (true, 0);
                // The end of execve itself.
                ptrace::syscall(pid, None).unwrap();
                waitpid(pid, None).unwrap();
            }
            WaitStatus::PtraceEvent(..) => {
                let peak_memory = peak_memory(pid);
                ptrace::detach(pid, None).unwrap();
                let (answer, system_calls) = (request.answer(child), stops / 2 + 1);
                return Traced { answer, system_calls, peak_memory, was_killed: false };
            }
            WaitStatus::PtraceSyscall(_) if is_plugin => {
                stops += 1;
                if stops % 2 == 1 && kill_before == Some(stops / 2 + 1) {
                    ptrace::setoptions(pid, options).unwrap();
                    kill(pid, Signal::SIGKILL).unwrap();
                    let answer = request.answer(child);
                    return Traced { answer, system_calls: stops / 2, peak_memory: 0, was_killed: true };
                }
            }
            _ => {}
        }
    }
}

fn peak_memory(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
