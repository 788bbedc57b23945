//! `torture` kills, terminates and delays plugins at every system call that they make, makes each
//! call fail, and floods plugins with requests. It reports what they leave behind, runs that hang,
//! and answers without a document. It needs no root and runs in namespaces of its own.

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

/// The exit status if a plugin has a defect.
const EXIT_DEFECT: u8 = 1;
/// The exit status if the plugins could not be tested.
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

/// Carries out the task and returns true if no plugin has a defect.
///
/// # Errors
/// Fails if the plugins cannot be tested.
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

/// Moves this process into namespaces of its own. Every process that is started from here on ends
/// with this process, also on Ctrl-C.
fn enter() -> Result<(), ToolError> {
    sandbox::enter().map_err(|e| e.to_string())?;
    sandbox::end_on_signals().map_err(|e| format!("cannot block signals: {e}"))
}

/// Prints the table and, if `file` is given, writes it there at the mark.
fn conclude(table: &str, mark: &str, file: Option<&Path>) -> Result<(), ToolError> {
    print(table);
    match file {
        Some(file) => figures::put(file, mark, table),
        None => Ok(()),
    }
}

/// Prints to stdout. Ignores errors, because the reader may have gone away (`| head`).
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
