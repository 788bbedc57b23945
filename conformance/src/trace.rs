//! A program watched from system call to system call with ptrace(2), with all its threads and all that it starts, and
//! struck by a signal at one of them.
//!
//! A program cannot ask to be traced without unsafe code between fork and exec. So a shell stops itself first, is
//! attached to, and becomes the program.

use nix::{
    errno::Errno,
    sys::{
        ptrace::{self, Event, Options},
        signal::{Signal, kill},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    process::{Child, Command},
    sync::mpsc,
    time::Duration,
};

/// The events of a new thread or process.
const STARTS: [i32; 3] =
    [Event::PTRACE_EVENT_FORK as i32, Event::PTRACE_EVENT_VFORK as i32, Event::PTRACE_EVENT_CLONE as i32];

/// What a traced run was like. The program has ended, and whoever started it still has to wait for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// How many system calls were begun, by all threads and processes.
    pub system_calls: usize,
    /// The most memory that the program itself had in use, in KiB; 0 where it did not end by itself.
    pub peak_memory: u64,
    /// Whether the signal was sent.
    pub was_struck: bool,
}

/// A blow: the signal that is sent before the system call with this number, counted from 1.
#[derive(Clone, Copy, Debug)]
pub struct Blow {
    /// The number of the system call.
    pub before: usize,
    /// The signal.
    pub signal: Signal,
}

/// A command that stops itself and then becomes `program`, to be started and given to [`follow`].
#[must_use]
pub fn stopped(program: impl AsRef<OsStr>) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -STOP $$; exec \"$0\""]).arg(program);
    shell
}

/// Lets a command made by [`stopped`] run to its end, or to the blow and whatever it does then. The calling thread must have
/// started it. What it started and has not ended by then is killed at the end of the calling thread.
///
/// # Errors
/// Where the kernel forbids to trace. A program that does not end within `limit` is killed, and that is one too.
pub fn follow(child: &Child, blow: Option<Blow>, limit: Duration) -> io::Result<Traced> {
    let main = Pid::from_raw(child.id().cast_signed());
    let (done, wait) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let is_late = wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if is_late {
                let _ = strike(main, Signal::SIGKILL);
            }
            is_late
        });
        let traced = Tracer::new(main, blow).run();
        drop(done);
        match watch.join() {
            Ok(false) => traced,
            _ => Err(io::Error::new(io::ErrorKind::TimedOut, format!("it does not end within {limit:?}"))),
        }
    })
}

/// The tracing of one program.
struct Tracer {
    main: Pid,
    blow: Option<Blow>,
    /// Whether the shell has become the program.
    is_program: bool,
    /// The threads that are in a system call: at each there are two stops.
    inside: BTreeSet<Pid>,
    /// Threads and processes besides the program's first.
    others: BTreeSet<Pid>,
    traced: Traced,
}

impl Tracer {
    fn new(main: Pid, blow: Option<Blow>) -> Self {
        let (inside, others) = (BTreeSet::new(), BTreeSet::new());
        Self { main, blow, is_program: false, inside, others, traced: Traced::default() }
    }

    fn run(mut self) -> io::Result<Traced> {
        waitpid(self.main, Some(WaitPidFlag::WUNTRACED))?;
        ptrace::attach(self.main)?;
        waitpid(self.main, None)?;
        let mut options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
        options |= Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACEEXIT;
        options |= Options::PTRACE_O_TRACEFORK | Options::PTRACE_O_TRACEVFORK | Options::PTRACE_O_TRACECLONE;
        ptrace::setoptions(self.main, options)?;
        kill(self.main, Signal::SIGCONT)?;
        go_on(self.main, None)?;
        while let Some(pid) = self.next()? {
            let signal = self.see(waitpid(pid, Some(WaitPidFlag::__WALL))?)?;
            go_on(pid, signal)?;
        }
        if self.traced.was_struck {
            self.others.iter().try_for_each(|pid| follow_to_end(*pid))?;
        }
        Ok(self.traced)
    }

