//! The life of attachments: add, check, del and gc, with list, ipam, status and version.

use crate::node::Node;
use std::fs;
use testkit::{Host, OrFail, Test};

/// A chain of a bridge and a script that passes the result on and records its calls.
const CHAIN: &str = r#"{
    "cniVersion": "1.1.0", "name": "n",
    "plugins": [
        {"type": "bridge", "bridge": "br0", "isGateway": true, "capabilities": {"mac": true},
         "ipam": {"type": "host-local", "dataDir": "/run/cni-data",
                  "ranges": [[{"subnet": "10.1.0.0/29"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "notes"}
    ]
}"#;

const NOTES: &str = r#"
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME" >>/run/notes
case $CNI_COMMAND in
ADD) sed 's/.*"prevResult"://;s/}$//' ;;
VERSION) echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}' ;;
esac
"#;

pub(crate) fn tests() -> Vec<Test> {
    crate::tests![
        a_chain_is_added_checked_listed_and_deleted,
        a_trace_shows_every_run_with_input_output_and_time,
        a_failure_is_reported_and_exits_1,
        usage_exits_2,
        a_namespace_that_a_runtime_attached_is_reported_with_the_runtime_s_id,
        check_under_another_name_says_what_is_attached,
        a_list_of_an_unknown_network_is_an_error,
        status_without_status_looks_for_the_plugins,
        a_name_of_ip_netns_is_refused_with_its_path,
        a_chain_that_fails_half_way_says_how_to_undo_it,
        a_plugin_that_is_its_own_ipam_plugin_is_not_started,
        del_uses_the_cached_configuration_if_no_file_has_the_network,
        gc_ends_what_is_stale_and_keeps_what_may_live,
        gc_frees_nothing_if_it_cannot_read_the_reservations,
        gc_keeps_attachments_whose_namespace_may_only_be_hidden,
        gc_uses_the_cached_configuration_if_no_file_has_the_network,
        a_dry_run_of_gc_changes_nothing,
        ipam_shows_holders_and_what_is_left,
        ipam_gc_frees_the_dead_and_only_them,
        ipam_goes_on_after_a_network_that_cannot_be_read,
        versions_of_all_plugins_are_shown,
    ]
}

fn node(host: &Host) -> Node<'_> {
    let node = Node::new(host);
    node.network("10-n.conflist", CHAIN);
    let script = host.script("notes", NOTES);
    fs::copy(script, node.path("opt/cni/bin/notes")).or_fail("install a script");
    node
}

