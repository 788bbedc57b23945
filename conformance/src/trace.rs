//! A program watched from system call to system call with ptrace(2), with all its threads and all that it starts, and
//! struck by a signal at one of them.
//!
//! A program cannot ask to be traced without unsafe code between fork and exec. So a shell stops itself first, is
//! attached to, and becomes the program.

pub use nix::sys::signal::Signal;

use nix::{
    errno::Errno,
    sys::{
        ptrace::{self, Event, Options},
        signal::kill,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus},
    sync::mpsc,
    time::Duration,
};

/// What a program is started with that is stopped first, or has no standard streams.
pub const SHELL: &str = "/bin/sh";

/// What a traced run was like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// How the program ended.
    pub status: ExitStatus,
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
    let mut shell = Command::new(SHELL);
    shell.args(["-c", "kill -STOP $$; exec \"$0\""]).arg(program);
    shell
}

/// Lets a command made by [`stopped`] run to its end, or to the blow and whatever it does then, and waits for it in its
/// parent's stead. The calling thread must have started it, and have no other children. What was struck has ended with all
/// that it started; what an unharmed program leaves running is killed at the end of the calling thread.
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
    has_ended: bool,
    traced: Traced,
}

impl Tracer {
    fn new(main: Pid, blow: Option<Blow>) -> Self {
        let (is_program, has_ended) = (false, false);
        Self { main, blow, is_program, inside: BTreeSet::new(), has_ended, traced: Traced::default() }
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
        while let Some(status) = next()? {
            self.see(status)?;
            if self.has_ended && !self.traced.was_struck {
                break;
            }
        }
        Ok(self.traced)
    }

    fn see(&mut self, status: WaitStatus) -> io::Result<()> {
        let mut signal = None;
        match status {
            WaitStatus::PtraceSyscall(pid) if self.is_program => self.pass(pid)?,
            WaitStatus::PtraceEvent(pid, _, event) => self.note(pid, event),
            WaitStatus::Exited(pid, code) if pid == self.main => self.end(ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(pid, by, _) if pid == self.main => self.end(ExitStatus::from_raw(by as i32)),
            // Each new thread or process begins with a SIGSTOP that is none.
            WaitStatus::Stopped(_, other) if other != Signal::SIGSTOP => signal = Some(other),
            _ => {}
        }
        match status {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => Ok(()),
            stopped => stopped.pid().map_or(Ok(()), |pid| go_on(pid, signal)),
        }
    }

    fn end(&mut self, status: ExitStatus) {
        self.traced.status = status;
        self.has_ended = true;
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

/// What happened next to anything that is traced; `None` where nothing is left. Waits for all at once: whatever has begun
/// and been killed before the kernel could tell of it is among them, and a process ends only when each of its threads has
/// been waited for.
fn next() -> io::Result<Option<WaitStatus>> {
    // Other threads have children as well.
    let mine = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        match waitpid(None, Some(mine)) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(None),
            status => return Ok(Some(status?)),
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
        os::unix::{fs::PermissionsExt, process::CommandExt},
        process::Stdio,
    };

    #[expect(clippy::zombie_processes, reason = "`follow` waits for it")]
    fn traced(program: &str, blow: Option<Blow>) -> Traced {
        let mut command = stopped(program);
        let child = command.stdout(Stdio::null()).process_group(0).spawn().unwrap();
        follow(&child, blow, Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn a_program_is_followed_to_its_end_and_killed_before_each_of_its_calls() {
        let whole = traced("/bin/true", None);
        assert!(whole.status.success() && !whole.was_struck);
        assert!(whole.system_calls > 3 && whole.peak_memory > 0, "{whole:?}");
        for before in 1..=whole.system_calls {
            let cut = traced("/bin/true", Some(Blow { before, signal: Signal::SIGKILL }));
            assert_eq!((cut.was_struck, cut.system_calls, cut.status.signal()), (true, before - 1, Some(9)));
        }
        let blow = Blow { before: whole.system_calls + 50, signal: Signal::SIGKILL };
        assert!(!traced("/bin/true", Some(blow)).was_struck);
    }

    /// Programs with threads are at hand: this one, at the tests of another module.
    #[test]
    fn what_a_struck_program_started_is_followed_to_its_end_with_its_threads() {
        let script = std::env::temp_dir().join(format!("threads-{}.sh", std::process::id()));
        let tests = std::env::current_exe().unwrap();
        let tests = format!("{} --test-threads 4 base64", tests.display());
        std::fs::write(&script, format!("#!/bin/sh\n{tests} & {tests}\nwait\n")).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        let whole = traced(script.to_str().unwrap(), None).system_calls;
        for part in 1..=16 {
            for signal in [Signal::SIGKILL, Signal::SIGTERM] {
                let cut = traced(script.to_str().unwrap(), Some(Blow { before: whole * part / 20, signal }));
                assert!(cut.was_struck, "{signal} at {part}/20 of {whole}: {cut:?}");
            }
        }
        std::fs::remove_file(script).unwrap();
    }
}
