//! A program watched from system call to system call with ptrace(2), with all its threads and all
//! that it starts, and disturbed at one of them: by a signal, an error, a lost answer, a delay.
//!
//! A program cannot ask to be traced without unsafe code between fork and exec. So a shell stops
//! itself first, is attached to, and becomes the program.

mod registers;

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
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    sync::mpsc,
    time::{Duration, Instant},
};

/// The shell that stops a program first, or starts it without standard streams.
pub const SHELL: &str = "/bin/sh";

/// The pause between two looks at the other processes while one is delayed.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// The longest path that is read from a program's memory.
const PATH_MAX: usize = 256;

/// The end of a traced run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traced {
    /// The exit status of the program.
    pub status: ExitStatus,
    /// The number of system calls that were begun before the disturbance, by all threads and
    /// processes; of all of them if nothing was disturbed.
    pub system_calls: usize,
    /// The most memory that the program itself had in use, in KiB; 0 if it did not end by itself.
    pub peak_memory: u64,
    /// True if the program was disturbed.
    pub was_injected: bool,
}

/// An injection: the signal that is sent before the system call with this number, counted from 1.
#[derive(Clone, Copy, Debug)]
pub struct Injection {
    /// The number of the system call.
    pub before: usize,
    /// The signal.
    pub signal: Signal,
}

/// A system call that is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemCall {
    /// The process or thread: 0 is the program itself, the others count in the order in which they
    /// are started.
    pub process: usize,
    /// Its number among the calls of this process, from 1. In contrast to `overall` it does not
    /// depend on which of several processes the kernel lets run first.
    pub nth: usize,
    /// Its number among the calls of all, from 1.
    pub overall: usize,
    /// The call's number in the kernel's table, and its arguments; `None` if they cannot be read on
    /// this architecture.
    pub call: Option<(u64, [u64; 6])>,
    pid: Pid,
}

impl SystemCall {
    /// The text at an argument that points to one: a path. Only while the call is about to begin.
    #[must_use]
    pub fn text(&self, argument: usize) -> Option<String> {
        let address = *self.call?.1.get(argument)?;
        let mut buffer = [0; PATH_MAX];
        let memory = File::open(format!("/proc/{}/mem", self.pid)).ok()?;
        let read = memory.read_at(&mut buffer, address).ok()?;
        let text = buffer.get(..read)?.split(|byte| *byte == 0).next()?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    /// The name of the open file that an argument is the descriptor of. Only while the call is
    /// about to begin.
    #[must_use]
    pub fn file(&self, argument: usize) -> Option<PathBuf> {
        let descriptor = *self.call?.1.get(argument)?;
        fs::read_link(format!("/proc/{}/fd/{descriptor}", self.pid)).ok()
    }
}

/// The fate of a system call that is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Proceed,
    /// The signal goes to the program and to all that it started, if it leads a process group; the
    /// call begins after it.
    SignalAll(Signal),
    /// The signal goes to the process that makes the call.
    SignalOne(Signal),
    /// The call does not take place and returns this error.
    Fail(Errno),
    /// The same, and all later calls of that kind by the process fail too: a disk that is broken
    /// for good.
    FailFromNowOn(Errno),
    /// The call takes place and returns this error all the same.
    LoseAnswer(Errno),
    /// The process waits before the call; the others go on.
    Delay(Duration),
}

/// A command that stops itself and then becomes `program`, to be started and given to [`follow`] or
/// [`disturb`]. Arguments that are added are the program's.
#[must_use]
pub fn stopped(program: impl AsRef<OsStr>) -> Command {
    let mut shell = Command::new(SHELL);
    shell
        .args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""])
        .arg(program);
    shell
}

/// Lets a command made by [`stopped`] run to its end, or to the injection and whatever it does
/// then, and waits for it in its parent's stead. The calling thread must have started it, and have
/// no other children. What was struck has ended with all that it started; what an unharmed program
/// leaves running is killed at the end of the calling thread.
///
/// # Errors
/// Fails if the kernel forbids tracing, or if the program does not end within `limit`; it is killed
/// then.
pub fn follow(child: &Child, injection: Option<Injection>, limit: Duration) -> io::Result<Traced> {
    disturb(child, limit, &mut |call| match injection {
        Some(injection) if injection.before == call.overall => Action::SignalAll(injection.signal),
        _ => Action::Proceed,
    })
}

