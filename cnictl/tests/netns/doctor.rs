//! doctor: a healthy node, and one seeded fault for each finding.

mod kernel;
mod living;

use crate::node::Node;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt, process::Command};
use testkit::{Host, OrFail, Test, fail};

pub(crate) fn tests() -> Vec<Test> {
    let mut all = crate::tests![
        a_healthy_node_has_no_problems,
        a_report_is_readable,
        faults_of_files_are_found,
        a_fifo_device_or_socket_neither_hangs_nor_hides_other_files,
        a_misspelt_key_of_an_unusable_list_is_found,
        the_first_file_decides_and_is_named,
        faults_of_keys_are_found,
        faults_of_programs_are_found,
        a_failing_status_is_found,
        faults_of_ranges_are_found,
        dead_reservations_are_found,
        ranges_that_another_plugin_writes_are_not_checked,
        stale_attachments_and_damaged_files_are_found,
        the_runtime_s_own_folders_are_examined,
        without_privilege_it_reports_what_it_cannot_check,
        it_changes_nothing,
    ];
    all.extend(kernel::tests());
    all.extend(living::tests());
    all
}

/// Returns a faultless network with these ranges.
fn pods(ranges: Value) -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "pods",
        "plugins": [{
            "type": "bridge", "bridge": "br0", "isGateway": true,
            "ipam": {"type": "host-local", "dataDir": "/run/cni-data", "ranges": ranges},
        }],
    })
}

fn healthy() -> Value {
    pods(json!([[{"subnet": "10.1.0.0/24"}]]))
}

/// Returns the healthy network with another value for a key of its plugin.
fn with(key: &str, value: Value) -> Value {
    let mut network = healthy();
    network["plugins"][0][key] = value;
    network
}

/// Returns the healthy network with a second plugin.
fn followed_by(plugin: &str) -> Value {
    let mut network = healthy();
    network["plugins"]
        .as_array_mut()
        .or_fail("plugins")
        .push(json!({"type": plugin}));
    network
}

/// Returns the ids and texts of doctor's findings, with notes if `notes` is true.
fn found(node: &Node<'_>, notes: bool) -> Vec<(String, String)> {
    let outcome = node.cnictl(&["doctor", "--json"]);
    let report = outcome.json();
    let findings = report["findings"].as_array().or_fail("findings").clone();
    let wrong = findings.iter().any(|finding| finding["severity"] != "note");
    outcome.exit(i32::from(wrong));
    let text = |finding: &Value, key: &str| finding[key].as_str().or_fail(key).to_owned();
    for finding in &findings {
        assert!(
            !text(finding, "why").is_empty() && !text(finding, "remedy").is_empty(),
            "{finding}"
        );
    }
    let wanted = findings
        .iter()
        .filter(|finding| notes || finding["severity"] != "note");
    wanted
        .map(|finding| (text(finding, "id"), text(finding, "what")))
        .collect()
}

/// Asserts that doctor finds exactly this one problem.
#[track_caller]
fn wrong(node: &Node<'_>, id: &str, what: &str) {
    let found = found(node, false);
    let [(its_id, its_what)] = &found[..] else {
        fail(format_args!("expected {id}: {found:#?}"))
    };
    assert_eq!(
        (its_id.as_str(), its_what.contains(what)),
        (id, true),
        "{what:?} in {its_what:?}"
    );
}

/// Asserts that this is among the findings.
#[track_caller]
fn reported(node: &Node<'_>, id: &str, what: &str) {
    let found = found(node, true);
    let is_it = |(its_id, its_what): &(String, String)| its_id == id && its_what.contains(what);
    assert!(found.iter().any(is_it), "{id}: {what:?} in {found:#?}");
}

fn node(host: &Host) -> Node<'_> {
    let node = Node::new(host);
    node.network("10-pods.conflist", healthy());
    node
}

fn a_healthy_node_has_no_problems(host: &Host) {
    let node = node(host);
    assert_eq!(found(&node, false), []);
    let _pod = host.pod("blue");
    node.cnictl(&["add", "pods", "/run/netns/blue"]).success();
    assert_eq!(found(&node, false), []);
}

