//! Every function of cni-net against the real kernel, in namespaces of each test's own.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

mod addresses;
mod disturbed_lists;
mod events;
mod iptables;
mod kinds;
mod links;
mod namespaces;
mod neighbours;
mod nft;
mod nft_packets;
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
        nft::tests(),
        nft_packets::tests(),
        iptables::tests(),
        ruleset::tests(),
    ];
    testkit::main(suites.into_iter().flatten().collect())
}