/// As [`follow`], but `decide` sees each system call before it begins, and its first answer that is
/// not [`Action::Proceed`] is carried out. It is not asked any more after that.
///
/// # Errors
/// As [`follow`]; also if an error is to be injected on an architecture on which that is not
/// possible (ENOSYS).
pub fn disturb(
    child: &Child,
    limit: Duration,
    decide: &mut dyn FnMut(&SystemCall) -> Action,
) -> io::Result<Traced> {
    let main = Pid::from_raw(child.id().cast_signed());
    let (done, wait) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let is_late = wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if is_late {
                let _ = deliver(main, Signal::SIGKILL);
            }
            is_late
        });
        let traced = Tracer::new(main, decide).run();
        drop(done);
        match watch.join() {
            Ok(false) => traced,
            _ => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it does not end within {limit:?}"),
            )),
        }
    })
}

/// A process or thread that is traced.
#[derive(Clone, Copy, Debug)]
struct Tracee {
    /// Its number in the order in which they were started.
    ordinal: usize,
    /// The number of system calls that it has begun.
    calls: usize,
    /// True while it is in a system call: at each there are two stops.
    is_inside: bool,
    /// The error that is put in the place of the answer of the call that it is in.
    pending: Option<Errno>,
    /// The call's number in the kernel's table that fails from now on, and the error.
    failing: Option<(u64, Errno)>,
}

/// The tracing of one program.
struct Tracer<'d> {
    main: Pid,
    decide: &'d mut dyn FnMut(&SystemCall) -> Action,
    /// True once the shell has become the program.
    is_program: bool,
    tracees: BTreeMap<Pid, Tracee>,
    started: usize,
    has_ended: bool,
    traced: Traced,
}

impl<'d> Tracer<'d> {
    fn new(main: Pid, decide: &'d mut dyn FnMut(&SystemCall) -> Action) -> Self {
        let is_program = false;
        let has_ended = false;
        let tracees = BTreeMap::new();
        let traced = Traced::default();
        let mut tracer = Self {
            main,
            decide,
            is_program,
            tracees,
            started: 0,
            has_ended,
            traced,
        };
        tracer.tracee(main);
        tracer
    }

    fn run(mut self) -> io::Result<Traced> {
        waitpid(self.main, Some(WaitPidFlag::WUNTRACED))?;
        ptrace::attach(self.main)?;
        waitpid(self.main, None)?;
        let mut options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
        options |= Options::PTRACE_O_TRACEEXEC | Options::PTRACE_O_TRACEEXIT;
        options |= Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE;
        ptrace::setoptions(self.main, options)?;
        kill(self.main, Signal::SIGCONT)?;
        self.go_on(self.main, None)?;
        while let Some(status) = next(WaitPidFlag::empty())? {
            self.see(status)?;
            if self.has_ended && !self.traced.was_injected {
                break;
            }
        }
        Ok(self.traced)
    }

    /// The tracee with this id. One that is seen for the first time gets the next number.
    fn tracee(&mut self, pid: Pid) -> &mut Tracee {
        let started = &mut self.started;
        self.tracees.entry(pid).or_insert_with(|| {
            let ordinal = *started;
            *started += 1;
            Tracee {
                ordinal,
                calls: 0,
                is_inside: false,
                pending: None,
                failing: None,
            }
        })
    }

