//! Programs that stand in for a plugin: a double answers for it, a meter measures it, a fault
//! breaks it.
//!
//! Each is the suite's own program, called through a link with the plugin's name, so that nothing
//! else need be there. Beside the link, in a file of the same name with `.stand-in` at the end,
//! stand its role and its orders.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The way in which a stand-in serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// Gives prepared replies ([`super::double`]).
    Double,
    /// Runs the plugin and measures it ([`super::meter`]).
    Meter,
    /// Serves the request wrongly ([`super::fault`]).
    Fault,
}

/// A stand-in in a folder, which goes into `CNI_PATH`.
#[derive(Debug)]
pub(super) struct StandIn {
    file: PathBuf,
}

/// The content of the file beside the link.
#[derive(Serialize, Deserialize)]
struct Orders {
    role: Role,
    orders: Value,
}

impl StandIn {
    /// Puts a stand-in called `name` into `folder`: `program` is the suite's own.
    pub(super) fn install(
        program: &Path,
        folder: &Path,
        name: impl AsRef<OsStr>,
        role: Role,
        orders: &impl Serialize,
    ) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let file = folder.join(name.as_ref());
        symlink(program, &file)?;
        let stand_in = Self { file };
        stand_in.instruct(role, orders)?;
        Ok(stand_in)
    }

    /// Returns the stand-in by whose name this program was called, or `None` if it was called by
    /// its own name.
    pub(super) fn called() -> Option<Self> {
        let file = PathBuf::from(std::env::args_os().next()?);
        let stand_in = Self { file };
        stand_in.orders_file().is_file().then_some(stand_in)
    }

    /// Replaces the orders.
    pub(super) fn instruct(&self, role: Role, orders: &impl Serialize) -> io::Result<()> {
        let orders = serde_json::to_value(orders)?;
        fs::write(
            self.orders_file(),
            serde_json::to_string(&Orders { role, orders })?,
        )
    }

    /// Reads the role.
    pub(super) fn role(&self) -> io::Result<Role> {
        Ok(self.read()?.role)
    }

    /// Reads the orders.
    pub(super) fn orders<T: DeserializeOwned>(&self) -> io::Result<T> {
        Ok(serde_json::from_value(self.read()?.orders)?)
    }

    fn read(&self) -> io::Result<Orders> {
        Ok(serde_json::from_slice(&fs::read(self.orders_file())?)?)
    }

    /// The link.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Appends an entry to the stand-in's notes. It is one write, so that two runs at once leave
    /// whole lines.
    pub(super) fn note(&self, entry: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_string(entry)? + "\n";
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.beside("notes"))?
            .write_all(line.as_bytes())
    }

    /// Reads the notes, in order.
    pub(super) fn notes<T: DeserializeOwned>(&self) -> io::Result<Vec<T>> {
        let notes = match fs::read_to_string(self.beside("notes")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let entry = |line| Ok(serde_json::from_str(line)?);
        notes.lines().map(entry).collect()
    }

    fn orders_file(&self) -> PathBuf {
        self.beside("stand-in")
    }

    fn beside(&self, extension: &str) -> PathBuf {
        let mut path = self.file.as_os_str().to_owned();
        path.push(format!(".{extension}"));
        path.into()
    }
}

/// A request, as a stand-in got it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// The bytes on stdin.
    pub stdin: Vec<u8>,
}

impl Call {
    /// Takes the request that this process got.
    pub(super) fn receive() -> Self {
        let mut stdin = Vec::new();
        // A stdin that cannot be read is for the fault to deal with.
        let _ = io::stdin().read_to_end(&mut stdin);
        Self {
            environment: std::env::vars_os().collect(),
            stdin,
        }
    }

    /// The value of a variable; empty if it is not set.
    #[must_use]
    pub fn env(&self, name: &str) -> String {
        let found = self
            .environment
            .iter()
            .find(|(key, _)| key == OsStr::new(name));
        found
            .map(|(_, value)| value.display().to_string())
            .unwrap_or_default()
    }

    /// Returns true for a request for this operation.
    #[must_use]
    pub fn is(&self, command: cni_types::Command) -> bool {
        self.env("CNI_COMMAND") == command.as_str()
    }

    /// The configuration; `null` if stdin holds no JSON.
    #[must_use]
    pub fn config(&self) -> Value {
        serde_json::from_slice(&self.stdin).unwrap_or_default()
    }
}

/// Returns the text of an error object (spec section 5).
pub(super) fn error_object(code: u32, msg: &str) -> String {
    serde_json::json!({"cniVersion": "1.1.0", "code": code, "msg": msg}).to_string()
}

/// The answer of a plugin.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its exit status.
    pub status: u8,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
}

impl Answer {
    /// A success with this on stdout.
    #[must_use]
    pub fn success(stdout: impl Into<Vec<u8>>) -> Self {
        Self {
            stdout: stdout.into(),
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

    /// The document on stdout; `null` if stdout holds no JSON.
    #[must_use]
    pub fn document(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_default()
    }

    /// Gives the answer as this process's own.
    pub(super) fn give(&self) -> io::Result<ExitCode> {
        io::stderr().write_all(&self.stderr)?;
        io::stdout().write_all(&self.stdout)?;
        Ok(ExitCode::from(self.status))
    }
}
