//! The run of a plugin as a runtime would do it, undisturbed or disturbed at one system call.

use crate::subject::Subject;
use cni_types::Command;
use sandbox::{
    Run, RunError, Spawned,
    trace::{self, Action, SystemCall},
};
use serde_json::{Map, Value, json};
use std::{
    io::{self, Read},
    os::unix::process::CommandExt,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

/// The time in which every run must end. The longest wait that the plugins know of, for a lock, is
/// shorter.
pub(crate) const LIMIT: Duration = Duration::from_secs(25);

/// `CNI_IFNAME` if nothing else is wanted.
pub(crate) const IF_NAME: &str = "eth0";

/// The reason why the tool cannot do its own part.
pub(crate) type ToolError = String;

/// A run in preparation.
#[derive(Clone)]
#[must_use]
pub(crate) struct Request(sandbox::Request);

/// The end of a disturbed run.
pub(crate) enum Ended {
    /// By itself, or by the signal.
    Run {
        /// Status and output.
        run: Run,
        /// False if the point was not reached.
        was_injected: bool,
    },
    /// It did not end within [`LIMIT`], or what it started did not.
    Hung,
}

impl Request {
    /// A request to `plugin` about the attachment of `container`, without a namespace.
    pub(crate) fn new(
        plugins: &Path,
        plugin: &str,
        config: Map<String, Value>,
        command: Command,
        container: &str,
    ) -> Self {
        let program = plugins.join(plugin);
        let request = sandbox::Request::new(program, command, plugins, Value::Object(config))
            .env("CNI_CONTAINERID", container)
            .env("CNI_IFNAME", IF_NAME);
        Self(request)
    }

    /// A request to the subject's plugin, on its network.
    pub(crate) fn to_subject(
        plugins: &Path,
        subject: &Subject,
        command: Command,
        container: &str,
    ) -> Result<Self, ToolError> {
        let config = subject.network_configuration()?;
        let Self(request) = Self::new(plugins, subject.plugin, config, command, container);
        Ok(Self(request.env("CNI_IFNAME", subject.if_name)))
    }

    /// With `CNI_NETNS`.
    pub(crate) fn in_namespace(self, path: &Path) -> Self {
        Self(self.0.env("CNI_NETNS", path))
    }

    /// With a `prevResult`, if there is one.
    pub(crate) fn after(self, result: Option<&Value>) -> Self {
        match result {
            Some(result) => Self(self.0.key("prevResult", result.clone())),
            None => self,
        }
    }

    /// With the attachments that GC is to keep, each as container id and interface.
    pub(crate) fn keeping(self, attachments: &[(String, &str)]) -> Self {
        let list = attachments
            .iter()
            .map(|(container, interface)| json!({ "containerID": container, "ifname": interface }))
            .collect();
        Self(self.0.key("cni.dev/valid-attachments", Value::Array(list)))
    }

    /// Runs the plugin undisturbed. Returns `None` if it did not end within [`LIMIT`].
    pub(crate) fn run(&self) -> Result<Option<Run>, ToolError> {
        let command = self.0.process().map_err(|e| e.to_string())?;
        match Spawned::start(command, LIMIT).and_then(Spawned::finish) {
            Ok(run) => Ok(Some(run)),
            Err(RunError::Mismatch(_)) => Ok(None),
            Err(e @ RunError::Io { .. }) => Err(e.to_string()),
        }
    }

    /// Runs the plugin, disturbed at one system call: see [`trace::disturb`].
    pub(crate) fn run_disturbed(
        &self,
        decide: &mut dyn FnMut(&SystemCall) -> Action,
    ) -> Result<Ended, ToolError> {
        self.trace(decide)
            .map_err(|e| format!("cannot trace {}: {e}", self.0.program().display()))
    }

    fn trace(&self, decide: &mut dyn FnMut(&SystemCall) -> Action) -> io::Result<Ended> {
        let mut command = self.0.process_by(|program| trace::stopped(program))?;
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let start = Instant::now();
        let mut child = command.spawn()?;
        let traced = match trace::disturb(&child, LIMIT, decide) {
            Ok(traced) => traced,
            Err(e) if e.kind() == io::ErrorKind::TimedOut => return Ok(Ended::Hung),
            Err(e) => return Err(e),
        };
        let duration = start.elapsed();
        // All that could write has ended, if the run was disturbed.
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        child
            .stdout
            .take()
            .map(|mut pipe| pipe.read_to_end(&mut stdout))
            .transpose()?;
        child
            .stderr
            .take()
            .map(|mut pipe| pipe.read_to_end(&mut stderr))
            .transpose()?;
        let run = Run {
            stdout,
            stderr,
            status: traced.status,
            duration,
        };
        Ok(Ended::Run {
            run,
            was_injected: traced.was_injected,
        })
    }
}