    fn see(&mut self, status: WaitStatus) -> io::Result<()> {
        let mut signal = None;
        match status {
            WaitStatus::PtraceSyscall(pid) if self.is_program => self.pass(pid)?,
            WaitStatus::PtraceEvent(pid, _, event) => self.note(pid, event),
            WaitStatus::Exited(pid, code) => self.end(pid, ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(pid, by, _) => self.end(pid, ExitStatus::from_raw(by as i32)),
            // Each new thread or process begins with a SIGSTOP that nobody sent.
            WaitStatus::Stopped(pid, Signal::SIGSTOP) => _ = self.tracee(pid),
            WaitStatus::Stopped(_, other) => signal = Some(other),
            _ => {}
        }
        match status {
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => Ok(()),
            stopped => stopped.pid().map_or(Ok(()), |pid| self.go_on(pid, signal)),
        }
    }

    fn end(&mut self, pid: Pid, status: ExitStatus) {
        // The kernel may give the number to another process.
        self.tracees.remove(&pid);
        if pid == self.main {
            self.traced.status = status;
            self.has_ended = true;
        }
    }

    /// The beginning of a system call, or its end.
    fn pass(&mut self, pid: Pid) -> io::Result<()> {
        let tracee = self.tracee(pid);
        tracee.is_inside = !tracee.is_inside;
        if tracee.is_inside {
            tracee.calls += 1;
            return self.begin(pid);
        }
        match tracee.pending.take() {
            Some(errno) => unless_gone(registers::answer(pid, errno)),
            None => Ok(()),
        }
    }

    fn note(&mut self, pid: Pid, event: i32) {
        if event == Event::PTRACE_EVENT_EXEC as i32 {
            // The end of execve itself is still to come.
            self.tracee(pid).is_inside = true;
            self.is_program = true;
        } else if event == Event::PTRACE_EVENT_EXIT as i32 && pid == self.main {
            self.traced.peak_memory = peak_memory(pid);
        } else if event != Event::PTRACE_EVENT_EXIT as i32
            && let Ok(child) = ptrace::getevent(pid)
            && let Ok(child) = i32::try_from(child)
        {
            self.tracee(Pid::from_raw(child));
        }
    }

    fn begin(&mut self, pid: Pid) -> io::Result<()> {
        if self.traced.was_injected {
            return self.fail_again(pid);
        }
        let Tracee {
            ordinal: process,
            calls: nth,
            ..
        } = *self.tracee(pid);
        let overall = self.traced.system_calls + 1;
        let call = SystemCall {
            process,
            nth,
            overall,
            call: registers::call(pid),
            pid,
        };
        let action = (self.decide)(&call);
        if action == Action::Proceed {
            self.traced.system_calls = overall;
            return Ok(());
        }
        self.traced.was_injected = true;
        self.carry_out(action, pid)
    }

    /// Lets a call fail whose like has failed before, if that is to last.
    fn fail_again(&mut self, pid: Pid) -> io::Result<()> {
        let Some((failing, errno)) = self.tracee(pid).failing else {
            return Ok(());
        };
        match registers::call(pid) {
            Some((number, _)) if number == failing => self.carry_out(Action::Fail(errno), pid),
            _ => Ok(()),
        }
    }

    fn carry_out(&mut self, action: Action, pid: Pid) -> io::Result<()> {
        match action {
            Action::Proceed => Ok(()),
            Action::SignalAll(signal) => unless_gone(deliver(self.main, signal)),
            Action::SignalOne(signal) => unless_gone(kill(pid, signal)),
            Action::Fail(errno) => {
                self.tracee(pid).pending = Some(errno);
                unless_gone(registers::suppress(pid))
            }
            Action::FailFromNowOn(errno) => {
                self.tracee(pid).failing = registers::call(pid).map(|(number, _)| (number, errno));
                self.carry_out(Action::Fail(errno), pid)
            }
            Action::LoseAnswer(errno) => {
                self.tracee(pid).pending = Some(errno);
                Ok(())
            }
            Action::Delay(duration) => self.attend_to_others(duration),
        }
    }

    /// Lets the others go on for that long; the one at whose stop this is called waits.
    fn attend_to_others(&mut self, duration: Duration) -> io::Result<()> {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            match next(WaitPidFlag::WNOHANG)? {
                None | Some(WaitStatus::StillAlive) => std::thread::sleep(POLL_INTERVAL),
                Some(status) => self.see(status)?,
            }
        }
        Ok(())
    }

    /// Lets a stopped process go on: to its next system call, or, if nothing is left to be seen
    /// there, to its next event.
    fn go_on(&self, pid: Pid, signal: Option<Signal>) -> io::Result<()> {
        let is_awaited = self
            .tracees
            .get(&pid)
            .is_some_and(|tracee| tracee.pending.is_some() || tracee.failing.is_some());
        unless_gone(if self.traced.was_injected && !is_awaited {
            ptrace::cont(pid, signal)
        } else {
            ptrace::syscall(pid, signal)
        })
    }
}

/// Returns the next event of anything that is traced; `None` if nothing is left. Waits for all at
/// once: a process that has begun and been killed before the kernel could report it is among them,
/// and a process ends only when each of its threads has been waited for.
fn next(flags: WaitPidFlag) -> io::Result<Option<WaitStatus>> {
    // Other threads have children as well.
    let flags = flags | WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        match waitpid(None, Some(flags)) {
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(None),
            status => return Ok(Some(status?)),
        }
    }
}

