//! `cnictl`: CNI for the person at the node.
//!
//! It attaches and detaches as cnitool does, with the same environment and the same cache; it shows
//! attachments and reservations; and it finds problems. Only `add`, `del`, `gc` and `ipam --gc`
//! change anything.

mod arguments;
mod attach;
mod attachments;
mod check_all;
mod collect;
mod doctor;
mod failure;
mod networks;
mod paths;
mod plugins;
mod required_plugins;
mod reservations;
mod screen;
mod spelling;
mod trace;

use arguments::{Arguments, Request};
use cni_types::Environment;
use failure::Failure;
use screen::Screen;
use std::process::ExitCode;

/// Success: the command did its work and found no problem.
const EXIT_OK: u8 = 0;
/// Failure: something failed, or a problem was found.
const EXIT_FAILURE: u8 = 1;
/// Usage error: the command line is invalid.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    // If this fails, the dispositions stay as they are, and the command works all the same.
    let _ = cni_types::set_signal_dispositions();
    let environment = Environment::of_process();
    let code = match Arguments::parse(std::env::args_os().skip(1), &environment) {
        Ok(arguments) => run(&arguments, &environment),
        Err(e) => {
            let screen = Screen::new(false);
            screen.message(&e.to_string());
            screen.print_error("cnictl --help shows the commands and options");
            EXIT_USAGE
        }
    };
    ExitCode::from(code)
}

fn run(arguments: &Arguments, environment: &Environment) -> u8 {
    let screen = Screen::new(arguments.json);
    match dispatch(arguments, environment, &screen) {
        Ok(true) => EXIT_OK,
        Ok(false) => EXIT_FAILURE,
        Err(failure) => {
            failure.show(&screen);
            EXIT_FAILURE
        }
    }
}

/// Runs the requested command. Returns false if it found a problem.
fn dispatch(
    arguments: &Arguments,
    environment: &Environment,
    screen: &Screen,
) -> Result<bool, Failure> {
    match &arguments.request {
        Request::Help => screen.print(arguments::USAGE),
        Request::Attachment { .. } => attach::attachment(arguments, environment, screen)?,
        Request::CheckAll { network } => {
            return check_all::check_all(&arguments.paths, network.as_deref(), screen);
        }
        Request::OwnVersion => screen.print(concat!("cnictl ", env!("CARGO_PKG_VERSION"), "\n")),
        Request::Gc {
            network,
            extent,
            dry_run,
        } => {
            collect::gc(arguments, network, *extent, *dry_run, screen)?;
        }
        Request::Status { network } => plugins::status(arguments, network, screen)?,
        Request::Version { network } => plugins::version(arguments, network.as_deref(), screen)?,
        Request::List { network } => attachments::list(arguments, network.as_deref(), screen)?,
        Request::Ipam { network, task } => {
            reservations::ipam(arguments, network.as_deref(), *task, screen)?
        }
        Request::Doctor => return Ok(doctor::doctor(arguments, screen)),
    }
    Ok(true)
}
