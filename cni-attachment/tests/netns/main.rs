//! The rules of attachments against the real kernel, in namespaces of each test's own.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod mac_check;
mod masquerade;
mod masquerade_at_once;
mod scene;

use std::process::ExitCode;

fn main() -> ExitCode {
    let suites = [
        masquerade::tests(),
        masquerade_at_once::tests(),
        mac_check::tests(),
    ];
    testkit::main(suites.into_iter().flatten().collect())
}
