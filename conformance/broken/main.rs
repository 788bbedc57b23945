//! A plugin that is broken on purpose: see `conformance::suite::fault`.

use std::process::ExitCode;

fn main() -> ExitCode {
    conformance::suite::fault::main()
}
