//! Where the reference is known to fall short, and what the tests do about it. Nothing else is passed over: what is not here must
//! hold.

use crate::node::{Node, Side, find_tool, try_tool};
use cni_types::Command;
use std::{fs, os::unix::fs::symlink, path::Path};
use testkit::{OrFail, Suite};

/// With the nftables backend, DEL of the reference 1.9.1 also looks for chains of iptables, and fails where the program is installed
/// and the chains are not there. It is given a `PATH` without iptables, as on a node that has none.
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

/// 1.1.1 does not know GC at all: it came with version 1.1.0 of the specification.
pub(crate) fn has_gc(side: Side, suite: Suite) -> bool {
    side == Side::Ours || suite == Suite::Sid
}

/// 1.1.1 does not know the nftables backend: its ADD makes iptables rules whatever `ipMasqBackend` says, and its DEL fails over rules of
/// nf_tables. A node that goes back to it needs the pods that ours masqueraded so deleted before, or a DEL by ours for what is left.
pub(crate) fn leaves_nftables_rules(node: &Node<'_>, side: Side) -> bool {
    side == Side::Reference
        && node.suite == Suite::Bookworm
        && node
            .key("ipMasqBackend")
            .is_some_and(|backend| backend == "nftables")
}

/// 1.1.1 leaves every port in VLAN 1 (containernetworking/plugins#667), which CHECK tells.
pub(crate) fn leaves_vlan_1(node: &Node<'_>, side: Side) -> bool {
    side == Side::Reference && node.suite == Suite::Bookworm && node.key("vlan").is_some()
}

/// Bridges without VLAN filtering take no `vlan_filtering`.
pub(crate) fn has_vlan_filtering() -> bool {
    let made = try_tool("ip link add name probe type bridge vlan_filtering 1").is_some();
    try_tool("ip link del probe");
    made
}
