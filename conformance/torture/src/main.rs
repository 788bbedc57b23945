//! `torture`: kills, terminates, fails and delays the plugins at every system call that they make,
//! floods them, and looks for what is left, for what hangs, and for documents that are missing.
//! Rootless, in namespaces of its own.

mod arguments;
mod attempt;
mod calls;
mod figures;
mod flood;
mod point;
mod report;
mod request;
mod scene;
mod subject;
mod sweep;

use arguments::{Arguments, Task, USAGE};
use request::ToolError;
use std::{io::Write, path::Path, process::ExitCode};

/// Something is wrong with the plugins.
const EXIT_DEFECT: u8 = 1;
/// Nothing can be said about them.
const EXIT_TROUBLE: u8 = 2;

fn main() -> ExitCode {
    let ended = arguments::parse(std::env::args_os().skip(1))
        .map_err(|text| format!("{text}\n\n{USAGE}"))
        .and_then(|arguments| carry_out(&arguments));
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_DEFECT),
        Err(text) => {
            let _ = writeln!(std::io::stderr(), "torture: {}", text.trim_end());
            ExitCode::from(EXIT_TROUBLE)
        }
    }
}

/// Returns true if nothing is wrong.
fn carry_out(arguments: &Arguments) -> Result<bool, ToolError> {
    match &arguments.task {
        Task::Help => {
            print(USAGE);
            Ok(true)
        }
        Task::Sweep(selection) => {
            enter()?;
            let whole = sweep::sweep(selection, &|part| {
                print(&format!("{}\n{}", part.summary(), part.findings()));
            })?;
            if whole.tried() == 0 {
                return Err("no point fits".to_owned());
            }
            let scope = match selection.every {
                1 => "Every point".to_owned(),
                every => format!("One point of {every}"),
            };
            let minutes = whole.minutes();
            let table = format!("{}\n{scope}, in {minutes:.0} minutes.\n", whole.table());
            conclude(&table, "torture", arguments.write.as_deref())?;
            print(&format!("\n{}", report::LEGEND));
            Ok(whole.defects() == 0)
        }
        Task::Flood(flood) => {
            enter()?;
            let outcome = flood.run()?;
            print(&outcome.findings());
            conclude(&outcome.table(), "flood", arguments.write.as_deref())?;
            Ok(outcome.is_clean())
        }
    }
}

/// Leaves the machine. What is started from here on ends with this process, also on Ctrl-C.
fn enter() -> Result<(), ToolError> {
    sandbox::enter().map_err(|e| e.to_string())?;
    sandbox::end_on_signals().map_err(|e| format!("cannot block signals: {e}"))
}

fn conclude(table: &str, mark: &str, file: Option<&Path>) -> Result<(), ToolError> {
    print(table);
    match file {
        Some(file) => figures::put(file, mark, table),
        None => Ok(()),
    }
}

/// Prints to stdout. A reader that has gone away (`| head`) is no trouble.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
