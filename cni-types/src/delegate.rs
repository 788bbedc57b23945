//! Delegation (spec section 4): another plugin, found in `CNI_PATH`, is run with the same
//! environment and the same configuration. It shares our stderr, and its error is reported as ours,
//! unchanged.
//!
//! Since a delegate gets the same configuration, a delegate that is its own delegate (`"ipam":
//! {"type": "bridge"}`) would start processes without end. So a plugin refuses to delegate to
//! itself. For longer cycles, also through plugins of other suites, an environment variable counts
//! the depth of delegations.

use crate::{
    call::{Call, Command},
    environment::Environment,
    error::{Code, Error},
    keep::KeepAddresses,
    program::{GRACE, Output, Program, Running, Stderr},
    result::AddResult,
    stop::Stop,
};

/// The variable with the number of delegations that led to this process; absent in a process that a
/// runtime started.
const DEPTH: &str = "CNI_DELEGATION_DEPTH";

/// The greatest depth of delegations. A meta-plugin's delegate and the IPAM plugin of that reach a
/// depth of two.
const MAX_DEPTH: u32 = 4;

/// A delegate, found and ready to run for one call.
#[derive(Debug)]
pub struct Delegate<'a> {
    call: &'a Call,
    program: Program,
    depth: u32,
    keep: KeepAddresses,
}

impl Call {
    /// Finds the delegate called `kind` in `CNI_PATH`.
    ///
    /// # Errors
    /// Fails with code 7 for a name that could leave `CNI_PATH` or leads back to this plugin, and
    /// with 102 if there is no such program.
    pub fn delegate(&self, kind: &str) -> Result<Delegate<'_>, Error> {
        Delegate::find(self, kind)
    }
}

impl<'a> Delegate<'a> {
    /// Looks `kind` up in the call's `CNI_PATH`.
    ///
    /// # Errors
    /// Fails with code 7 for a name with which the program could lie outside `CNI_PATH`
    /// (CVE-2021-20206) and for a delegate that leads back, with 102 if no such program exists, and
    /// with 4 if the depth is not a number.
    fn find(call: &'a Call, kind: &str) -> Result<Self, Error> {
        let depth = depth_of(call.environment())?;
        if call.is_own_kind(kind) {
            return Err(leads_back(kind, "a plugin cannot be its own delegate"));
        }
        if depth >= MAX_DEPTH {
            let details = format!(
                "this plugin is already delegate number {depth} of a chain; {MAX_DEPTH} are allowed"
            );
            return Err(leads_back(kind, &details));
        }
        let program = Program::find(kind, &call.environment().text("CNI_PATH"))?;
        Ok(Self {
            call,
            program,
            depth: depth + 1,
            keep: KeepAddresses::default(),
        })
    }

    /// Returns the delegate with addresses that its GC must leave reserved. Delegates of other
    /// suites ignore the variable that holds them.
    #[must_use]
    pub fn keeping(mut self, keep: KeepAddresses) -> Self {
        self.keep = keep;
        self
    }

    /// Runs ADD and reads the result.
    ///
    /// # Errors
    /// Fails with the delegate's own error, or with code 6 if its result cannot be decoded.
    pub fn add(&self) -> Result<AddResult, Error> {
        self.start_add()?.result()
    }

    /// Starts ADD, and returns while it runs.
    ///
    /// # Errors
    /// Fails with code 102 if the delegate cannot be run.
    pub fn start_add(&self) -> Result<RunningAdd<'a>, Error> {
        let running = self.program.start(
            &self.environment(Command::Add),
            self.call.stdin(),
            Stderr::Inherited,
        )?;
        Ok(RunningAdd {
            call: self.call,
            kind: self.program.kind().to_owned(),
            running: Some(running),
        })
    }

    /// Runs DEL. A request to stop is passed on to the delegate, which then has 5 seconds to end.
    /// After a request to stop that came earlier, as in the rollback of a stopped ADD, the delegate
    /// first gets 5 seconds to finish, since its work must be done.
    ///
    /// # Errors
    /// Fails with the delegate's own error.
    pub fn del(&self) -> Result<(), Error> {
        let clean_up = Stop::after(GRACE);
        let stop = if self.call.stop.check().is_ok() {
            &self.call.stop
        } else {
            &clean_up
        };
        self.run(Command::Del, stop)?.document().map(drop)
    }

    /// Runs `command`, which prints nothing if it succeeds: CHECK, STATUS or GC.
    ///
    /// # Errors
    /// Fails with the delegate's own error.
    pub fn verify(&self, command: Command) -> Result<(), Error> {
        let output = self.run(command, &self.call.stop);
        self.call.stop.check()?;
        output?.document().map(drop)
    }

    fn run(&self, command: Command, stop: &Stop) -> Result<Output, Error> {
        self.program.run(
            &self.environment(command),
            self.call.stdin(),
            Stderr::Inherited,
            stop,
        )
    }

    fn environment(&self, command: Command) -> Environment {
        let environment = self
            .call
            .environment()
            .clone()
            .with("CNI_COMMAND", command.as_str());
        let environment = environment.with(DEPTH, self.depth.to_string());
        if self.keep.is_empty() {
            return environment;
        }
        environment.with(KeepAddresses::VARIABLE, self.keep.to_string())
    }
}

