//! The `bridge` plugin as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cni_types::main(&bridge::Bridge)
}
