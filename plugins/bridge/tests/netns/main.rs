//! The bridge plugin on real namespaces: its behaviour, key by key, and what people and programs
//! rely on.
//!
//! Every test starts the built plugin as a runtime would, and then checks the kernel's state, not
//! only the answer. One module for each theme; [`network`] makes the requests, [`kernel`] reads the
//! state.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

mod addressing;
mod bridge_mac;
mod chained;
mod check;
mod concurrency;
mod container;
mod del;
mod del_matrix;
mod dhcp;
mod errors;
mod faults;
mod foreign;
mod frames;
mod gateway;
mod gc;
mod host;
mod iptables;
mod ipv6;
mod kernel;
mod leftovers;
mod limits;
mod macspoof;
mod masquerade;
mod nat;
mod network;
mod odd_names;
mod one_add;
mod parameters;
mod result;
mod reuse;
mod rollback;
mod runtimes;
mod snapshot;
mod spanning_tree;
mod status;
mod trace;
mod versions;
mod vlan;
mod vlan_gateway;
mod waits;

use std::process::ExitCode;

fn main() -> ExitCode {
    let themes = [
        addressing::tests(),
        chained::tests(),
        bridge_mac::tests(),
        check::tests(),
        concurrency::tests(),
        container::tests(),
        del::tests(),
        del_matrix::tests(),
        dhcp::tests(),
        errors::tests(),
        faults::tests(),
        foreign::tests(),
        frames::tests(),
        gateway::tests(),
        gc::tests(),
        host::tests(),
        iptables::tests(),
        macspoof::tests(),
        ipv6::tests(),
        leftovers::tests(),
        limits::tests(),
        masquerade::tests(),
        odd_names::tests(),
        parameters::tests(),
        one_add::tests(),
        result::tests(),
        reuse::tests(),
        rollback::tests(),
        runtimes::tests(),
        spanning_tree::tests(),
        status::tests(),
        versions::tests(),
        waits::tests(),
        vlan::tests(),
        vlan_gateway::tests(),
    ];
    testkit::main(themes.into_iter().flatten().collect())
}
