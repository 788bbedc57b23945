//! The way from the process's start to its exit status, which is the same for every plugin.

mod streams;

use crate::{
    attachment::{Attachment, Detachment},
    call::{self, Call, Command},
    environment::Environment,
    error::{Code, Error},
    json::Document,
    result::Encoded,
    signals::set_signal_dispositions,
    stop::Stop,
    value::{ContainerId, IfName, NetnsPath},
    version::SpecVersion,
};
use serde::{Deserialize, Serialize};
use std::{
    cell::{Cell, OnceCell},
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Duration,
};

/// The time limit for the rollback of an ADD whose result could not be printed.
const ROLLBACK_LIMIT: Duration = Duration::from_secs(10);

/// The operations of a plugin. VERSION is answered without it, and requests are checked before they
/// reach it.
pub trait Plugin {
    /// The plugin's name, as in `type`.
    fn name(&self) -> &'static str;

    /// Creates an attachment, as a whole or not at all.
    ///
    /// # Errors
    /// Fails if the attachment cannot be created.
    fn add(&self, call: &Call, attachment: &Attachment) -> Result<Encoded, Error>;

    /// Removes an attachment, or the parts of it that are left.
    ///
    /// # Errors
    /// Fails only if a part of it remains.
    fn del(&self, call: &Call, detachment: &Detachment) -> Result<(), Error>;

    /// Compares an attachment with the state in which ADD left it.
    ///
    /// # Errors
    /// Fails with every difference.
    fn check(&self, call: &Call, attachment: &Attachment) -> Result<(), Error>;

    /// Checks that an ADD could succeed.
    ///
    /// # Errors
    /// Fails with code 50 or 51 if an ADD could not.
    fn status(&self, call: &Call) -> Result<(), Error>;

    /// Removes everything that belongs to no valid attachment.
    ///
    /// # Errors
    /// Fails if something could not be removed, after everything else was.
    fn gc(&self, call: &Call) -> Result<(), Error>;
}

/// The reply of a plugin: at most one JSON document, and success or failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The document for stdout.
    pub stdout: Option<String>,
    /// Text for a person, on stderr.
    pub stderr: Option<String>,
    /// True if the exit status is 0.
    pub success: bool,
}

/// Serves the one request of this process: reads environment and stdin, and prints the reply.
pub fn main(plugin: &dyn Plugin) -> ExitCode {
    // If this fails, the dispositions stay as they are; the request can still be served.
    let _ = set_signal_dispositions();
    let stop = Stop::on_sigterm();
    let environment = Environment::of_process();
    let is_add = environment.text("CNI_COMMAND") == Command::Add.as_str();
    if is_add && let Err(e) = streams::require_stdout() {
        return unprintable(&e);
    }
    let asked = OnceCell::new();
    let reply = answer(plugin, environment.clone(), stop.clone(), |stop| {
        let stdin = streams::read_stdin(stop)?;
        if is_add {
            let _ = asked.set(stdin.clone());
        }
        Ok(stdin)
    });
    if let Err(e) = reply.print(&stop) {
        if let Some(stdin) = asked.into_inner().filter(|_| reply.success) {
            roll_back_add(plugin, environment, stdin);
        }
        return unprintable(&e);
    }
    reply.exit_code()
}

/// Answers the request of this process with an error, in the version of the request: for a program
/// that is called by a name that no plugin has. If stdin cannot be read, the error has the latest
/// version.
pub fn refuse(error: &Error) -> ExitCode {
    // If this fails, the dispositions stay as they are; the request can still be answered.
    let _ = set_signal_dispositions();
    let stop = Stop::on_sigterm();
    let stdin = streams::read_stdin(&stop).unwrap_or_default();
    let config = call::document(stdin);
    let reply = Reply {
        stdout: Some(error.to_json(config.map_or(SpecVersion::LATEST, |c| version_of(&c)))),
        stderr: None,
        success: false,
    };
    match reply.print(&stop) {
        Ok(()) => reply.exit_code(),
        Err(e) => unprintable(&e),
    }
}

fn unprintable(e: &std::io::Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "cannot print the reply: {e}");
    ExitCode::FAILURE
}

/// Rolls back an ADD whose result could not be delivered: for the runtime the ADD failed, and a
/// failed ADD must leave nothing.
fn roll_back_add(plugin: &dyn Plugin, environment: Environment, stdin: Vec<u8>) {
    let environment = environment.with("CNI_COMMAND", Command::Del.as_str());
    let reply = answer(plugin, environment, Stop::after(ROLLBACK_LIMIT), |_| {
        Ok(stdin)
    });
    if let Some(error) = reply.stdout {
        let _ = writeln!(std::io::stderr(), "rolling back: {error}");
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
        return Reply {
            stdout: None,
            stderr: Some(about(plugin)),
            success: true,
        };
    }
    // An error is reported in the requested version, even if the rest of the request is invalid.
    let version = Cell::new(SpecVersion::LATEST);
    let serve = || {
        let command = command(&environment)?;
        let stdin = stdin(&stop)?;
        if command == Command::Version {
            return Ok(Some(version_reply(&stdin)));
        }
        let config = call::document(stdin)?;
        version.set(version_of(&config));
        let call = Call::of_document(environment, config, stop)?.for_plugin(plugin.name());
        dispatch(plugin, command, &call)
    };
    // The panic's text and location are already on stderr, by std's hook.
    let outcome = catch_unwind(AssertUnwindSafe(serve)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or(panic.downcast_ref::<&str>().copied());
        let msg = format!(
            "{} plugin panicked: {}",
            plugin.name(),
            text.unwrap_or("unknown cause")
        );
        Err(Error::new(Code::OTHER, msg)
            .with_details("this is a bug; please report it with the lines on stderr"))
    });
    match outcome {
        Ok(stdout) => Reply {
            stdout,
            stderr: None,
            success: true,
        },
        Err(error) => Reply {
            stdout: Some(error.to_json(version.get())),
            stderr: None,
            success: false,
        },
    }
}

