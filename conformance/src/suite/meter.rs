//! The time that a plugin takes, the processor time and the memory, with all that it starts.
//!
//! The kernel reports what the ended children of a process used (getrusage(2), RUSAGE_CHILDREN),
//! all of them together. So each measured run has a process of its own for a parent: a stand-in
//! under the plugin's name.

use super::{
    case::{Case, Clause, Versions},
    context::{Context, FILES},
    failure::Failure,
    reading::Reading,
    stand_in::{Role, StandIn},
};
use cni_types::Command;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::{
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

/// One round of all operations. What it measures is in [`Outcome::readings`](super::Outcome).
pub static ROUND: Case = Case::may(
    "bench/round",
    "each operation once, measured",
    Clause::silent("nothing is required; time and memory are measured"),
)
.versions(Versions::NEWEST)
.body(round);

fn round(context: &Context<'_>) -> Result<(), Failure> {
    let stand_in = StandIn::install(
        context.own_program()?,
        &Path::new(FILES).join("meter"),
        &context.profile().binary,
        Role::Meter,
        &context.binary(),
    )?;
    let meter = stand_in.file();
    let attachment = context.attachment("c1")?;
    // The first ADD makes the bridge, and what else belongs to the network.
    attachment.add()?;
    attachment.del()?;
    let verbs = &context.profile().verbs;
    let has = |command| verbs.contains(&command);
    context.request(Command::Version).program(meter).run()?;
    let added = attachment
        .request(Command::Add)
        .program(meter)
        .run()?
        .result()?;
    attachment.remember(added);
    if has(Command::Check) && context.version().has_check() {
        attachment
            .request(Command::Check)
            .program(meter)
            .run()?
            .succeeded()?;
    }
    if has(Command::Status) && context.version().has_gc_and_status() {
        context.request(Command::Status).program(meter).run()?;
    }
    attachment
        .request(Command::Del)
        .program(meter)
        .run()?
        .succeeded()?;
    context.keep_readings(stand_in.notes()?);
    Ok(())
}

/// Runs the plugin and notes what the run took.
pub(super) fn serve(stand_in: &StandIn) -> io::Result<ExitCode> {
    let plugin: PathBuf = stand_in.orders()?;
    let start = Instant::now();
    let status = std::process::Command::new(plugin).status()?;
    let wall = start.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = (usage.user_time() + usage.system_time()).num_microseconds();
    stand_in.note(&Reading {
        command: std::env::var("CNI_COMMAND").unwrap_or_default(),
        wall_ms: wall.as_secs_f64() * 1000.0,
        cpu_ms: cpu as f64 / 1000.0,
        peak_kib: usage.max_rss(),
    })?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(u8::MAX)))
}
