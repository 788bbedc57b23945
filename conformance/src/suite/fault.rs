//! Ways to be wrong. A case that passes on a good plugin proves little; it must also fail on a bad one.
//!
//! A [`Fault`] is a function that stands between the runtime and a good plugin: it can change the request, run the
//! plugin or not, change the kernel, and change the answer. The program `broken-plugin` is called in the plugin's place:
//! beside it, in a file of the same name with `.fault` at the end, stand the good plugin's path, the case and the fault.
//! So a fault is written in the module of the case that is to notice it, and nothing else has to know of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

/// A way to be wrong.
#[derive(Clone, Copy)]
pub struct Fault {
    /// What a plugin does that is wrong in this way, as in "prints its result twice".
    pub name: &'static str,
    /// Serves a request wrongly. `real` is the good plugin.
    pub act: fn(real: &Real, call: Call) -> io::Result<Answer>,
    /// The plugin that is broken; the first of the tested ones to which the case applies where it is not said.
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

/// A request, as the broken plugin got it.
#[derive(Clone, Debug)]
pub struct Call {
    /// The environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What is on stdin.
    pub stdin: Vec<u8>,
}

/// What a plugin answers.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its exit status.
    pub status: u8,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
}

impl Real {
    /// Runs the good plugin.
    ///
    /// # Errors
    /// Where it cannot be run.
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
            // A plugin that does not read its stdin is none of our business.
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
    /// The value of a variable; empty where it is not set.
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

    /// Whether it is a request for this operation.
    #[must_use]
    pub fn is(&self, command: cni_types::Command) -> bool {
        self.env("CNI_COMMAND") == command.as_str()
    }

    /// The same request with a variable set.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.retain(|(key, _)| key != OsStr::new(name));
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The configuration; `null` where stdin holds none.
    #[must_use]
    pub fn config(&self) -> Value {
        serde_json::from_slice(&self.stdin).unwrap_or_default()
    }

    /// The IPAM plugin that the configuration names, found in `CNI_PATH`: for a plugin that is wrong in how it uses it.
    ///
    /// # Errors
    /// Where there is none.
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
        let stdout =
            serde_json::json!({"cniVersion": "1.1.0", "code": code, "msg": msg}).to_string();
        Self {
            status: 1,
            ..Self::success(stdout)
        }
    }

    /// The document on stdout; `null` where there is none.
    #[must_use]
    pub fn document(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_default()
    }

    /// The same answer with its document changed; nothing where it has none.
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

/// Sets what is at a JSON pointer, as `/ips/0/address`; nothing where there is no object or list to set it in.
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

/// What stands in the file beside the broken plugin.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    real: PathBuf,
    case: String,
    fault: String,
}

/// Puts a broken plugin into a folder: `program` is the file of `broken-plugin`, `real` the good plugin.
///
/// # Errors
/// Where the files cannot be made.
pub fn install(
    folder: &Path,
    program: &Path,
    real: &Path,
    case: &str,
    fault: &Fault,
) -> io::Result<()> {
    let name = real.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(program, folder.join(name))?;
    let order = Order {
        real: real.to_owned(),
        case: case.to_owned(),
        fault: fault.name.to_owned(),
    };
    fs::write(beside(&folder.join(name)), serde_json::to_string(&order)?)
}

fn beside(plugin: &Path) -> PathBuf {
    let mut path = plugin.as_os_str().to_owned();
    path.push(".fault");
    path.into()
}

/// The whole of the program `broken-plugin`. `faults_of` returns the faults of the case with an id, or `None` if there is
/// no such case.
#[must_use]
#[expect(
    clippy::print_stderr,
    reason = "the person who calls it by hand should know"
)]
pub fn main(faults_of: impl FnOnce(&str) -> Option<&'static [Fault]>) -> ExitCode {
    match serve(faults_of) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("broken-plugin: {e}");
            ExitCode::from(u8::MAX)
        }
    }
}

fn serve(faults_of: impl FnOnce(&str) -> Option<&'static [Fault]>) -> io::Result<ExitCode> {
    let plugin = PathBuf::from(std::env::args_os().next().unwrap_or_default());
    let order: Order = serde_json::from_slice(&fs::read(beside(&plugin))?)?;
    let faults = faults_of(&order.case).unwrap_or_default();
    let fault = faults.iter().find(|fault| fault.name == order.fault);
    let fault = fault
        .ok_or_else(|| io::Error::other(format!("no fault {:?} in {}", order.fault, order.case)))?;
    let mut stdin = Vec::new();
    // One that cannot be read is for the fault to deal with.
    let _ = io::stdin().read_to_end(&mut stdin);
    let call = Call {
        environment: std::env::vars_os().collect(),
        stdin,
    };
    let answer = (fault.act)(
        &Real {
            program: order.real,
        },
        call,
    )?;
    io::stderr().write_all(&answer.stderr)?;
    io::stdout().write_all(&answer.stdout)?;
    Ok(ExitCode::from(answer.status))
}
