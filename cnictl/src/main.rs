//! `cnictl`: CNI for the person at the node.
//!
//! It attaches and detaches as cnitool does, with the same environment and the same cache; shows
//! what is attached and what is reserved; and looks for what is wrong. Everything but `add`, `del`,
//! `gc` and `ipam --gc` only looks.

mod arguments;
mod attach;
mod attachments;
mod collect;
mod doctor;
mod failure;
mod networks;
mod places;
mod plugins;
mod reservations;
mod screen;
mod spelling;
mod survey;
mod trace;

use arguments::{Arguments, Request};
use cni_types::Environment;
use failure::Failure;
use screen::Screen;
use std::process::ExitCode;

/// Done, and nothing is wrong.
const FINE: u8 = 0;
/// Something failed, or a problem was found.
const PROBLEM: u8 = 1;
/// The command line cannot be understood.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    // If this fails the dispositions stay as they are, which is no reason not to do what was asked.
    let _ = cni_types::set_signal_dispositions();
    let environment = Environment::of_process();
    let code = match Arguments::parse(std::env::args_os().skip(1), &environment) {
        Ok(arguments) => run(&arguments, &environment),
        Err(e) => {
            let screen = Screen::new(false);
            screen.complain(&e.to_string());
            screen.tell("cnictl --help shows the commands and options");
            USAGE
        }
    };
    ExitCode::from(code)
}

fn run(arguments: &Arguments, environment: &Environment) -> u8 {
    let screen = Screen::new(arguments.json);
    match carry_out(arguments, environment, &screen) {
        Ok(true) => FINE,
        Ok(false) => PROBLEM,
        Err(failure) => {
            failure.show(&screen);
            PROBLEM
        }
    }
}

/// Returns false if a problem was found.
fn carry_out(
    arguments: &Arguments,
    environment: &Environment,
    screen: &Screen,
) -> Result<bool, Failure> {
    match &arguments.request {
        Request::Help => screen.print(arguments::USAGE),
        Request::Attachment { .. } => attach::attachment(arguments, environment, screen)?,
        Request::CheckAll { network } => {
            return survey::check_all(&arguments.places, network.as_deref(), screen);
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
