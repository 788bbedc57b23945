//! A running plugin: read, waited for, and ended if it does not end by itself.
//!
//! One poll(2) waits for its output, its end and a request to stop. Its end is reported by SIGCHLD,
//! whose handler makes a socket readable: that works on every kernel, unlike a pidfd.

use super::{Output, Program};
use crate::{
    error::Error,
    signals,
    stop::{Stop, WaitOutcome},
};
use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::PollFlags,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use signal_hook::{
    SigId,
    consts::SIGCHLD,
    low_level::{pipe, unregister},
};
use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// The time that a plugin has to end after SIGTERM.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// The time that the kernel has to end a plugin after SIGKILL. A plugin that waits for a disk or an
/// NFS server never ends.
const GRACE_AFTER_KILL: Duration = Duration::from_secs(1);

/// The interval at which a plugin is polled if poll(2) fails.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The longest wait without a check of the plugin. SIGCHLD's handler reports an end by send(2),
/// which may be refused by a kernel that is out of memory or by a seccomp filter.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// The limit on a plugin's output, in bytes.
const MAX_OUTPUT: usize = 16 << 20;

/// A started plugin. Dropping it still waits for its end, since it may use what the caller is about
/// to remove: it has 5 seconds to end by itself and 5 after SIGTERM, then gets SIGKILL.
#[derive(Debug)]
pub struct Running {
    program: Program,
    child: Child,
    status: Option<ExitStatus>,
    phase: Phase,
    stdout: Captured,
    stderr: Captured,
    ended: ChildWatch,
}

/// The signals that a plugin got so far.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// No signal.
    Unsignalled,
    /// SIGTERM; SIGKILL follows at that time.
    Terminated(Instant),
    /// SIGKILL; the plugin is abandoned at that time.
    Killed(Instant),
}

impl Running {
    pub(super) fn start(program: &Program, command: &mut Command) -> io::Result<Self> {
        let ended = ChildWatch::new()?;
        let mut child = command.spawn()?;
        let stdout = child.stdout.take();
        let stderr = child.stderr.take();
        let mut running = Self {
            program: program.clone(),
            child,
            status: None,
            phase: Phase::Unsignalled,
            stdout: Captured::new(stdout.map(OwnedFd::from)),
            stderr: Captured::new(stderr.map(OwnedFd::from)),
            ended,
        };
        match running
            .stdout
            .never_block()
            .and_then(|()| running.stderr.never_block())
        {
            Ok(()) => Ok(running),
            Err(e) => {
                running.end_by_force();
                Err(e)
            }
        }
    }

    /// Reads the plugin's output to its end. A request to stop is passed on to the plugin, which
    /// then has 5 seconds.
    ///
    /// # Errors
    /// Fails with code 102 if the plugin cannot be read, or does not end even by SIGKILL. A plugin
    /// that reports a failure is no error here: see the output.
    pub fn finish(mut self, stop: &Stop) -> Result<Output, Error> {
        let waited = self.wait(stop);
        if waited.is_err() {
            self.end_by_force();
        }
        let status = waited.map_err(|e| self.program.failed("run", &e))?;
        Ok(Output {
            status,
            stdout: std::mem::take(&mut self.stdout.bytes),
            stderr: std::mem::take(&mut self.stderr.bytes),
            kind: self.program.kind.clone(),
        })
    }

