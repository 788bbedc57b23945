//! Delegation (spec section 4): another plugin, found in `CNI_PATH`, is run with the same environment and the
//! same configuration. Its stderr is ours; its error becomes our error, word for word.

use crate::{
    call::{Call, Command},
    error::{Code, Error},
    json::Json,
    result::AddResult,
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
    io::{ErrorKind, Read, Seek, Write},
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// How long a delegate may take to end after the SIGTERM that was passed on to it.
const GRACE: Duration = Duration::from_secs(5);

/// The most that a delegate may print, in bytes.
const MAX_OUTPUT: usize = 16 << 20;

/// A delegate, found and ready to be run for one call.
#[derive(Debug)]
pub struct Delegate<'a> {
    call: &'a Call,
    kind: String,
    program: PathBuf,
}

impl<'a> Delegate<'a> {
    /// Looks `kind` up in the call's `CNI_PATH`.
    ///
    /// # Errors
    /// Code 7 for a name with which the program could lie outside `CNI_PATH` (CVE-2021-20206), 102 where
    /// there is none.
    pub(crate) fn find(call: &'a Call, kind: &str) -> Result<Self, Error> {
        if !is_plugin_name(kind) {
            return Err(Error::new(Code::INVALID_CONFIG, format!("invalid plugin name: {kind:?}"))
                .with_details(
                    "the type of a delegated plugin is the name of a file in CNI_PATH, without a path",
                ));
        }
        let path = call.environment().text("CNI_PATH");
        let directories: Vec<&str> = path.split(':').filter(|directory| !directory.is_empty()).collect();
        let found =
            directories.iter().map(|directory| Path::new(directory).join(kind)).find(|p| is_executable(p));
        let program = found.ok_or_else(|| {
            let searched = directories.join(" ");
            Error::new(Code::DELEGATE, format!("failed to find plugin {kind:?} in path [{searched}]"))
                .with_details("install the plugin there, or correct the type in the network configuration")
        })?;
        Ok(Self { call, kind: kind.to_owned(), program })
    }

    /// Runs ADD and reads the result.
    ///
    /// # Errors
    /// The delegate's own, or 6 where its result cannot be read.
    pub fn add(&self) -> Result<AddResult, Error> {
        let output = self.run(Command::Add, &self.call.stop)?;
        let undecodable = |e: &dyn std::fmt::Display| {
            Error::new(
                Code::DECODE,
                format!("plugin {:?} printed a result that cannot be read: {e}", self.kind),
            )
        };
        let json = Json::parse(&output).map_err(|e| undecodable(&e))?;
        AddResult::from_json(&json).map_err(|e| undecodable(&e))
    }

    /// Runs DEL. It is not cut short: a DEL that is half done is of no use.
    ///
    /// # Errors
    /// The delegate's own.
    pub fn del(&self) -> Result<(), Error> {
        self.run(Command::Del, &Stop::never()).map(drop)
    }

    /// Runs `command`, which prints nothing on success: CHECK, STATUS or GC.
    ///
    /// # Errors
    /// The delegate's own.
    pub fn verify(&self, command: Command) -> Result<(), Error> {
        self.run(command, &self.call.stop).map(drop)
    }

    fn run(&self, command: Command, stop: &Stop) -> Result<Vec<u8>, Error> {
        let failed = |what: &str, e: &dyn std::fmt::Display| {
            Error::new(Code::DELEGATE, format!("failed to {what} plugin {:?}: {e}", self.kind))
                .with_details(self.program.display().to_string())
        };
        let stdin = self.stdin().map_err(|e| failed("prepare the input of", &e))?;
        let environment = self.call.environment().clone().with("CNI_COMMAND", command.as_str());
        let mut child = std::process::Command::new(&self.program)
            .env_clear()
            .envs(environment.iter())
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed("run", &e))?;
        let output = read_output(&mut child, stop).map_err(|e| failed("read the output of", &e));
        let status = child.wait().map_err(|e| failed("wait for", &e))?;
        stop.check()?;
        let output = output?;
        if status.success() { Ok(output) } else { Err(self.failure(status, &output)) }
    }

    /// The configuration as a file: unlike a pipe it cannot fill up, and nobody has to write into it.
    fn stdin(&self) -> std::io::Result<File> {
        let mut file = File::from(memfd_create(c"cni-stdin", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(self.call.stdin())?;
        file.rewind()?;
        Ok(file)
    }

    fn failure(&self, status: ExitStatus, output: &[u8]) -> Error {
        if let Some(error) = Error::from_json(output) {
            return error;
        }
        let said = String::from_utf8_lossy(output);
        let what =
            if said.trim().is_empty() { "with no error message" } else { "and printed no error object" };
        Error::new(Code::DELEGATE, format!("plugin {:?} failed {what}: {status}", self.kind))
            .with_details(said.trim())
    }
}

fn is_plugin_name(kind: &str) -> bool {
    !kind.is_empty() && kind != "." && kind != ".." && !kind.contains(['/', '\\', '\0'])
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Reads until the delegate closes its stdout. A request to stop is passed on to the delegate, which then has
/// [`GRACE`] to end by itself.
fn read_output(child: &mut Child, stop: &Stop) -> std::io::Result<Vec<u8>> {
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
            return Err(std::io::Error::other("more than 16 MiB"));
        }
    }
}

