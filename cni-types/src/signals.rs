//! Signal dispositions and masks inherited from the parent.
//!
//! A program inherits ignored and blocked signals over exec(2). If the caller ignores SIGCHLD (a
//! shell's `trap "" CHLD`, some daemons), the kernel reaps our delegates before we wait for them.
//! SIGXFSZ by default ends a program that writes beyond its limit before it can report the error. A
//! handler replaces both, and exec gives delegates the default again.

use nix::sys::signal::{SigSet, Signal};
use signal_hook::{consts::SIGXFSZ, flag};
use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

/// Turns a write beyond RLIMIT_FSIZE into the error EFBIG, and makes SIGCHLD work for waiting. To
/// be called at the start of a program.
///
/// # Errors
/// Fails if sigaction(2) does.
pub fn set_signal_dispositions() -> io::Result<()> {
    for signal in [SIGXFSZ, signal_hook::consts::SIGCHLD] {
        // The flag is not read: the existence of the handler is enough.
        flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Unblocks a signal that the caller is going to wait for.
pub(crate) fn unblock(signal: Signal) -> io::Result<()> {
    let mut set = SigSet::empty();
    set.add(signal);
    Ok(set.thread_unblock()?)
}
