//! Swap on a live node: these plugins and the Go reference take over from one another while pods
//! run.
//!
//! [`matrix`] is a table of networks × both directions × the versions of the reference that Debian
//! has. [`traffic`] shows that pods keep talking meanwhile, [`seen`] the differences between the
//! two implementations. [`quirks`] names the known faults of the reference, and what is expected
//! instead.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

mod cases;
mod matrix;
mod node;
mod quirks;
mod seen;
mod traffic;
mod whole;

use std::process::ExitCode;

fn main() -> ExitCode {
    testkit::main(
        [matrix::tests(), traffic::tests(), seen::tests()]
            .into_iter()
            .flatten()
            .collect(),
    )
}
