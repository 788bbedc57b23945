//! A plugin as a process: started, watched, and killed with all its children if it does not end in
//! time.

use super::{mismatch::Mismatch, run::Run};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    io::{self, Read},
    os::fd::AsFd,
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// The time for which a pipe is read on after the plugin's end: a process that it left behind may
/// hold it for ever.
const GRACE: Duration = Duration::from_millis(200);

/// The output that is read from a plugin, in bytes. The runtime side takes no more either.
const MAX_OUTPUT: usize = 16 << 20;

/// The part of the output that is quoted in a mismatch, in bytes.
const MAX_QUOTED: usize = 1000;

/// The interval of the looks for the plugin's end while nothing is printed.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The reason for which there is no [`Run`] of a plugin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plugin does not end in time, or prints without end.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// The plugin could not be started or watched.
    #[error("cannot {operation}: {source}")]
    Io {
        /// The operation that failed.
        operation: String,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl RunError {
    pub(super) fn io(operation: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io {
            operation: operation.into(),
            source: source.into(),
        }
    }
}

/// A running plugin. Killed if it is dropped before its end.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
    start: Instant,
    limit: Duration,
}

impl Spawned {
    /// Starts the program in a process group of its own. It may run for as long as `limit`.
    ///
    /// # Errors
    /// Fails if it cannot be started.
    pub fn start(mut command: Command, limit: Duration) -> Result<Self, RunError> {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let start = Instant::now();
        let child = command
            .spawn()
            .map_err(|e| RunError::io(format!("start {}", command.get_program().display()), e))?;
        Ok(Self {
            child,
            start,
            limit,
        })
    }

    /// Its process id, and that of its group.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Sends a signal to it and to what it started.
    ///
    /// # Errors
    /// Fails if the kernel refuses. A plugin that has ended is no error.
    pub fn signal(&self, signal: Signal) -> Result<(), RunError> {
        match killpg(self.pid(), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => Err(RunError::io("send a signal to the plugin", e)),
        }
    }

    /// Waits for its end and reads what it prints. A plugin that does not end in time, or prints
    /// without end, is killed.
    ///
    /// # Errors
    /// Fails if it had to be killed ([`RunError::Mismatch`]) or cannot be watched.
    pub fn finish(mut self) -> Result<Run, RunError> {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        let status = self.read_to_end(&mut stdout, &mut stderr)?;
        let duration = self.start.elapsed();
        let Some(status) = status else {
            let printed =
                String::from_utf8_lossy(stdout.get(..MAX_QUOTED).unwrap_or(&stdout)).into_owned();
            let found = format!("it is still running; so far it has printed {printed:?}");
            return Err(Mismatch::new(format!("an end within {:?}", self.limit), found).into());
        };
        Ok(Run {
            stdout,
            stderr,
            status,
            duration,
        })
    }

    /// Returns the exit status, or `None` if the time is up.
    fn read_to_end(
        &mut self,
        stdout: &mut Vec<u8>,
        stderr: &mut Vec<u8>,
    ) -> Result<Option<ExitStatus>, RunError> {
        let mut out = self.child.stdout.take();
        let mut err = self.child.stderr.take();
        let mut ended: Option<(ExitStatus, Instant)> = None;
        loop {
            let timeout = match ended {
                Some((status, at)) if out.is_none() && err.is_none() || at.elapsed() > GRACE => {
                    return Ok(Some(status));
                }
                Some(_) => POLL_INTERVAL,
                None if self.start.elapsed() > self.limit => return Ok(None),
                None if out.is_none() && err.is_none() => Duration::from_micros(200),
                None => POLL_INTERVAL,
            };
            wait_readable(
                out.as_ref().map(AsFd::as_fd),
                err.as_ref().map(AsFd::as_fd),
                timeout,
            )?;
            let read = read_some(&mut out, stdout).and_then(|()| read_some(&mut err, stderr));
            read.map_err(|e| RunError::io("read what the plugin prints", e))?;
            let wanted = format!("at most {} MiB of output", MAX_OUTPUT >> 20);
            Mismatch::unless(stdout.len().max(stderr.len()) <= MAX_OUTPUT, wanted, "more")?;
            if ended.is_none() {
                let status = self.child.try_wait();
                let status = status.map_err(|e| RunError::io("wait for the plugin", e))?;
                ended = status.map(|status| (status, Instant::now()));
            }
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.signal(Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

type Fd<'a> = std::os::fd::BorrowedFd<'a>;

fn wait_readable(
    out: Option<Fd<'_>>,
    err: Option<Fd<'_>>,
    timeout: Duration,
) -> Result<(), RunError> {
    let mut fds: Vec<PollFd<'_>> = [out, err]
        .into_iter()
        .flatten()
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    if fds.is_empty() {
        std::thread::sleep(timeout);
        return Ok(());
    }
    match poll(
        &mut fds,
        PollTimeout::try_from(timeout).unwrap_or(PollTimeout::ZERO),
    ) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(e) => Err(RunError::io("wait for the plugin", e)),
    }
}

/// Reads what there is. At its end the pipe becomes `None`.
fn read_some<R: Read + AsFd>(pipe: &mut Option<R>, into: &mut Vec<u8>) -> io::Result<()> {
    let Some(open) = pipe else { return Ok(()) };
    let mut fds = [PollFd::new(open.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::ZERO).unwrap_or(0) == 0 {
        return Ok(());
    }
    let mut buffer = [0; 64 << 10];
    match open.read(&mut buffer)? {
        0 => *pipe = None,
        n => into.extend(buffer.iter().take(n)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Run, RunError> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        Spawned::start(command, limit)?.finish()
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn what_is_printed_is_read_however_much_it_is() {
        let run = shell("head -c 300000 /dev/zero; echo e >&2; exit 3", LONG).unwrap();
        assert_eq!(
            (run.stdout.len(), run.stderr.as_slice(), run.status.code()),
            (300_000, &b"e\n"[..], Some(3))
        );
    }

    #[test]
    fn one_that_prints_without_end_is_killed() {
        let failure = shell("exec cat /dev/zero", LONG).unwrap_err();
        assert!(
            matches!(failure, RunError::Mismatch(mismatch) if mismatch.wanted == "at most 16 MiB of output")
        );
    }

    #[test]
    fn one_that_hangs_is_killed_with_its_children() {
        let start = Instant::now();
        let failure = shell(
            "echo so far; sleep 100 & sleep 100",
            Duration::from_millis(100),
        )
        .unwrap_err();
        assert!(
            matches!(failure, RunError::Mismatch(mismatch) if mismatch.found.contains("so far"))
        );
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn a_pipe_that_is_held_open_does_not_keep_the_suite() {
        let start = Instant::now();
        let run = shell("sleep 3 & echo done", LONG).unwrap();
        assert_eq!(run.stdout, b"done\n");
        assert!(start.elapsed() < Duration::from_secs(3));
    }

    #[test]
    fn closed_streams_are_no_end() {
        let run = shell("exec >&- 2>&-; sleep 0.05; exit 4", LONG).unwrap();
        assert_eq!(run.status.code(), Some(4));
    }
}