fn notes() -> Vec<String> {
    let text = fs::read_to_string("/run/notes").unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn a_chain_is_added_checked_listed_and_deleted(host: &Host) {
    let node = node(host);
    let pod = host.pod("blue");
    let path = pod.path().display().to_string();
    let before = host.state(&[&pod]);
    let capabilities = [
        ("CAP_ARGS", r#"{"mac":"02:00:00:00:00:07"}"#),
        ("CNI_ARGS", "IgnoreUnknown=1"),
    ];
    let added = node.cnictl_with(&["add", "n", &path], &capabilities);
    let result = added.success().json();
    assert_eq!(result["ips"][0]["address"], "10.1.0.2/29");
    assert_eq!(result["interfaces"][2]["mac"], "02:00:00:00:00:07");
    node.cnictl(&["check", "n", &path]).success();
    let list = node.cnictl(&["list", "--json"]).success().json();
    assert_eq!(
        (
            &list[0]["network"],
            &list[0]["state"],
            &list[0]["addresses"][0],
            &list[0]["netns"]
        ),
        (
            &"n".into(),
            &"alive".into(),
            &"10.1.0.2/29".into(),
            &path.as_str().into()
        )
    );
    node.cnictl(&["list"])
        .success()
        .says("10.1.0.2/29")
        .says("alive");
    node.cnictl(&["del", "n", &path]).success();
    let id = list[0]["containerId"].as_str().or_fail("an id");
    assert_eq!(
        notes(),
        ["ADD", "CHECK", "DEL"].map(|verb| format!("{verb} {id} eth0"))
    );
    assert_eq!(
        node.cnictl(&["list", "--json"]).success().json(),
        serde_json::json!([])
    );
    let after = host.state(&[&pod]).difference(&before);
    assert!(
        !after.contains("veth") && !after.contains("n/10.1.0"),
        "{after}"
    );
}

fn a_trace_shows_every_run_with_input_output_and_time(host: &Host) {
    let node = node(host);
    let pod = host.pod("blue");
    let path = pod.path().display().to_string();
    let traced = node.cnictl(&["add", "n", &path, "--trace"]);
    traced
        .success()
        .says(">>> ADD /run/node/opt/cni/bin/bridge\n");
    traced.says("=== ADD /run/node/opt/cni/bin/bridge: exit status: 0, ");
    traced
        .says("CNI_IFNAME=eth0")
        .says("--- stdin")
        .says(r#""prevResult""#)
        .says("--- stdout");
    let traced = node.cnictl(&["del", "n", &path, "--trace", "--json"]);
    let lines: Vec<serde_json::Value> = traced
        .success()
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).or_fail("read a line"))
        .collect();
    assert_eq!(
        lines.iter().map(|line| &line["plugin"]).collect::<Vec<_>>(),
        ["notes", "bridge"]
    );
    assert_eq!(lines[1]["environment"]["CNI_COMMAND"], "DEL");
    assert_eq!(
        lines[1]["stdin"]["prevResult"]["ips"][0]["address"],
        "10.1.0.2/29"
    );
    assert!(
        lines[1]["milliseconds"]
            .as_f64()
            .is_some_and(|time| time > 0.0)
    );
}

fn a_failure_is_reported_and_exits_1(host: &Host) {
    let node = node(host);
    let pod = host.pod("blue");
    let path = pod.path().display().to_string();
    node.cnictl(&["add", "m", &path])
        .exit(1)
        .says(r#"no net configuration with name "m" in /run/node/etc/cni/net.d"#);
    let failed = node.cnictl(&["add", "n", "/run/netns/none", "--json"]);
    let error = &failed
        .exit(1)
        .says(r#"failed to open netns "/run/netns/none""#)
        .json()["errors"][0];
    assert_eq!(
        (&error["plugin"], &error["command"], &error["code"]),
        (&"bridge".into(), &"ADD".into(), &8.into())
    );
    node.cnictl(&["check", "n", &path])
        .exit(1)
        .says("there is no cached result");
    node.cnictl_with(&["add", "n", &path], &[("CNI_ARGS", "bad")])
        .exit(1)
        .says(r#"invalid CNI_ARGS pair "bad""#);
    node.network("00-broken.conflist", "{");
    node.cnictl(&["add", "n", &path])
        .success()
        .says("skipped: /run/node/etc/cni/net.d/00-broken.conflist");
}

fn usage_exits_2(host: &Host) {
    let node = Node::new(host);
    node.cnictl(&["add", "n"])
        .exit(2)
        .says("expected NETWORK and NETNS");
    let mistyped = node.cnictl(&["chekc", "n", "p"]);
    mistyped.exit(2);
    assert_eq!(
        mistyped.stderr,
        "cnictl: unknown command \"chekc\"; did you mean check?\n\
         cnictl --help shows the commands and options\n"
    );
    node.cnictl(&["--help"]).success().says("cnictl add");
}

fn a_namespace_that_a_runtime_attached_is_reported_with_the_runtime_s_id(host: &Host) {
    let node = node(host);
    let _pod = host.pod("blue");
    node.cnictl(&["add", "n", "/run/netns/blue", "--id", "pod-1"])
        .success();
    for command in ["check", "del"] {
        node.cnictl(&[command, "n", "/run/netns/blue"])
            .exit(1)
            .says("as container pod-1; use --id pod-1");
    }
    assert_eq!(notes(), ["ADD pod-1 eth0"]);
    node.cnictl(&["check", "n", "/run/netns/../netns/blue/", "--id", "pod-1"])
        .success();
    node.cnictl(&["del", "n", "/run/netns/blue", "--id", "pod-1"])
        .success();
    node.cnictl(&["del", "n", "/run/netns/blue"]).success();
}

fn check_under_another_name_says_what_is_attached(host: &Host) {
    let node = node(host);
    let _pod = host.pod("blue");
    node.network(
        "20-m.conflist",
        CHAIN.replace(r#""name": "n""#, r#""name": "m""#),
    );
    node.cnictl(&[
        "add",
        "n",
        "/run/netns/blue",
        "--id",
        "pod-1",
        "--ifname",
        "net1",
    ])
    .success();
    for arguments in [
        &["check", "m", "/run/netns/blue", "--ifname", "net1"][..],
        &[
            "check",
            "m",
            "/run/netns/blue",
            "--ifname",
            "net1",
            "--id",
            "pod-1",
        ],
        &["check", "nosuch", "/run/netns/blue", "--ifname", "net1"],
        &["check", "n", "/run/netns/blue"],
    ] {
        node.cnictl(arguments)
            .exit(1)
            .says("; attached to n as net1 (--id pod-1)");
    }
    assert_eq!(notes(), ["ADD pod-1 net1"]);
}

fn a_list_of_an_unknown_network_is_an_error(host: &Host) {
    let node = node(host);
    let _pod = host.pod("blue");
    node.cnictl(&["list", "n"])
        .success()
        .says("no attachments in /run/node/var/lib/cni/results");
    node.cnictl(&["list", "nosuch"])
        .exit(1)
        .says(r#"no net configuration with name "nosuch""#);
    node.cnictl(&["add", "n", "/run/netns/blue"]).success();
    node.network(
        "20-m.conflist",
        CHAIN.replace(r#""name": "n""#, r#""name": "m""#),
    );
    node.cnictl(&["list", "m"])
        .success()
        .says("no attachment to m in /run/node/var/lib/cni/results")
        .says("; 1 to other networks");
    fs::remove_file(node.path("etc/cni/net.d/10-n.conflist")).or_fail("remove the file");
    node.cnictl(&["list", "n"]).success().says("alive");
}

fn status_without_status_looks_for_the_plugins(host: &Host) {
    let node = node(host);
    node.network("10-n.conflist", CHAIN.replace("1.1.0", "1.0.0"));
    node.cnictl(&["status", "n"])
        .success()
        .says("STATUS came with version 1.1.0; all plugins are installed");
    fs::remove_file(node.path("opt/cni/bin/notes")).or_fail("remove");
    node.cnictl(&["status", "n"])
        .exit(1)
        .says(r#"failed to find plugin "notes""#);
}

fn a_name_of_ip_netns_is_refused_with_its_path(host: &Host) {
    let node = node(host);
    let _pod = host.pod("blue");
    let refused = node.cnictl(&["add", "n", "blue"]);
    refused
        .exit(1)
        .says("NETNS must be a path: use /run/netns/blue for the namespace blue");
    assert_eq!(notes(), [""; 0]);
}

fn a_chain_that_fails_half_way_says_how_to_undo_it(host: &Host) {
    let node = node(host);
    let pod = host.pod("blue");
    let before = host.state(&[&pod]);
    fs::remove_file(node.path("opt/cni/bin/notes")).or_fail("remove");
    let undo = "cnictl del n /run/netns/blue --ifname eth0";
    node.cnictl(&["add", "n", "/run/netns/blue"])
        .exit(1)
        .says(undo);
    node.cnictl(&["add", "n", "/run/netns/blue", "--id", "c1"])
        .exit(1);
    fs::copy(host.script("notes", NOTES), node.path("opt/cni/bin/notes"))
        .or_fail("install a script");
    let undo: Vec<&str> = undo.split_whitespace().skip(1).collect();
    node.cnictl(&undo).success();
    let left = host.state(&[&pod]).difference(&before);
    assert!(
        !left.contains("veth") && !left.contains("n/10.1.0"),
        "{left}"
    );
}

fn a_plugin_that_is_its_own_ipam_plugin_is_not_started(host: &Host) {
    let node = node(host);
    let _pod = host.pod("blue");
    let network = r#"{"cniVersion": "1.1.0", "name": "n",
        "plugins": [{"type": "notes", "ipam": {"type": "notes"}}]}"#;
    node.network("10-n.conflist", network);
    for command in ["add", "check", "del", "gc", "status"] {
        let refused = node.cnictl(&[command, "n", "/run/netns/blue"]);
        refused.exit(1).says("ipam.type of notes is notes itself");
    }
    node.cnictl(&["doctor"])
        .exit(1)
        .says("notes.ipam.type is notes, which is the plugin itself");
    assert!(
        notes().iter().all(|note| note.starts_with("VERSION")),
        "{:?}",
        notes()
    );
}

fn del_uses_the_cached_configuration_if_no_file_has_the_network(host: &Host) {
    let node = node(host);
    let pod = host.pod("blue");
    let path = pod.path().display().to_string();
    node.cnictl(&["add", "n", &path]).success();
    fs::remove_file(node.path("etc/cni/net.d/10-n.conflist")).or_fail("remove the file");
    node.cnictl(&["del", "n", &path])
        .success()
        .says("using the cached configuration of the attachment");
    assert!(!fs::exists("/run/cni-data/n/10.1.0.2").or_fail("look"));
}

fn gc_ends_what_is_stale_and_keeps_what_may_live(host: &Host) {
    let node = node(host);
    let blue = host.pod("blue");
    let red = host.pod("red");
    for pod in [&blue, &red] {
        node.cnictl(&["add", "n", &pod.path().display().to_string()])
            .success();
    }
    // An attachment of a runtime with another cache, and a record that the reference wrote.
    node.cnictl(&[
        "add",
        "n",
        "/run/netns/blue",
        "--ifname",
        "net1",
        "--cache-dir",
        "/run/elsewhere",
    ])
    .success();
    fs::write("/run/cni-data/n/10.1.0.6", "foreign\r\neth0").or_fail("write a record");
    red.remove();
    node.cnictl(&["list"]).success().says("stale");
    node.cnictl(&["gc", "n"]).success();
    let left: Vec<bool> = [2, 3, 4, 6]
        .map(|n| fs::exists(format!("/run/cni-data/n/10.1.0.{n}")).or_fail("look"))
        .to_vec();
    assert_eq!(left, [true, false, true, true]);
    node.cnictl(&["check", "n", "/run/netns/blue"]).success();
    assert_eq!(
        node.cnictl(&["list", "--json"])
            .json()
            .as_array()
            .map(Vec::len),
        Some(1)
    );
    node.cnictl(&["gc", "n", "--all"]).success();
    assert!(!fs::exists("/run/cni-data/n/10.1.0.2").or_fail("look"));
    assert!(!fs::exists("/run/cni-data/n/10.1.0.6").or_fail("look"));
}

fn gc_frees_nothing_if_it_cannot_read_the_reservations(host: &Host) {
    let node = node(host);
    let _pod = host.pod("blue");
    node.cnictl(&["add", "n", "/run/netns/blue"]).success();
    fs::rename("/run/cni-data", "/run/moved").or_fail("rename");
    std::os::unix::fs::symlink("/run/moved", "/run/cni-data").or_fail("link");
    node.cnictl(&["gc", "n"]).exit(1).says("symbolic link");
    assert!(
        !notes().iter().any(|note| note.starts_with("GC")),
        "{:?}",
        notes()
    );
}

fn gc_keeps_attachments_whose_namespace_may_only_be_hidden(host: &Host) {
    let node = node(host);
    let pod = host.pod("blue");
    node.cnictl(&["add", "n", "/run/netns/blue"]).success();
    node.cnictl(&[
        "add",
        "n",
        "/run/netns/blue",
        "--id",
        "pod-1",
        "--ifname",
        "net1",
    ])
    .success();
    node.file("var/lib/cni/results/n-pod-1-net1", "");
    // A container with other mounts sees the mount point as an empty file.
    pod.remove();
    fs::write("/run/netns/blue", "").or_fail("write");
    node.cnictl(&["gc", "n", "--dry-run"])
        .success()
        .says("keep  cnitool-")
        .says("keep  pod-1 net1");
    fs::rename("/run/netns", "/run/moved").or_fail("rename");
    node.cnictl(&["list"]).success().says("unknown");
    node.cnictl(&["gc", "n"]).success();
    assert!(
        !notes().iter().any(|note| note.starts_with("DEL")),
        "{:?}",
        notes()
    );
    node.cnictl(&["gc", "n", "--dry-run", "--all"])
        .success()
        .says("end   cnitool-");
    fs::rename("/run/moved", "/run/netns").or_fail("rename");
}

fn gc_uses_the_cached_configuration_if_no_file_has_the_network(host: &Host) {
    let node = node(host);
    let pod = host.pod("red");
    node.cnictl(&["add", "n", "/run/netns/red"]).success();
    fs::remove_file(node.path("etc/cni/net.d/10-n.conflist")).or_fail("remove the file");
    node.cnictl(&["ipam", "n"]).success().says("1 of 5 in use");
    pod.remove();
    node.cnictl(&["gc", "n"])
        .success()
        .says("using the cached configuration of the attachment");
    assert!(!fs::exists("/run/cni-data/n/10.1.0.2").or_fail("look"));
    node.cnictl(&["gc", "n"])
        .exit(1)
        .says(r#"no net configuration with name "n""#);
}

fn a_dry_run_of_gc_changes_nothing(host: &Host) {
    let node = node(host);
    let pod = host.pod("red");
    node.cnictl(&["add", "n", "/run/netns/red"]).success();
    pod.remove();
    node.cnictl(&["gc", "n", "--dry-run"])
        .success()
        .says("end   cnitool-");
    // The kernel removes the dead namespace's interfaces later, so only files are compared.
    assert!(fs::exists("/run/cni-data/n/10.1.0.2").or_fail("look"));
    node.cnictl(&["list"]).success().says("stale");
    assert!(
        !notes()
            .iter()
            .any(|note| note.starts_with("DEL") || note.starts_with("GC")),
        "{:?}",
        notes()
    );
}

fn ipam_shows_holders_and_what_is_left(host: &Host) {
    let node = node(host);
    let pod = host.pod("blue");
    node.cnictl(&["add", "n", "/run/netns/blue"]).success();
    fs::write("/run/cni-data/n/10.9.0.6", "old").or_fail("write a record");
    let shown = node.cnictl(&["ipam", "n"]);
    shown
        .success()
        .says("10.1.0.1-10.1.0.6: 1 of 5 in use, 4 free")
        .says("/run/netns/blue")
        .says("alive");
    shown.says("outside the configured ranges");
    pod.remove();
    let json = node.cnictl(&["ipam", "--json"]).success().json();
    let first = &json[0]["reservations"][0];
    assert_eq!(
        (&first["address"], &first["netnsState"]),
        (&"10.1.0.2".into(), &"stale".into())
    );
    assert_eq!(json[0]["ranges"][0]["free"], 4);
    assert_eq!(json[0]["reservations"][1]["containerId"], "old");
}

fn ipam_gc_frees_the_dead_and_only_them(host: &Host) {
    let node = node(host);
    let _blue = host.pod("blue");
    let red = host.pod("red");
    for pod in ["blue", "red"] {
        node.cnictl(&["add", "n", &format!("/run/netns/{pod}")])
            .success();
    }
    fs::write("/run/cni-data/n/10.1.0.5", "").or_fail("write a record");
    fs::write("/run/cni-data/n/10.1.0.6", "foreign\r\neth0").or_fail("write a record");
    red.remove();
    let records =
        || [2, 3, 5, 6].map(|n| fs::exists(format!("/run/cni-data/n/10.1.0.{n}")).or_fail("look"));
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    testkit::require("a machine-id(5)", machine.trim().len() == 32);
    node.cnictl(&["ipam", "n", "--gc", "--dry-run"])
        .success()
        .says("would free 10.1.0.5 of nobody: without content");
    let json = node.cnictl(&["ipam", "n", "--json"]).success().json();
    let origins: Vec<_> = [2, 3]
        .map(|at| {
            json[0]["reservations"][at]["origin"]
                .as_str()
                .unwrap_or_default()
        })
        .to_vec();
    assert_eq!(origins, ["empty", "unknown"]);
    assert_eq!(records(), [true; 4]);
    node.file("etc/machine-id", machine);
    node.cnictl(&["ipam", "n", "--gc"])
        .success()
        .says("freed 10.1.0.3")
        .says("freed 10.1.0.5");
    assert_eq!(records(), [true, false, false, true]);
}

fn ipam_goes_on_after_a_network_that_cannot_be_read(host: &Host) {
    let node = node(host);
    let list = |name: &str, plugin: &str| format!(r#"{{"name":"{name}","plugins":[{plugin}]}}"#);
    let shut = r#"{"type":"bridge","ipam":{"type":"host-local","dataDir":"/run/shut","subnet":"10.2.0.0/24"}}"#;
    node.network("00-shut.conflist", list("shut", shut));
    std::os::unix::fs::symlink("/run", "/run/shut").or_fail("link");
    node.cnictl(&["ipam"])
        .exit(1)
        .says("0 of 5 in use")
        .says("cnictl: shut: ");
    node.network("00-flannel.conflist", list("cbr0", r#"{"type":"flannel"}"#));
    node.cnictl(&["ipam", "cbr0"])
        .success()
        .says("/run/node/var/lib/cni/networks/cbr0");
}

fn versions_of_all_plugins_are_shown(host: &Host) {
    let node = node(host);
    node.cnictl(&["version"])
        .success()
        .says("cnictl ")
        .says("loopback")
        .says("0.1.0 0.2.0");
    let json = node.cnictl(&["version", "n", "--json"]).success().json();
    assert_eq!(
        json["plugins"]["notes"],
        serde_json::json!(["1.0.0", "1.1.0"])
    );
    assert!(
        json["plugins"]["host-local"].is_array() && json["plugins"]["loopback"].is_null(),
        "{json}"
    );
}
