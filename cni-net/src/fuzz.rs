//! Entry functions for the fuzzer: any answer that the kernel or a program of the system may give,
//! now or in a later version. Compiled with the feature `fuzzing` only.

use crate::{iptables, netlink, nft, rtnl};

/// Reads a datagram of rtnetlink, and each of its messages with every reader.
///
/// # Panics
/// Panics if a reader does.
pub fn netlink(data: &[u8]) {
    rtnl::fuzz::read(data);
    netlink::payloads(data)
        .iter()
        .for_each(|payload| rtnl::fuzz::read(payload));
}

/// Reads an answer of nf_tables with every reader.
///
/// # Panics
/// Panics if a reader does.
pub fn nftables(data: &[u8]) {
    nft::fuzz::read(data);
}

/// Reads the output of `iptables-save -t nat`, and plans the removal of everything in it.
///
/// # Panics
/// Panics if the plan would delete a rule that was not printed.
pub fn iptables_save(data: &[u8]) {
    iptables::fuzz::read(&String::from_utf8_lossy(data));
}
