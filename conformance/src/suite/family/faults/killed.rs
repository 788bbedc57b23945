//! A plugin that gets a signal before one of its system calls: whatever it had done until then, the
//! runtime ends the attachment with a DEL.
//!
//! A Go program makes thousands of system calls, so only some of them are tried: spread over the
//! whole run, as many as there is time for. The journal says how many.

use super::require_shell;
use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Request, Versions,
    fault::{Answer, Call, Real},
    require,
};
use cni_types::Command;
use nix::sys::signal::Signal;
use sandbox::trace::{self, Injection, Traced};
use std::{
    fs, io,
    os::unix::process::CommandExt,
    process::Stdio,
    time::{Duration, Instant},
};

/// The time for which points are tried.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The most points that are tried, and the fewest even if the machine is so busy that the time is
/// up before.
const MAX_POINTS: usize = 64;
const MIN_POINTS: usize = 8;

const SILENT: &str = "silent";
pub(super) const DEL_COMPLETES: Clause = Clause::new(
    "2 DEL",
    "DEL generally completes without error, even if some resources or state are missing",
);
pub(super) const KEEPS_A_LOCK: Fault =
    Fault::new("keeps a lock that nobody frees", lock_that_stays);

pub(super) const CASES: &[Case] = &[KILLED_ADD, KILLED_ADD_RESIDUE, SIGTERM_ADD, KILLED_DEL];

const KILLED_ADD: Case = Case::should(
    "faults/killed-add",
    "after an ADD that was killed at any system call, DEL and a new ADD succeed",
    DEL_COMPLETES,
)
.versions(Versions::NEWEST)
.faults(&[
    Fault::new("deletes only what was added to the end", |real, call| {
        let mark = format!(
            "/run/cni-conformance/files/added-{}",
            call.env("CNI_CONTAINERID")
        );
        if call.is(Command::Del) && fs::remove_file(&mark).is_err() {
            return Ok(Answer::error(3, "unknown container"));
        }
        let answer = real.run(&call)?;
        if call.is(Command::Add) {
            fs::write(&mark, "")?;
        }
        Ok(answer)
    }),
    KEEPS_A_LOCK,
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let calls = calls_of_add(&attachment, context)?;
    at_many_points(context, calls, &|before| {
        traced(
            &attachment,
            context,
            Command::Add,
            Some(Injection {
                before,
                signal: Signal::SIGKILL,
            }),
        )?;
        attachment.request(Command::Del).run()?.succeeded()?;
        attachment.request(Command::Add).run()?.succeeded()?;
        attachment.request(Command::Del).run()?.succeeded()?;
        Ok(())
    })
});

const KILLED_ADD_RESIDUE: Case = Case::may(
    "faults/killed-add-residue",
    "after an ADD that was killed at any system call, DEL leaves nothing that piles up",
    Clause::new(SILENT, "nothing is said of a plugin that is killed"),
)
.versions(Versions::NEWEST)
.faults(&[Fault::new(
    "leaves a note of an ADD that it did not end",
    note_that_stays,
)])
.body(|context| nothing_is_left_after(context, Signal::SIGKILL));

const SIGTERM_ADD: Case = Case::may(
    "faults/sigterm-add",
    "after an ADD that got SIGTERM at any system call, DEL leaves nothing that piles up",
    Clause::new(SILENT, "nothing is said of a plugin that is told to end"),
)
.versions(Versions::NEWEST)
.faults(&[Fault::new(
    "leaves a note of an ADD that it did not end",
    note_that_stays,
)])
.body(|context| nothing_is_left_after(context, Signal::SIGTERM));

