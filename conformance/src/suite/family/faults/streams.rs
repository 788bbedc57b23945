//! Streams that are closed, or lead nowhere.

use super::require_shell;
use crate::suite::{
    Attachment, Case, Clause, Context, EVERY_KIND, Failure, Fault, Level, Run, Versions,
    fault::Answer, require,
};
use cni_types::Command;
use sandbox::trace::SHELL;
use std::{fs, path::Path, process};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "faults/closed-stdin",
        title: "an ADD without stdin fails, and changes nothing",
        clause: Clause {
            section: "2 ADD",
            rule: "the configuration comes on stdin; an error gives an exit status other than 0",
        },
        level: Level::Must,
        versions: Versions::NEWEST,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new(
            "takes no configuration for an empty one",
            |real, call| {
                if call.stdin.is_empty() {
                    Ok(Answer::success("{}"))
                } else {
                    real.run(&call)
                }
            },
        )],
        body: an_add_without_stdin_fails,
    },
    Case {
        id: "faults/closed-stdout",
        title: "after an ADD without stdout, DEL succeeds and leaves nothing",
        clause: Clause {
            section: "2 DEL",
            rule: "the plugin deletes its interface, or undoes the modifications of its ADD",
        },
        level: Level::Should,
        versions: Versions::NEWEST,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new("writes its result elsewhere", |real, call| {
            let answer = real.run(&call)?;
            // A program whose stdout is closed gets this in its place.
            if call.is(Command::Add) && fs::read_link("/proc/self/fd/1")? == Path::new("/dev/null")
            {
                fs::write("/var/lib/cni/result", &answer.stdout)?;
            }
            Ok(answer)
        })],
        body: an_add_without_stdout_can_be_deleted,
    },
    Case {
        id: "faults/lost-result",
        title: "an ADD whose result cannot be written fails, and leaves nothing",
        clause: Clause {
            section: "silent",
            rule: "a successful ADD prints its result; nothing is said of one that cannot",
        },
        level: Level::May,
        versions: Versions::NEWEST,
        kinds: EVERY_KIND,
        needs: &[],
        faults: &[Fault::new(
            "does not see that its result is lost",
            |real, call| {
                let answer = real.run(&call)?;
                let is_lost = fs::read_link("/proc/self/fd/1")? == Path::new("/dev/full");
                Ok(if is_lost { Answer::default() } else { answer })
            },
        )],
        body: an_add_with_a_lost_result_fails,
    },
];

/// Runs ADD with a shell that becomes the plugin after a redirection.
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

fn an_add_without_stdin_fails(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    redirected(&attachment, "<&-")?.error()?;
    context.require_unchanged(&before, "the ADD")
}

fn an_add_without_stdout_can_be_deleted(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    redirected(&attachment, ">&-")?;
    // Whoever has no result has no prevResult to give.
    attachment.del()?;
    context.require_freed(&before, "the ADD")?;
    attachment.add()?;
    attachment.del()?;
    Ok(())
}

fn an_add_with_a_lost_result_fails(context: &Context<'_>) -> Result<(), Failure> {
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    let run = redirected(&attachment, ">/dev/full")?;
    require(
        !run.status.success(),
        "an exit status other than 0",
        run.summary(),
    )?;
    context.require_unchanged(&before, "the ADD")
}
