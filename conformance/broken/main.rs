//! A plugin that is broken on purpose: see `conformance::suite::fault`.

use conformance::suite::{cases, fault, swap};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut cases = cases().iter().chain(swap::CASES);
    fault::main(|id| cases.find(|case| case.id == id).map(|case| case.faults))
}
