//! The known faults of the reference, and how the tests handle them. The tests ignore nothing else:
//! what is not listed here must hold.

use crate::node::{Node, Side, find_tool, try_tool};
use cni_types::Command;
use std::{fs, os::unix::fs::symlink, path::Path};
use testkit::{OrFail, Suite};

/// With the nftables backend, DEL of the reference 1.9.1 also looks for chains of iptables, and
/// fails if the program is installed and the chains do not exist. The tests give it a `PATH`
/// without iptables, as on a node that has none.
pub(crate) fn path(node: &Node<'_>, side: Side, command: Command) -> Option<&'static str> {
    let hit = side == Side::Reference
        && command == Command::Del
        && node.suite == Suite::Sid
        && node
            .key("ipMasqBackend")
            .is_some_and(|backend| backend == "nftables");
    hit.then(path_without_iptables)
}

fn path_without_iptables() -> &'static str {
    const FOLDER: &str = "/run/path-without-iptables";
    if !Path::new(FOLDER).exists() {
        fs::create_dir(FOLDER).or_fail("make a folder");
        let nft = find_tool("nft").or_fail("find nft");
        symlink(nft, Path::new(FOLDER).join("nft")).or_fail("make a link");
    }
    FOLDER
}

/// The reference's GC succeeds and frees nothing (1.9.1); 1.1.1 has no GC.
pub(crate) fn gc_frees(side: Side) -> bool {
    side == Side::Ours
}

/// 1.1.1 does not support GC: it came with version 1.1.0 of the specification.
pub(crate) fn has_gc(side: Side, suite: Suite) -> bool {
    side == Side::Ours || suite == Suite::Sid
}

/// 1.1.1 does not support the nftables backend: its ADD makes iptables rules whatever
/// `ipMasqBackend` says, and its DEL fails on rules of nf_tables. Before a node goes back to it,
/// the pods that ours masqueraded with nf_tables must be deleted by ours; or DEL by ours removes
/// what is left.
pub(crate) fn leaves_nftables_rules(node: &Node<'_>, side: Side) -> bool {
    side == Side::Reference
        && node.suite == Suite::Bookworm
        && node
            .key("ipMasqBackend")
            .is_some_and(|backend| backend == "nftables")
}

/// 1.1.1 leaves every port in VLAN 1 (containernetworking/plugins#667), which CHECK reports.
pub(crate) fn leaves_vlan_1(node: &Node<'_>, side: Side) -> bool {
    side == Side::Reference && node.suite == Suite::Bookworm && node.key("vlan").is_some()
}

/// Bridges without VLAN filtering do not accept `vlan_filtering`.
pub(crate) fn has_vlan_filtering() -> bool {
    let made = try_tool("ip link add name probe type bridge vlan_filtering 1").is_some();
    try_tool("ip link del probe");
    made
}
