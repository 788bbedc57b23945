//! Tests of doctor and `check --all` with living attachments that are not as ADD left them.

use super::node;
use crate::node::Node;
use serde_json::{Value, json};
use std::process::Command;
use testkit::{Host, OrFail, Pod, Test, require};

pub(super) fn tests() -> Vec<Test> {
    crate::tests![
        running_pods_that_are_as_add_left_them_are_counted,
        a_flushed_ruleset_is_found_for_each_pod,
        a_gateway_without_its_address_is_found,
        a_port_off_its_bridge_is_found,
        an_interface_that_is_down_is_found,
        a_bridge_that_is_gone_is_found,
        an_attachment_without_check_is_counted_as_not_checked,
        control_characters_of_names_are_escaped,
    ]
}

fn network() -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "pods",
        "plugins": [{
            "type": "bridge", "bridge": "br0", "isGateway": true, "ipMasq": true,
            "ipam": {"type": "host-local", "dataDir": "/run/cni-data",
                     "ranges": [[{"subnet": "10.1.0.0/24"}]]},
        }],
    })
}

/// Returns a node with two attached pods, `blue` and `red`.
fn running(host: &Host) -> (Node<'_>, [Pod; 2]) {
    let node = node(host);
    let pods = [host.pod("blue"), host.pod("red")];
    node.network("10-pods.conflist", network());
    for pod in ["blue", "red"] {
        let named = format!("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod}");
        let path = format!("/run/netns/{pod}");
        let add = ["add", "pods", &path, "--id", &format!("pod-{pod}")];
        node.cnictl_with(&add, &[("CNI_ARGS", named.as_str())])
            .success();
    }
    (node, pods)
}

/// Runs a program with arguments separated by spaces; ends the test as ignored without the program.
fn tool(program: &str, arguments: &str) {
    let mut command = Command::new(program);
    let output = command.args(arguments.split_whitespace()).output();
    require(&format!("{program}(8)"), output.is_ok());
    let output = output.or_fail("run a program");
    assert!(output.status.success(), "{program} {arguments}: {output:?}");
}

/// Asserts that doctor and `check --all` report exactly these pods as changed, each with the text
/// `what`, and that doctor's first line has their number.
#[track_caller]
fn assert_found(node: &Node<'_>, pods: &[&str], what: &str) {
    let report = node.cnictl(&["doctor", "--json"]);
    let report = report.exit(1).json();
    let findings = report["findings"].as_array().or_fail("findings");
    let changed: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["id"] == "attachment-changed")
        .filter_map(|finding| finding["what"].as_str())
        .collect();
    assert_eq!(changed.len(), pods.len(), "{changed:#?}");
    assert_eq!(report["summary"]["runningChanged"], pods.len());
    let all = node.cnictl(&["check", "--all"]);
    all.exit(1);
    for pod in pods {
        let start = format!("pods: pod default/{pod}, eth0: ");
        let is_wanted = |line: &&str| line.starts_with(&start) && line.contains(what);
        assert!(changed.iter().any(is_wanted), "{start}{what}: {changed:#?}");
        assert!(
            all.stdout.lines().any(|line| is_wanted(&line)),
            "{start}{what}: {}",
            all.stdout
        );
    }
    let text = node.cnictl(&["doctor"]);
    let first = text.stdout.lines().next().unwrap_or_default().to_owned();
    let wanted = format!(
        "; running pods: 2 attachments, {} changed and maybe cut off",
        pods.len()
    );
    assert!(first.ends_with(&wanted), "{first}");
}

