//! The process's stdin and stdout. std is not used to write, since it reports a write to a closed
//! stdout as a success.

use crate::{
    error::{Code, Error},
    stop::{Stop, WaitOutcome},
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::PollFlags,
    sys::stat::{fstat, major, minor},
    unistd::write,
};
use std::{
    io::{self, ErrorKind, Read},
    os::fd::{AsFd, BorrowedFd},
};

/// The limit on stdin, in bytes. GC's list is the largest input: 100,000 attachments with container
/// ids of 255 characters and interface names of 15 take 30.1 MB.
const MAX_STDIN: usize = 32 << 20;

/// The largest write, in bytes, that does not block on a pipe that poll(2) reports as writable
/// (PIPE_BUF, pipe(7)).
const PIPE_BUF: usize = 4096;

/// Reads stdin to its end.
///
/// # Errors
/// Fails with code 5 if stdin cannot be read or is larger than 32 MiB, and with 11 after a request
/// to stop.
pub(super) fn read_stdin(stop: &Stop) -> Result<Vec<u8>, Error> {
    let failed =
        |e: &dyn std::fmt::Display| Error::new(Code::IO, format!("error reading from stdin: {e}"));
    let mut stdin = io::stdin().lock();
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        if stop
            .wait_readable(stdin.as_fd(), None)
            .map_err(|e| failed(&e))?
            == WaitOutcome::Stopped
        {
            return Err(Stop::error());
        }
        let read = match stdin.read(&mut chunk) {
            Ok(0) => return Ok(bytes),
            Ok(n) => {
                #[expect(clippy::indexing_slicing, reason = "no more is read than fits")]
                let read = &chunk[..n];
                read
            }
            Err(e) if matches!(e.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {
                continue;
            }
            Err(e) => return Err(failed(&e)),
        };
        if bytes.len() + read.len() > MAX_STDIN {
            return Err(failed(&"the configuration is larger than 32 MiB"));
        }
        bytes.try_reserve(read.len()).map_err(|e| failed(&e))?;
        bytes.extend_from_slice(read);
    }
}

/// Checks that stdout can be written, so that a result can reach the caller.
///
/// std opens `/dev/null` for reading and writing in place of a closed stdout
/// (library/std/src/sys/pal/unix/mod.rs); a caller's own `>/dev/null` is open for writing only.
///
/// # Errors
/// Fails with EBADF, as write(2) would.
pub(super) fn require_stdout() -> io::Result<()> {
    let stdout = io::stdout();
    let mode =
        OFlag::from_bits_truncate(fcntl(stdout.as_fd(), FcntlArg::F_GETFL)?) & OFlag::O_ACCMODE;
    let device = || fstat(stdout.as_fd()).map(|stat| (major(stat.st_rdev), minor(stat.st_rdev)));
    if mode == OFlag::O_RDONLY || (mode == OFlag::O_RDWR && device()? == (1, 3)) {
        return Err(Errno::EBADF.into());
    }
    Ok(())
}

/// Writes all of `text` to stdout.
///
/// # Errors
/// Fails if stdout refuses it, or is full when the process is asked to stop.
pub(super) fn print(text: &str, stop: &Stop) -> io::Result<()> {
    let stdout = io::stdout();
    let mut left = text.as_bytes();
    while !left.is_empty() {
        // If poll fails, write may still succeed.
        let outcome = stop.wait_for_any(&[(stdout.as_fd(), PollFlags::POLLOUT)], None);
        if outcome == Ok(WaitOutcome::Stopped) && !is_writable(stdout.as_fd()) {
            return Err(io::Error::other("terminated by SIGTERM"));
        }
        match write(stdout.as_fd(), left.get(..PIPE_BUF).unwrap_or(left)) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => {
                #[expect(clippy::indexing_slicing, reason = "no more is written than was given")]
                let rest = &left[n..];
                left = rest;
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn is_writable(fd: BorrowedFd<'_>) -> bool {
    let now = Some(std::time::Instant::now());
    Stop::never().wait_for_any(&[(fd, PollFlags::POLLOUT)], now) == Ok(WaitOutcome::Ready)
}
