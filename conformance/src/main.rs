//! `cni-conformance`: shows whether CNI plugins keep the specification, by running them.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    conformance::suite::double::main().unwrap_or_else(|| cli::main(std::env::args_os()))
}