    /// Waits until the plugin ended and closed its stdout. As in the reference, a child of the
    /// plugin that keeps stdout open is waited for too, except after a request to stop.
    fn wait(&mut self, stop: &Stop) -> io::Result<ExitStatus> {
        let never = Stop::never();
        loop {
            self.read_available()?;
            let is_signalled = !matches!(self.phase, Phase::Unsignalled);
            if let Some(status) = self
                .status
                .filter(|_| is_signalled || self.stdout.pipe.is_none())
            {
                return Ok(status);
            }
            let (watched, deadline) = match self.phase {
                Phase::Unsignalled => (stop, None),
                Phase::Terminated(deadline) | Phase::Killed(deadline) => (&never, Some(deadline)),
            };
            let next_check = Instant::now() + MAX_WAIT;
            let until = deadline.map_or(next_check, |deadline| deadline.min(next_check));
            let outcome = watched
                .wait_for_any(&self.watched(), Some(until))
                .unwrap_or_else(|_| {
                    // The plugin can be waited for without poll(2), which seccomp may refuse.
                    thread::sleep(POLL_INTERVAL);
                    WaitOutcome::Ready
                });
            match (outcome, self.phase) {
                // A plugin that keeps printing is always ready.
                (WaitOutcome::Ready | WaitOutcome::TimedOut, _)
                    if deadline.is_none_or(|deadline| Instant::now() < deadline) => {}
                (WaitOutcome::Stopped, _) => {
                    self.signal(Signal::SIGTERM);
                    self.phase = Phase::Terminated(Instant::now() + GRACE);
                }
                (WaitOutcome::Ready | WaitOutcome::TimedOut, Phase::Killed(_)) => {
                    return Err(io::Error::new(
                        ErrorKind::TimedOut,
                        "it does not end, even by SIGKILL",
                    ));
                }
                (WaitOutcome::Ready | WaitOutcome::TimedOut, _) => {
                    self.signal(Signal::SIGKILL);
                    self.phase = Phase::Killed(Instant::now() + GRACE_AFTER_KILL);
                }
            }
        }
    }

    fn watched(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let pipes = [&self.stdout, &self.stderr]
            .into_iter()
            .filter_map(|captured| captured.pipe.as_ref());
        let ended = Some(&self.ended.readable).filter(|_| self.status.is_none());
        pipes
            .map(File::as_fd)
            .chain(ended.map(UnixStream::as_fd))
            .map(|fd| (fd, PollFlags::POLLIN))
            .collect()
    }

    /// Reads available output, and the status if the plugin ended.
    fn read_available(&mut self) -> io::Result<()> {
        self.ended.clear();
        // The status comes first: all output before the end is then available.
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        self.stdout.read()?;
        self.stderr.read()
    }

    /// Ends a plugin that cannot be read or waited for.
    fn end_by_force(&mut self) {
        (self.stdout.pipe, self.stderr.pipe) = (None, None);
        if matches!(self.phase, Phase::Killed(_)) {
            return;
        }
        for (signal, grace) in [
            (Signal::SIGTERM, GRACE),
            (Signal::SIGKILL, GRACE_AFTER_KILL),
        ] {
            self.signal(signal);
            let deadline = Instant::now() + grace;
            while self.status.is_none() && Instant::now() < deadline {
                thread::sleep(POLL_INTERVAL);
                self.status = self.child.try_wait().unwrap_or(None);
            }
        }
        self.phase = Phase::Killed(Instant::now());
    }

    /// Signals the plugin unless it was waited for: its pid may be another process's then.
    fn signal(&self, signal: Signal) {
        if let (None, Ok(pid)) = (self.status, i32::try_from(self.child.id())) {
            // EPERM: the plugin changed its user. It ends when its work is done.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let is_given_up = matches!(self.phase, Phase::Killed(_));
        if self.status.is_none() && !is_given_up && self.wait(&Stop::after(GRACE)).is_err() {
            self.end_by_force();
        }
    }
}

/// The output from a pipe, as far as it was read.
#[derive(Debug)]
struct Captured {
    /// The pipe, until its other end is closed.
    pipe: Option<File>,
    bytes: Vec<u8>,
}

impl Captured {
    fn new(pipe: Option<OwnedFd>) -> Self {
        Self {
            pipe: pipe.map(File::from),
            bytes: Vec::new(),
        }
    }

    fn never_block(&self) -> io::Result<()> {
        let Some(pipe) = &self.pipe else {
            return Ok(());
        };
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(())
    }

