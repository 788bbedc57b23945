//! The points at which an operation is disturbed, and the ways to disturb it.

use crate::{
    calls,
    subject::{Subject, Way},
};
use cni_types::Command;
use nix::{errno::Errno, sys::signal::Signal};
use sandbox::trace::{Action, SystemCall};
use std::{fmt, str::FromStr, time::Duration};

/// The delay of a process: longer than any operation takes.
const DELAY: Duration = Duration::from_millis(25);

/// A way to disturb a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// SIGKILL to the plugin and its delegates.
    Kill,
    /// SIGKILL to the process that makes the call.
    KillOne,
    /// SIGTERM to the plugin and its delegates.
    Term,
    /// SIGTERM to the process that makes the call.
    TermOne,
    /// The call fails.
    Error,
    /// The call fails, and all later ones of that kind by the process.
    Broken,
    /// The call takes place and returns an error all the same.
    Lost,
    /// The process that makes the call waits before it.
    Delay,
}

impl Kind {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 8] = [
        Self::Kill,
        Self::KillOne,
        Self::Term,
        Self::TermOne,
        Self::Error,
        Self::Broken,
        Self::Lost,
        Self::Delay,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::KillOne => "kill-one",
            Self::Term => "term",
            Self::TermOne => "term-one",
            Self::Error => "error",
            Self::Broken => "broken",
            Self::Lost => "lost",
            Self::Delay => "delay",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(|kind| kind.to_string()).join(", ");
        Self::ALL
            .into_iter()
            .find(|kind| kind.to_string() == text)
            .ok_or_else(|| format!("there is no kind \"{text}\"; there are {}", known()))
    }
}

/// A system call of an undisturbed run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// See [`SystemCall::process`].
    pub(crate) process: usize,
    /// See [`SystemCall::nth`].
    pub(crate) nth: usize,
    /// The call's number in the kernel's table.
    number: Option<u64>,
    /// True if the plugin itself writes its answer by this call, or asks about the descriptor for
    /// it.
    is_about_stdout: bool,
    /// True if the call cannot fail, whatever it is otherwise.
    cannot_fail: bool,
    /// True until the plugin's own code begins.
    pub(crate) is_preparation: bool,
}

impl Site {
    pub(crate) fn new(call: &SystemCall) -> Self {
        let SystemCall { process, nth, .. } = *call;
        let is_about_stdout = process == 0 && calls::is_about(call, 1);
        let number = call.call.map(|(number, _)| number);
        let cannot_fail = calls::reads_memory(call);
        Self {
            process,
            nth,
            number,
            is_about_stdout,
            cannot_fail,
            is_preparation: false,
        }
    }
}

/// One disturbance of one operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// The place.
    pub(crate) site: Site,
    /// The disturbance.
    pub(crate) kind: Kind,
    /// The error, for [`Kind::Error`], [`Kind::Broken`] and [`Kind::Lost`].
    errno: Option<Errno>,
    /// The way in which the rest is removed.
    pub(crate) way: Way,
}

impl Point {
    /// The action of the tracer at the point.
    pub(crate) fn action(&self) -> Action {
        match (self.kind, self.errno) {
            (Kind::Kill, _) => Action::SignalAll(Signal::SIGKILL),
            (Kind::KillOne, _) => Action::SignalOne(Signal::SIGKILL),
            (Kind::Term, _) => Action::SignalAll(Signal::SIGTERM),
            (Kind::TermOne, _) => Action::SignalOne(Signal::SIGTERM),
            (Kind::Error, Some(errno)) => Action::Fail(errno),
            (Kind::Broken, Some(errno)) => Action::FailFromNowOn(errno),
            (Kind::Lost, Some(errno)) => Action::LoseAnswer(errno),
            (Kind::Delay, _) => Action::Delay(DELAY),
            (Kind::Error | Kind::Broken | Kind::Lost, None) => Action::Proceed,
        }
    }

    /// Returns true if the plugin cannot print its answer when `struck` is disturbed, which may be
    /// a later call than the point's.
    pub(crate) fn silences(&self, struck: &Site) -> bool {
        let is_write = struck.process == 0 && struck.number.is_some_and(calls::is_write);
        struck.is_about_stdout || self.kind == Kind::Broken && is_write
    }

    /// True if `call` is the place. An error belongs to a call: if the run makes a few calls more
    /// or less than the undisturbed one, it is the next call of the same kind.
    pub(crate) fn is_at(&self, call: &SystemCall) -> bool {
        let Self { site, .. } = self;
        let number = call.call.map(|(number, _)| number);
        match self.errno {
            _ if site.process != call.process => false,
            Some(_) => call.nth >= site.nth && number == site.number,
            None => call.nth == site.nth,
        }
    }
}

/// As `kill/1:33/gc` or `error/0:17/EIO`: kind, process and number of the call, and the error or
/// the way to remove.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            site,
            kind,
            errno,
            way,
        } = self;
        write!(f, "{kind}/{}:{}", site.process, site.nth)?;
        match (errno, kind) {
            (Some(errno), _) => write!(f, "/{errno:?}"),
            (None, Kind::Kill) => write!(f, "/{way}"),
            (None, _) => Ok(()),
        }
    }
}

/// All points of an operation that makes these calls.
pub(crate) fn points(
    subject: &Subject,
    operation: Command,
    sites: &[Site],
    kinds: &[Kind],
) -> Vec<Point> {
    let is_alone = sites.iter().all(|site| site.process == 0);
    let mut points = Vec::new();
    for &kind in kinds {
        // With one process, that is the same as to all.
        if is_alone && matches!(kind, Kind::KillOne | Kind::TermOne) {
            continue;
        }
        for &site in sites {
            points.extend(at(subject, operation, site, kind));
        }
    }
    points
}

fn at(subject: &Subject, operation: Command, site: Site, kind: Kind) -> Vec<Point> {
    let point = |errno, way| Point {
        site,
        kind,
        errno,
        way,
    };
    let errnos = |errnos: &[Errno]| {
        errnos
            .iter()
            .map(|errno| point(Some(*errno), Way::Del))
            .collect()
    };
    match (kind, site.number) {
        (Kind::Error | Kind::Broken | Kind::Lost, _) if site.cannot_fail => Vec::new(),
        // CHECK has nothing to remove.
        (Kind::Kill, _) if operation != Command::Check => {
            subject.ways.iter().map(|way| point(None, *way)).collect()
        }
        (Kind::Error, Some(number)) => errnos(calls::errors(number)),
        (Kind::Lost, Some(number)) => errnos(calls::lost_answers(number)),
        (Kind::Broken, Some(number)) => errnos(calls::lasting_errors(number)),
        (Kind::Error | Kind::Broken | Kind::Lost, None) => Vec::new(),
        _ => vec![point(None, Way::Del)],
    }
}
