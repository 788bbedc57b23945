//! The run of a plugin as a runtime would do it, undisturbed or disturbed at one system call.

use crate::subject::Subject;
use cni_types::Command;
use conformance::suite::{Failure, Run, Spawned};
use nix::sys::memfd::{MFdFlags, memfd_create};
use sandbox::trace::{self, Action, SystemCall};
use serde_json::{Map, Value, json};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Seek, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{self, Stdio},
    time::{Duration, Instant},
};

/// The time in which every run must end. The longest wait that the plugins know of, for a lock, is
/// shorter.
pub(crate) const LIMIT: Duration = Duration::from_secs(25);

/// `CNI_IFNAME` if nothing else is wanted.
pub(crate) const IF_NAME: &str = "eth0";

/// What keeps the tool from doing its own part.
pub(crate) type Trouble = String;

/// A run in preparation.
#[derive(Clone)]
#[must_use]
pub(crate) struct Request {
    program: OsString,
    environment: Vec<(&'static str, OsString)>,
    config: Map<String, Value>,
}

/// How a disturbed run ended.
pub(crate) enum Ended {
    /// By itself, or by the signal.
    Run {
        /// Status and output.
        run: Run,
        /// False if the point was not reached.
        was_struck: bool,
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
        let environment = vec![
            ("CNI_COMMAND", command.as_str().into()),
            ("CNI_CONTAINERID", container.into()),
            ("CNI_IFNAME", IF_NAME.into()),
            ("CNI_PATH", plugins.into()),
        ];
        Self {
            program: plugins.join(plugin).into(),
            environment,
            config,
        }
    }

    /// A request to the subject's plugin, on its network.
    pub(crate) fn to_subject(
        plugins: &Path,
        subject: &Subject,
        command: Command,
        container: &str,
    ) -> Result<Self, Trouble> {
        let config = subject.network_configuration()?;
        let mut request = Self::new(plugins, subject.plugin, config, command, container);
        request
            .environment
            .retain(|(name, _)| *name != "CNI_IFNAME");
        request
            .environment
            .push(("CNI_IFNAME", subject.if_name.into()));
        Ok(request)
    }

    /// With `CNI_NETNS`.
    pub(crate) fn in_namespace(mut self, path: &Path) -> Self {
        self.environment.push(("CNI_NETNS", path.into()));
        self
    }

    /// With a `prevResult`, if there is one.
    pub(crate) fn after(mut self, result: Option<&Value>) -> Self {
        if let Some(result) = result {
            self.config.insert("prevResult".to_owned(), result.clone());
        }
        self
    }

    /// With the attachments that GC is to keep, each as container id and interface.
    pub(crate) fn keeping(mut self, attachments: &[(String, &str)]) -> Self {
        let list = attachments
            .iter()
            .map(|(container, interface)| json!({ "containerID": container, "ifname": interface }))
            .collect();
        self.config
            .insert("cni.dev/valid-attachments".to_owned(), Value::Array(list));
        self
    }

    /// Runs the plugin undisturbed. Returns `None` if it did not end within [`LIMIT`].
    pub(crate) fn run(&self) -> Result<Option<Run>, Trouble> {
        let command = self
            .process(|program| process::Command::new(program))
            .map_err(|e| e.to_string())?;
        match Spawned::start(command, LIMIT).and_then(Spawned::finish) {
            Ok(run) => Ok(Some(run)),
            Err(Failure::Mismatch { .. }) => Ok(None),
            Err(Failure::Skip(text) | Failure::Suite(text)) => Err(text),
        }
    }

    /// Runs the plugin, disturbed at one system call: see [`trace::disturb`].
    pub(crate) fn run_disturbed(
        &self,
        decide: &mut dyn FnMut(&SystemCall) -> Action,
    ) -> Result<Ended, Trouble> {
        self.trace(decide)
            .map_err(|e| format!("cannot trace {}: {e}", self.program.display()))
    }

    fn trace(&self, decide: &mut dyn FnMut(&SystemCall) -> Action) -> io::Result<Ended> {
        let mut command = self.process(|program| trace::stopped(program))?;
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
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
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
            was_struck: traced.was_struck,
        })
    }

    fn process(
        &self,
        wrap: impl FnOnce(&OsStr) -> process::Command,
    ) -> io::Result<process::Command> {
        let mut command = wrap(&self.program);
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut stdin = File::from(memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC)?);
        stdin.write_all(Value::Object(self.config.clone()).to_string().as_bytes())?;
        stdin.rewind()?;
        command.stdin(stdin);
        Ok(command)
    }
}
