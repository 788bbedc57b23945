//! A plugin that gives prepared replies and notes its requests: it stands in for a delegate, or for
//! a neighbour in a chain.

use super::{
    failure::Failure,
    stand_in::{self, Answer, Role, StandIn, error_object},
};
use cni_types::Command;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, io, path::Path, path::PathBuf, process::ExitCode};

/// A plugin that gives prepared replies. It is in a folder of its own, which goes into `CNI_PATH`.
#[derive(Debug)]
pub struct Double {
    folder: PathBuf,
    name: String,
    stand_in: StandIn,
}

/// The reply of a double to one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The exit status.
    pub status: u8,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
    /// If it is set, the double prints the prevResult that it got, with these members: lists are
    /// appended to, everything else is replaced. Without a prevResult it fails, as a chained plugin
    /// does.
    #[serde(default)]
    pub passes_on: Option<Value>,
}

/// A request that a double got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// Its stdin.
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
        Self {
            status: 1,
            ..Self::success(error_object(code, msg))
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

    /// Returns the answer to a request with this configuration.
    fn to(self, config: &Value) -> Answer {
        let Some(additions) = self.passes_on else {
            return Answer {
                status: self.status,
                stdout: self.stdout.into_bytes(),
                stderr: self.stderr.into_bytes(),
            };
        };
        let Some(Value::Object(result)) = config.get("prevResult") else {
            return Answer::error(7, "required prevResult missing");
        };
        let mut result = result.clone();
        for (key, addition) in additions.as_object().into_iter().flatten() {
            match (result.get_mut(key), addition) {
                (Some(Value::Array(list)), Value::Array(more)) => list.extend(more.iter().cloned()),
                _ => drop(result.insert(key.clone(), addition.clone())),
            }
        }
        Answer::success(Value::Object(result).to_string())
    }
}

impl From<&stand_in::Call> for Call {
    fn from(call: &stand_in::Call) -> Self {
        let text = |text: &std::ffi::OsString| text.to_string_lossy().into_owned();
        Self {
            environment: call
                .environment
                .iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect(),
            stdin: String::from_utf8_lossy(&call.stdin).into_owned(),
        }
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

    /// The configuration; `null` if stdin holds no JSON.
    #[must_use]
    pub fn config(&self) -> Value {
        serde_json::from_str(&self.stdin).unwrap_or_default()
    }
}

impl Double {
    /// Puts a double called `name` into `folder`. Operations without a reply succeed and print
    /// nothing.
    ///
    /// # Errors
    /// Fails if the files cannot be written.
    pub fn install(
        program: &Path,
        folder: &Path,
        name: &str,
        replies: &[(Command, Reply)],
    ) -> Result<Self, Failure> {
        let stand_in = StandIn::install(program, folder, name, Role::Double, &by_name(replies))?;
        Ok(Self {
            folder: folder.to_owned(),
            name: name.to_owned(),
            stand_in,
        })
    }

    /// Replaces all the replies.
    ///
    /// # Errors
    /// Fails if they cannot be written down.
    pub fn answer(&self, replies: &[(Command, Reply)]) -> Result<(), Failure> {
        Ok(self.stand_in.instruct(Role::Double, &by_name(replies))?)
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

    /// Returns all that it was asked, in order.
    ///
    /// # Errors
    /// Fails if its notes cannot be read.
    pub fn calls(&self) -> Result<Vec<Call>, Failure> {
        Ok(self.stand_in.notes()?)
    }
}

fn by_name(replies: &[(Command, Reply)]) -> BTreeMap<&'static str, &Reply> {
    replies
        .iter()
        .map(|(command, reply)| (command.as_str(), reply))
        .collect()
}

/// Notes the request, and gives the prepared reply.
pub(super) fn serve(stand_in: &StandIn) -> io::Result<ExitCode> {
    let mut replies: BTreeMap<String, Reply> = stand_in.orders()?;
    let call = Call::from(&stand_in::Call::receive());
    stand_in.note(&call)?;
    let reply = replies.remove(call.command()).unwrap_or_default();
    reply.to(&call.config()).give()
}
