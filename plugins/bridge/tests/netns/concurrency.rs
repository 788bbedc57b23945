//! Many requests at once, as after the start of a node.

use crate::{
    kernel,
    network::{Network, V4, V6, host_local},
};
use serde_json::json;
use std::collections::HashSet;
use testkit::{Host, Outcome, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        twenty_first_adds_at_once_make_one_bridge_and_twenty_dels_leave_nothing,
        adds_and_dels_at_once_do_not_disturb_each_other,
    ]
}

const PODS: usize = 20;

/// Runs one request for each pod, all at once.
fn all(pods: &[Pod], request: impl Fn(usize, &Pod) -> Outcome + Sync) -> Vec<Outcome> {
    let request = &request;
    std::thread::scope(|scope| {
        let runs: Vec<_> = pods
            .iter()
            .enumerate()
            .map(|(at, pod)| scope.spawn(move || request(at, pod)))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

fn network(host: &Host) -> Network<'_> {
    Network::new(
        host,
        json!({"isDefaultGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4, V6])}),
    )
}

fn pods(host: &Host) -> Vec<Pod> {
    (0..PODS).map(|at| host.pod(&format!("p{at}"))).collect()
}

fn records(host: &Host) -> usize {
    let entries = std::fs::read_dir(host.data_dir().join("net"))
        .unwrap()
        .flatten();
    entries
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .parse::<std::net::IpAddr>()
                .is_ok()
        })
        .count()
}

fn twenty_first_adds_at_once_make_one_bridge_and_twenty_dels_leave_nothing(host: &Host) {
    kernel::only_at_full_speed();
    let network = network(host);
    let pods = pods(host);
    let added = all(&pods, |_, pod| network.add(pod));
    let addresses: HashSet<String> = added
        .iter()
        .flat_map(|outcome| outcome.result().ips)
        .map(|ip| ip.address.to_string())
        .collect();
    assert_eq!(addresses.len(), 2 * PODS);
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.1/24", "fd01::1/64"]);
    assert_eq!(kernel::names().len(), PODS + 2);
    assert_eq!((kernel::rules().len(), records(host)), (2 * PODS, 2 * PODS));
    let bridges: HashSet<String> = added
        .iter()
        .map(|outcome| outcome.result().interfaces[0].mac.clone())
        .collect();
    assert_eq!(bridges, HashSet::from([kernel::mac("cni0")]));
    for outcome in all(&pods, |at, pod| network.check(pod, &added[at])) {
        outcome.silent_success();
    }
    for outcome in all(&pods, |_, pod| network.del(pod)) {
        outcome.silent_success();
    }
    assert_eq!(kernel::names(), ["cni0", "lo"]);
    assert_eq!((kernel::rules().len(), records(host)), (0, 0));
}

/// Adds half of the pods while the other half is deleted.
fn adds_and_dels_at_once_do_not_disturb_each_other(host: &Host) {
    let network = network(host);
    let pods = pods(host);
    let (leaving, coming) = pods.split_at(PODS / 2);
    for outcome in all(leaving, |_, pod| network.add(pod)) {
        outcome.success();
    }
    let outcomes = all(&pods, |at, pod| {
        if at < leaving.len() {
            network.del(pod)
        } else {
            network.add(pod)
        }
    });
    for outcome in &outcomes {
        outcome.success();
    }
    for (pod, added) in coming.iter().zip(&outcomes[leaving.len()..]) {
        network.check(pod, added).silent_success();
    }
    assert_eq!(kernel::names().len(), coming.len() + 2);
    assert_eq!(
        (kernel::rules().len(), records(host)),
        (2 * coming.len(), 2 * coming.len())
    );
}
