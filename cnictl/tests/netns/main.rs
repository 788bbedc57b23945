//! cnictl on real namespaces, with freshly built plugins.
#![expect(clippy::indexing_slicing, reason = "a failing test may panic")]

mod cnitool;
mod doctor;
mod lifecycle;
mod node;

use std::process::ExitCode;
use testkit::tests;

fn main() -> ExitCode {
    let mut all = lifecycle::tests();
    all.extend(cnitool::tests());
    all.extend(doctor::tests());
    testkit::main(all)
}