    /// Who has stopped or ended; `None` once the program has ended, which is left for its parent to see.
    fn next(&self) -> io::Result<Option<Pid>> {
        // Other threads have children as well.
        let mine = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let kinds = WaitPidFlag::WEXITED | WaitPidFlag::WSTOPPED | WaitPidFlag::WNOWAIT;
        loop {
            match waitid(Id::All, mine | kinds) {
                Err(Errno::EINTR) => {}
                Err(e) => return Err(e.into()),
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) if pid == self.main => {
                    return Ok(None);
                }
                Ok(status) => return Ok(status.pid()),
            }
        }
    }

    /// The signal that is to be handed on.
    fn see(&mut self, status: WaitStatus) -> io::Result<Option<Signal>> {
        match status {
            WaitStatus::PtraceSyscall(pid) if self.is_program => self.pass(pid)?,
            WaitStatus::PtraceEvent(pid, _, event) => self.note(pid, event),
            WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => {
                self.others.remove(&pid);
            }
            // Each new thread or process begins with a SIGSTOP that is none.
            WaitStatus::Stopped(_, signal) if signal != Signal::SIGSTOP => return Ok(Some(signal)),
            _ => {}
        }
        Ok(None)
    }

    /// The beginning of a system call, or its end.
    fn pass(&mut self, pid: Pid) -> io::Result<()> {
        if self.inside.remove(&pid) {
            return Ok(());
        }
        self.inside.insert(pid);
        self.begin()
    }

    fn note(&mut self, pid: Pid, event: i32) {
        if event == Event::PTRACE_EVENT_EXEC as i32 {
            // The end of execve itself is still to come.
            self.inside.insert(pid);
            self.is_program = true;
        } else if event == Event::PTRACE_EVENT_EXIT as i32 && pid == self.main {
            self.traced.peak_memory = peak_memory(pid);
        } else if STARTS.contains(&event) {
            let started = ptrace::getevent(pid).ok().and_then(|pid| pid.try_into().ok());
            self.others.extend(started.map(Pid::from_raw));
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        let number = self.traced.system_calls + 1;
        match self.blow {
            Some(blow) if blow.before == number && !self.traced.was_struck => {
                self.traced.was_struck = true;
                strike(self.main, blow.signal)?;
            }
            _ => self.traced.system_calls = number,
        }
        Ok(())
    }
}

/// What was struck may hold a lock as long as it stands in a stop.
fn follow_to_end(pid: Pid) -> io::Result<()> {
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)) {
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(Errno::ECHILD) => return Ok(()),
            Ok(_) => go_on(pid, None)?,
            Err(e) => return Err(e.into()),
        }
    }
}

/// Strikes the group, where the program leads one, so that its children are struck too.
fn strike(main: Pid, signal: Signal) -> nix::Result<()> {
    kill(Pid::from_raw(-main.as_raw()), signal).or_else(|_| kill(main, signal))
}

/// One that has been killed in the meantime is none to go on with.
fn go_on(pid: Pid, signal: Option<Signal>) -> io::Result<()> {
    match ptrace::syscall(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn peak_memory(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::process::{CommandExt, ExitStatusExt},
        process::Stdio,
    };

    fn traced(program: &str, blow: Option<Blow>) -> (Traced, std::process::ExitStatus) {
        let mut command = stopped(program);
        let mut child = command.stdout(Stdio::null()).process_group(0).spawn().unwrap();
        let traced = follow(&child, blow, Duration::from_secs(20)).unwrap();
        (traced, child.wait().unwrap())
    }

    #[test]
    fn a_program_is_followed_to_its_end_and_killed_before_each_of_its_calls() {
        let (whole, status) = traced("/bin/true", None);
        assert!(status.success() && !whole.was_struck);
        assert!(whole.system_calls > 3 && whole.peak_memory > 0, "{whole:?}");
        for before in 1..=whole.system_calls {
            let (cut, status) = traced("/bin/true", Some(Blow { before, signal: Signal::SIGKILL }));
            assert_eq!((cut.was_struck, cut.system_calls, status.signal()), (true, before - 1, Some(9)));
        }
        let blow = Blow { before: whole.system_calls + 50, signal: Signal::SIGKILL };
        assert!(!traced("/bin/true", Some(blow)).0.was_struck);
    }
}
