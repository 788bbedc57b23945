//! `cni-conformance`: shows whether CNI plugins keep the specification, by running them.

mod cli;

use conformance::suite;
use std::process::ExitCode;

fn main() -> ExitCode {
    suite::stand_in().unwrap_or_else(|| {
        // If this fails the dispositions stay as they are, which is no reason not to do what was
        // asked.
        let _ = cni_types::set_signal_dispositions();
        cli::main(std::env::args_os())
    })
}