/// Strikes the group, if the program leads one, so that its children are struck too.
fn deliver(main: Pid, signal: Signal) -> nix::Result<()> {
    kill(Pid::from_raw(-main.as_raw()), signal).or_else(|_| kill(main, signal))
}

/// Takes a process that has been killed in the meantime for one that is done with.
fn unless_gone(result: nix::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn peak_memory(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::{fs::PermissionsExt, process::CommandExt},
        process::Stdio,
    };

    #[expect(clippy::zombie_processes, reason = "`follow` waits for it")]
    fn traced(program: &str, injection: Option<Injection>) -> Traced {
        let mut command = stopped(program);
        let child = command
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        follow(&child, injection, Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn a_program_is_followed_to_its_end_and_killed_before_each_of_its_calls() {
        let whole = traced("/bin/true", None);
        assert!(whole.status.success() && !whole.was_injected);
        assert!(whole.system_calls > 3 && whole.peak_memory > 0, "{whole:?}");
        for before in 1..=whole.system_calls {
            let cut = traced(
                "/bin/true",
                Some(Injection {
                    before,
                    signal: Signal::SIGKILL,
                }),
            );
            assert_eq!(
                (cut.was_injected, cut.system_calls, cut.status.signal()),
                (true, before - 1, Some(9))
            );
        }
        let injection = Injection {
            before: whole.system_calls + 50,
            signal: Signal::SIGKILL,
        };
        assert!(!traced("/bin/true", Some(injection)).was_injected);
    }

    /// Runs `mkdir` on a folder that is not there, with this done to the call of that name. Returns
    /// if it succeeded, and if the folder is there.
    #[cfg(target_arch = "x86_64")]
    #[expect(clippy::zombie_processes, reason = "`disturb` waits for it")]
    fn mkdir(action: Action) -> (bool, bool) {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("made");
        let mut command = Command::new(SHELL);
        command
            .args(["-c", "kill -STOP $$; exec mkdir \"$0\""])
            .arg(&folder)
            .stderr(Stdio::null());
        let child = command.process_group(0).spawn().unwrap();
        let mut seen = None;
        let mut decide = |call: &SystemCall| match call.call {
            Some((number, _)) if number == nix::libc::SYS_mkdir.cast_unsigned() => {
                seen = call.text(0);
                action
            }
            _ => Action::Proceed,
        };
        let traced = disturb(&child, Duration::from_secs(20), &mut decide).unwrap();
        assert_eq!(
            (traced.was_injected, seen.as_deref()),
            (true, folder.to_str())
        );
        (traced.status.success(), std::fs::remove_dir(folder).is_ok())
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn an_error_stands_in_the_place_of_a_call_or_of_its_answer_only() {
        assert_eq!(mkdir(Action::Fail(Errno::EIO)), (false, false));
        assert_eq!(mkdir(Action::LoseAnswer(Errno::EIO)), (false, true));
        assert_eq!(
            mkdir(Action::Delay(Duration::from_millis(20))),
            (true, true)
        );
        assert_eq!(mkdir(Action::FailFromNowOn(Errno::EIO)), (false, false));
        assert_eq!(mkdir(Action::SignalOne(Signal::SIGKILL)), (false, false));
    }

    /// Programs with threads are at hand: this one, at the tests of another module.
    #[test]
    fn what_a_struck_program_started_is_followed_to_its_end_with_its_threads() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("threads.sh");
        let tests = std::env::current_exe().unwrap();
        let tests = format!("{} --test-threads 4 binaries", tests.display());
        std::fs::write(&script, format!("#!/bin/sh\n{tests} & {tests}\nwait\n")).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        let whole = traced(script.to_str().unwrap(), None).system_calls;
        for part in 1..=16 {
            for signal in [Signal::SIGKILL, Signal::SIGTERM] {
                let cut = traced(
                    script.to_str().unwrap(),
                    Some(Injection {
                        before: whole * part / 20,
                        signal,
                    }),
                );
                assert!(
                    cut.was_injected,
                    "{signal} at {part}/20 of {whole}: {cut:?}"
                );
            }
        }
    }
}
