//! Which versions a plugin says that it speaks. Asked once for each plugin, before any case.

use super::process::Spawned;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The answers, by the plugins' files.
static KNOWN: Mutex<BTreeMap<PathBuf, Option<Vec<String>>>> = Mutex::new(BTreeMap::new());

/// The `supportedVersions` of VERSION; `None` where the plugin does not tell. Cases find out then.
pub(super) fn versions(plugin: &Path, limit: Duration) -> Option<Vec<String>> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(plugin.to_owned()).or_insert_with(|| ask(plugin, limit)).clone()
}

fn ask(plugin: &Path, limit: Duration) -> Option<Vec<String>> {
    let (reader, mut writer) = std::io::pipe().ok()?;
    writer.write_all(b"{\"cniVersion\":\"1.0.0\"}").ok()?;
    drop(writer);
    let mut command = Command::new(plugin);
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.env("CNI_COMMAND", "VERSION").env("CNI_PATH", plugin.parent()?).stdin(Stdio::from(reader));
    let run = Spawned::start(command, limit).ok()?.finish().ok()?;
    let answer: Value = serde_json::from_slice(&run.stdout).ok()?;
    let list = answer.get("supportedVersions")?.as_array()?.iter();
    Some(list.filter_map(Value::as_str).map(str::to_owned).collect())
}
