//! A plugin that is killed at any moment, by the clock: while it waits for the kernel, for a lock
//! or for its delegate as well as between two system calls, at full speed, and on machines that
//! allow no tracing.

use super::killed::{DEL_COMPLETES, KEEPS_A_LOCK};
use crate::suite::{
    Case, Failure, Fault, Versions,
    fault::{Answer, put},
};
use cni_types::Command;
use nix::sys::signal::Signal;
use std::{
    fs,
    time::{Duration, Instant},
};

/// The time for which moments are tried.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The most moments that are tried, and the fewest even if the machine is so busy that the time is
/// up before.
const MAX_MOMENTS: u32 = 48;
const MIN_MOMENTS: u32 = 12;

pub(super) const CASES: &[Case] = &[KILLED_ANY_TIME];

const KILLED_ANY_TIME: Case = Case::should(
    "faults/killed-any-time",
    "after an ADD that was killed at any moment, DEL and a new ADD succeed",
    DEL_COMPLETES,
)
.versions(Versions::NEWEST)
.faults(&[
    KEEPS_A_LOCK,
    Fault::new(
        "cannot read at DEL what it has not written to the end",
        |real, call| {
            let mark = format!(
                "/run/cni-conformance/files/writing-{}",
                call.env("CNI_CONTAINERID")
            );
            if call.is(Command::Add) {
                fs::write(&mark, "")?;
            }
            let answer = real.run(&call)?;
            if call.is(Command::Add) {
                fs::remove_file(&mark)?;
            } else if fs::remove_file(&mark).is_ok() {
                let error = Answer::error(6, "cannot read the record");
                return Ok(error.edited(|error| put(error, "/details", mark)));
            }
            Ok(answer)
        },
    ),
])
.body(|context| {
    let attachment = context.attachment("c1")?;
    let whole = attachment.request(Command::Add).run()?;
    whole.succeeded()?;
    attachment.del()?;
    let before = context.state()?;
    let start = Instant::now();
    let mut tried = 0;
    while tried < MAX_MOMENTS && (tried < MIN_MOMENTS || start.elapsed() < TIMEOUT) {
        // Spread over the whole run, and a bit more: each multiple of the golden section.
        let moment = whole.duration * (tried * 618 % 1000) / 900;
        let plugin = attachment.request(Command::Add).spawn()?;
        std::thread::sleep(moment);
        plugin.signal(Signal::SIGKILL)?;
        plugin.finish()?;
        context.step(format!(
            "an ADD is killed after {moment:.1?} of {:.1?}",
            whole.duration
        ));
        attachment.request(Command::Del).run()?.succeeded()?;
        attachment.request(Command::Add).run()?.result()?;
        attachment.request(Command::Del).run()?.succeeded()?;
        tried += 1;
    }
    if let Err(Failure::Mismatch { found, .. }) = context.require_unchanged(&before, "the ADDs") {
        context.note(format!("{tried} ADDs that were killed leave: {found}"));
    }
    Ok(())
});