/// Signals a child that was not waited for yet, so that its pid is still its own.
fn signal(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // ESRCH cannot be, and EPERM is a delegate that changed its user: then it ends when it is done.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;

    fn call(path: &Path) -> Call {
        let environment = Environment::of_process()
            .with("CNI_PATH", path)
            .with("CNI_CONTAINERID", "c1")
            .with("TRACEPARENT", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let stdin = br#"{"cniVersion":"1.0.0","name":"n",  "odd":1}"#.to_vec();
        Call::new(environment, stdin, Stop::never()).unwrap()
    }

    /// A folder with one executable shell script in it.
    struct Folder(PathBuf);

    impl Folder {
        fn with_script(name: &str, script: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("cni-types-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let program = folder.join("ipam");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_delegate_type_cannot_leave_cni_path() {
        let folder = Folder::with_script("escape", "touch \"$0.ran\"");
        let call = call(&folder.0.join("sub"));
        for kind in ["", ".", "..", "../ipam", "/bin/true", "a/b", "a\0b", "..\\ipam"] {
            assert_eq!(call.delegate(kind).unwrap_err().code, Code::INVALID_CONFIG, "{kind:?}");
        }
        assert!(!folder.0.join("ipam.ran").exists());
    }

    #[test]
    fn a_missing_delegate_is_named_with_the_path() {
        let call = call(Path::new("/nonexistent/a:/nonexistent/b"));
        let error = call.delegate("x").unwrap_err();
        assert_eq!(error.msg, r#"failed to find plugin "x" in path [/nonexistent/a /nonexistent/b]"#);
    }

    #[test]
    fn a_delegate_gets_the_same_environment_and_stdin() {
        let folder = Folder::with_script(
            "same",
            r#"cat > "$0.stdin"; env > "$0.env"; echo '{"ips":[{"address":"10.0.0.2/24"}]}'"#,
        );
        let call = call(&folder.0);
        let result = call.delegate("ipam").unwrap().add().unwrap();
        assert_eq!(result.ips.len(), 1);
        assert_eq!(std::fs::read(folder.0.join("ipam.stdin")).unwrap(), call.stdin());
        let seen = std::fs::read_to_string(folder.0.join("ipam.env")).unwrap();
        for line in [
            "CNI_COMMAND=ADD",
            "CNI_CONTAINERID=c1",
            "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(seen.lines().any(|l| l == line), "{line} in {seen}");
        }
    }

    #[test]
    fn the_error_of_a_delegate_is_passed_on_verbatim() {
        let folder =
            Folder::with_script("error", r#"echo '{"code":117,"msg":"no luck","details":"at all"}'; exit 1"#);
        let error = call(&folder.0).delegate("ipam").unwrap().del().unwrap_err();
        assert_eq!(error, Error::new(Code(117), "no luck").with_details("at all"));
    }

    #[test]
    fn a_delegate_that_breaks_the_protocol_is_described() {
        let folder = Folder::with_script("mute", "exit 3");
        let error = call(&folder.0).delegate("ipam").unwrap().del().unwrap_err();
        assert_eq!(error.msg, r#"plugin "ipam" failed with no error message: exit status: 3"#);
        let folder = Folder::with_script("garbage", "echo oops; exit 3");
        let error = call(&folder.0).delegate("ipam").unwrap().del().unwrap_err();
        assert_eq!((error.code, error.details.as_str()), (Code::DELEGATE, "oops"));
        let folder = Folder::with_script("noresult", "echo oops");
        assert_eq!(call(&folder.0).delegate("ipam").unwrap().add().unwrap_err().code, Code::DECODE);
    }

    #[test]
    fn a_delegate_that_reads_nothing_and_prints_much_does_not_block() {
        let folder = Folder::with_script("much", "head -c 1000000 /dev/zero | tr '\\0' x; exit 1");
        let error = call(&folder.0).delegate("ipam").unwrap().del().unwrap_err();
        assert_eq!(error.details.len(), 1_000_000);
    }
}
