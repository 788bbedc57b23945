//! Pods keep talking, to each other and to a host outside, while the other side's binaries add and
//! delete other pods on the same bridge: not one packet may be lost.

use crate::node::{Node, Side, V4, V6, require_tool, tool};
use cni_types::AddResult;
use sandbox::{Netns, probe::Reflector};
use serde_json::{Value, json};
use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use testkit::{Host, OrFail, Pod, Suite, Test, fail};

/// The time after which an unanswered packet is lost. Long, since a busy machine may keep the
/// sending thread from running.
const TIMEOUT: Duration = Duration::from_secs(3);
/// The number of pods that are added and deleted.
const ROUNDS: usize = 6;
/// The least number of answers that proves anything.
const MIN_ANSWERS: usize = 50;

/// Addresses for documentation (RFC 5737, RFC 3849): the host's outer ones, and those of the host
/// outside.
const OUTER: [&str; 2] = ["198.51.100.1", "2001:db8:100::1"];
const OUTSIDE: [&str; 2] = ["198.51.100.2", "2001:db8:100::2"];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for suite in Suite::ALL {
        for (first, second) in [(Side::Ours, Side::Reference), (Side::Reference, Side::Ours)] {
            let direction = first.before(second);
            let name = format!(
                "{}::pods_keep_talking_while_the_binaries_are_swapped::{direction}",
                suite.name()
            );
            tests.push(Test::new(name, move |host| {
                keep_talking(host, suite, first, second)
            }));
        }
    }
    tests
}

fn keep_talking(host: &Host, suite: Suite, first: Side, second: Side) {
    require_tool("ip");
    let node = Node::new(host, suite, keys(suite));
    let (_outside, reflector) = outside();
    let [a, b] = ["a", "b"].map(|name| host.pod(name));
    let of_a = node.add(first, &a).result();
    let of_b = node.add(first, &b).result();
    let peer = Reflector::start(b.netns()).or_fail("start a reflector");
    let flows = flows(&of_a, &of_b, peer, reflector);
    a.inside(|| flows.iter().for_each(wait_for_the_first_answer));
    let done = AtomicBool::new(false);
    let counts = thread::scope(|scope| {
        let asking: Vec<_> = flows
            .iter()
            .map(|flow| scope.spawn(|| run(flow, &a, &done)))
            .collect();
        // On a thread of its own, so that its failure ends the flows, too.
        let guests = scope.spawn(|| come_and_go(&node, second)).join();
        done.store(true, Ordering::Relaxed);
        let counts: Vec<_> = asking
            .into_iter()
            .filter_map(|flow| flow.join().ok())
            .collect();
        guests.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        counts
    });
    assert_eq!(counts.len(), 4);
    for count in counts {
        host.note(format!("{count:?}"));
        if !count.lost.is_empty() || count.answered < MIN_ANSWERS {
            fail(format_args!("{count:?}"));
        }
    }
}

/// Both address families, masqueraded by the default backend of each side, or by one that both
/// support.
fn keys(suite: Suite) -> Value {
    let ranges = json!([[{"subnet": V4}], [{"subnet": V6}]]);
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipam": {"type": "host-local", "ranges": ranges}});
    let mut keys = keys.as_object().unwrap().clone();
    if suite == Suite::Sid {
        keys.insert("ipMasqBackend".to_owned(), json!("nftables"));
    }
    Value::Object(keys)
}

/// Adds and deletes other pods, one after another, by the other side.
fn come_and_go(node: &Node<'_>, side: Side) {
    for round in 0..ROUNDS {
        let pod = node.host.pod(&format!("guest-{round}"));
        let added = node.add(side, &pod);
        node.check(side, &pod, &added);
        node.del(side, &pod, &added);
        pod.remove();
    }
}

/// Returns a host outside that has no route to the pods.
fn outside() -> (Netns, Reflector) {
    let netns = Netns::create("outside").or_fail("make a host outside");
    tool("ip link add uplink type veth peer name eth0 netns outside");
    for (program, dev, addresses) in [("ip -n outside", "eth0", OUTSIDE), ("ip", "uplink", OUTER)] {
        let [v4, v6] = addresses;
        tool(&format!("{program} addr add {v4}/24 dev {dev}"));
        tool(&format!("{program} addr add {v6}/64 dev {dev} nodad"));
        // While its own link-local address is tentative, a host sends no neighbour solicitation.
        tool(&format!("{program} link set {dev} addrgenmode none"));
        tool(&format!("{program} link set {dev} up"));
    }
    let reflector = Reflector::start(&netns).or_fail("start a reflector");
    (netns, reflector)
}

/// A flow of requests, each with its answer.
struct Flow {
    to: IpAddr,
    seen_as: IpAddr,
    reflector: Reflector,
}

impl Flow {
    fn ask(&self, patience: Duration) -> Result<(), String> {
        match self.reflector.seen_source(self.to, patience) {
            Ok(source) if source == self.seen_as => Ok(()),
            Ok(source) => Err(format!("came as {source}, {} is wanted", self.seen_as)),
            Err(e) => Err(e.to_string()),
        }
    }
}

#[derive(Debug)]
struct Count {
    #[expect(dead_code, reason = "printed")]
    to: IpAddr,
    answered: usize,
    slowest: Duration,
    lost: Vec<String>,
}

/// Sends to the other pod, which sees the pod's own addresses, and to the host outside, which sees
/// the host's. UDP and not echo requests: the kernel drops one in some thousands of those by
/// itself.
fn flows(
    of_pod: &AddResult,
    of_peer: &AddResult,
    peer: Reflector,
    outside: Reflector,
) -> Vec<Flow> {
    let addresses = |result: &AddResult| -> Vec<IpAddr> {
        result.ips.iter().map(|ip| ip.address.address()).collect()
    };
    let parse = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap()).to_vec();
    let flow = |to, seen_as, reflector| Flow {
        to,
        seen_as,
        reflector,
    };
    let to_peer = addresses(of_peer)
        .into_iter()
        .zip(addresses(of_pod))
        .map(|(to, own)| flow(to, own, peer));
    let to_outside = parse(OUTSIDE)
        .into_iter()
        .zip(parse(OUTER))
        .map(|(to, outer)| flow(to, outer, outside));
    to_peer.chain(to_outside).collect()
}

/// The reference's gateway answers only once its IPv6 address has passed duplicate address
/// detection.
fn wait_for_the_first_answer(flow: &Flow) {
    let start = Instant::now();
    while let Err(e) = flow.ask(Duration::from_millis(100)) {
        if start.elapsed() > Duration::from_secs(20) {
            fail(format_args!("{} never answered: {e}", flow.to));
        }
    }
}

/// Sends requests from inside the pod until `done` is set.
fn run(flow: &Flow, pod: &Pod, done: &AtomicBool) -> Count {
    let mut count = Count {
        to: flow.to,
        answered: 0,
        slowest: Duration::ZERO,
        lost: Vec::new(),
    };
    let begin = Instant::now();
    pod.inside(|| {
        while !done.load(Ordering::Relaxed) {
            let start = Instant::now();
            match flow.ask(TIMEOUT) {
                Ok(()) => count.answered += 1,
                Err(e) => count
                    .lost
                    .push(format!("{e} after {:.0?}", begin.elapsed())),
            }
            count.slowest = count.slowest.max(start.elapsed());
            thread::sleep(Duration::from_millis(2));
        }
    });
    count
}
