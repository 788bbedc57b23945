//! The versions that a plugin lists, and the reason if it cannot be started at all. Asked once for
//! each plugin, before any case.

use sandbox::{RunError, Spawned};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The answers, by the plugins' files.
static KNOWN: Mutex<BTreeMap<PathBuf, Answer>> = Mutex::new(BTreeMap::new());

#[derive(Clone, Default)]
struct Answer {
    /// The `supportedVersions` of VERSION; `None` if the plugin gives no list. Cases find out then.
    versions: Option<Vec<String>>,
    /// The reason for which the plugin cannot be started.
    startup_error: Option<String>,
}

/// Returns the `supportedVersions` of VERSION, or `None` if the plugin gives no list.
pub(super) fn versions(plugin: &Path, limit: Duration) -> Option<Vec<String>> {
    answer(plugin, limit).versions
}

/// Returns the reason why the plugin cannot be started, if it cannot: then nothing can be said of
/// it.
pub(super) fn startup_error(plugin: &Path, limit: Duration) -> Option<String> {
    answer(plugin, limit).startup_error
}

fn answer(plugin: &Path, limit: Duration) -> Answer {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known
        .entry(plugin.to_owned())
        .or_insert_with(|| on_a_host(plugin, limit))
        .clone()
}

/// A thread becomes a host once and for all. What the plugin leaves running ends with it.
fn on_a_host(plugin: &Path, limit: Duration) -> Answer {
    let work = || {
        if sandbox::become_host().is_err() {
            // The cases will report it.
            return Answer::default();
        }
        let answer = match ask(plugin) {
            Ok(command) => match Spawned::start(command, limit) {
                Ok(plugin) => Answer {
                    versions: listed(plugin),
                    startup_error: None,
                },
                Err(RunError::Io { source, .. }) => Answer {
                    versions: None,
                    startup_error: Some(reason(plugin, &source)),
                },
                Err(RunError::Mismatch(_)) => Answer::default(),
            },
            Err(_) => Answer::default(),
        };
        sandbox::end_processes();
        answer
    };
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_default())
}

fn ask(plugin: &Path) -> io::Result<Command> {
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(b"{\"cniVersion\":\"1.0.0\"}")?;
    let mut command = Command::new(plugin);
    command
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
        .env("CNI_COMMAND", "VERSION")
        .stdin(Stdio::from(reader));
    command.envs(plugin.parent().map(|folder| ("CNI_PATH", folder)));
    Ok(command)
}

fn listed(plugin: Spawned) -> Option<Vec<String>> {
    let run = plugin.finish().ok()?;
    let answer: Value = serde_json::from_slice(&run.stdout).ok()?;
    let list = answer.get("supportedVersions")?.as_array()?.iter();
    Some(list.filter_map(Value::as_str).map(str::to_owned).collect())
}

/// With what is behind the kernel's few words.
fn reason(plugin: &Path, e: &io::Error) -> String {
    use nix::errno::Errno;
    let cause = match e.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EACCES) => "; it is not executable, or its file system is mounted noexec",
        Some(Errno::ENOEXEC) => "; it is no program, or one for another machine",
        Some(Errno::ENOENT) => "; the interpreter or loader that it names is not there",
        _ => "",
    };
    format!("{} cannot be started: {e}{cause}", plugin.display())
}
