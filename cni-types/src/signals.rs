//! Signal dispositions and masks that a parent left behind.
//!
//! A program inherits over exec(2) which signals are ignored and which are blocked. A caller that
//! ignores SIGCHLD (a shell's `trap "" CHLD`, some daemons) has the kernel reap our delegates
//! before they are waited for, and SIGXFSZ ends a program that writes beyond its limit before it
//! can say so. A handler replaces both, and exec gives delegates the default back.

use nix::sys::signal::{SigSet, Signal};
use signal_hook::{consts::SIGXFSZ, flag};
use std::{
    io,
    sync::{Arc, atomic::AtomicBool},
};

/// Turns a write beyond RLIMIT_FSIZE into the error EFBIG, and SIGCHLD back into a signal that
/// children can be waited for with. To be called at the start of a program.
///
/// # Errors
/// Fails if sigaction(2) does.
pub fn set_signal_dispositions() -> io::Result<()> {
    for signal in [SIGXFSZ, signal_hook::consts::SIGCHLD] {
        // What the handler does is of no interest: it is there.
        flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Unblocks a signal, which the caller is about to wait for.
pub(crate) fn unblock(signal: Signal) -> io::Result<()> {
    let mut set = SigSet::empty();
    set.add(signal);
    Ok(set.thread_unblock()?)
}
