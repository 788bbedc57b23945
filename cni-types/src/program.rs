//! A plugin as a program that is run: found in `CNI_PATH`, given an environment and a configuration, and read.
//! Delegation needs it, and so does every runtime. A program of the system is run the same way.

use crate::{
    environment::Environment,
    error::{Code, Error},
    stop::{Stop, Woken},
};
use nix::{
    fcntl::{FcntlArg, OFlag},
    sys::{
        memfd::{MFdFlags, memfd_create},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use std::{
    fs::File,
    io::{self, ErrorKind, Read, Seek, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How long a plugin may take to end after the SIGTERM that was passed on to it.
const GRACE: Duration = Duration::from_secs(5);

/// The most that a plugin may print, in bytes.
const MAX_OUTPUT: usize = 16 << 20;

/// Where a program of the system is looked for after `PATH`, which a runtime may have left empty.
const SYSTEM_FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A plugin's program, or one of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// `plugin` or `program`, for errors.
    what: &'static str,
    kind: String,
    path: PathBuf,
    arguments: Vec<String>,
}

/// Where a plugin's stderr goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stderr {
    /// To the caller's own stderr.
    Inherited,
    /// Into [`Output::stderr`].
    Captured,
}

/// How a plugin ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it logged; empty unless captured.
    pub stderr: Vec<u8>,
    kind: String,
}

impl Program {
    /// Looks for a plugin called `kind`, its `type` in a configuration, in the folders of `cni_path`.
    ///
    /// # Errors
    /// Code 7 for a name with which the program could lie outside `cni_path` (CVE-2021-20206), 102 where
    /// there is none.
    pub fn find(kind: &str, cni_path: &str) -> Result<Self, Error> {
        if !is_plugin_name(kind) {
            return Err(Error::new(Code::INVALID_CONFIG, format!("invalid plugin name: {kind:?}"))
                .with_details("the type of a plugin is the name of a file in CNI_PATH, without a path"));
        }
        let directories: Vec<&str> = cni_path.split(':').filter(|directory| !directory.is_empty()).collect();
        let found =
            directories.iter().map(|directory| Path::new(directory).join(kind)).find(|p| is_executable(p));
        let path = found.ok_or_else(|| {
            let searched = directories.join(" ");
            Error::new(Code::DELEGATE, format!("failed to find plugin {kind:?} in path [{searched}]"))
                .with_details("install the plugin there, or correct the type in the network configuration")
        })?;
        Ok(Self { what: "plugin", kind: kind.to_owned(), path, arguments: Vec::new() })
    }

    /// Looks for a program of the system in the folders of `path`, the value of `PATH`, and then in the usual ones.
    #[must_use]
    pub fn of_system(name: &str, path: &str) -> Option<Self> {
        let folders = path.split(':').filter(|folder| folder.starts_with('/')).chain(SYSTEM_FOLDERS);
        let path = folders.map(|folder| Path::new(folder).join(name)).find(|path| is_executable(path))?;
        Some(Self { what: "program", kind: name.to_owned(), path, arguments: Vec::new() })
    }

    /// The same program, run with these arguments. Plugins get none.
    #[must_use]
    pub fn with_arguments<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.arguments = arguments.map(str::to_owned).to_vec();
        self
    }

    /// The plugin's name.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Where it was found.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs the plugin to its end. A request to stop is passed on to it, and then it has 5 seconds.
    ///
    /// # Errors
    /// Code 102 where it cannot be run or read. That it failed is in the output.
    pub fn run(
        &self,
        environment: &Environment,
        stdin: &[u8],
        stderr: Stderr,
        stop: &Stop,
    ) -> Result<Output, Error> {
        self.start(environment, stdin, stderr)?.finish(stop)
    }

    /// Starts the plugin; something else can be done while it runs.
    ///
    /// # Errors
    /// Code 102 where it cannot be run.
    pub fn start(&self, environment: &Environment, stdin: &[u8], stderr: Stderr) -> Result<Running, Error> {
        let input = file_of(stdin).map_err(|e| self.failed("prepare the input of", &e))?;
        let log = Log::new(stderr).map_err(|e| self.failed("prepare the log of", &e))?;
        let child = std::process::Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .envs(environment.iter())
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(log.writer().map_err(|e| self.failed("prepare the log of", &e))?)
            .spawn()
            .map_err(|e| self.failed("run", &e))?;
        Ok(Running { program: self.clone(), child, log })
    }

    fn failed(&self, what: &str, e: &dyn std::fmt::Display) -> Error {
        Error::new(Code::DELEGATE, format!("failed to {what} {} {:?}: {e}", self.what, self.kind))
            .with_details(self.path.display().to_string())
    }
}

/// A plugin that was started. Dropped, it is still waited for: it may hold what the caller is about to clean up.
#[derive(Debug)]
pub struct Running {
    program: Program,
    child: Child,
    log: Log,
}

