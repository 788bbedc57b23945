//! One request of a case to a plugin: what a runtime would send, or that made wrong.

use super::{
    context::Context,
    failure::Failure,
    journal::{Entry, RunEntry},
};
use sandbox::{Run, Spawned};
use serde_json::Value;
use std::{ffi::OsStr, path::Path, path::PathBuf, process::Command};

/// A request in preparation. Its runs are in the journal of the case.
#[derive(Clone, Debug)]
#[must_use]
pub struct Request<'c> {
    context: &'c Context<'c>,
    request: sandbox::Request,
}

impl Context<'_> {
    /// A request for the plugin under test with nothing but the command, `CNI_PATH` and the
    /// configuration: for VERSION, STATUS and GC. Those about an attachment are made by
    /// [`Attachment::request`](super::Attachment::request).
    pub fn request(&self, command: cni_types::Command) -> Request<'_> {
        let request = sandbox::Request::new(self.binary(), command, self.bin_dir(), self.config());
        Request {
            context: self,
            request,
        }
    }
}

impl Request<'_> {
    /// Sets a variable.
    pub fn env(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.with(|request| request.env(name, value))
    }

    /// Removes a variable.
    pub fn without_env(self, name: &str) -> Self {
        self.with(|request| request.without_env(name))
    }

    /// Sets a key of the configuration.
    pub fn key(self, key: &str, value: impl Into<Value>) -> Self {
        self.with(|request| request.key(key, value))
    }

    /// Removes a key of the configuration.
    pub fn without_key(self, key: &str) -> Self {
        self.with(|request| request.without_key(key))
    }

    /// Replaces the whole configuration.
    pub fn with_config(self, config: Value) -> Self {
        self.with(|request| request.with_config(config))
    }

    /// Replaces stdin by any bytes.
    pub fn stdin(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.with(|request| request.with_stdin(bytes))
    }

    /// Sends the request to another program than the plugin under test.
    pub fn program(self, program: impl Into<PathBuf>) -> Self {
        self.with(|request| request.with_program(program))
    }

    fn with(self, change: impl FnOnce(sandbox::Request) -> sandbox::Request) -> Self {
        Self {
            request: change(self.request),
            ..self
        }
    }

    /// The configuration, for cases that build another from it; `null` if stdin is no
    /// configuration.
    #[must_use]
    pub fn config(&self) -> Value {
        self.request.config()
    }

    /// The variables of the request.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.request.environment()
    }

    /// The bytes that the plugin will read.
    #[must_use]
    pub fn stdin_bytes(&self) -> Vec<u8> {
        self.request.stdin()
    }

    /// The process, for cases that want to trace it, limit it or close a stream. Its run is not in
    /// the journal unless the case puts it there ([`Request::record`]).
    ///
    /// # Errors
    /// Fails if stdin cannot be prepared.
    pub fn command(&self) -> Result<Command, Failure> {
        self.command_by(|program| Command::new(program))
    }

    /// The same, for another program that becomes the plugin.
    ///
    /// # Errors
    /// Fails if stdin cannot be prepared.
    pub fn command_by(&self, wrap: impl FnOnce(&Path) -> Command) -> Result<Command, Failure> {
        let command = self.request.process_by(wrap);
        command.map_err(|e| Failure::suite("prepare stdin", e))
    }

    /// Starts the plugin.
    ///
    /// # Errors
    /// Fails if it cannot be started.
    pub fn spawn(&self) -> Result<Spawned, Failure> {
        Ok(Spawned::start(self.command()?, self.context.limit())?)
    }

    /// Runs the plugin to its end.
    ///
    /// # Errors
    /// Fails if it cannot be started, or does not end in time.
    pub fn run(&self) -> Result<Run, Failure> {
        let before = self.context.state_if_explaining()?;
        let run = match self.spawn()?.finish() {
            Ok(run) => run,
            Err(e) => {
                self.context.step(format!("{}: {e}", self.describe()));
                return Err(e.into());
            }
        };
        let changes = match before {
            Some(before) => Some(self.context.state()?.changes_since(&before).join("\n")),
            None => None,
        };
        self.enter_in_journal(&run, changes);
        Ok(run)
    }

    /// Runs the plugin by another program that becomes it: a shell that closes a stream first.
    ///
    /// # Errors
    /// Fails if it cannot be started, or does not end in time.
    pub fn run_by(&self, wrap: impl FnOnce(&Path) -> Command) -> Result<Run, Failure> {
        let run = Spawned::start(self.command_by(wrap)?, self.context.limit())?.finish()?;
        self.record(&run);
        Ok(run)
    }

    /// Runs the plugin, as a process that is made wrong first: with another stdin.
    ///
    /// # Errors
    /// Fails if it cannot be started, or does not end in time.
    pub fn run_with(&self, change: impl FnOnce(&mut Command)) -> Result<Run, Failure> {
        let mut command = self.command()?;
        change(&mut command);
        let run = Spawned::start(command, self.context.limit())?.finish()?;
        self.record(&run);
        Ok(run)
    }

    /// Puts a run that the case watched by itself into the journal.
    pub fn record(&self, run: &Run) {
        self.enter_in_journal(run, None);
    }

    fn enter_in_journal(&self, run: &Run, changes: Option<String>) {
        let environment = self
            .environment()
            .map(|(key, value)| (key.to_owned(), value.display().to_string()))
            .collect();
        self.context.enter(Entry::Run(Box::new(RunEntry {
            program: self.request.program().to_owned(),
            environment,
            stdin: String::from_utf8_lossy(&self.stdin_bytes()).into_owned(),
            run: run.clone(),
            changes,
        })));
    }

    fn describe(&self) -> String {
        let mut variables = self.environment();
        let command = variables.find(|(name, _)| *name == "CNI_COMMAND");
        let command = command.map_or_else(String::new, |(_, value)| value.display().to_string());
        format!("{command} {}", self.request.program().display())
    }
}
