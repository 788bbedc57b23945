//! The registers of a program that is stopped at a system call: which call it is, and the answer it
//! gets.
//!
//! On x86-64 only: there both are in the registers that every debugger can set (ptrace(2),
//! PTRACE_SETREGS). arm64 hides the number of the call in a register set of its own, which nix
//! cannot write.

use nix::{errno::Errno, unistd::Pid};

/// The number of a system call and its arguments.
pub(super) type Call = (u64, [u64; 6]);

#[cfg(target_arch = "x86_64")]
mod machine {
    use super::{Call, Errno, Pid};
    use nix::sys::ptrace::{getregs, setregs};

    /// Reads the call that is about to begin.
    pub(in super::super) fn call(pid: Pid) -> Option<Call> {
        let r = getregs(pid).ok()?;
        Some((r.orig_rax, [r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9]))
    }

    /// Puts a number in the call's place that no call has, so that the kernel does nothing.
    pub(in super::super) fn suppress(pid: Pid) -> nix::Result<()> {
        let mut registers = getregs(pid)?;
        registers.orig_rax = u64::MAX;
        setregs(pid, registers)
    }

    /// Makes the call that has just ended return this error.
    pub(in super::super) fn answer(pid: Pid, errno: Errno) -> nix::Result<()> {
        let mut registers = getregs(pid)?;
        registers.rax = i64::from(-(errno as i32)).cast_unsigned();
        setregs(pid, registers)
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod machine {
    use super::{Call, Errno, Pid};

    /// Always `None`: see the module.
    pub(in super::super) fn call(_: Pid) -> Option<Call> {
        None
    }

    /// Fails.
    pub(in super::super) fn suppress(_: Pid) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Fails.
    pub(in super::super) fn answer(_: Pid, _: Errno) -> nix::Result<()> {
        Err(Errno::ENOSYS)
    }
}

pub(super) use machine::{answer, call, suppress};
