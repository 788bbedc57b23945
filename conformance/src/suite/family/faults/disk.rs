//! A folder for state in which nothing can be written.

use crate::{
    sandbox,
    suite::{Case, Clause, Context, Failure, Fault, Kind, Level, Need, State, Versions, fault::Answer},
};
use cni_types::Command;
use std::{fs, io::Write, path::Path};

const ERRORS: Clause = Clause {
    section: "2 Errors",
    rule: "a plugin that fails says so: an exit status other than 0, and an error object",
};

const KINDS: &[Kind] = &[Kind::Interface, Kind::Chained, Kind::Ipam];

pub(super) const CASES: &[Case] = &[
    Case {
        id: "faults/full-disk",
        title: "on a full disk ADD fails with an error, and DEL succeeds and leaves nothing",
        clause: ERRORS,
        level: Level::Should,
        versions: Versions::NEWEST,
        kinds: KINDS,
        needs: &[Need::DataDir],
        faults: &[
            Fault::new("leaves an empty record where it cannot write one", |real, call| {
                let answer = real.run(&call)?;
                if answer.status != 0 {
                    fs::write("/run/cni-conformance/data/record", "")?;
                }
                Ok(answer)
            }),
            Fault::new("dies without an error object", |real, call| {
                let answer = real.run(&call)?;
                let failed = answer.status != 0;
                Ok(if failed { Answer { stdout: Vec::new(), ..answer } } else { answer })
            }),
        ],
        body: a_full_disk_is_an_error,
    },
    Case {
        id: "faults/read-only-state",
        title: "where its state is read-only, ADD fails, and DEL does not say that it has removed what is still there",
        clause: ERRORS,
        level: Level::Should,
        versions: Versions::NEWEST,
        kinds: KINDS,
        needs: &[Need::DataDir],
        faults: &[
            Fault::new("takes a DEL that failed for done", |real, call| {
                let answer = real.run(&call)?;
                Ok(if call.is(Command::Del) { Answer::default() } else { answer })
            }),
            Fault::new("dies without an error object", |real, call| {
                let answer = real.run(&call)?;
                let failed = answer.status != 0;
                Ok(if failed { Answer { stdout: Vec::new(), ..answer } } else { answer })
            }),
        ],
        body: read_only_state_is_an_error,
    },
];

fn a_full_disk_is_an_error(context: &Context<'_>) -> Result<(), Failure> {
    let folder = context.data_dir();
    fs::create_dir_all(folder)?;
    sandbox::cover_small(folder)?;
    let filler = folder.join("filler");
    fill(&filler)?;
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    let run = attachment.request(Command::Add).run()?;
    // A plugin that need not write anything is not to blame.
    if run.status.success() {
        run.result()?;
    } else {
        run.error()?;
        note_what_is_left(context, &before)?;
    }
    attachment.request(Command::Del).run()?.succeeded()?;
    context.require_unchanged(&before, "ADD and DEL")?;
    fs::remove_file(filler)?;
    attachment.add()?;
    attachment.del()?;
    Ok(())
}

/// A plugin may leave it to the runtime's DEL to clean up after an ADD that failed.
fn note_what_is_left(context: &Context<'_>, before: &State) -> Result<(), Failure> {
    match context.require_unchanged(before, "the ADD that failed") {
        Err(Failure::Mismatch { found, .. }) => {
            context.note(format!("the ADD that failed leaves to DEL: {found}"))
        }
        other => return other,
    }
    Ok(())
}

/// Writes until there is no room left.
fn fill(path: &Path) -> Result<(), Failure> {
    let mut file = fs::File::create(path)?;
    while file.write(&[b'x'; 4096]).is_ok_and(|written| written > 0) {}
    Ok(())
}

fn read_only_state_is_an_error(context: &Context<'_>) -> Result<(), Failure> {
    let folder = context.data_dir();
    fs::create_dir_all(folder)?;
    sandbox::cover(folder)?;
    let (old, new) = (context.attachment("c1")?, context.attachment("c2")?);
    let before = context.state()?;
    old.add()?;
    let with_old = context.state()?;
    sandbox::set_read_only(folder, true)?;
    let run = new.request(Command::Add).run()?;
    if !run.status.success() {
        run.error()?;
        note_what_is_left(context, &with_old)?;
    }
    let del = old.request(Command::Del).run()?;
    if del.status.success() && !run.status.success() {
        context.require_unchanged(&before, "the ADD whose DEL succeeded")?;
    }
    if !del.status.success() {
        del.error()?;
    }
    sandbox::set_read_only(folder, false)?;
    new.request(Command::Del).run()?.succeeded()?;
    old.del()?;
    context.require_unchanged(&before, "the ADDs")
}
