//! A plugin while it runs: read, waited for, and ended if it does not end by itself.
//!
//! One poll(2) waits for its output, its end and a request to stop. Its end is SIGCHLD, which makes
//! a socket readable: it is there on every kernel, other than a pidfd.

use super::{Output, Program};
use crate::{
    error::Error,
    signals,
    stop::{Stop, Woken},
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

/// The time that a plugin has to end after the SIGTERM that was passed on to it.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// The time that the kernel has to end a plugin that got SIGKILL. A plugin that waits for a disk or
/// an NFS server never ends.
const GRACE_AFTER_KILL: Duration = Duration::from_secs(1);

/// The time between two looks at a plugin if poll(2) is refused.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest wait without a look at the plugin. SIGCHLD's handler reports an end by send(2), and
/// a kernel that is out of memory or a seccomp filter may refuse it.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The most that a plugin may print, in bytes.
const MAX_OUTPUT: usize = 16 << 20;

/// A plugin that was started. Dropped, it is still waited for, since it may hold what the caller is
/// about to clean up: it has 5 seconds to end by itself and 5 after SIGTERM, and then gets SIGKILL.
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

/// The request to end that a plugin got.
#[derive(Clone, Copy, Debug)]
enum Phase {
    /// None.
    Unasked,
    /// SIGTERM; SIGKILL follows at that time.
    Terminated(Instant),
    /// SIGKILL; the plugin is given up at that time.
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
            phase: Phase::Unasked,
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

    /// Reads the plugin's output to its end. A request to stop is passed on to it, and then it has
    /// 5 seconds.
    ///
    /// # Errors
    /// Code 102 if it cannot be read, or does not end even by SIGKILL. That it failed is in the
    /// output.
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

    /// Waits until the plugin has ended and has closed its stdout. A child of its own that keeps
    /// stdout open is waited for too, as the reference does, unless it is to stop.
    fn wait(&mut self, stop: &Stop) -> io::Result<ExitStatus> {
        let never = Stop::never();
        loop {
            self.take_news()?;
            let is_asked = !matches!(self.phase, Phase::Unasked);
            if let Some(status) = self
                .status
                .filter(|_| is_asked || self.stdout.pipe.is_none())
            {
                return Ok(status);
            }
            let (watched, deadline) = match self.phase {
                Phase::Unasked => (stop, None),
                Phase::Terminated(deadline) | Phase::Killed(deadline) => (&never, Some(deadline)),
            };
            let look_again = Instant::now() + LOOK_AGAIN;
            let until = deadline.map_or(look_again, |deadline| deadline.min(look_again));
            let woken = watched
                .wait_for_any(&self.watched(), Some(until))
                .unwrap_or_else(|_| {
                    // Without poll(2), which seccomp may refuse, the plugin can be waited for.
                    thread::sleep(PAUSE);
                    Woken::Ready
                });
            match (woken, self.phase) {
                // A plugin that goes on printing is ready for ever.
                (Woken::Ready | Woken::TimedOut, _)
                    if deadline.is_none_or(|deadline| Instant::now() < deadline) => {}
                (Woken::Stopped, _) => {
                    self.signal(Signal::SIGTERM);
                    self.phase = Phase::Terminated(Instant::now() + GRACE);
                }
                (Woken::Ready | Woken::TimedOut, Phase::Killed(_)) => {
                    return Err(io::Error::new(
                        ErrorKind::TimedOut,
                        "it does not end, even by SIGKILL",
                    ));
                }
                (Woken::Ready | Woken::TimedOut, _) => {
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

    /// Takes what the plugin has printed, and its status if it has ended.
    fn take_news(&mut self) -> io::Result<()> {
        self.ended.clear();
        // The status first: what was printed before the end is then there to be read.
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
        for (signal, patience) in [
            (Signal::SIGTERM, GRACE),
            (Signal::SIGKILL, GRACE_AFTER_KILL),
        ] {
            self.signal(signal);
            let deadline = Instant::now() + patience;
            while self.status.is_none() && Instant::now() < deadline {
                thread::sleep(PAUSE);
                self.status = self.child.try_wait().unwrap_or(None);
            }
        }
        self.phase = Phase::Killed(Instant::now());
    }

    /// Signals the plugin, if it was not waited for yet: later its pid may be another's.
    fn signal(&self, signal: Signal) {
        if let (None, Ok(pid)) = (self.status, i32::try_from(self.child.id())) {
            // EPERM is a plugin that changed its user: it ends when it is done.
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

/// The output that comes out of a pipe, as far as it was read.
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

    /// Takes what is there.
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
    /// Watches from now on, also if the parent had SIGCHLD ignored or blocked.
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
