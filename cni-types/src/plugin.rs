//! From the process's start to its exit status: the part that is the same for every plugin.

use crate::{
    call::{Attachment, Call, Command, Detachment},
    environment::Environment,
    error::{Code, Error},
    json::Json,
    result::Encoded,
    stop::{Stop, Woken},
    value::{ContainerId, IfName, NetnsPath},
    version::SpecVersion,
};
use serde::{Deserialize, Serialize};
use std::{
    cell::OnceCell,
    io::{Read, Write},
    os::fd::AsFd,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

/// The most that is read from stdin, in bytes. A GC list of 100,000 attachments is a tenth of it.
const MAX_STDIN: usize = 64 << 20;

/// What a plugin does. VERSION is answered for it, and requests are checked before they reach it.
pub trait Plugin {
    /// The plugin's name, as in `type`.
    fn name(&self) -> &'static str;

    /// Makes an attachment, wholly or not at all.
    ///
    /// # Errors
    /// Whatever kept the attachment from being made.
    fn add(&self, call: &Call, attachment: &Attachment) -> Result<Encoded, Error>;

    /// Ends an attachment, or what is left of it.
    ///
    /// # Errors
    /// Only where something of it remains.
    fn del(&self, call: &Call, detachment: &Detachment) -> Result<(), Error>;

    /// Compares an attachment with what its ADD left.
    ///
    /// # Errors
    /// Every difference.
    fn check(&self, call: &Call, attachment: &Attachment) -> Result<(), Error>;

    /// Tells whether an ADD can succeed.
    ///
    /// # Errors
    /// Codes 50 and 51.
    fn status(&self, call: &Call) -> Result<(), Error>;

    /// Frees what belongs to no valid attachment.
    ///
    /// # Errors
    /// Whatever could not be freed, after everything else was.
    fn gc(&self, call: &Call) -> Result<(), Error>;
}

/// What a plugin says at its end: at most one JSON document, and whether it succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The document for stdout.
    pub stdout: Option<String>,
    /// Text for a person, on stderr.
    pub stderr: Option<String>,
    /// Whether the exit status is 0.
    pub success: bool,
}

/// Serves the request of this process, and only that: reads environment and stdin, prints the answer.
pub fn main(plugin: &dyn Plugin) -> ExitCode {
    let (stop, environment, asked) = (Stop::on_sigterm(), Environment::of_process(), OnceCell::new());
    let reply = answer(plugin, environment.clone(), stop, |stop| {
        read_stdin(stop).inspect(|stdin| drop(asked.set(stdin.clone())))
    });
    let made = reply.success && environment.text("CNI_COMMAND") == Command::Add.as_str();
    match reply.print() {
        Ok(()) => reply.exit_code(),
        Err(e) => {
            let _ = writeln!(std::io::stderr(), "cannot print the reply: {e}");
            if let Some(stdin) = asked.into_inner().filter(|_| made) {
                unmake(plugin, environment, stdin);
            }
            ExitCode::FAILURE
        }
    }
}

/// Ends the attachment of an ADD whose result nobody got: to the runtime that ADD failed, and a failed one leaves nothing.
fn unmake(plugin: &dyn Plugin, environment: Environment, stdin: Vec<u8>) {
    let environment = environment.with("CNI_COMMAND", Command::Del.as_str());
    let reply = answer(plugin, environment, Stop::never(), |_| Ok(stdin));
    if let Some(error) = reply.stdout {
        let _ = writeln!(std::io::stderr(), "taking it back: {error}");
    }
}

/// Answers a request. `stdin` is read only by commands that need it.
pub fn answer(
    plugin: &dyn Plugin,
    environment: Environment,
    stop: Stop,
    stdin: impl FnOnce(&Stop) -> Result<Vec<u8>, Error>,
) -> Reply {
    if environment.text("CNI_COMMAND").is_empty() {
        return Reply { stdout: None, stderr: Some(about(plugin)), success: true };
    }
    // What was asked is read a second time only for an error, which must be told in its version.
    let asked = OnceCell::new();
    let serve = || {
        let command = command(&environment)?;
        let stdin = stdin(&stop)?;
        let _ = asked.set(stdin.clone());
        dispatch(plugin, command, environment, stdin, stop)
    };
    // The panic's text and place are already on stderr, by std's hook.
    let outcome = catch_unwind(AssertUnwindSafe(serve)).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        let msg = format!("{} plugin panicked: {}", plugin.name(), text.unwrap_or("unknown cause"));
        Err(Error::new(Code::OTHER, msg)
            .with_details("this is a bug; please report it with the lines on stderr"))
    });
    match outcome {
        Ok(stdout) => Reply { stdout, stderr: None, success: true },
        Err(error) => {
            let version = asked.get().map_or(SpecVersion::LATEST, |stdin| version_of(stdin));
            Reply { stdout: Some(error.to_json(version)), stderr: None, success: false }
        }
    }
}

/// The command, once every variable it needs is there.
fn command(environment: &Environment) -> Result<Command, Error> {
    let name = environment.text("CNI_COMMAND");
    let unknown = || Error::new(Code::INVALID_ENVIRONMENT, format!("unknown CNI_COMMAND: {name}"));
    let command = Command::parse(&name).ok_or_else(unknown)?;
    let missing: Vec<&str> = command
        .required_variables()
        .iter()
        .copied()
        .filter(|name| environment.text(name).is_empty())
        .collect();
    if missing.is_empty() {
        return Ok(command);
    }
    let msg = format!("required env variables [{}] missing", missing.join(","));
    Err(Error::new(Code::INVALID_ENVIRONMENT, msg))
}

