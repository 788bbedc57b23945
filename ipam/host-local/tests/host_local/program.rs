//! Runs the real binary against a data directory of its own. A failure prints the whole
//! request and its answer.

use cni_types::{Environment, Stop};
use host_local::HostLocal;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// The size of a pipe, in bytes: a write of no more does not wait for a reader (pipe(7)).
const PIPE_SIZE: usize = 64 << 10;

/// A data directory, removed at the end.
pub(crate) struct DataDir(PathBuf);

impl DataDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("host-local-test-{}-{count}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into the folder of network `n`.
    pub(crate) fn seed(&self, name: &str, content: &str) {
        fs::create_dir_all(self.0.join("n")).unwrap();
        fs::write(self.0.join("n").join(name), content).unwrap();
    }

    /// Every file but the lock, the round robin's and what can be made again, with its content.
    pub(crate) fn records(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let name = entry.file_name().into_string().unwrap();
                match entry.file_type().unwrap().is_dir() {
                    true if name == ".index" || name == ".origin" => {}
                    true => folders.push(entry.path()),
                    false if name == "lock" || name.starts_with("last_reserved_ip.") => {}
                    false => {
                        let path = entry
                            .path()
                            .strip_prefix(&self.0)
                            .unwrap()
                            .display()
                            .to_string();
                        files.insert(path, fs::read_to_string(entry.path()).unwrap());
                    }
                }
            }
        }
        files
    }

    /// The records as pairs of name and content.
    pub(crate) fn holds(&self, wanted: &[(&str, &str)]) -> bool {
        let wanted = wanted
            .iter()
            .map(|(name, content)| (format!("n/{name}"), (*content).to_owned()));
        self.records() == wanted.collect()
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One request.
#[derive(Clone)]
pub(crate) struct Request {
    command: &'static str,
    environment: BTreeMap<String, String>,
    stdin: Value,
}

impl Request {
    /// A request for (c1, eth0) on network `n` at version 1.1.0, with this `ipam` section.
    pub(crate) fn new(command: &'static str, data: &DataDir, ipam: Value) -> Self {
        let mut stdin = json!({"cniVersion": "1.1.0", "name": "n", "type": "bridge", "ipam": ipam});
        if let Some(ipam) = stdin["ipam"].as_object_mut() {
            ipam.insert("type".into(), "host-local".into());
            ipam.entry("dataDir").or_insert(data.path().to_str().into());
        }
        let mut request = Self {
            command,
            environment: BTreeMap::new(),
            stdin,
        };
        for (name, value) in [
            ("NETNS", "/nonexistent/netns"),
            ("IFNAME", "eth0"),
            ("PATH", "/nonexistent"),
        ] {
            request
                .environment
                .insert(format!("CNI_{name}"), value.into());
        }
        request.of("c1")
    }

    /// The same request for another container.
    pub(crate) fn of(self, container_id: &str) -> Self {
        self.variable("CNI_CONTAINERID", container_id)
    }

    /// The same request with another environment variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    /// The same request with another key at the top of the configuration.
    pub(crate) fn key(mut self, name: &str, value: Value) -> Self {
        self.stdin[name] = value;
        self
    }

    /// Starts the program.
    pub(crate) fn spawn(&self) -> Child {
        self.spawn_as(Command::new(env!("CARGO_BIN_EXE_host-local")))
    }

    /// Starts `program`, which is to become the plugin and may not read its stdin at once.
    pub(crate) fn spawn_as(&self, mut program: Command) -> Child {
        let stdin = self.stdin.to_string();
        let is_large = stdin.len() > PIPE_SIZE;
        let mut child = program
            .env_clear()
            .env("CNI_COMMAND", self.command)
            .envs(&self.environment)
            .stdin(if is_large {
                sandbox::stdin::file(stdin.as_bytes()).unwrap().into()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if let Some(mut pipe) = child.stdin.take() {
            // A program that was killed before it read its input is no failure of the test.
            let _ = pipe.write_all(stdin.as_bytes());
        }
        child
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self) -> Answer {
        self.answer(self.spawn())
    }

    /// Serves the request in this process: whether it succeeded, and what it would have printed.
    pub(crate) fn run_in_process(&self) -> (bool, String) {
        self.run_in(&HostLocal::default())
    }

    /// The same on a machine of its own.
    pub(crate) fn run_in(&self, plugin: &HostLocal) -> (bool, String) {
        let environment =
            Environment::from_iter(&self.environment).with("CNI_COMMAND", self.command);
        let stdin = self.stdin.to_string().into_bytes();
        let reply = cni_types::answer(plugin, environment, Stop::never(), |_| Ok(stdin));
        (reply.success, reply.stdout.unwrap_or_default())
    }

    /// Waits for a program that [`Self::spawn`] started.
    pub(crate) fn answer(&self, child: Child) -> Answer {
        Answer {
            request: self.clone(),
            output: child.wait_with_output().unwrap(),
        }
    }

    /// As [`Self::answer`], of a program that somebody else has waited for.
    pub(crate) fn answer_of(&self, child: Child, status: ExitStatus) -> Answer {
        let mut stdout = Vec::new();
        let mut stderr = Vec::new();
        child.stdout.unwrap().read_to_end(&mut stdout).unwrap();
        child.stderr.unwrap().read_to_end(&mut stderr).unwrap();
        Answer {
            request: self.clone(),
            output: Output {
                status,
                stdout,
                stderr,
            },
        }
    }
}

/// The program's answer.
pub(crate) struct Answer {
    request: Request,
    output: Output,
}

impl Answer {
    /// Everything that a person needs to repeat the request.
    pub(crate) fn report(&self) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = &self.output;
        let environment: Vec<String> = self
            .request
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value:?}"))
            .collect();
        format!(
            "\ncommand: CNI_COMMAND={} {} {}\nstdin:   {}\nstatus:  {status}\nstdout:  {}\nstderr:  {}",
            self.request.command,
            environment.join(" "),
            env!("CARGO_BIN_EXE_host-local"),
            self.request.stdin,
            String::from_utf8_lossy(stdout),
            String::from_utf8_lossy(stderr),
        )
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.output.status.success()
    }

    /// The result of a request that succeeded; null without a document.
    pub(crate) fn success(&self) -> Value {
        assert!(self.succeeded(), "the request failed{}", self.report());
        if self.output.stdout.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.output.stdout)
            .unwrap_or_else(|e| panic!("{e}{}", self.report()))
    }

    /// The addresses of a result, as text.
    pub(crate) fn addresses(&self) -> Vec<String> {
        let result = self.success();
        let ips = result["ips"].as_array().cloned().unwrap_or_default();
        ips.iter()
            .map(|ip| ip["address"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Code, text and details of a request that failed, with exactly one document on stdout.
    pub(crate) fn failure(&self) -> (u64, String, String) {
        assert!(!self.succeeded(), "the request succeeded{}", self.report());
        let error: Value = serde_json::from_slice(&self.output.stdout)
            .unwrap_or_else(|e| panic!("{e}{}", self.report()));
        let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
        (
            error["code"].as_u64().unwrap(),
            text("msg"),
            text("details"),
        )
    }

    /// Asserts a failure with this code whose text starts with `msg`.
    pub(crate) fn assert_failure(&self, code: u64, msg: &str) {
        let (found_code, found_msg, _) = self.failure();
        assert!(
            found_code == code && found_msg.starts_with(msg),
            "wanted: code {code}, msg {msg:?}…{}",
            self.report()
        );
    }
}
