//! Ways to be wrong. A case that passes on a good plugin proves little; it must also fail on a bad
//! one.
//!
//! A [`Fault`] is a function that stands between the runtime and a good plugin: it can change the
//! request, run the plugin or not, change the kernel, and change the answer. So a fault is written
//! in the module of the case that is to notice it, and nothing else has to know of it.

pub use super::stand_in::{Answer, Call};
use super::stand_in::{Role, StandIn};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// A way to be wrong.
#[derive(Clone, Copy)]
pub struct Fault {
    /// The behaviour that is wrong, as in "prints its result twice".
    pub name: &'static str,
    /// Serves a request wrongly. `real` is the good plugin.
    pub act: fn(real: &Real, call: Call) -> io::Result<Answer>,
    /// The plugin that is broken; if none is named, the first of the tested ones to which the case
    /// applies.
    pub of: Option<&'static str>,
}

impl Fault {
    /// A fault that any plugin can have.
    #[must_use]
    pub const fn new(name: &'static str, act: fn(&Real, Call) -> io::Result<Answer>) -> Self {
        Self {
            name,
            act,
            of: None,
        }
    }

    /// The same as a fault of this plugin.
    #[must_use]
    pub const fn of(self, plugin: &'static str) -> Self {
        Self {
            of: Some(plugin),
            ..self
        }
    }
}

/// The good plugin.
#[derive(Debug)]
pub struct Real {
    program: PathBuf,
}

impl Real {
    /// Runs the good plugin.
    ///
    /// # Errors
    /// Fails if it cannot be run.
    pub fn run(&self, call: &Call) -> io::Result<Answer> {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .envs(call.environment.iter().map(|(key, value)| (key, value)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A plugin that does not read its stdin is not our business.
            let _ = stdin.write_all(&call.stdin);
        }
        let output = child.wait_with_output()?;
        let status = output
            .status
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(u8::MAX);
        Ok(Answer {
            status,
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }
}

impl Call {
    /// The same request with a variable set.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(key, _)| key != OsStr::new(name));
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The IPAM plugin that the configuration names, found in `CNI_PATH`: for a plugin that is
    /// wrong in how it uses it.
    ///
    /// # Errors
    /// Fails if `CNI_PATH` has no such plugin.
    pub fn delegate(&self) -> io::Result<Real> {
        let config = self.config();
        let kind = config
            .pointer("/ipam/type")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let path = self.env("CNI_PATH");
        let mut programs = path.split(':').map(|folder| Path::new(folder).join(kind));
        let program = programs
            .find(|program| program.is_file())
            .ok_or(io::ErrorKind::NotFound)?;
        Ok(Real { program })
    }

    /// The same request with the configuration changed.
    #[must_use]
    pub fn edited(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut config = self.config();
        edit(&mut config);
        self.stdin = config.to_string().into_bytes();
        self
    }
}

impl Answer {
    /// Returns the same answer with its document changed, if it has one.
    #[must_use]
    pub fn edited(mut self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut document = self.document();
        if !document.is_null() {
            edit(&mut document);
            self.stdout = document.to_string().into_bytes();
        }
        self
    }
}

/// Sets the value at a JSON pointer, as `/ips/0/address`. Does nothing if there is no object or
/// list to set it in.
pub fn put(document: &mut Value, pointer: &str, value: impl Into<Value>) {
    let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
    match document.pointer_mut(parent) {
        Some(Value::Object(object)) => {
            object.insert(key.to_owned(), value.into());
        }
        Some(Value::Array(list)) => {
            if let Some(place) = key
                .parse()
                .ok()
                .and_then(|index: usize| list.get_mut(index))
            {
                *place = value.into();
            }
        }
        _ => {}
    }
}

/// The good plugin, and what is wrong with it.
#[derive(Debug, Serialize, Deserialize)]
struct Orders {
    real: PathBuf,
    case: String,
    fault: String,
}

/// Puts a broken plugin into a folder: `program` is the suite's own, `real` the good plugin.
///
/// # Errors
/// Fails if the files cannot be written.
pub fn install(
    folder: &Path,
    program: &Path,
    real: &Path,
    case: &str,
    fault: &Fault,
) -> io::Result<()> {
    let name = real.file_name().unwrap_or_default();
    let orders = Orders {
        real: real.to_owned(),
        case: case.to_owned(),
        fault: fault.name.to_owned(),
    };
    StandIn::install(program, folder, name, Role::Fault, &orders).map(drop)
}

/// Serves a request wrongly. `faults_of` returns the faults of the case with an id, or `None` if
/// there is no such case.
pub(super) fn serve(
    stand_in: &StandIn,
    faults_of: impl FnOnce(&str) -> Option<&'static [Fault]>,
) -> io::Result<ExitCode> {
    let Orders { real, case, fault } = stand_in.orders()?;
    let faults = faults_of(&case).unwrap_or_default();
    let known = faults.iter().find(|known| known.name == fault);
    let known = known.ok_or_else(|| io::Error::other(format!("no fault {fault:?} in {case}")))?;
    (known.act)(&Real { program: real }, Call::receive())?.give()
}
