//! One request to a plugin, as a runtime makes it: a program, its environment, its stdin.

use super::stdin;
use serde_json::Value;
use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    path::{Path, PathBuf},
    process::Command,
};

/// A request in preparation. Everything about it can be made wrong.
#[derive(Clone, Debug)]
#[must_use]
pub struct Request {
    program: PathBuf,
    environment: Vec<(String, OsString)>,
    stdin: Stdin,
}

/// The plugin's stdin.
#[derive(Clone, Debug)]
enum Stdin {
    Config(Value),
    Bytes(Vec<u8>),
}

impl Request {
    /// A request with nothing but the command and `CNI_PATH`, to a plugin that reads `config`.
    pub fn new(
        program: impl Into<PathBuf>,
        command: cni_types::Command,
        path: &Path,
        config: Value,
    ) -> Self {
        let request = Self {
            program: program.into(),
            environment: Vec::new(),
            stdin: Stdin::Config(config),
        };
        request
            .env("CNI_COMMAND", command.as_str())
            .env("CNI_PATH", path)
    }

    /// Sets a variable.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self = self.without_env(name);
        self.environment
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Removes a variable.
    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.retain(|(key, _)| key != name);
        self
    }

    /// Sets a key of the configuration. Does nothing if stdin is no configuration.
    pub fn key(mut self, key: &str, value: impl Into<Value>) -> Self {
        if let Stdin::Config(Value::Object(config)) = &mut self.stdin {
            config.insert(key.to_owned(), value.into());
        }
        self
    }

    /// Removes a key of the configuration.
    pub fn without_key(mut self, key: &str) -> Self {
        if let Stdin::Config(Value::Object(config)) = &mut self.stdin {
            config.remove(key);
        }
        self
    }

    /// Replaces the whole configuration.
    pub fn with_config(mut self, config: Value) -> Self {
        self.stdin = Stdin::Config(config);
        self
    }

    /// Replaces stdin by any bytes.
    pub fn with_stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Replaces the program.
    pub fn with_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// The plugin's file.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The variables, in the order in which they were set.
    pub fn environment(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
    }

    /// The configuration; `null` if stdin is no configuration.
    #[must_use]
    pub fn config(&self) -> Value {
        match &self.stdin {
            Stdin::Config(config) => config.clone(),
            Stdin::Bytes(_) => Value::Null,
        }
    }

    /// The bytes that the plugin will read.
    #[must_use]
    pub fn stdin(&self) -> Vec<u8> {
        match &self.stdin {
            Stdin::Config(config) => config.to_string().into_bytes(),
            Stdin::Bytes(bytes) => bytes.clone(),
        }
    }

    /// The process, ready to be started. Its environment is that of the request and this process's
    /// `PATH`, unless the request has one.
    ///
    /// # Errors
    /// Fails if stdin cannot be prepared.
    pub fn process(&self) -> io::Result<Command> {
        self.process_by(|program| Command::new(program))
    }

    /// The same, for another program that becomes the plugin or starts it: a shell that closes a
    /// stream first.
    ///
    /// # Errors
    /// Fails if stdin cannot be prepared.
    pub fn process_by(&self, wrap: impl FnOnce(&Path) -> Command) -> io::Result<Command> {
        let mut command = wrap(&self.program);
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(stdin::file(&self.stdin())?);
        Ok(command)
    }
}

/// The variables, the program and stdin, for reports.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.environment() {
            write!(f, "{name}={} ", value.display())?;
        }
        write!(
            f,
            "{}\n--- stdin\n{}",
            self.program.display(),
            String::from_utf8_lossy(&self.stdin())
        )
    }
}