/// Returns the command if every variable that it requires is set.
fn command(environment: &Environment) -> Result<Command, Error> {
    let name = environment.text("CNI_COMMAND");
    let unknown = || {
        Error::new(
            Code::INVALID_ENVIRONMENT,
            format!("unknown CNI_COMMAND: {name}"),
        )
    };
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

fn dispatch(plugin: &dyn Plugin, command: Command, call: &Call) -> Result<Option<String>, Error> {
    match command {
        Command::Add => plugin
            .add(call, &attachment(call)?)
            .map(|result| Some(result.to_string())),
        Command::Del => plugin.del(call, &detachment(call)?).map(|()| None),
        Command::Check => {
            let attachment = attachment(call)?;
            require(call, command, SpecVersion::FIRST_WITH_CHECK)?;
            plugin.check(call, &attachment).map(|()| None)
        }
        Command::Status => {
            require(call, command, SpecVersion::FIRST_WITH_GC_AND_STATUS)?;
            plugin.status(call).map(|()| None)
        }
        Command::Gc => {
            require(call, command, SpecVersion::FIRST_WITH_GC_AND_STATUS)?;
            plugin.gc(call).map(|()| None)
        }
        Command::Version => Ok(None),
    }
}

/// Fails unless the configuration's version is `first` or later.
fn require(call: &Call, command: Command, first: SpecVersion) -> Result<(), Error> {
    let version = call.version;
    if version >= first {
        return Ok(());
    }
    let command = command.as_str();
    let msg = format!("config version does not allow {command}");
    let details = format!(
        "the configuration's version is {version}; the first that allows {command} is {first}"
    );
    Err(Error::new(Code::INCOMPATIBLE_VERSION, msg).with_details(details))
}

fn attachment(call: &Call) -> Result<Attachment, Error> {
    let Detachment {
        container_id,
        if_name,
        netns,
    } = detachment(call)?;
    let missing = || {
        Error::new(
            Code::INVALID_ENVIRONMENT,
            "required env variables [CNI_NETNS] missing",
        )
    };
    Ok(Attachment {
        container_id,
        if_name,
        netns: netns.ok_or_else(missing)?,
    })
}

fn detachment(call: &Call) -> Result<Detachment, Error> {
    let variable = |name| call.environment().text(name);
    let container_id = variable("CNI_CONTAINERID");
    let if_name = variable("CNI_IFNAME");
    // Spec section 5, "Error": the error names the variable.
    let named = |e: Error, name, value| e.and_details(&format!("{name} is {value:?}"));
    Ok(Detachment {
        // The details already hold the value.
        container_id: ContainerId::parse(&container_id)
            .map_err(|e| e.and_details("the value of CNI_CONTAINERID"))?,
        if_name: IfName::parse(&if_name).map_err(|e| named(e, "CNI_IFNAME", &if_name))?,
        netns: NetnsPath::new(&variable("CNI_NETNS")),
    })
}

/// Returns the version in which an error about `config` is reported: the requested one, or the
/// latest if that cannot be read.
fn version_of(config: &Document<Vec<u8>>) -> SpecVersion {
    asked_version(config)
        .and_then(|text| SpecVersion::of_config(&text).ok())
        .unwrap_or(SpecVersion::LATEST)
}

/// Returns the `cniVersion` of an object, empty if it has none, or `None` if it cannot be read.
fn asked_version(config: &Document<impl AsRef<[u8]>>) -> Option<String> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Asked {
        cni_version: String,
    }
    config.decode::<Asked>().ok().map(|asked| asked.cni_version)
}

/// Returns the reply to VERSION. Runtimes probe with hardly anything on stdin, so any input is
/// accepted.
fn version_reply(stdin: &[u8]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct VersionResult {
        cni_version: String,
        supported_versions: [&'static str; 7],
    }
    let asked = Document::parse(stdin)
        .ok()
        .and_then(|config| asked_version(&config));
    let asked = asked.filter(|text| !text.is_empty());
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

impl Reply {
    /// Prints the reply.
    ///
    /// # Errors
    /// Fails if stdout refuses it, or is full when the process is asked to stop: then the runtime
    /// did not receive it.
    pub fn print(&self, stop: &Stop) -> std::io::Result<()> {
        if let Some(text) = &self.stderr {
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
        streams::print(self.stdout.as_deref().unwrap_or_default(), stop)
    }

    /// Returns the exit status of a printed reply.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.success {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests;
