//! One request to a plugin: program, environment, stdin. Everything about it can be made wrong.

use super::{
    context::Context,
    failure::Failure,
    journal::{Entry, RunEntry},
    process::Spawned,
    run::Run,
};
use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

/// A request in preparation.
#[derive(Clone, Debug)]
#[must_use]
pub struct Request<'c> {
    context: &'c Context<'c>,
    program: PathBuf,
    environment: Vec<(String, OsString)>,
    stdin: Stdin,
}

/// What the plugin reads.
#[derive(Clone, Debug)]
enum Stdin {
    Config(Value),
    Bytes(Vec<u8>),
}

impl<'c> Request<'c> {
    pub(super) fn new(context: &'c Context<'c>, program: PathBuf, config: Value) -> Self {
        Self {
            context,
            program,
            environment: Vec::new(),
            stdin: Stdin::Config(config),
        }
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self = self.without_env(name);
        self.environment
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Takes a variable away.
    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(key, _)| key != name);
        self
    }

    /// Sets a key of the configuration.
    pub fn key(mut self, key: &str, value: impl Into<Value>) -> Self {
        if let Stdin::Config(Value::Object(config)) = &mut self.stdin {
            config.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Takes a key out of the configuration.
    pub fn without_key(mut self, key: &str) -> Self {
        if let Stdin::Config(Value::Object(config)) = &mut self.stdin {
            config.remove(key);
        }
        self
    }

    /// The configuration, for cases that build another from it; `null` where stdin is no configuration.
    #[must_use]
    pub fn config(&self) -> Value {
        match &self.stdin {
            Stdin::Config(config) => config.clone(),
            Stdin::Bytes(_) => Value::Null,
        }
    }

    /// Replaces the whole configuration.
    pub fn with_config(mut self, config: Value) -> Self {
        self.stdin = Stdin::Config(config);
        self
    }

    /// Replaces stdin by any bytes.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// The variables of the request.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
    }

    /// Another program than the plugin under test.
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// The bytes that the plugin will read.
    #[must_use]
    pub fn stdin_bytes(&self) -> Vec<u8> {
        match &self.stdin {
            Stdin::Config(config) => config.to_string().into_bytes(),
            Stdin::Bytes(bytes) => bytes.clone(),
        }
    }

    /// The process, for cases that want to trace it, limit it or close a stream. Besides the variables of the request it has
    /// this process's `PATH`. Its run is not in the journal unless
    /// the case puts it there ([`Request::record`]).
    ///
    /// # Errors
    /// Where stdin cannot be prepared.
    pub fn command(&self) -> Result<Command, Failure> {
        self.command_by(|program| Command::new(program))
    }

    /// As [`Request::command`], of another program that becomes the plugin, or is told to run it: a shell which closes
    /// a stream first.
    ///
    /// # Errors
    /// Where stdin cannot be prepared.
    pub fn command_by(&self, wrap: impl FnOnce(&Path) -> Command) -> Result<Command, Failure> {
        let mut command = wrap(&self.program);
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.stdin(
            sandbox::stdin::file(&self.stdin_bytes())
                .map_err(|e| Failure::suite("prepare stdin", e))?,
        );
        Ok(command)
    }

    /// Starts the plugin.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn spawn(&self) -> Result<Spawned, Failure> {
        Spawned::start(self.command()?, self.context.limit())
    }

    /// Runs the plugin to its end.
    ///
    /// # Errors
    /// Where it cannot be started, or does not end in time.
    pub fn run(&self) -> Result<Run, Failure> {
        let before = self.context.state_if_explaining()?;
        let run = match self.spawn()?.finish() {
            Ok(run) => run,
            Err(failure) => {
                self.context
                    .step(format!("{}: {failure:?}", self.describe()));
                return Err(failure);
            }
        };
        let changes = match before {
            Some(before) => Some(self.context.state()?.changes_since(&before).join("\n")),
            None => None,
        };
        self.enter_in_journal(&run, changes);
        Ok(run)
    }

    /// Runs the plugin through another program, as [`Request::command_by`].
    ///
    /// # Errors
    /// Where it cannot be started, or does not end in time.
    pub fn run_by(&self, wrap: impl FnOnce(&Path) -> Command) -> Result<Run, Failure> {
        let run = Spawned::start(self.command_by(wrap)?, self.context.limit())?.finish()?;
        self.record(&run);
        Ok(run)
    }

    /// Runs the plugin, as a process that is made wrong first: with another stdin.
    ///
    /// # Errors
    /// Where it cannot be started, or does not end in time.
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
            .environment
            .iter()
            .map(|(key, value)| (key.clone(), value.display().to_string()))
            .collect();
        let stdin = String::from_utf8_lossy(&self.stdin_bytes()).into_owned();
        let (program, run) = (self.program.clone(), run.clone());
        self.context.enter(Entry::Run(Box::new(RunEntry {
            program,
            environment,
            stdin,
            run,
            changes,
        })));
    }

    fn describe(&self) -> String {
        let command = self
            .environment
            .iter()
            .find(|(name, _)| name == "CNI_COMMAND");
        let command = command
            .map(|(_, value)| value.display().to_string())
            .unwrap_or_default();
        format!("{command} {}", self.program.display())
    }
}
