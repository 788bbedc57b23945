//! Requests that real runtimes sent to the reference plugins, sent to ours: they must be answered
//! as they were then. What may differ is listed in `answer.rs`, and nothing else is left out of the
//! comparison.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

mod answer;
mod recording;
mod replay;

use recording::{RUNTIMES, Recording};
use std::{collections::BTreeMap, process::ExitCode};
use testkit::{Host, Test};

fn main() -> ExitCode {
    let mut tests = testkit::tests![every_recorded_request_is_replayed_or_named];
    let groups: [(&str, &[&str]); 2] = [
        ("bridge_and_loopback", &["bridge", "loopback"]),
        ("host_local_alone", &["host-local"]),
    ];
    for (runtime, _) in RUNTIMES {
        for (label, plugins) in groups {
            let name = format!("{runtime}_gets_the_recorded_answers_from_{label}");
            tests.push(Test::new(name, |host| replay::run(host, runtime, plugins)));
        }
    }
    testkit::main(tests)
}

/// 98 are ours. A plugin that becomes ours moves from the second list to a replay.
fn every_recorded_request_is_replayed_or_named(_: &Host) {
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for recording in RUNTIMES
        .into_iter()
        .flat_map(|(runtime, _)| Recording::all_of(runtime))
    {
        *counts
            .entry((recording.runtime, recording.plugin))
            .or_default() += 1;
    }
    let ours = [
        ("cnitool", "bridge", 6),
        ("cnitool", "host-local", 5),
        ("containerd", "bridge", 19),
        ("containerd", "host-local", 19),
        ("containerd", "loopback", 3),
        ("crio", "bridge", 20),
        ("crio", "host-local", 17),
        ("podman", "bridge", 5),
        ("podman", "host-local", 4),
    ];
    let others = [
        ("containerd", "firewall", 3),
        ("containerd", "portmap", 18),
        ("containerd", "tuning", 20),
        ("crio", "firewall", 6),
        ("crio", "portmap", 19),
        ("crio", "tuning", 20),
        ("podman", "firewall", 3),
        ("podman", "portmap", 3),
        ("podman", "tuning", 3),
    ];
    let total =
        |list: &[(&str, &str, usize)]| list.iter().map(|(_, _, count)| count).sum::<usize>();
    assert_eq!((total(&ours), total(&others)), (98, 95));
    let wanted = ours.into_iter().chain(others);
    let wanted: BTreeMap<_, _> = wanted
        .map(|(runtime, plugin, count)| ((runtime.to_owned(), plugin.to_owned()), count))
        .collect();
    assert_eq!(counts, wanted);
}
