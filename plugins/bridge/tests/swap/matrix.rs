//! Every network × both directions × both references: one side adds, the other checks, collects and
//! deletes, and nothing of either is left.

use crate::{
    cases::{ALL, Case},
    node::{Node, Side, id},
    quirks,
    whole::Whole,
};
use cni_types::Command;
use std::time::{Duration, Instant};
use testkit::{Host, Outcome, Pod, Suite, Test, fail};

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for case in ALL {
        for suite in case.suites {
            for (first, second) in [(Side::Ours, Side::Reference), (Side::Reference, Side::Ours)] {
                let direction = first.before(second);
                let name = format!("{}::{}::{direction}", suite.name(), case.name);
                tests.push(Test::new(name, move |host| {
                    swap(host, case, *suite, first, second)
                }));
            }
        }
    }
    tests
}

fn swap(host: &Host, case: &Case, suite: Suite, first: Side, second: Side) {
    (case.needs)();
    let node = Node::new(host, suite, (case.keys)());
    let pods = ["swap-warm", "swap-kept", "swap-lost"].map(|name| host.pod(name));
    let [warm, kept, lost] = &pods;
    // The network's own objects stay: the bridge, empty tables, the folder of records. Each side
    // makes its own.
    for side in [first, second] {
        let added = node.add(side, warm);
        node.del(side, warm, &added);
    }
    let before = Whole::of(host, &[warm, kept]);
    (case.prepare)();

    let of_kept = node.add(first, kept);
    let of_lost = node.add(first, lost);
    check(&node, first, second, kept, &of_kept);
    check(&node, first, second, lost, &of_lost);
    if quirks::has_gc(second, suite) {
        collect(&node, second, kept, lost);
        check(&node, first, second, kept, &of_kept);
        node.check(first, kept, &of_kept);
    }
    for (pod, added) in [(lost, &of_lost), (kept, &of_kept)] {
        delete(&node, second, pod, added);
    }
    before.require_unchanged();
    require_no_trace(host, &[warm, kept]);
}

/// Runs CHECK by the second side on what the first one added.
fn check(node: &Node<'_>, first: Side, second: Side, pod: &Pod, added: &Outcome) {
    if second == Side::Ours && quirks::leaves_vlan_1(node, first) {
        node.fail(
            Command::Check,
            second,
            pod,
            added,
            "has VLANs 1 untagged, 100 pvid untagged; wanted 100",
        );
    } else {
        node.check(second, pod, added);
    }
}

/// Runs DEL twice: runtimes repeat it.
fn delete(node: &Node<'_>, side: Side, pod: &Pod, added: &Outcome) {
    if quirks::leaves_nftables_rules(node, side) {
        node.fail(Command::Del, side, pod, added, "does not exist");
    } else {
        node.del(side, pod, added);
    }
    node.del(Side::Ours, pod, added);
}

/// Runs GC by `side` while one pod is kept and the namespace of the other is gone, as after a
/// crash.
fn collect(node: &Node<'_>, side: Side, kept: &Pod, lost: &Pod) {
    if !quirks::gc_frees(side) {
        return node.gc(side, kept);
    }
    let ports = count_ports();
    lost.remove();
    wait_until(
        "the kernel has removed the pair of the namespace that is gone",
        || count_ports() < ports,
    );
    node.gc(side, kept);
    require_no_trace_of(node.host, &[kept], &[&id(lost)]);
}

/// Asserts that nothing names a container, whatever existed before.
fn require_no_trace(host: &Host, pods: &[&Pod]) {
    require_no_trace_of(host, pods, &["swap-", "veth"]);
}

#[track_caller]
fn require_no_trace_of(host: &Host, pods: &[&Pod], words: &[&str]) {
    let whole = Whole::of(host, pods);
    // The pods' own names are no traces.
    let mut traces = whole.that_name(words);
    traces.retain(|line| !line.starts_with("pod ") || line.contains("veth"));
    // The pair of a VLAN's gateway belongs to the network. An attachment's pair ends in a pod, and
    // is found there.
    traces.retain(|line| !line.starts_with("host: link ") || line.contains("swap-"));
    if !traces.is_empty() {
        fail(format_args!(
            "traces of attachments that are gone:\n{}",
            traces.join("\n")
        ));
    }
}

fn count_ports() -> usize {
    let names = cni_net::Rtnl::open()
        .and_then(|mut rtnl| rtnl.links())
        .unwrap();
    names
        .iter()
        .filter(|link| link.name.as_str().starts_with("veth"))
        .count()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        if start.elapsed() > Duration::from_secs(20) {
            fail(format_args!("waited in vain until {what}"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
