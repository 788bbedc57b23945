//! Entry functions for the fuzzer: whatever the kernel or a program of the system may answer, now
//! or in a version to come. Compiled with the feature `fuzzing` only.

use crate::{iptables, netlink, nft, rtnl};

/// Reads a datagram of rtnetlink, and each of its messages as everything that it can be.
///
/// # Panics
/// If a reader does.
pub fn netlink(data: &[u8]) {
    rtnl::fuzz::read(data);
    netlink::payloads(data)
        .iter()
        .for_each(|payload| rtnl::fuzz::read(payload));
}

/// Reads an answer of nf_tables as everything that it can be.
///
/// # Panics
/// If a reader does.
pub fn nftables(data: &[u8]) {
    nft::fuzz::read(data);
}

/// Reads what `iptables-save -t nat` printed, and plans the removal of everything in it.
///
/// # Panics
/// If the plan would delete what was not printed.
pub fn iptables_save(data: &[u8]) {
    iptables::fuzz::read(&String::from_utf8_lossy(data));
}
