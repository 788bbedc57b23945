//! Delegation (spec section 4): another plugin, found in `CNI_PATH`, is run with the same environment and the
//! same configuration. Its stderr is ours; its error becomes our error, word for word.

use crate::{
    call::{Call, Command},
    environment::Environment,
    error::{Code, Error},
    json::Json,
    program::{Output, Program, Running, Stderr},
    result::AddResult,
    stop::Stop,
};

/// A delegate, found and ready to be run for one call.
#[derive(Debug)]
pub struct Delegate<'a> {
    call: &'a Call,
    program: Program,
}

impl<'a> Delegate<'a> {
    /// Looks `kind` up in the call's `CNI_PATH`.
    ///
    /// # Errors
    /// Code 7 for a name with which the program could lie outside `CNI_PATH` (CVE-2021-20206), 102 where
    /// there is none.
    pub(crate) fn find(call: &'a Call, kind: &str) -> Result<Self, Error> {
        Program::find(kind, &call.environment().text("CNI_PATH")).map(|program| Self { call, program })
    }

    /// Runs ADD and reads the result.
    ///
    /// # Errors
    /// The delegate's own, or 6 where its result cannot be read.
    pub fn add(&self) -> Result<AddResult, Error> {
        self.start_add()?.result()
    }

    /// Starts ADD; something else can be done until the result is needed.
    ///
    /// # Errors
    /// Code 102 where the delegate cannot be run.
    pub fn start_add(&self) -> Result<RunningAdd<'a>, Error> {
        let running =
            self.program.start(&self.environment(Command::Add), self.call.stdin(), Stderr::Inherited)?;
        Ok(RunningAdd { call: self.call, kind: self.program.kind().to_owned(), running: Some(running) })
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
        let environment = self.environment(command);
        let output = self.program.run(&environment, self.call.stdin(), Stderr::Inherited, stop);
        stop.check()?;
        output?.document()
    }

    fn environment(&self, command: Command) -> Environment {
        self.call.environment().clone().with("CNI_COMMAND", command.as_str())
    }
}

/// A delegate's ADD that was started. Dropped, it is waited for, so that its DEL does not overtake it; as in every wait, a
/// request to stop is passed on to it.
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
    /// The delegate's own, or 6 where its result cannot be read.
    pub fn result(mut self) -> Result<AddResult, Error> {
        let output = self.running.take().map(|running| running.finish(&self.call.stop)).transpose();
        self.call.stop.check()?;
        let document = output?.map_or_else(|| Ok(Vec::new()), Output::document)?;
        let undecodable = |e: &dyn std::fmt::Display| {
            Error::new(
                Code::DECODE,
                format!("plugin {:?} printed a result that cannot be read: {e}", self.kind),
            )
        };
        let json = Json::parse(&document).map_err(|e| undecodable(&e))?;
        AddResult::from_json(&json).map_err(|e| undecodable(&e))
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
    };

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
