//! Compatibility with cnitool, the CNI project's own runtime: each tool checks and deletes the
//! attachments of the other.

use crate::node::{Node, Outcome};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use testkit::{Host, OrFail, Test, bin_dir, require};

const NETWORK: &str = r#"{"cniVersion": "1.1.0", "name": "n", "plugins": [{"type": "bridge", "bridge": "br0",
    "capabilities": {"mac": true}, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]}}]}"#;

pub(crate) fn tests() -> Vec<Test> {
    crate::tests![
        the_result_and_the_cached_file_are_cnitool_s,
        cnictl_checks_and_deletes_what_cnitool_added,
        cnitool_checks_and_deletes_what_cnictl_added,
    ]
}

/// Returns the path of cnitool, which scripts/fetch-cnitool builds; ends the test as ignored if
/// there is no cnitool.
fn cnitool() -> PathBuf {
    let path = std::env::var_os("CNITOOL").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/cnitool/cnitool"),
        PathBuf::from,
    );
    require(
        "cnitool (scripts/fetch-cnitool makes it, or set CNITOOL)",
        path.exists(),
    );
    path
}

fn node(host: &Host) -> Node<'_> {
    let node = Node::new(host);
    node.network("10-n.conflist", NETWORK);
    node
}

/// Runs a program with cnitool's arguments and variables, and the default cache.
fn tool(node: &Node<'_>, program: &Path, arguments: [&str; 3]) -> Outcome {
    let mut command = Command::new(program);
    command.args(arguments);
    let bin = bin_dir().display().to_string();
    let net = node.path("etc/cni/net.d").display().to_string();
    let capabilities = r#"{"mac":"02:00:00:00:00:07","x":[1]}"#;
    node.run(
        command,
        &[
            ("CNI_PATH", &bin),
            ("NETCONFPATH", &net),
            ("CAP_ARGS", capabilities),
            ("CNI_ARGS", "IgnoreUnknown=1;FOO=bar"),
            ("CNI_IFNAME", "net1"),
        ],
    )
}

fn cnictl() -> PathBuf {
    bin_dir().join("cnictl")
}

/// Returns the name and the content of the only file in the cache.
fn cached_file() -> (String, serde_json::Value) {
    let entry = fs::read_dir("/var/lib/cni/results")
        .or_fail("list")
        .next()
        .or_fail("a file")
        .or_fail("a file");
    let text = fs::read_to_string(entry.path()).or_fail("read");
    (
        entry.file_name().to_string_lossy().into_owned(),
        serde_json::from_str(&text).or_fail("read as JSON"),
    )
}

fn the_result_and_the_cached_file_are_cnitool_s(host: &Host) {
    let cnitool = cnitool();
    let node = node(host);
    let _pod = host.pod("blue");
    let mut seen = Vec::new();
    for program in [&cnitool, &cnictl()] {
        let added = tool(&node, program, ["add", "n", "/run/netns/blue"]);
        let mut result = added.success().json();
        let (name, mut file) = cached_file();
        // The second ADD gets the next address, and the host's end a new MAC address.
        let address = result["ips"][0]["address"]
            .as_str()
            .or_fail("an address")
            .to_owned();
        assert_eq!(file["result"]["ips"][0]["address"], address.as_str());
        for result in [&mut result, &mut file["result"]] {
            result["ips"][0]["address"] = "A".into();
            result["interfaces"][1]["mac"] = "M".into();
        }
        // One tool writes the configuration as it read it, the other as it parsed it.
        file["config"] = serde_json::Value::Null;
        seen.push((name, file, result, added.stdout.ends_with('\n')));
        tool(&node, program, ["del", "n", "/run/netns/blue"]).success();
    }
    assert_eq!(seen[0], seen[1]);
}

fn cnictl_checks_and_deletes_what_cnitool_added(host: &Host) {
    add_by_one_and_delete_by_other(host, &cnitool(), &cnictl());
}

fn cnitool_checks_and_deletes_what_cnictl_added(host: &Host) {
    add_by_one_and_delete_by_other(host, &cnictl(), &cnitool());
}

/// Tests that `second` checks and deletes what `first` added, and that `first` then finds nothing.
fn add_by_one_and_delete_by_other(host: &Host, first: &Path, second: &Path) {
    let node = node(host);
    let pod = host.pod("blue");
    let before = host.state(&[&pod]);
    tool(&node, first, ["add", "n", "/run/netns/blue"]).success();
    tool(&node, second, ["check", "n", "/run/netns/blue"]).success();
    tool(&node, second, ["status", "n", "/run/netns/blue"]).success();
    tool(&node, second, ["del", "n", "/run/netns/blue"]).success();
    assert_eq!(
        fs::read_dir("/var/lib/cni/results").or_fail("list").count(),
        0
    );
    let left = host.state(&[&pod]).difference(&before);
    assert!(
        !left.contains("veth") && !left.contains("networks/n/10.1"),
        "{left}"
    );
    tool(&node, first, ["check", "n", "/run/netns/blue"]).exit(1);
}