fn running_pods_that_are_as_add_left_them_are_counted(host: &Host) {
    let (node, pods) = running(host);
    let before = host.state(&[&pods[0], &pods[1]]);
    let report = node.cnictl(&["doctor"]);
    report
        .success()
        .says("new pods: can start; running pods: 2 attachments, all as ADD left them\n");
    let all = node.cnictl(&["check", "--all"]);
    all.success()
        .says("pods: pod default/red, eth0: as ADD left it")
        .says("2 as ADD left them");
    let json = node
        .cnictl(&["check", "pods", "--all", "--json"])
        .success()
        .json();
    assert_eq!(
        (&json[0]["pod"], &json[0]["state"]),
        (&"default/blue".into(), &"intact".into())
    );
    node.cnictl(&["check", "nosuch", "--all"])
        .exit(1)
        .says("no net configuration with name");
    // The kernel assigns the bridge's link-local address asynchronously.
    let changed = host.state(&[&pods[0], &pods[1]]).difference(&before);
    assert_eq!(
        changed
            .lines()
            .filter(|line| !line.contains("fe80::"))
            .count(),
        0,
        "{changed}"
    );
    pods[0].remove();
    let report = node.cnictl(&["doctor"]);
    report
        .exit(1)
        .says("running pods: 1 attachment, all as ADD left them");
}

fn a_flushed_ruleset_is_found_for_each_pod(host: &Host) {
    let (node, _pods) = running(host);
    tool("nft", "flush ruleset");
    assert_found(&node, &["blue", "red"], "masquerade");
}

fn a_gateway_without_its_address_is_found(host: &Host) {
    let (node, _pods) = running(host);
    tool("ip", "addr flush dev br0");
    assert_found(&node, &["blue", "red"], "10.1.0.1");
}

fn a_port_off_its_bridge_is_found(host: &Host) {
    let (node, pods) = running(host);
    let index = pods[1].inside(peer_of_eth0);
    tool("ip", &format!("link set dev {} nomaster", host_name(index)));
    assert_found(&node, &["red"], "br0");
}

fn peer_of_eth0() -> u32 {
    let mut rtnl = cni_net::Rtnl::open().or_fail("open");
    let name = cni_types::IfName::parse("eth0").or_fail("a name");
    let link = rtnl.find_link(&name).or_fail("look").or_fail("eth0");
    link.peer_index.or_fail("a peer")
}

fn host_name(index: u32) -> String {
    let mut rtnl = cni_net::Rtnl::open().or_fail("open");
    let links = rtnl.links().or_fail("list");
    links
        .into_iter()
        .find(|link| link.index == index)
        .or_fail("the host's end")
        .name
        .to_string()
}

fn an_interface_that_is_down_is_found(host: &Host) {
    let (node, pods) = running(host);
    pods[0].inside(|| tool("ip", "link set eth0 down"));
    assert_found(&node, &["blue"], "eth0");
}

fn a_bridge_that_is_gone_is_found(host: &Host) {
    let (node, _pods) = running(host);
    tool("ip", "link del br0");
    assert_found(&node, &["blue", "red"], "br0");
}

fn an_attachment_without_check_is_counted_as_not_checked(host: &Host) {
    let node = node(host);
    let _pod = host.pod("blue");
    let mut old = network();
    old["cniVersion"] = "0.3.1".into();
    node.network("10-pods.conflist", &old);
    node.cnictl(&["add", "pods", "/run/netns/blue", "--id", "c1"])
        .success();
    let report = node.cnictl(&["doctor"]);
    report
        .says("not checked: CHECK of 1 attachment of pods: ")
        .says("1 attachment, 1 not checked");
    let all = node.cnictl(&["check", "--all"]);
    all.success()
        .says("pods: container c1, eth0: not checked: ")
        .says("1 not checked");
}

fn control_characters_of_names_are_escaped(host: &Host) {
    let node = node(host);
    node.network("20-\u{1b}[2J\nerror: x.conflist", "{");
    for command in [&["doctor"][..], &["list"], &["ipam"], &["status", "nosuch"]] {
        let shown = node.cnictl(command);
        let text = format!("{}{}", shown.stdout, shown.stderr);
        let hidden = text
            .chars()
            .find(|symbol| symbol.is_control() && *symbol != '\n');
        assert_eq!(hidden, None, "{command:?}: {text}");
        assert!(
            !text.lines().any(|line| line.starts_with("error: x")),
            "{command:?}: {text}"
        );
    }
}
