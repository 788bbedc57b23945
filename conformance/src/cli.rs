//! The command line: what is asked for, run, and printed.
//!
//! Exit status: 0 if every MUST and SHOULD is kept, 1 if one is not, 2 if nothing can be said: a
//! mistake on the command line, no user namespaces, an error of the suite itself.

mod arguments;
mod compare;
mod execute;

use arguments::{Action, USAGE};
use std::{ffi::OsString, io::Write, process::ExitCode};

/// Nothing can be said about the plugins.
const EXIT_TROUBLE: u8 = 2;

/// The program.
pub(crate) fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let ended = match arguments::parse(arguments) {
        Ok(Action::Help) => print(USAGE).map(|()| ExitCode::SUCCESS),
        Ok(Action::Version) => print(&format!("cni-conformance {}\n", env!("CARGO_PKG_VERSION")))
            .map(|()| ExitCode::SUCCESS),
        Ok(Action::List(run)) => execute::list(&run),
        Ok(Action::Run(run)) => execute::run(&run),
        Ok(Action::Explain { case, run }) => execute::explain(&case, run),
        Ok(Action::Swap(run)) => compare::swap(&run),
        Ok(Action::Diff(run)) => compare::diff(&run),
        Ok(Action::Bench { folders, run }) => compare::bench(&folders, &run),
        Err(text) => Err(format!(
            "{text}\ncni-conformance --help shows the commands and options"
        )),
    };
    ended.unwrap_or_else(|text| {
        let _ = writeln!(std::io::stderr(), "cni-conformance: {}", text.trim_end());
        ExitCode::from(EXIT_TROUBLE)
    })
}

/// Prints to stdout. A reader that has gone away (`| head`) is no trouble.
fn print(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("cannot print: {e}")),
        _ => Ok(()),
    }
}
