//! `cni-conformance`: shows whether CNI plugins keep the specification, by running them.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main(std::env::args_os())
}
