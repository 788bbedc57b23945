//! The bridge plugin on real namespaces: what it must do, and what people and programs rely on, key by key.
//!
//! Every test starts the built plugin as a runtime would and then looks at the kernel, not only at the answer. One module
//! for each theme; [`network`] makes the requests, [`kernel`] is what is looked at.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

mod addressing;
mod chained;
mod check;
mod concurrency;
mod container;
mod del;
mod errors;
mod gateway;
mod gc;
mod host;
mod kernel;
mod macspoof;
mod masquerade;
mod network;
mod result;
mod rollback;
mod snapshot;
mod status;
mod versions;

use conformance::testbed;
use std::process::ExitCode;

fn main() -> ExitCode {
    let themes = [
        addressing::tests(),
        chained::tests(),
        check::tests(),
        concurrency::tests(),
        container::tests(),
        del::tests(),
        errors::tests(),
        gateway::tests(),
        gc::tests(),
        host::tests(),
        macspoof::tests(),
        masquerade::tests(),
        result::tests(),
        rollback::tests(),
        status::tests(),
        versions::tests(),
    ];
    testbed::main(themes.into_iter().flatten().collect())
}
