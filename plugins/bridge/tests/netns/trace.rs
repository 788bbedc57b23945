//! The plugin under strace: the system calls that it makes, and the outcome if one of them fails.

use crate::kernel;
use testkit::{Host, Invocation, OrFail, Outcome, bin_dir};

/// A run of the plugin with the recorded calls. Delegates are not traced.
pub(crate) struct Trace {
    pub(crate) outcome: Outcome,
    pub(crate) lines: Vec<String>,
}

impl Trace {
    /// Runs the request; `calls` as strace's `-e trace=` takes them.
    pub(crate) fn of(host: &Host, request: &Invocation<'_>, calls: &str) -> Self {
        Self::run(host, request, &format!("-e trace={calls}"))
    }

    /// Runs the request, and has the `number`th call of this kind fail with `errno`.
    pub(crate) fn with_fault(
        host: &Host,
        request: &Invocation<'_>,
        call: &str,
        errno: &str,
        number: usize,
    ) -> Self {
        let options = format!("-e trace={call} -e inject={call}:error={errno}:when={number}");
        Self::run(host, request, &options)
    }

    /// Runs the request, and has each call of this kind from the `first`th on fail with `errno`.
    pub(crate) fn with_faults_from(
        host: &Host,
        request: &Invocation<'_>,
        call: &str,
        errno: &str,
        first: usize,
    ) -> Self {
        let options = format!("-e trace={call} -e inject={call}:error={errno}:when={first}+");
        Self::run(host, request, &options)
    }

    /// Runs the request under strace with these options.
    pub(crate) fn run(host: &Host, request: &Invocation<'_>, options: &str) -> Self {
        kernel::require_tool("strace");
        let log = host.file("strace.log", "");
        let body = format!(
            "exec strace -qq -s 4096 -o {} {options} {}/bridge",
            log.display(),
            bin_dir().display()
        );
        let outcome = request.clone().program(host.script("traced", &body)).run();
        let text = std::fs::read(&log).or_fail("read what strace wrote");
        let is_call = |line: &&str| !line.starts_with("---") && !line.starts_with("+++");
        let lines = String::from_utf8_lossy(&text)
            .lines()
            .filter(is_call)
            .map(str::to_owned)
            .collect();
        Self { outcome, lines }
    }
}
