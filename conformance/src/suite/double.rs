//! A plugin that stands in for another one, a delegate for instance: it answers as it was told, and writes down what it
//! was asked.
//!
//! It is the suite's own program, called by another name, so that nothing else need be there. Beside it, in a file of
//! the same name with `.double` at the end, stand its answers.

use super::failure::Failure;
use cni_types::Command;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// A plugin that answers as it was told. Put into a folder of its own, which goes into `CNI_PATH`.
#[derive(Debug)]
pub struct Double {
    folder: PathBuf,
    name: String,
}

/// What a double answers to one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The exit status.
    pub status: u8,
    /// What it prints on stdout.
    pub stdout: String,
    /// What it prints on stderr.
    pub stderr: String,
    /// Where it is set, it prints the prevResult that it got instead, with these members: lists are appended to, everything
    /// else is replaced. Without a prevResult it fails, as a chained plugin does.
    #[serde(default)]
    pub passes_on: Option<Value>,
}

/// What a double was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// What it read.
    pub stdin: String,
}

impl Reply {
    /// A success with this document; an empty text for none.
    #[must_use]
    pub fn success(stdout: impl ToString) -> Self {
        Self {
            stdout: stdout.to_string(),
            ..Self::default()
        }
    }

    /// A failure with an error object.
    #[must_use]
    pub fn error(code: u32, msg: &str) -> Self {
        let stdout =
            serde_json::json!({"cniVersion": "1.1.0", "code": code, "msg": msg}).to_string();
        Self {
            status: 1,
            stdout,
            ..Self::default()
        }
    }

    /// The answer of a chained plugin: the prevResult that it gets, with these members of its own.
    #[must_use]
    pub fn passing_on(additions: Value) -> Self {
        Self {
            passes_on: Some(additions),
            ..Self::default()
        }
    }

    /// The answer to a request with this configuration.
    fn to(self, config: &Value) -> Self {
        let Some(additions) = &self.passes_on else {
            return self;
        };
        let Some(Value::Object(result)) = config.get("prevResult") else {
            return Self::error(7, "required prevResult missing");
        };
        let mut result = result.clone();
        for (key, addition) in additions.as_object().into_iter().flatten() {
            match (result.get_mut(key), addition) {
                (Some(Value::Array(list)), Value::Array(more)) => list.extend(more.iter().cloned()),
                _ => drop(result.insert(key.clone(), addition.clone())),
            }
        }
        Self::success(Value::Object(result))
    }
}

impl Call {
    /// The operation.
    #[must_use]
    pub fn command(&self) -> &str {
        self.environment
            .get("CNI_COMMAND")
            .map_or("", String::as_str)
    }

    /// The configuration; `null` where stdin holds none.
    #[must_use]
    pub fn config(&self) -> Value {
        serde_json::from_str(&self.stdin).unwrap_or_default()
    }
}

impl Double {
    /// Puts a double called `name` into `folder`. Operations without a reply succeed and print nothing.
    pub(super) fn install(
        program: &Path,
        folder: &Path,
        name: &str,
        replies: &[(Command, Reply)],
    ) -> Result<Self, Failure> {
        fs::create_dir_all(folder)?;
        let plugin = folder.join(name);
        std::os::unix::fs::symlink(program, &plugin)?;
        let double = Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
        };
        double.answer(replies)?;
        Ok(double)
    }

    /// Other answers from here on, in place of all that it was told.
    ///
    /// # Errors
    /// Where they cannot be written down.
    pub fn answer(&self, replies: &[(Command, Reply)]) -> Result<(), Failure> {
        let replies: BTreeMap<&str, &Reply> = replies
            .iter()
            .map(|(command, reply)| (command.as_str(), reply))
            .collect();
        let text =
            serde_json::to_string(&replies).map_err(|e| Failure::suite("prepare a double", e))?;
        Ok(fs::write(
            beside(&self.folder.join(&self.name), "double"),
            text,
        )?)
    }

    /// The folder that it is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its name: `type` in configurations.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All that it was asked, in order.
    ///
    /// # Errors
    /// Where its notes cannot be read.
    pub fn calls(&self) -> Result<Vec<Call>, Failure> {
        let notes = match fs::read_to_string(beside(&self.folder.join(&self.name), "calls")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let call = |line| {
            serde_json::from_str(line).map_err(|e| Failure::suite("read a double's notes", e))
        };
        notes.lines().map(call).collect()
    }
}

fn beside(plugin: &Path, extension: &str) -> PathBuf {
    let mut path = plugin.as_os_str().to_owned();
    path.push(format!(".{extension}"));
    path.into()
}

/// Serves a request where the program was called by a double's name; `None` where it was called by its own.
#[must_use]
pub fn main() -> Option<ExitCode> {
    let plugin = PathBuf::from(std::env::args_os().next()?);
    let replies = fs::read(beside(&plugin, "double")).ok()?;
    Some(serve(&plugin, &replies).unwrap_or(ExitCode::from(u8::MAX)))
}

fn serve(plugin: &Path, replies: &[u8]) -> io::Result<ExitCode> {
    let mut replies: BTreeMap<String, Reply> = serde_json::from_slice(replies)?;
    let mut stdin = Vec::new();
    io::stdin().read_to_end(&mut stdin)?;
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let call = Call {
        environment: std::env::vars_os()
            .map(|(name, value)| (text(name), text(value)))
            .collect(),
        stdin: String::from_utf8_lossy(&stdin).into_owned(),
    };
    // One write, so that two doubles at once leave whole lines.
    let line = serde_json::to_string(&call)? + "\n";
    let mut notes = OpenOptions::new()
        .create(true)
        .append(true)
        .open(beside(plugin, "calls"))?;
    notes.write_all(line.as_bytes())?;
    let reply = replies
        .remove(call.command())
        .unwrap_or_default()
        .to(&call.config());
    io::stderr().write_all(reply.stderr.as_bytes())?;
    io::stdout().write_all(reply.stdout.as_bytes())?;
    Ok(ExitCode::from(reply.status))
}