fn depth_of(environment: &Environment) -> Result<u32, Error> {
    let text = environment.text(DEPTH);
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        Error::new(
            Code::INVALID_ENVIRONMENT,
            format!("invalid {DEPTH}: {text:?} is not a number"),
        )
    })
}

fn leads_back(kind: &str, details: &str) -> Error {
    Error::new(
        Code::INVALID_CONFIG,
        format!("delegation to plugin {kind:?} leads back to itself"),
    )
    .with_details(format!(
        "{details}; correct the type (\"ipam\": {{\"type\": …}}) in the network configuration"
    ))
}

/// A delegate's ADD that was started. Dropping it waits for its end, so that its DEL does not
/// overtake it, and passes a request to stop on to it.
#[derive(Debug)]
pub struct RunningAdd<'a> {
    call: &'a Call,
    kind: String,
    running: Option<Running>,
}

impl RunningAdd<'_> {
    /// Waits for the delegate and reads its result.
    ///
    /// # Errors
    /// Fails with the delegate's own error, or with code 6 if its result cannot be decoded.
    pub fn result(mut self) -> Result<AddResult, Error> {
        let output = self
            .running
            .take()
            .map(|running| running.finish(&self.call.stop))
            .transpose();
        self.call.stop.check()?;
        let document = output?.map_or_else(|| Ok(Vec::new()), Output::document)?;
        AddResult::parse(&document).map_err(|e| {
            e.context(format_args!(
                "plugin {:?} printed a result that cannot be read",
                self.kind
            ))
        })
    }
}

