//! Running the programs of iptables.

use super::Table;
use crate::{error::NetError, sysctl::Family};
use cni_types::{Environment, Program, Stderr, Stop};

/// A program, for either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    /// The program that the host calls `iptables-restore`.
    Restore,
    /// The `iptables-restore` of the legacy iptables.
    LegacyRestore,
    /// The `iptables-save` of the legacy iptables.
    LegacySave,
}

impl Tool {
    /// Returns the names that the program may have, the most specific first. A host with one
    /// iptables only may have it under the short names only.
    fn names(self, family: Family) -> Vec<String> {
        let prefix = match family {
            Family::V4 => "iptables",
            Family::V6 => "ip6tables",
        };
        let endings: &[&str] = match self {
            Self::Restore => &["restore"],
            Self::LegacyRestore => &["legacy-restore", "restore"],
            Self::LegacySave => &["legacy-save", "save"],
        };
        endings
            .iter()
            .map(|ending| format!("{prefix}-{ending}"))
            .collect()
    }
}

/// The environment for programs, and the request to stop that ends them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tools<'a> {
    pub(super) environment: &'a Environment,
    pub(super) stop: &'a Stop,
}

impl Tools<'_> {
    pub(super) fn find(&self, tool: Tool, family: Family) -> Option<Program> {
        let path = self.environment.text("PATH");
        tool.names(family)
            .iter()
            .find_map(|name| Program::of_system(name, &path))
    }

    /// Finds a program.
    ///
    /// # Errors
    /// Fails with [`NetError::NoProgram`] if it is not installed.
    pub(super) fn require(&self, tool: Tool, family: Family) -> Result<Program, NetError> {
        self.find(tool, family)
            .ok_or_else(|| NetError::NoProgram(tool.names(family).swap_remove(0)))
    }

    /// Applies a script as a whole, without flushing the rest of the table.
    pub(super) fn restore(&self, tool: Tool, family: Family, script: &str) -> Result<(), NetError> {
        // -w waits for other programs that hold the lock of the legacy tables.
        let program = self
            .require(tool, family)?
            .with_arguments(["--noflush", "-w"]);
        self.run(&program, script).map(drop)
    }

    /// Returns all rules of a legacy table; empty if its program is not installed, since no rules
    /// can have been created then.
    pub(super) fn save(&self, table: Table, family: Family) -> Result<String, NetError> {
        let Some(program) = self.find(Tool::LegacySave, family) else {
            return Ok(String::new());
        };
        self.run(&program.with_arguments(["-t", table.name()]), "")
    }

    /// Runs a program; an error has the program's own text. Passes a request to stop on to the
    /// program, since it may wait without a limit.
    fn run(&self, program: &Program, stdin: &str) -> Result<String, NetError> {
        let failed = |reason: String, stderr: &[u8]| NetError::Program {
            program: program.kind().to_owned(),
            reason,
            stderr: String::from_utf8_lossy(stderr).trim().to_owned(),
        };
        let ended = program.run(
            self.environment,
            stdin.as_bytes(),
            Stderr::Captured,
            self.stop,
        );
        if self.stop.check().is_err() {
            return Err(NetError::Stopped(program.kind().to_owned()));
        }
        let output = ended.map_err(|e| failed(e.msg, e.details.as_bytes()))?;
        if !output.status.success() {
            return Err(failed(output.status.to_string(), &output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
