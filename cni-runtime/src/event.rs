//! A run of a plugin, with its input and its answer, for people and for tests.

use cni_types::{Command, Environment};
use std::{path::PathBuf, process::ExitStatus, time::Duration};

/// One run of a plugin.
#[derive(Clone, Debug)]
pub struct Event {
    /// The plugin's `type`.
    pub plugin: String,
    /// The program that was run.
    pub program: PathBuf,
    /// The operation.
    pub command: Command,
    /// The whole environment.
    pub environment: Environment,
    /// The request configuration.
    pub stdin: String,
    /// The answer.
    pub stdout: String,
    /// The log.
    pub stderr: String,
    /// The exit status.
    pub status: ExitStatus,
    /// From the start of the program to its end.
    pub duration: Duration,
}