impl Drop for RunningAdd<'_> {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let _ = running.finish(&self.call.stop);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::fs::PermissionsExt,
        path::{Path, PathBuf},
        time::{Duration, Instant},
    };

    fn call(path: &Path) -> Call {
        let environment = Environment::of_process()
            .with("CNI_PATH", path)
            .with("CNI_CONTAINERID", "c1")
            .with(
                "TRACEPARENT",
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            );
        let stdin = br#"{"cniVersion":"1.0.0","name":"n",  "odd":1}"#.to_vec();
        Call::new(environment, stdin, Stop::never()).unwrap()
    }

    /// A folder that holds one executable shell script.
    struct Folder(PathBuf);

    impl Folder {
        fn with_script(name: &str, script: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("cni-types-{}-{name}", std::process::id()));
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
        for kind in [
            "",
            ".",
            "..",
            "../ipam",
            "/bin/true",
            "a/b",
            "a\0b",
            "..\\ipam",
        ] {
            assert_eq!(
                call.delegate(kind).unwrap_err().code,
                Code::INVALID_CONFIG,
                "{kind:?}"
            );
        }
        assert!(!folder.0.join("ipam.ran").exists());
    }

    #[test]
    fn a_missing_delegate_is_named_with_the_path() {
        let call = call(Path::new("/nonexistent/a:/nonexistent/b"));
        let error = call.delegate("x").unwrap_err();
        assert_eq!(
            error.msg,
            r#"failed to find plugin "x" in path [/nonexistent/a /nonexistent/b]"#
        );
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
        assert_eq!(
            std::fs::read(folder.0.join("ipam.stdin")).unwrap(),
            call.stdin()
        );
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
        let folder = Folder::with_script(
            "error",
            r#"echo '{"code":117,"msg":"no luck","details":"at all"}'; exit 1"#,
        );
        let error = call(&folder.0).delegate("ipam").unwrap().del().unwrap_err();
        assert_eq!(
            error,
            Error::new(Code(117), "no luck").with_details("at all")
        );
    }

    #[test]
    fn a_delegate_that_breaks_the_protocol_is_described() {
        let folder = Folder::with_script("mute", "exit 3");
        let error = call(&folder.0).delegate("ipam").unwrap().del().unwrap_err();
        assert_eq!(
            error.msg,
            r#"plugin "ipam" failed with no error message: exit status: 3"#
        );
        let folder = Folder::with_script("garbage", "echo oops; exit 3");
        let error = call(&folder.0).delegate("ipam").unwrap().del().unwrap_err();
        assert_eq!(
            (error.code, error.details.as_str()),
            (Code::DELEGATE, "oops")
        );
        let folder = Folder::with_script("noresult", "echo oops");
        assert_eq!(
            call(&folder.0)
                .delegate("ipam")
                .unwrap()
                .add()
                .unwrap_err()
                .code,
            Code::DECODE
        );
    }

    #[test]
    fn a_delegate_that_reads_nothing_and_prints_much_does_not_block() {
        let folder = Folder::with_script("much", "head -c 1000000 /dev/zero | tr '\\0' x; exit 1");
        let error = call(&folder.0).delegate("ipam").unwrap().del().unwrap_err();
        assert_eq!(error.details.len(), 1_000_000);
    }

    fn refusal(call: &Call, kind: &str) -> Error {
        call.delegate(kind).unwrap_err()
    }

    #[test]
    fn a_plugin_is_not_its_own_delegate_by_its_name_nor_by_the_type_that_was_run() {
        let folder = Folder::with_script("own", "exit 0");
        let stdin = br#"{"cniVersion":"1.0.0","name":"n","type":"ipam"}"#.to_vec();
        let environment = Environment::of_process().with("CNI_PATH", &folder.0);
        let call = Call::new(environment, stdin, Stop::never())
            .unwrap()
            .for_plugin("bridge");
        for kind in ["bridge", "ipam"] {
            let error = refusal(&call, kind);
            assert_eq!(error.code, Code::INVALID_CONFIG);
            assert_eq!(
                error.msg,
                format!("delegation to plugin {kind:?} leads back to itself")
            );
        }
    }

    #[test]
    fn a_chain_of_delegates_ends_at_its_limit() {
        let folder = Folder::with_script("depth", r#"echo "$CNI_DELEGATION_DEPTH" >> "$0.log""#);
        for depth in ["", "0", "3"] {
            let call = call_in(&folder.0, depth);
            call.delegate("ipam").unwrap().del().unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(folder.0.join("ipam.log")).unwrap(),
            "1\n1\n4\n"
        );
        for depth in ["4", "5", "4294967295"] {
            assert_eq!(
                refusal(&call_in(&folder.0, depth), "ipam").code,
                Code::INVALID_CONFIG
            );
        }
        for depth in ["-1", "x", "4294967296"] {
            assert_eq!(
                refusal(&call_in(&folder.0, depth), "ipam").code,
                Code::INVALID_ENVIRONMENT
            );
        }
    }

    fn call_in(folder: &Path, depth: &str) -> Call {
        let environment = Environment::of_process()
            .with("CNI_PATH", folder)
            .with(DEPTH, depth);
        Call::new(environment, br#"{"name":"n"}"#.to_vec(), Stop::never()).unwrap()
    }

    #[test]
    fn a_del_that_is_asked_to_stop_passes_it_on() {
        let folder = Folder::with_script("hangs", "exec sleep 60");
        let mut call = call(&folder.0);
        call.stop = Stop::after(Duration::from_millis(200));
        let start = Instant::now();
        assert!(call.delegate("ipam").unwrap().del().is_err());
        assert!(start.elapsed() < GRACE, "{:?}", start.elapsed());
    }

    #[test]
    fn the_clean_up_of_a_request_that_was_stopped_gives_the_delegate_its_time() {
        let folder = Folder::with_script("slow", r#"sleep 0.5; touch "$0.done""#);
        let mut call = call(&folder.0);
        call.stop = Stop::after(Duration::ZERO);
        call.delegate("ipam").unwrap().del().unwrap();
        assert!(folder.0.join("ipam.done").exists());
    }

    #[test]
    fn a_delegate_that_is_there_but_not_executable_is_named() {
        let folder = Folder::with_script("mode", "exit 0");
        let program = folder.0.join("ipam");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = refusal(&call(&folder.0), "ipam");
        assert_eq!(
            error.msg,
            r#"failed to run plugin "ipam": permission denied"#
        );
        assert!(error.details.starts_with(&format!(
            "{} is there, but not executable",
            program.display()
        )));
    }
}
