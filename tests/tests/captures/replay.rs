//! Sends the requests of one runtime, in their order, on one host.
//!
//! bridge runs host-local by itself, so what was recorded of host-local is replayed alone on
//! another host: there its own answers are seen.

use crate::{answer::Substitutes, recording::Recording};
use cni_net::{LinkKind, Rtnl, nft::Nft};
use cni_types::Command;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};
use testkit::{Host, bin_dir, require};

/// The folder in which the reference keeps records by default, and ours too: on the host of a test,
/// an empty folder of its own.
const DEFAULT_DATA_DIR: &str = "/var/lib/cni/networks";

/// The folder in which cnitool's configuration had them.
const CNITOOL_DATA_DIR: &str = "/tmp/peers-cnitool/ipam";

/// The addresses reserved before the recording began: the one before the first recorded one, of
/// each set.
const RESERVED_BEFORE: [(&str, [&str; 2]); 2] = [
    ("peersctrd", ["10.212.0.7", "fd12:212::7"]),
    ("peerscrio", ["10.215.0.5", "fd12:215::5"]),
];

/// The namespace of an attachment that CRI-O's GC ended: it had been removed behind its back.
const GONE: &str = "/run/netns/peerstale";

/// Replays what `runtime` asked of `plugins`.
pub(crate) fn run(host: &Host, runtime: &str, plugins: &[&str]) {
    require(
        "nf_tables",
        Nft::open().and_then(|mut nft| nft.probe()).is_ok(),
    );
    let mut recordings = Recording::all_of(runtime);
    recordings.retain(|recording| plugins.contains(&recording.plugin.as_str()));
    assert_ne!(recordings.len(), 0);
    reserve_what_was_reserved();
    let mut substitutes = create_pods(host, &recordings);
    substitutes.insert(CNITOOL_DATA_DIR, host.data_dir().display().to_string());
    substitutes.insert("/opt/cni/bin", bin_dir().display().to_string());
    for recording in &recordings {
        replay(host, recording, &mut substitutes);
    }
    assert_only_live_attachments_are_left(host, &recordings);
}

fn reserve_what_was_reserved() {
    for (network, addresses) in RESERVED_BEFORE {
        let folder = Path::new(DEFAULT_DATA_DIR).join(network);
        fs::create_dir_all(&folder).unwrap();
        for (set, address) in addresses.iter().enumerate() {
            fs::write(folder.join(format!("last_reserved_ip.{set}")), address).unwrap();
        }
    }
}

/// Makes a pod for every recorded namespace, and gives the paths by which they are known here.
fn create_pods(host: &Host, recordings: &[Recording]) -> Substitutes {
    let paths: BTreeSet<&str> = recordings
        .iter()
        .map(|recording| recording.variable("CNI_NETNS"))
        .collect();
    let mut substitutes = Substitutes::default();
    for path in paths
        .into_iter()
        .filter(|path| path.starts_with('/') && *path != GONE)
    {
        let pod = host.pod(Path::new(path).file_name().unwrap().to_str().unwrap());
        substitutes.insert(path, pod.path().display().to_string());
    }
    substitutes
}

fn replay(host: &Host, recording: &Recording, substitutes: &mut Substitutes) {
    assert_eq!(
        recording.rc, 0,
        "the reference refused none of the recorded requests to these plugins"
    );
    let mut invocation = host.plugin(&recording.plugin, recording.command());
    for name in ["CNI_CONTAINERID", "CNI_IFNAME"] {
        invocation = invocation.without(name);
    }
    for (name, value) in &recording.env {
        let value = substitutes.apply(&value.as_str().into());
        invocation = invocation.env(name, value.as_str().unwrap());
    }
    let outcome = invocation.conf(substitutes.apply(&recording.stdin)).run();
    if recording.stdout.is_null() {
        return outcome.silent_success();
    }
    let actual = outcome.success().json();
    if recording.plugin == "bridge" {
        substitutes.learn(recording, &actual);
    }
    assert_eq!(actual, substitutes.wanted(recording));
}

/// Records, host veths and masquerade rules are those of attachments that were added and not
/// deleted, and no others.
fn assert_only_live_attachments_are_left(host: &Host, recordings: &[Recording]) {
    let mut addresses_of: BTreeMap<&str, usize> = BTreeMap::new();
    for recording in recordings
        .iter()
        .filter(|recording| recording.plugin != "loopback")
    {
        let id = recording.variable("CNI_CONTAINERID");
        match recording.command() {
            Command::Add => {
                addresses_of.insert(id, recording.stdout["ips"].as_array().unwrap().len());
            }
            Command::Del => {
                addresses_of.remove(id);
            }
            _ => {}
        }
    }
    let mut recorded: BTreeMap<String, usize> = BTreeMap::new();
    for folder in [Path::new(DEFAULT_DATA_DIR), host.data_dir()] {
        count_records(folder, &mut recorded);
    }
    let live: BTreeMap<String, usize> = addresses_of
        .iter()
        .map(|(id, count)| ((*id).to_owned(), *count))
        .collect();
    assert_eq!(recorded, live, "records");
    if recordings
        .iter()
        .all(|recording| recording.plugin != "bridge")
    {
        return;
    }
    let links = Rtnl::open().unwrap().links().unwrap();
    assert_eq!(
        links
            .iter()
            .filter(|link| link.kind == LinkKind::Veth)
            .count(),
        live.len(),
        "host veths"
    );
    let rules = testkit::rules::masquerade_comments().unwrap_or_default();
    assert_eq!(
        rules.len(),
        live.values().sum::<usize>(),
        "masquerade rules: {rules:?}"
    );
}

/// Counts the records below a folder by container. A record is named after its address.
fn count_records(folder: &Path, counts: &mut BTreeMap<String, usize>) {
    let Ok(networks) = fs::read_dir(folder) else {
        return;
    };
    let visible = |name: &str| !name.starts_with('.');
    for network in networks
        .map(Result::unwrap)
        .filter(|entry| visible(entry.file_name().to_str().unwrap()))
    {
        for record in fs::read_dir(network.path()).unwrap().map(Result::unwrap) {
            if record
                .file_name()
                .to_str()
                .unwrap()
                .parse::<std::net::IpAddr>()
                .is_ok()
            {
                let content = fs::read_to_string(record.path()).unwrap();
                *counts
                    .entry(content.lines().next().unwrap_or_default().to_owned())
                    .or_default() += 1;
            }
        }
    }
}
