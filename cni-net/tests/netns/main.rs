//! Every function of cni-net against the real kernel, in namespaces that each test has for itself.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

mod addresses;
mod disturbed_lists;
mod events;
mod kinds;
mod links;
mod macspoof;
mod masquerade;
mod masquerade_at_once;
mod masquerade_packets;
mod namespaces;
mod neighbours;
mod peers;
mod policies;
mod routes;
mod ruleset;
mod scene;
mod sysctls;
mod veth;
mod vlans;

use std::process::ExitCode;

fn main() -> ExitCode {
    let suites = [
        namespaces::tests(),
        links::tests(),
        veth::tests(),
        vlans::tests(),
        kinds::tests(),
        addresses::tests(),
        routes::tests(),
        neighbours::tests(),
        peers::tests(),
        policies::tests(),
        events::tests(),
        sysctls::tests(),
        disturbed_lists::tests(),
        masquerade::tests(),
        masquerade_at_once::tests(),
        masquerade_packets::tests(),
        macspoof::tests(),
        ruleset::tests(),
    ];
    testkit::main(suites.into_iter().flatten().collect())
}