fn a_report_is_readable(host: &Host) {
    let node = node(host);
    node.file("proc/sys/net/bridge/bridge-nf-call-iptables", "1\n");
    node.network("10-pods.conflist", with("isGatway", true.into()));
    let report = node.cnictl(&["doctor"]).exit(1).stdout.clone();
    let wanted = "\
new pods: can start; running pods: none in the cache

networks in /run/node/etc/cni/net.d, in the order of runtimes:
  10-pods.conflist: pods 1.1.0 bridge (host-local)  <- taken: the first
plugins in /run/node/opt/cni/bin

warning: 10-pods.conflist, line 1: unknown key bridge.isGatway; did you mean isGateway? [key-unknown]
    why: runtimes and plugins ignore unknown keys, so it has no effect
    do:  rename it to isGateway

0 errors and 1 warning
";
    assert_eq!(report, wanted);
}

fn faults_of_files_are_found(host: &Host) {
    let node = Node::new(host);
    wrong(
        &node,
        "conf-none",
        "/run/node/etc/cni/net.d has no network configuration",
    );
    let file = node.network("10-pods.conflist", "{\n\"name\": \"pods\",,\n}");
    wrong(
        &node,
        "conf-json",
        "10-pods.conflist, line 2, column 16: not JSON",
    );
    node.network("10-pods.conflist", r#"{"name": "po/ds", "plugins": []}"#);
    wrong(&node, "conf-invalid", "10-pods.conflist: ");
    fs::remove_file(file).or_fail("remove");
    let conf = node.network("10-pods.conf", healthy());
    wrong(
        &node,
        "conf-extension",
        "10-pods.conf holds a list of plugins",
    );
    fs::remove_file(conf).or_fail("remove");
    let mut old = healthy();
    old["cniVersion"] = Value::Null;
    node.network(
        "10-pods.conflist",
        old.to_string().replace(r#""cniVersion":null,"#, ""),
    );
    wrong(
        &node,
        "version-missing",
        "10-pods.conflist has no cniVersion",
    );
    old["cniVersion"] = "1.0.0".into();
    node.network("10-pods.conflist", &old);
    reported(&node, "version-no-gc", "has cniVersion 1.0.0");
    old["cniVersion"] = "1.1.0".into();
    old["disableGC"] = true.into();
    node.network("10-pods.conflist", &old);
    reported(&node, "gc-disabled", "10-pods.conflist");
    node.network("10-pods.conflist", healthy());
    node.network("10-pods.conflist.bak", "{");
    reported(&node, "conf-ignored", "10-pods.conflist.bak is not read");
    node.network("20-again.conflist", healthy());
    wrong(
        &node,
        "conf-shadowed",
        "10-pods.conflist and 20-again.conflist both define network \"pods\"",
    );
}

fn a_fifo_device_or_socket_neither_hangs_nor_hides_other_files(host: &Host) {
    let node = node(host);
    let folder = node.path("etc/cni/net.d");
    let fifo = |path: &std::path::Path| {
        let made = Command::new("mkfifo")
            .arg(path)
            .status()
            .or_fail("run mkfifo");
        assert!(made.success(), "{}", path.display());
    };
    fifo(&folder.join("50-fifo.conflist"));
    std::os::unix::fs::symlink("/dev/zero", folder.join("60-device.conf")).or_fail("link");
    std::os::unix::fs::symlink("/run", folder.join("70-folder.json")).or_fail("link");
    fs::create_dir_all(folder.join("80-folder.conf")).or_fail("make a folder");
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("90-socket.conf"))
        .or_fail("make a socket");
    for (name, what) in [
        ("50-fifo.conflist", "a FIFO"),
        ("60-device.conf", "a device"),
        ("70-folder.json", "a directory"),
        ("90-socket.conf", "a socket"),
    ] {
        reported(
            &node,
            "conf-no-file",
            &format!("{name}: it is {what}, not a regular file"),
        );
    }
    fs::create_dir_all(node.path("var/lib/cni/results")).or_fail("make a folder");
    fifo(&node.path("var/lib/cni/results/pods-c1-eth0"));
    node.cnictl(&["list"])
        .success()
        .says("pods-c1-eth0: it is a FIFO");
    let _pod = host.pod("blue");
    node.cnictl(&["add", "pods", "/run/netns/blue"]).success();
    node.cnictl(&["del", "pods", "/run/netns/blue"]).success();
}

fn a_misspelt_key_of_an_unusable_list_is_found(host: &Host) {
    let node = node(host);
    node.network(
        "10-pods.conflist",
        r#"{"name": "pods", "cniVersion": "1.1.0", "Plugins": []}"#,
    );
    reported(
        &node,
        "conf-invalid",
        "10-pods.conflist: error parsing configuration list: no plugin configs",
    );
    reported(
        &node,
        "key-unknown",
        "unknown key Plugins; did you mean plugins?",
    );
}

fn the_first_file_decides_and_is_named(host: &Host) {
    let node = node(host);
    node.network("00-broken.conflist", "");
    let report = node.cnictl(&["doctor"]);
    report
        .exit(1)
        .says("00-broken.conflist: cannot be used  <- the first: containerd stops here");
    report.says("containerd stops here and has no network; CRI-O skips it");
    report.says("(host-local)  <- the first usable file: CRI-O takes it");
    let files = node.cnictl(&["doctor", "--json"]).json()["examined"]["files"].clone();
    assert_eq!(
        (&files[0]["network"], &files[1]["network"]),
        (&Value::Null, &"pods".into())
    );
    assert_eq!(
        (&files[0]["taken"], &files[1]["taken"]),
        (&false.into(), &true.into())
    );
}

fn faults_of_keys_are_found(host: &Host) {
    let node = node(host);
    for (network, id, what) in [
        (
            with("isGatway", true.into()),
            "key-unknown",
            "did you mean isGateway?",
        ),
        (
            with("subnet", "10.1.0.0/24".into()),
            "key-unknown",
            "it is a key of ipam (host-local)",
        ),
        (
            with("capabilities", json!({"portMapings": true})),
            "capability-unknown",
            "did you mean portMappings?",
        ),
    ] {
        node.network("10-pods.conflist", network);
        wrong(&node, id, what);
    }
    node.network("10-pods.conflist", with("hairpinMode", "yes".into()));
    reported(
        &node,
        "key-type",
        "bridge.hairpinMode is \"yes\"; expected true or false",
    );
    let twice =
        healthy()
            .to_string()
            .replacen(r#""bridge":"br0""#, r#""bridge":"br1","Bridge":"br0""#, 1);
    node.network("10-pods.conflist", twice);
    wrong(&node, "key-twice", "duplicate key bridge.bridge");
    node.network("10-pods.conflist", followed_by("portmap"));
    reported(&node, "capability-missing", "portmap does not declare");
}

fn faults_of_programs_are_found(host: &Host) {
    let node = node(host);
    node.network("10-pods.conflist", followed_by("tuning"));
    wrong(
        &node,
        "binary-missing",
        "the plugin tuning is not installed in /run/node/opt/cni/bin",
    );
    let tuning = node.file("opt/cni/bin/tuning", "");
    wrong(&node, "binary-not-executable", "tuning is not executable");
    let script = |body: &str| {
        fs::remove_file(&tuning).or_fail("remove");
        fs::copy(host.script("tuning", body), &tuning).or_fail("install a script");
    };
    script("exit 1");
    wrong(&node, "binary-broken", "tuning does not answer VERSION");
    script("exec sleep 60");
    wrong(&node, "binary-broken", "it did not end within 5 seconds");
    script(r#"echo '{"cniVersion":"1.0.0","supportedVersions":["0.4.0","1.0.0"]}'"#);
    wrong(
        &node,
        "binary-version",
        "has cniVersion 1.1.0, but tuning supports 0.4.0 1.0.0",
    );
    script(
        r#"test "$CNI_COMMAND" = STATUS || echo '{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}'"#,
    );
    assert_eq!(found(&node, false), []);
    let bin = node.path("opt/cni/bin").display().to_string();
    let twice = node.cnictl(&["doctor", "--json", "--bin-dir", &bin, "--bin-dir", &bin]);
    twice.success().says("binary-twice");
    fs::remove_file(node.path("opt/cni/bin/loopback")).or_fail("remove");
    reported(&node, "loopback-missing", "loopback is not installed");
    assert_eq!(found(&node, false), [], "podman needs none");
    let file = node.file("etc/containerd/config.toml", "version = 3\n");
    wrong(&node, "loopback-missing", "loopback is not installed");
    fs::remove_file(file).or_fail("remove");
}

fn a_failing_status_is_found(host: &Host) {
    let node = node(host);
    fs::create_dir_all("/run/cni-data").or_fail("make a folder");
    fs::write("/run/cni-data/pods", "").or_fail("write a file in the folder's place");
    reported(&node, "status", "pods: plugin \"bridge\" failed STATUS: ");
}

fn faults_of_ranges_are_found(host: &Host) {
    let node = node(host);
    node.network(
        "10-pods.conflist",
        pods(json!([[{"subnet": "10.1.0.5/24"}]])),
    );
    reported(
        &node,
        "ranges-invalid",
        "pods: invalid range set 0: Network has host bits set",
    );
    node.network(
        "10-pods.conflist",
        pods(json!([[{"subnet": "10.1.0.0/28"}]])),
    );
    fs::create_dir_all("/run/cni-data/pods").or_fail("make a folder");
    for host in 2..14 {
        fs::write(
            format!("/run/cni-data/pods/10.1.0.{host}"),
            "foreign\r\neth0",
        )
        .or_fail("write");
    }
    wrong(
        &node,
        "pool-nearly-full",
        "12 of 13 addresses of 10.1.0.1-10.1.0.14 are in use",
    );
    fs::write("/run/cni-data/pods/10.1.0.14", "foreign\r\neth0").or_fail("write");
    reported(
        &node,
        "pool-full",
        "all 13 addresses of 10.1.0.1-10.1.0.14 are in use",
    );
    node.cnictl(&["ipam", "pods"])
        .success()
        .says("13 of 13 in use, 0 free");
    node.network("10-pods.conflist", healthy());
    let mut other = healthy();
    other["name"] = "other".into();
    node.network("20-other.conflist", other);
    wrong(
        &node,
        "pools-overlap",
        "networks pods and other share addresses: 10.1.0.2-10.1.0.254",
    );
    let half = |start: &str, end: &str| {
        pods(json!([[{"subnet": "10.1.0.0/24", "rangeStart": start, "rangeEnd": end}]]))
    };
    node.network("10-pods.conflist", half("10.1.0.2", "10.1.0.99"));
    let mut other = half("10.1.0.100", "10.1.0.200");
    other["name"] = "other".into();
    node.network("20-other.conflist", other);
    assert_eq!(found(&node, false), [], "two ranges of one subnet");
}

fn dead_reservations_are_found(host: &Host) {
    let node = node(host);
    let pod = host.pod("blue");
    fs::create_dir_all("/run/cni-data/pods").or_fail("make a folder");
    fs::write("/run/cni-data/pods/10.1.0.9", "").or_fail("write");
    wrong(
        &node,
        "reservations-dead",
        "pods: 1 reservation without content",
    );
    fs::write("/run/cni-data/pods/10.1.0.9", "foreign\r\neth0").or_fail("write");
    assert_eq!(found(&node, false), []);
    fs::rename("/run/cni-data/pods/10.1.0.9", "/run/cni-data/pods/10.9.0.9").or_fail("rename");
    wrong(
        &node,
        "reservations-outside",
        "pods: 1 reservation outside the configured ranges",
    );
    fs::remove_file("/run/cni-data/pods/10.9.0.9").or_fail("remove");
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    testkit::require("a machine-id(5)", machine.trim().len() == 32);
    node.file("etc/machine-id", machine);
    node.cnictl(&[
        "add",
        "pods",
        "/run/netns/blue",
        "--cache-dir",
        "/run/elsewhere",
    ])
    .success();
    pod.remove();
    wrong(
        &node,
        "reservations-dead",
        "pods: 1 reservation whose network namespace is gone",
    );
}

fn ranges_that_another_plugin_writes_are_not_checked(host: &Host) {
    let node = node(host);
    let script = host.script(
        "calico",
        r#"echo '{"cniVersion":"1.1.0","supportedVersions":["1.1.0"]}'"#,
    );
    fs::copy(script, node.path("opt/cni/bin/calico")).or_fail("install a script");
    for ipam in [
        json!({"type": "host-local"}),
        json!({"type": "host-local", "subnet": "usePodCidr"}),
    ] {
        let network = json!({"cniVersion": "1.1.0", "name": "k8s", "plugins": [{"type": "calico", "ipam": ipam}]});
        node.network("10-pods.conflist", network);
        node.cnictl(&["doctor"])
            .success()
            .says("not checked: the ranges of k8s");
    }
    node.network(
        "10-pods.conflist",
        pods(json!([[{"subnet": "10.1.0.0/24", "gateway": "10.2.0.1"}]])),
    );
    wrong(
        &node,
        "gateway-outside",
        "pods: the gateway 10.2.0.1 is not in its subnet 10.1.0.0/24",
    );
}

fn stale_attachments_and_damaged_files_are_found(host: &Host) {
    let node = node(host);
    let pod = host.pod("blue");
    node.cnictl(&["add", "pods", "/run/netns/blue"]).success();
    pod.remove();
    reported(
        &node,
        "attachments-stale",
        "pods: 1 attachment whose network namespace is gone",
    );
    node.cnictl(&["gc", "pods"]).success();
    assert_eq!(found(&node, false), []);
    node.file("var/lib/cni/results/pods-c1-eth0", "");
    wrong(&node, "cache-damaged", "pods-c1-eth0");
}

fn the_runtime_s_own_folders_are_examined(host: &Host) {
    let node = node(host);
    let containerd =
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/srv/net.d'\n";
    let file = node.file("etc/containerd/config.toml", containerd);
    wrong(
        &node,
        "conf-none",
        "/run/node/srv/net.d has no network configuration",
    );
    let there = node.path("etc/cni/net.d").display().to_string();
    node.cnictl(&["doctor", "--conf-dir", &there])
        .success()
        .says("containerd reads /srv/net.d");
    fs::write(&file, "disabled_plugins = ['cri']").or_fail("write");
    reported(&node, "containerd-no-cri", "disables the plugin \"cri\"");
    fs::write(&file, "version = 2\nversion").or_fail("write");
    wrong(
        &node,
        "runtime-toml",
        "/run/node/etc/containerd/config.toml: ",
    );
    fs::remove_file(&file).or_fail("remove");
    node.file(
        "etc/crio/crio.conf.d/10-net.conf",
        "[crio.network]\ncni_default_network = 'prod'\n",
    );
    wrong(
        &node,
        "crio-default-network",
        "cni_default_network is \"prod\"",
    );
    let mut prod = pods(json!([[{"subnet": "10.2.0.0/24"}]]));
    prod["name"] = "prod".into();
    node.network("20-prod.conflist", prod);
    node.cnictl(&["doctor"])
        .success()
        .says("(host-local)  <- taken: CRI-O's cni_default_network");
    fs::remove_file(node.path("etc/crio/crio.conf.d/10-net.conf")).or_fail("remove");
    fs::write(
        &file,
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nmax_conf_num = 2\n",
    )
    .or_fail("write");
    node.cnictl(&["doctor"])
        .success()
        .says("(host-local)  <- taken too: containerd's max_conf_num");
}

fn without_privilege_it_reports_what_it_cannot_check(host: &Host) {
    let node = node(host);
    let mut network = healthy();
    network["plugins"][0]["ipMasq"] = true.into();
    node.network("10-pods.conflist", network);
    let mut command = Command::new("setpriv");
    let there = command.arg("--version").output().is_ok();
    testkit::require("setpriv(1)", there);
    let mut command = Command::new("setpriv");
    command
        .arg("--bounding-set=-all")
        .arg("--inh-caps=-all")
        .arg(node.cnictl_path());
    command.args(["doctor", "--root", "/run/node"]);
    let report = node.run(command, &[]);
    report
        .success()
        .says("not checked: STATUS of pods: it needs CAP_NET_ADMIN");
    let without_rights = || {
        let mut command = Command::new("setpriv");
        command
            .arg("--bounding-set=-all")
            .arg("--inh-caps=-all")
            .arg(node.cnictl_path());
        command.args(["doctor", "--root", "/run/node"]);
        node.run(command, &[])
    };
    let closed = |path: &str, is_closed: bool| {
        let mode = fs::Permissions::from_mode(if is_closed { 0 } else { 0o755 });
        fs::set_permissions(node.path(path), mode).or_fail("set permissions");
    };
    for (path, wanted) in [
        (
            "opt/cni/bin",
            "not checked: /run/node/opt/cni/bin/bridge: Permission denied",
        ),
        (
            "etc/cni/net.d",
            "not checked: error reading /run/node/etc/cni/net.d: Permission denied",
        ),
        (
            "etc/cni/net.d/10-pods.conflist",
            "10-pods.conflist: cannot be read  <- the first",
        ),
    ] {
        closed(path, true);
        let report = without_rights();
        closed(path, false);
        report.success().says(wanted).says("no problems found");
    }
}

fn it_changes_nothing(host: &Host) {
    let node = node(host);
    let pod = host.pod("blue");
    node.cnictl(&["add", "pods", "/run/netns/blue"]).success();
    let before = host.state(&[&pod]);
    node.cnictl(&["doctor"]).success();
    node.cnictl(&["list"]).success();
    node.cnictl(&["ipam"]).success();
    // The kernel gives the bridge its link-local address in its own time.
    let changed = host.state(&[&pod]).difference(&before);
    let changed: Vec<&str> = changed
        .lines()
        .filter(|line| !line.contains("fe80::"))
        .collect();
    assert_eq!(changed, [""; 0]);
}