    /// Reads the available output.
    fn read(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16 << 10];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut chunk) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    #[expect(clippy::indexing_slicing, reason = "no more is read than fits")]
                    let read = &chunk[..n];
                    self.keep(read)?;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.bytes.len() + bytes.len() > MAX_OUTPUT {
            return Err(io::Error::other("it prints more than 16 MiB"));
        }
        self.bytes.try_reserve(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// A socket that becomes readable when a child of this process ends.
#[derive(Debug)]
struct ChildWatch {
    readable: UnixStream,
    handler: SigId,
}

impl ChildWatch {
    /// Watches from now on, even if the parent had SIGCHLD ignored or blocked.
    fn new() -> io::Result<Self> {
        let (readable, writable) = UnixStream::pair()?;
        readable.set_nonblocking(true)?;
        let handler = pipe::register(SIGCHLD, writable)?;
        signals::unblock(Signal::SIGCHLD)?;
        Ok(Self { readable, handler })
    }

    fn clear(&self) {
        let mut bytes = [0; 64];
        while (&self.readable).read(&mut bytes).is_ok_and(|n| n > 0) {}
    }
}

impl Drop for ChildWatch {
    fn drop(&mut self) {
        unregister(self.handler);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{environment::Environment, program::Stderr};

    fn start(script: &str) -> Running {
        let shell = Program::of_system("sh", "").unwrap();
        shell
            .start(
                &Environment::of_process(),
                script.as_bytes(),
                Stderr::Captured,
            )
            .unwrap()
    }

    fn is_alive(pid: u32) -> bool {
        kill(Pid::from_raw(pid.try_into().unwrap()), None).is_ok()
    }

    #[test]
    fn a_plugin_that_closes_its_stdout_and_lives_is_waited_for_until_it_is_to_stop() {
        let start_of_test = Instant::now();
        let output = start("echo a; exec >&-; sleep 0.3; exit 4")
            .finish(&Stop::never())
            .unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.as_slice()),
            (Some(4), &b"a\n"[..])
        );
        let running = start("echo a; exec >&-; exec sleep 60");
        let pid = running.child.id();
        let output = running
            .finish(&Stop::after(Duration::from_millis(100)))
            .unwrap();
        assert!(!output.status.success() && !is_alive(pid));
        assert!(
            start_of_test.elapsed() < Duration::from_secs(10),
            "{:?}",
            start_of_test.elapsed()
        );
    }

    #[test]
    fn a_plugin_that_is_deaf_to_sigterm_is_killed_after_its_grace() {
        let start_of_test = Instant::now();
        let running = start("trap '' TERM; while :; do sleep 0.1; done");
        let pid = running.child.id();
        let output = running
            .finish(&Stop::after(Duration::from_millis(100)))
            .unwrap();
        assert!(!output.status.success() && !is_alive(pid));
        assert!(
            (GRACE..GRACE * 2).contains(&start_of_test.elapsed()),
            "{:?}",
            start_of_test.elapsed()
        );
    }

    #[test]
    fn a_plugin_that_is_dropped_is_waited_for_but_not_for_ever() {
        let start_of_test = Instant::now();
        let running = start("exec sleep 60");
        let pid = running.child.id();
        drop(running);
        assert!(!is_alive(pid));
        assert!(
            (GRACE..GRACE * 2).contains(&start_of_test.elapsed()),
            "{:?}",
            start_of_test.elapsed()
        );
    }

    #[test]
    fn a_child_of_a_plugin_that_keeps_stdout_holds_nobody_up_who_is_to_stop() {
        let start_of_test = Instant::now();
        let running = start("sleep 60 & echo $!");
        let output = running
            .finish(&Stop::after(Duration::from_millis(300)))
            .unwrap();
        assert!(
            start_of_test.elapsed() < GRACE,
            "{:?}",
            start_of_test.elapsed()
        );
        let left = String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
    }

    #[test]
    fn the_end_of_a_plugin_is_seen_though_no_signal_reports_it() {
        let mut running = start("exec >&- 2>&-; sleep 0.1; exit 4");
        unregister(running.ended.handler);
        running.ended.clear();
        let start_of_test = Instant::now();
        assert_eq!(running.wait(&Stop::never()).unwrap().code(), Some(4));
        assert!(
            start_of_test.elapsed() < GRACE,
            "{:?}",
            start_of_test.elapsed()
        );
    }

    #[test]
    fn much_on_stderr_blocks_nobody() {
        let output = start("head -c 1000000 /dev/zero >&2; echo a")
            .finish(&Stop::never())
            .unwrap();
        assert_eq!(
            (output.stderr.len(), output.stdout.as_slice()),
            (1_000_000, &b"a\n"[..])
        );
    }
}