fn dispatch(
    plugin: &dyn Plugin,
    command: Command,
    environment: Environment,
    stdin: Vec<u8>,
    stop: Stop,
) -> Result<Option<String>, Error> {
    if command == Command::Version {
        return Ok(Some(version_reply(&stdin)));
    }
    let call = Call::new(environment, stdin, stop)?;
    match command {
        Command::Add => plugin.add(&call, &attachment(&call)?).map(|result| Some(result.to_string())),
        Command::Del => plugin.del(&call, &detachment(&call)?).map(|()| None),
        Command::Check => {
            let attachment = attachment(&call)?;
            require(call.version.has_check(), command)?;
            plugin.check(&call, &attachment).map(|()| None)
        }
        Command::Status => {
            require(call.version.has_gc_and_status(), command)?;
            plugin.status(&call).map(|()| None)
        }
        Command::Gc => {
            require(call.version.has_gc_and_status(), command)?;
            plugin.gc(&call).map(|()| None)
        }
        Command::Version => Ok(None),
    }
}

fn require(allowed: bool, command: Command) -> Result<(), Error> {
    if allowed {
        return Ok(());
    }
    let msg = format!("config version does not allow {}", command.as_str());
    Err(Error::new(Code::INCOMPATIBLE_VERSION, msg))
}

fn attachment(call: &Call) -> Result<Attachment, Error> {
    let Detachment { container_id, if_name, netns } = detachment(call)?;
    let missing = || Error::new(Code::INVALID_ENVIRONMENT, "required env variables [CNI_NETNS] missing");
    Ok(Attachment { container_id, if_name, netns: netns.ok_or_else(missing)? })
}

fn detachment(call: &Call) -> Result<Detachment, Error> {
    let variable = |name| call.environment().text(name);
    let (container_id, if_name) = (variable("CNI_CONTAINERID"), variable("CNI_IFNAME"));
    // Spec section 5, "Error": the error names the variable.
    let named = |e: Error, name, value| e.and_details(&format!("{name} is {value:?}"));
    Ok(Detachment {
        container_id: ContainerId::parse(&container_id)
            .map_err(|e| named(e, "CNI_CONTAINERID", &container_id))?,
        if_name: IfName::parse(&if_name).map_err(|e| named(e, "CNI_IFNAME", &if_name))?,
        netns: NetnsPath::new(&variable("CNI_NETNS")),
    })
}

/// The version in which an error about `stdin` is reported: the one it asks for where that can be read.
fn version_of(stdin: &[u8]) -> SpecVersion {
    asked_version(stdin).and_then(|text| SpecVersion::of_config(&text).ok()).unwrap_or(SpecVersion::LATEST)
}

/// The `cniVersion` of an object, empty where it names none; nothing where there is no object to read it from.
fn asked_version(stdin: &[u8]) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Asked {
        cni_version: String,
    }
    let json = Json::parse(stdin).ok().filter(Json::is_object)?;
    json.decode::<Asked>().ok().map(|asked| asked.cni_version)
}

/// The answer to VERSION. Runtimes probe with next to nothing on stdin, so anything is accepted there.
fn version_reply(stdin: &[u8]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct VersionResult {
        cni_version: String,
        supported_versions: [&'static str; 7],
    }
    let asked = asked_version(stdin).filter(|text| !text.is_empty());
    crate::json::pretty(&VersionResult {
        cni_version: asked.unwrap_or_else(|| SpecVersion::LATEST.to_string()),
        supported_versions: SpecVersion::ALL.map(SpecVersion::as_str),
    })
}

fn about(plugin: &dyn Plugin) -> String {
    let versions = SpecVersion::ALL.map(SpecVersion::as_str).join(", ");
    format!(
        "CNI {} plugin v{}\nCNI protocol versions supported: {versions}\n",
        plugin.name(),
        env!("CARGO_PKG_VERSION")
    )
}

fn read_stdin(stop: &Stop) -> Result<Vec<u8>, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::new(Code::IO, format!("error reading from stdin: {e}"));
    let mut stdin = std::io::stdin().lock();
    let (mut bytes, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        if stop.wait_readable(stdin.as_fd(), None).map_err(|e| failed(&e))? == Woken::Stopped {
            return Err(Stop::error());
        }
        match stdin.read(&mut chunk).map_err(|e| failed(&e))? {
            0 => return Ok(bytes),
            n => bytes.extend_from_slice(chunk.get(..n).unwrap_or_default()),
        }
        if bytes.len() > MAX_STDIN {
            return Err(failed(&"the configuration is larger than 64 MiB"));
        }
    }
}

impl Reply {
    /// Prints the reply.
    ///
    /// # Errors
    /// Where stdout takes nothing: then the runtime did not get the result.
    pub fn print(&self) -> std::io::Result<()> {
        if let Some(text) = &self.stderr {
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        let mut stdout = std::io::stdout().lock();
        let text = self.stdout.as_deref().unwrap_or_default();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
    }

    /// The exit status of a reply that was printed.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

#[cfg(test)]
mod tests;
