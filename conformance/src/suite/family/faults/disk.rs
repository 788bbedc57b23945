//! A folder for state in which nothing can be written.

use crate::suite::{
    Attachment, Case, Clause, Context, Failure, Fault, Kind, Need, State, Versions,
    family::ADD_ATTACHES,
    fault::{Answer, Call, Real},
};

use cni_types::Command;
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

const ERRORS: Clause = Clause::new(
    "2 Errors",
    "a plugin that fails says so: an exit status other than 0, and an error object",
);

const KINDS: &[Kind] = &[Kind::Interface, Kind::Chained, Kind::Ipam];

pub(super) const CASES: &[Case] = &[FULL_DISK, ROOM_AGAIN, READ_ONLY_STATE, READ_ONLY_DEL];

const FULL_DISK: Case = Case::should(
    "faults/full-disk",
    "on a full disk ADD fails with an error, and DEL succeeds and leaves nothing",
    ERRORS,
)
.versions(Versions::NEWEST)
.kinds(KINDS)
.needs(&[Need::DataDir])
.faults(&[
    Fault::new(
        "leaves an empty record if it cannot write one",
        |real, call| {
            let answer = real.run(&call)?;
            if answer.status != 0 {
                fs::write("/run/cni-conformance/data/record", "")?;
            }
            Ok(answer)
        },
    ),
    Fault::new("dies without an error object", die_silently),
])
.body(|context| on_a_full_disk(context).map(drop));

const ROOM_AGAIN: Case = Case::should(
    "faults/room-again",
    "an ADD that failed on a full disk succeeds after DEL, once there is room",
    ADD_ATTACHES,
)
.versions(Versions::NEWEST)
.kinds(KINDS)
.needs(&[Need::DataDir])
.faults(&[Fault::new("remembers that it failed", |real, call| {
    if call.is(Command::Add) && Path::new("/run/cni-conformance/files/failed").exists() {
        return Ok(Answer::error(11, "has failed before"));
    }
    let answer = real.run(&call)?;
    if answer.status != 0 {
        fs::write("/run/cni-conformance/files/failed", "")?;
    }
    Ok(answer)
})])
.body(|context| {
    let (attachment, filler) = on_a_full_disk(context)?;
    fs::remove_file(filler)?;
    attachment.add()?;
    attachment.del()?;
    Ok(())
});

const READ_ONLY_STATE: Case = Case::should(
    "faults/read-only-state",
    "if its state is read-only, ADD fails with an error, and DEL succeeds once it can be \
     written",
    ERRORS,
)
.versions(Versions::NEWEST)
.kinds(KINDS)
.needs(&[Need::DataDir])
.faults(&[Fault::new("dies without an error object", die_silently)])
.body(|context| {
    let folder = read_only(context)?;
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    let run = attachment.request(Command::Add).run()?;
    if !run.status.success() {
        run.error()?;
        note_what_is_left(context, &before)?;
    }
    sandbox::set_read_only(folder, false)?;
    attachment.request(Command::Del).run()?.succeeded()?;
    context.require_unchanged(&before, "ADD and DEL")
});

const READ_ONLY_DEL: Case = Case::may(
    "faults/read-only-del",
    "if its state is read-only, DEL does not say that it has removed what is still there",
    Clause::silent(
        "DEL completes without error to the fullest extent possible; nothing is said of what it \
         cannot remove",
    ),
)
.versions(Versions::NEWEST)
.kinds(KINDS)
.needs(&[Need::DataDir])
.faults(&[Fault::new(
    "takes a DEL that failed for done",
    |real, call| {
        let answer = real.run(&call)?;
        Ok(if call.is(Command::Del) {
            Answer::default()
        } else {
            answer
        })
    },
)])
.body(|context| {
    let folder = read_only(context)?;
    let attachment = context.attachment("c1")?;
    let before = context.state()?;
    sandbox::set_read_only(folder, false)?;
    attachment.add()?;
    sandbox::set_read_only(folder, true)?;
    let del = attachment.request(Command::Del).run()?;
    if del.status.success() {
        context.require_unchanged(&before, "the ADD whose DEL succeeded")?;
    } else {
        del.error()?;
    }
    sandbox::set_read_only(folder, false)?;
    attachment.del()?;
    context.require_unchanged(&before, "ADD and DEL")
});

/// Fails as a broken plugin does, without a document.
fn die_silently(real: &Real, call: Call) -> io::Result<Answer> {
    let answer = real.run(&call)?;
    let failed = answer.status != 0;
    Ok(if failed {
        Answer {
            stdout: Vec::new(),
            ..answer
        }
    } else {
        answer
    })
}

/// Runs ADD and DEL on a full disk. Returns the file that takes all the room.
fn on_a_full_disk<'c>(context: &'c Context<'c>) -> Result<(Attachment<'c>, PathBuf), Failure> {
    let folder = context.data_dir();
    fs::create_dir_all(folder)?;
    sandbox::mount_small_tmpfs_over(folder)?;
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
    Ok((attachment, filler))
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

/// Makes the folder for state one in which nothing can be changed.
fn read_only<'c>(context: &'c Context<'_>) -> Result<&'c Path, Failure> {
    let folder = context.data_dir();
    fs::create_dir_all(folder)?;
    sandbox::mount_tmpfs_over(folder)?;
    sandbox::set_read_only(folder, true)?;
    Ok(folder)
}