impl Running {
    /// Reads the plugin's output to its end. A request to stop is passed on to it, and then it has 5 seconds.
    ///
    /// # Errors
    /// Code 102 where it cannot be read. That it failed is in the output.
    pub fn finish(mut self, stop: &Stop) -> Result<Output, Error> {
        let output = read_output(&mut self.child, stop);
        let output = output.map_err(|e| self.program.failed("read the output of", &e));
        let status = self.child.wait().map_err(|e| self.program.failed("wait for", &e))?;
        let stderr = self.log.read().map_err(|e| self.program.failed("read the log of", &e))?;
        Ok(Output { status, stdout: output?, stderr, kind: self.program.kind.clone() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nobody reads any more: a plugin that goes on printing gets SIGPIPE. After `finish` this does nothing.
        drop(self.child.stdout.take());
        let _ = self.child.wait();
    }
}

impl Output {
    /// The document on stdout of a plugin that succeeded.
    ///
    /// # Errors
    /// The error that the plugin printed, word for word; code 102 where it failed and printed none.
    pub fn document(self) -> Result<Vec<u8>, Error> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        if let Some(error) = Error::from_json(&self.stdout) {
            return Err(error);
        }
        let said = String::from_utf8_lossy(&self.stdout);
        let what =
            if said.trim().is_empty() { "with no error message" } else { "and printed no error object" };
        Err(Error::new(Code::DELEGATE, format!("plugin {:?} failed {what}: {}", self.kind, self.status))
            .with_details(said.trim()))
    }
}

/// Where stderr is kept while the plugin runs: a file, which unlike a pipe needs no reader.
#[derive(Debug)]
struct Log(Option<File>);

impl Log {
    fn new(stderr: Stderr) -> io::Result<Self> {
        match stderr {
            Stderr::Inherited => Ok(Self(None)),
            Stderr::Captured => file_of(&[]).map(|file| Self(Some(file))),
        }
    }

    fn writer(&self) -> io::Result<Stdio> {
        self.0.as_ref().map_or_else(|| Ok(Stdio::inherit()), |file| file.try_clone().map(Stdio::from))
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.0 {
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }
}

/// The configuration as a file: unlike a pipe it cannot fill up, and nobody has to write into it.
fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"cni", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn is_plugin_name(kind: &str) -> bool {
    !kind.is_empty() && kind != "." && kind != ".." && !kind.contains(['/', '\\', '\0'])
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Reads until the plugin closes its stdout. A request to stop is passed on to the plugin, which then has
/// [`GRACE`] to end by itself.
fn read_output(child: &mut Child, stop: &Stop) -> io::Result<Vec<u8>> {
    let Some(mut stdout) = child.stdout.take() else { return Ok(Vec::new()) };
    nix::fcntl::fcntl(stdout.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let never = Stop::never();
    let (mut watched, mut deadline) = (stop, None);
    let mut output = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        match watched.wait_readable(stdout.as_fd(), deadline)? {
            Woken::Ready => {}
            Woken::Stopped => {
                signal(child, Signal::SIGTERM);
                (watched, deadline) = (&never, Some(Instant::now() + GRACE));
                continue;
            }
            Woken::TimedOut => {
                signal(child, Signal::SIGKILL);
                return Ok(output);
            }
        }
        match stdout.read(&mut chunk) {
            Ok(0) => return Ok(output),
            Ok(n) => output.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
        if output.len() > MAX_OUTPUT {
            signal(child, Signal::SIGKILL);
            return Err(io::Error::other("more than 16 MiB"));
        }
    }
}

/// Signals a child that was not waited for yet, so that its pid is still its own.
fn signal(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // ESRCH cannot be, and EPERM is a plugin that changed its user: then it ends when it is done.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_captured_log_is_kept_apart_from_the_document() {
        let shell = Program::of_system("sh", "").unwrap();
        let script = b"echo '{}'; echo log >&2; exit 3";
        let output = shell.run(&Environment::of_process(), script, Stderr::Captured, &Stop::never()).unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"{}\n"[..], &b"log\n"[..]));
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(output.document().unwrap_err().code, Code::DELEGATE);
    }

    /// CVE-2022-1708 and CVE-2022-31030 are runtimes that kept whatever a program printed in memory.
    #[test]
    fn a_program_that_prints_without_end_is_killed() {
        let cat = Program::of_system("cat", "").unwrap().with_arguments(["/dev/zero"]);
        let error = cat.run(&Environment::default(), b"", Stderr::Captured, &Stop::never()).unwrap_err();
        assert_eq!(error.code, Code::DELEGATE);
        assert!(error.msg.ends_with("more than 16 MiB"), "{error}");
    }

    #[test]
    fn a_program_of_the_system_is_found_without_a_path_and_never_in_a_relative_folder() {
        for path in ["", ":", "relative:.", "/nonexistent"] {
            let found = Program::of_system("sh", path).unwrap();
            assert!(
                SYSTEM_FOLDERS.iter().any(|folder| found.path() == Path::new(folder).join("sh")),
                "{path}"
            );
        }
        assert_eq!(Program::of_system("no-such-program", "/bin"), None);
    }

    #[test]
    fn an_error_tells_a_program_of_the_system_from_a_plugin() {
        let gone = Program { path: "/nonexistent/sh".into(), ..Program::of_system("sh", "").unwrap() };
        let error = gone.start(&Environment::default(), b"", Stderr::Captured).unwrap_err();
        assert!(error.msg.starts_with("failed to run program \"sh\": "), "{error}");
    }
}
