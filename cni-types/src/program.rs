//! A plugin as a program: found in `CNI_PATH`, run with an environment and a configuration, and
//! read. Delegates and runtimes run plugins this way, and programs of the system are run the same
//! way.

mod input;
mod running;

pub(crate) use running::GRACE;
pub use running::Running;

use crate::{
    environment::Environment,
    error::{Code, Error},
    stop::Stop,
};
use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

/// The folders in which a program of the system is searched after those of `PATH`, which a runtime
/// may have left empty.
const SYSTEM_FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// A plugin's program, or a program of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The word for it in errors: `plugin` or `program`.
    what: &'static str,
    kind: String,
    path: PathBuf,
    arguments: Vec<String>,
}

/// The destination of a plugin's stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stderr {
    /// The caller's own stderr.
    Inherited,
    /// [`Output::stderr`].
    Captured,
}

/// The outcome of a plugin that ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// The bytes that it printed.
    pub stdout: Vec<u8>,
    /// The bytes that it logged; empty unless captured.
    pub stderr: Vec<u8>,
    kind: String,
}

impl Program {
    /// Searches a plugin called `kind`, its `type` in a configuration, in the folders of
    /// `cni_path`.
    ///
    /// # Errors
    /// Fails with code 7 for a name with which the program could lie outside `cni_path`
    /// (CVE-2021-20206), and with 102 if no such program can be run.
    pub fn find(kind: &str, cni_path: &str) -> Result<Self, Error> {
        if !is_plugin_name(kind) {
            return Err(Error::new(
                Code::INVALID_CONFIG,
                format!("invalid plugin name: {kind:?}"),
            )
            .with_details(
                "the type of a plugin is the name of a file in CNI_PATH, without a path",
            ));
        }
        let directories: Vec<&str> = cni_path
            .split(':')
            .filter(|directory| !directory.is_empty())
            .collect();
        let paths = directories
            .iter()
            .map(|directory| Path::new(directory).join(kind));
        let path = paths
            .into_iter()
            .find(|path| is_executable(path))
            .ok_or_else(|| Self::not_found(kind, &directories))?;
        Ok(Self {
            what: "plugin",
            kind: kind.to_owned(),
            path,
            arguments: Vec::new(),
        })
    }

    /// Searches a program of the system in the folders of `path`, the value of `PATH`, and then in
    /// the usual ones; returns `None` if there is no such program.
    #[must_use]
    pub fn of_system(name: &str, path: &str) -> Option<Self> {
        let folders = path
            .split(':')
            .filter(|folder| folder.starts_with('/'))
            .chain(SYSTEM_FOLDERS);
        let path = folders
            .map(|folder| Path::new(folder).join(name))
            .find(|path| is_executable(path))?;
        Some(Self {
            what: "program",
            kind: name.to_owned(),
            path,
            arguments: Vec::new(),
        })
    }

    /// Returns the program with these arguments. Plugins get none.
    #[must_use]
    pub fn with_arguments<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.arguments = arguments.map(str::to_owned).to_vec();
        self
    }

    /// Returns the plugin's name.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Returns the path at which it was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the plugin to its end. A request to stop is passed on to the plugin, which then has 5
    /// seconds.
    ///
    /// # Errors
    /// Fails with code 102 if the plugin cannot be run or read, or does not end even by SIGKILL. A
    /// plugin that reports a failure is no error here: see the output.
    pub fn run(
        &self,
        environment: &Environment,
        stdin: &[u8],
        stderr: Stderr,
        stop: &Stop,
    ) -> Result<Output, Error> {
        self.start(environment, stdin, stderr)?.finish(stop)
    }

    /// Starts the plugin, and returns while it runs.
    ///
    /// # Errors
    /// Fails with code 102 if it cannot be run.
    pub fn start(
        &self,
        environment: &Environment,
        stdin: &[u8],
        stderr: Stderr,
    ) -> Result<Running, Error> {
        let input = input::of(stdin).map_err(|e| self.failed("prepare the input of", &e))?;
        let mut command = std::process::Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(environment.iter())
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(match stderr {
                Stderr::Inherited => Stdio::inherit(),
                Stderr::Captured => Stdio::piped(),
            });
        Running::start(self, &mut command).map_err(|e| self.failed("run", &e))
    }

    fn failed(&self, what: &str, e: &dyn std::fmt::Display) -> Error {
        Error::new(
            Code::DELEGATE,
            format!("failed to {what} {} {:?}: {e}", self.what, self.kind),
        )
        .with_details(self.path.display().to_string())
    }

    /// Returns the error for a plugin that is in none of `folders` as an executable file.
    fn not_found(kind: &str, folders: &[&str]) -> Error {
        let is_there = |path: &PathBuf| path.is_file();
        if let Some(path) = folders
            .iter()
            .map(|folder| Path::new(folder).join(kind))
            .find(is_there)
        {
            let msg = format!("failed to run plugin {kind:?}: permission denied");
            return Error::new(Code::DELEGATE, msg).with_details(format!(
                "{0} is there, but not executable; chmod 755 {0}",
                path.display()
            ));
        }
        let searched = folders.join(" ");
        Error::new(
            Code::DELEGATE,
            format!("failed to find plugin {kind:?} in path [{searched}]"),
        )
        .with_details("install the plugin there, or correct the type in the network configuration")
    }
}

