//! Streams that are closed, or that cannot be written.

use super::require_shell;
use crate::suite::{
    Attachment, Case, Clause, Failure, Fault, Run, Versions, fault::Answer, require,
};
use cni_types::Command;
use sandbox::trace::SHELL;
use std::{fs, path::Path, process};

pub(super) const CASES: &[Case] = &[CLOSED_STDIN, CLOSED_STDOUT, LOST_RESULT];

const CLOSED_STDIN: Case = Case::must(
    "faults/closed-stdin",
    "an ADD without stdin fails, and changes nothing",
    Clause::new(
        "2 ADD",
        "the configuration comes on stdin; an error gives an exit status other than 0",
    ),
)
.versions(Versions::NEWEST)
.faults(&[Fault::new(
    "takes a missing configuration for an empty one",
    |real, call| {
        if call.stdin.is_empty() {
            Ok(Answer::success("{}"))
        } else {
            real.run(&call)
        }
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    redirected(&attachment, "<&-")?.error()?;
    context.require_unchanged(&before, "the ADD")
});

const CLOSED_STDOUT: Case = Case::should(
    "faults/closed-stdout",
    "after an ADD without stdout, DEL succeeds and leaves nothing",
    Clause::new(
        "2 DEL",
        "the plugin deletes its interface, or undoes the modifications of its ADD",
    ),
)
.versions(Versions::NEWEST)
.faults(&[Fault::new("writes its result elsewhere", |real, call| {
    let answer = real.run(&call)?;
    // The runtime of Rust opens /dev/null in place of a closed stdout, which is how a fault sees
    // it.
    if call.is(Command::Add) && fs::read_link("/proc/self/fd/1")? == Path::new("/dev/null") {
        fs::write("/var/lib/cni/result", &answer.stdout)?;
    }
    Ok(answer)
})])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    redirected(&attachment, ">&-")?;
    // Without a result the runtime has no prevResult to pass.
    attachment.del()?;
    context.require_freed(&before, "the ADD")?;
    attachment.add()?;
    attachment.del()?;
    Ok(())
});

const LOST_RESULT: Case = Case::may(
    "faults/lost-result",
    "an ADD whose result cannot be written fails, and leaves nothing",
    Clause::silent(
        "a successful ADD prints its result; nothing is said of an ADD that cannot print",
    ),
)
.versions(Versions::NEWEST)
.faults(&[Fault::new(
    "does not see that its result is lost",
    |real, call| {
        let answer = real.run(&call)?;
        let is_lost = fs::read_link("/proc/self/fd/1")? == Path::new("/dev/full");
        Ok(if is_lost { Answer::default() } else { answer })
    },
)])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    let run = redirected(&attachment, ">/dev/full")?;
    require(
        !run.status.success(),
        "an exit status other than 0",
        run.summary(),
    )?;
    context.require_unchanged(&before, "the ADD")
});

/// Runs ADD through a shell that applies a redirection, for instance `>&-`, and executes the
/// plugin.
fn redirected(attachment: &Attachment<'_>, redirection: &str) -> Result<Run, Failure> {
    require_shell()?;
    attachment.request(Command::Add).run_by(|program| {
        let mut shell = process::Command::new(SHELL);
        shell
            .arg("-c")
            .arg(format!("exec \"$0\" {redirection}"))
            .arg(program);
        shell
    })
}
