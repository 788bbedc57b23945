//! Rules, queueing disciplines and static forwarding entries as text, compared with the settings
//! that ip(8), tc(8) and bridge(8) made.

use cni_net::Rtnl;
use std::process::Command;
use testkit::Host;

pub(crate) fn tests() -> Vec<testkit::Test> {
    testkit::tests![
        a_new_namespace_has_the_kernels_rules_and_nothing_else,
        a_rule_is_reported,
        queues_and_classes_are_reported,
        filters_are_reported,
        configured_bridge_entries_are_reported_and_learnt_ones_are_not,
    ]
}

/// Runs a command of ip(8), tc(8) or bridge(8); returns false if the kernel does not support it.
fn run(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    // Debian has the programs in folders that only root's PATH has.
    command
        .args(words)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    command.output().unwrap().status.success()
}

fn index(name: &str) -> u32 {
    let name = cni_types::IfName::parse(name).unwrap();
    Rtnl::open()
        .unwrap()
        .find_link(&name)
        .unwrap()
        .unwrap()
        .index
}

fn a_new_namespace_has_the_kernels_rules_and_nothing_else(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let rules = rtnl.policy_rules().unwrap();
    assert!(
        rules
            .iter()
            .filter(|rule| rule.starts_with("rule ipv4 "))
            .count()
            == 3,
        "{rules:?}"
    );
    assert!(rtnl.traffic_control(index("lo")).unwrap().is_empty());
    assert!(rtnl.static_forwarding(&[]).unwrap().is_empty());
}

fn a_rule_is_reported(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let before = rtnl.policy_rules().unwrap();
    assert!(run("ip rule add from 192.0.2.0/24 table 100 priority 77"));
    let mut after = rtnl.policy_rules().unwrap();
    after.retain(|rule| !before.contains(rule));
    assert_eq!(after.len(), 1, "{after:?}");
    for wanted in ["ipv4", "192.0.2.0", "/24", "100", "77"] {
        assert!(after[0].contains(wanted), "{after:?}");
    }
    assert!(run("ip rule del priority 77"));
    assert_eq!(rtnl.policy_rules().unwrap(), before);
}

/// Creates a link with a queueing discipline; returns its index.
fn bottleneck() -> u32 {
    let made =
        run("ip link add name bottle type veth peer name neck") && run("ip link set dev bottle up");
    assert!(made);
    let link = index("bottle");
    let mut rtnl = Rtnl::open().unwrap();
    assert!(
        rtnl.traffic_control(link).unwrap().is_empty(),
        "the kernel's own do not count"
    );
    testkit::require(
        "sch_htb",
        run("tc qdisc add dev bottle root handle 1: htb default 1"),
    );
    link
}

fn queues_and_classes_are_reported(_: &Host) {
    let link = bottleneck();
    let mut rtnl = Rtnl::open().unwrap();
    assert!(run(
        "tc class add dev bottle parent 1: classid 1:1 htb rate 1mbit"
    ));
    let lines = rtnl.traffic_control(link).unwrap();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("qdisc htb 1:0 parent ffff:ffff ")),
        "{lines:?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("class htb 1:1 parent ffff:ffff")),
        "{lines:?}"
    );
    assert_eq!(rtnl.traffic_control(link).unwrap(), lines);
    assert!(run("tc qdisc del dev bottle root"));
    assert!(rtnl.traffic_control(link).unwrap().is_empty());
}

fn filters_are_reported(_: &Host) {
    let link = bottleneck();
    let mut rtnl = Rtnl::open().unwrap();
    let before = rtnl.traffic_control(link).unwrap();
    let kinds = [
        "basic flowid 1:1",
        "matchall classid 1:1",
        "u32 match u32 0 0 flowid 1:1",
    ];
    let made = kinds
        .iter()
        .find(|kind| run(&format!("tc filter add dev bottle parent 1: {kind}")));
    testkit::require("a classifier of tc(8)", made.is_some());
    let kind = made.unwrap().split(' ').next().unwrap();
    let lines = rtnl.traffic_control(link).unwrap();
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with(&format!("filter {kind} "))),
        "{lines:?}"
    );
    assert!(run("tc filter del dev bottle parent 1:"));
    assert_eq!(rtnl.traffic_control(link).unwrap(), before);
}

fn configured_bridge_entries_are_reported_and_learnt_ones_are_not(_: &Host) {
    for line in [
        "ip link add name br0 type bridge",
        "ip link add name port type veth peer name far",
        "ip link set dev port master br0",
        "ip link set dev port up",
        "bridge fdb add 02:00:00:00:00:01 dev port master static",
    ] {
        assert!(run(line), "{line}");
    }
    let mut rtnl = Rtnl::open().unwrap();
    let own: Vec<_> = rtnl
        .links()
        .unwrap()
        .iter()
        .filter_map(|link| link.mac)
        .collect();
    let entries = rtnl.static_forwarding(&own).unwrap();
    let shown: Vec<_> = entries
        .iter()
        .map(|(link, mac)| (*link, mac.to_string()))
        .collect();
    assert_eq!(shown, [(index("port"), "02:00:00:00:00:01".to_owned())]);
}