impl Output {
    /// Returns the document on stdout of a plugin that succeeded.
    ///
    /// # Errors
    /// Fails with the error that the plugin printed, unchanged, or with code 102 if it failed
    /// without one.
    pub fn document(self) -> Result<Vec<u8>, Error> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        if let Some(error) = Error::from_json(&self.stdout) {
            return Err(error);
        }
        let printed = String::from_utf8_lossy(&self.stdout);
        let what = if printed.trim().is_empty() {
            "with no error message"
        } else {
            "and printed no error object"
        };
        Err(Error::new(
            Code::DELEGATE,
            format!("plugin {:?} failed {what}: {}", self.kind, self.status),
        )
        .with_details(printed.trim()))
    }
}

fn is_plugin_name(kind: &str) -> bool {
    !kind.is_empty() && kind != "." && kind != ".." && !kind.contains(['/', '\\', '\0'])
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_captured_log_is_kept_apart_from_the_document() {
        let shell = Program::of_system("sh", "").unwrap();
        let script = b"echo '{}'; echo log >&2; exit 3";
        let output = shell
            .run(
                &Environment::of_process(),
                script,
                Stderr::Captured,
                &Stop::never(),
            )
            .unwrap();
        assert_eq!(
            (output.stdout.as_slice(), output.stderr.as_slice()),
            (&b"{}\n"[..], &b"log\n"[..])
        );
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.document().unwrap_err().code, Code::DELEGATE);
    }

    /// CVE-2022-1708 and CVE-2022-31030: runtimes kept all output of a program in memory.
    #[test]
    fn a_program_that_prints_without_end_is_killed() {
        let cat = Program::of_system("cat", "")
            .unwrap()
            .with_arguments(["/dev/zero"]);
        let error = cat
            .run(
                &Environment::default(),
                b"",
                Stderr::Captured,
                &Stop::never(),
            )
            .unwrap_err();
        assert_eq!(error.code, Code::DELEGATE);
        assert!(error.msg.ends_with("more than 16 MiB"), "{error}");
    }

    #[test]
    fn a_program_of_the_system_is_found_without_a_path_and_never_in_a_relative_folder() {
        for path in ["", ":", "relative:.", "/nonexistent"] {
            let found = Program::of_system("sh", path).unwrap();
            assert!(
                SYSTEM_FOLDERS
                    .iter()
                    .any(|folder| found.path() == Path::new(folder).join("sh")),
                "{path}"
            );
        }
        assert_eq!(Program::of_system("no-such-program", "/bin"), None);
    }

    #[test]
    fn an_error_distinguishes_a_program_of_the_system_from_a_plugin() {
        let gone = Program {
            path: "/nonexistent/sh".into(),
            ..Program::of_system("sh", "").unwrap()
        };
        let error = gone
            .start(&Environment::default(), b"", Stderr::Captured)
            .unwrap_err();
        assert!(
            error.msg.starts_with("failed to run program \"sh\": "),
            "{error}"
        );
    }
}
