//! The template as a program.

use std::process::ExitCode;

fn main() -> ExitCode {
    cni_types::main(&plugin::Template)
}
