//! cnictl on real namespaces, with freshly built plugins.
#![expect(clippy::indexing_slicing, reason = "a failing test may panic")]

mod cnitool;
mod doctor;
mod lifecycle;
mod node;

use conformance::testbed::{self, tests};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut all = lifecycle::tests();
    all.extend(cnitool::tests());
    all.extend(doctor::tests());
    testbed::main(all)
}
