//! How long a plugin runs, how much processor it takes and how much memory, with all that it starts.
//!
//! The kernel tells a process what its ended children used (getrusage(2), RUSAGE_CHILDREN), all of them together. So each
//! measured run has a process of its own for a parent: this program, called under the plugin's name from a folder of its own.
//! Beside it, in a file with `.meter` at the end, stands the path of the plugin.

use super::{
    case::{Case, Clause, Versions},
    context::{Context, FILES},
    failure::Failure,
    reading::Reading,
};
use cni_types::Command;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
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
    let folder = Path::new(FILES).join("meter");
    install(context.own_program()?, &folder, &context.binary())?;
    let meter = folder.join(&context.profile().binary);
    let attachment = context.attachment("c1")?;
    // The first ADD makes the bridge, and what else belongs to the network.
    attachment.add()?;
    attachment.del()?;
    let verbs = &context.profile().verbs;
    let has = |command| verbs.contains(&command);
    context.request(Command::Version).program(&meter).run()?;
    let added = attachment
        .request(Command::Add)
        .program(&meter)
        .run()?
        .result()?;
    attachment.remember(added);
    if has(Command::Check) && context.version().has_check() {
        attachment
            .request(Command::Check)
            .program(&meter)
            .run()?
            .succeeded()?;
    }
    if has(Command::Status) && context.version().has_gc_and_status() {
        context.request(Command::Status).program(&meter).run()?;
    }
    attachment
        .request(Command::Del)
        .program(&meter)
        .run()?
        .succeeded()?;
    context.keep_readings(readings(&meter)?);
    Ok(())
}

/// Reads what a meter has written down.
fn readings(meter: &Path) -> Result<Vec<Reading>, Failure> {
    let lines = fs::read_to_string(beside(meter, "readings"))?;
    let reading =
        |line| serde_json::from_str(line).map_err(|e| Failure::suite("read a meter's notes", e));
    lines.lines().map(reading).collect()
}

/// Puts a meter for the plugin into `folder`.
fn install(program: &Path, folder: &Path, plugin: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    let meter = folder.join(plugin.file_name().unwrap_or_default());
    std::os::unix::fs::symlink(program, &meter)?;
    fs::write(
        beside(&meter, "meter"),
        plugin.as_os_str().as_encoded_bytes(),
    )?;
    Ok(())
}

fn beside(meter: &Path, extension: &str) -> PathBuf {
    let mut path = meter.as_os_str().to_owned();
    path.push(format!(".{extension}"));
    path.into()
}

/// Runs and measures the plugin where the program was called by a meter's name; `None` where it was called by its own.
#[must_use]
pub fn main() -> Option<ExitCode> {
    let meter = PathBuf::from(std::env::args_os().next()?);
    let plugin = fs::read_to_string(beside(&meter, "meter")).ok()?;
    Some(measure(&meter, &plugin).unwrap_or(ExitCode::from(u8::MAX)))
}

fn measure(meter: &Path, plugin: &str) -> io::Result<ExitCode> {
    let start = Instant::now();
    let status = std::process::Command::new(plugin).status()?;
    let wall = start.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = (usage.user_time() + usage.system_time()).num_microseconds();
    let reading = Reading {
        command: std::env::var("CNI_COMMAND").unwrap_or_default(),
        wall_ms: wall.as_secs_f64() * 1000.0,
        cpu_ms: cpu as f64 / 1000.0,
        peak_kib: usage.max_rss(),
    };
    let line = serde_json::to_string(&reading)? + "\n";
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(beside(meter, "readings"))?
        .write_all(line.as_bytes())?;
    Ok(ExitCode::from(
        status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(u8::MAX),
    ))
}