const KILLED_DEL: Case = Case::should(
    "faults/killed-del",
    "after a DEL that was killed at any system call, another DEL removes the rest",
    Clause::new(
        "2 DEL",
        "several DELs for one container and interface succeed; the last one has deleted \
         everything",
    ),
)
.versions(Versions::NEWEST)
.faults(&[Fault::new(
    "takes a DEL that was begun for one that was done",
    |real, call| {
        if !call.is(Command::Del) {
            return real.run(&call);
        }
        if fs::File::create_new("/run/cni-conformance/files/deleted").is_err() {
            return Ok(Answer::default());
        }
        let answer = real.run(&call);
        fs::remove_file("/run/cni-conformance/files/deleted")?;
        answer
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before_all = context.state()?;
    attachment.add()?;
    let whole = traced(&attachment, context, Command::Del, None)?;
    at_many_points(context, whole.system_calls, &|before| {
        attachment.add()?;
        traced(
            &attachment,
            context,
            Command::Del,
            Some(Injection {
                before,
                signal: Signal::SIGKILL,
            }),
        )?;
        attachment.del()?;
        context.require_unchanged(&before_all, "the ADD")
    })
});

/// Makes a lock before an ADD and removes it after it.
fn lock_that_stays(real: &Real, call: Call) -> io::Result<Answer> {
    const LOCK: &str = "/run/cni-conformance/files/add.lock";
    if !call.is(Command::Add) {
        return real.run(&call);
    }
    if fs::File::create_new(LOCK).is_err() {
        return Ok(Answer::error(11, "is locked"));
    }
    let answer = real.run(&call);
    fs::remove_file(LOCK)?;
    answer
}

/// Writes a note before an ADD and removes it after it.
fn note_that_stays(real: &Real, call: Call) -> io::Result<Answer> {
    let note = format!("/var/lib/cni/pending-{}", call.env("CNI_CONTAINERID"));
    if !call.is(Command::Add) {
        return real.run(&call);
    }
    fs::write(&note, call.env("CNI_CONTAINERID"))?;
    let answer = real.run(&call);
    fs::remove_file(note)?;
    answer
}

fn traced(
    attachment: &Attachment<'_>,
    context: &Context<'_>,
    command: Command,
    injection: Option<Injection>,
) -> Result<Traced, Failure> {
    traced_request(context, &attachment.request(command), injection)
}

/// Runs the plugin under ptrace.
pub(super) fn traced_request(
    context: &Context<'_>,
    request: &Request<'_>,
    injection: Option<Injection>,
) -> Result<Traced, Failure> {
    require_shell()?;
    let mut process = request.command_by(|program| trace::stopped(program))?;
    let mut child = process
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()?;
    let traced = trace::follow(&child, injection, context.limit());
    if traced.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    traced.map_err(|e| match e.kind() {
        io::ErrorKind::PermissionDenied => {
            Failure::skip(format!("programs cannot be traced here: {e}"))
        }
        io::ErrorKind::TimedOut => Failure::mismatch("an end of the plugin", e),
        _ => Failure::suite("trace the plugin", e),
    })
}

/// Tries points spread over `calls` system calls, each multiple of the golden section, until the
/// time is up.
pub(super) fn at_many_points(
    context: &Context<'_>,
    calls: usize,
    attempt: &dyn Fn(usize) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let start = Instant::now();
    let mut tried = 0;
    while tried < MAX_POINTS.min(calls) && (tried < MIN_POINTS || start.elapsed() < TIMEOUT) {
        let before = 1 + tried * 618_034 % 1_000_000 * calls / 1_000_000;
        attempt(before).map_err(|failure| with_place(failure, before, calls))?;
        tried += 1;
    }
    context.step(format!("{tried} of {calls} system calls were tried"));
    Ok(())
}

fn with_place(failure: Failure, before: usize, calls: usize) -> Failure {
    match failure {
        Failure::Mismatch { wanted, found } => Failure::Mismatch {
            wanted: format!("{wanted} (struck before system call {before} of {calls})"),
            found,
        },
        other => other,
    }
}

/// Counts the system calls of an ADD, and deletes it again.
fn calls_of_add(attachment: &Attachment<'_>, context: &Context<'_>) -> Result<usize, Failure> {
    let whole = traced(attachment, context, Command::Add, None)?;
    attachment.del()?;
    require(
        whole.system_calls > 0,
        "a plugin that makes system calls",
        "none",
    )?;
    Ok(whole.system_calls)
}

fn nothing_is_left_after(context: &Context<'_>, signal: Signal) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    let other = context.attachment("c2")?;
    let before_all = context.state()?;
    let calls = calls_of_add(&attachment, context)?;
    at_many_points(context, calls, &|before| {
        traced(
            &attachment,
            context,
            Command::Add,
            Some(Injection { before, signal }),
        )?;
        attachment.request(Command::Del).run()?.succeeded()?;
        if context.require_unchanged(&before_all, "the ADD").is_ok() {
            return Ok(());
        }
        // What the next container's attachment clears away, as a file half written, does not pile
        // up.
        other.add()?;
        other.del()?;
        context.require_unchanged(
            &before_all,
            "the ADD, even after another container's ADD and DEL",
        )
    })
}
