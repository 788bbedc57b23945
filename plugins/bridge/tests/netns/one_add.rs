//! An attachment has one ADD: a second one is refused before IPAM is asked, at whatever time and
//! whatever happened to its container meanwhile. The invariant is that living attachments and
//! records are the same.

use crate::{
    kernel,
    network::{Network, V4, calls, fixed_ipam, host_local, id},
};
use cni_net::Netns;
use cni_types::{Code, Command};
use serde_json::json;
use std::collections::BTreeSet;
use testkit::{Host, Outcome, Pod, Test, fail};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_second_add_with_another_netns_frees_nothing,
        a_second_add_after_the_interface_was_renamed_frees_nothing,
        a_second_add_after_the_interface_was_moved_frees_nothing,
        a_second_add_whose_first_had_to_take_another_name_frees_nothing,
        a_sandbox_that_is_made_again_after_the_old_one_died_is_attached,
        of_two_adds_at_once_one_wins_and_keeps_its_address,
        of_two_chained_adds_at_once_one_wins_and_keeps_its_address,
        a_second_chained_add_with_another_port_frees_nothing,
        a_port_that_cannot_be_marked_gets_no_addresses_of_its_own,
        an_add_that_runs_keeps_others_of_its_attachment_out,
    ]
}

/// The number of concurrent pairs of ADDs; in the field, fewer than ten led to the first failure.
const PAIRS: usize = 60;

fn network(host: &Host) -> Network<'_> {
    Network::new(
        host,
        json!({"isGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4])}),
    )
}

/// Returns the container ids in host-local's records.
fn recorded(host: &Host) -> BTreeSet<String> {
    let entries = std::fs::read_dir(host.data_dir().join("net"))
        .into_iter()
        .flatten()
        .flatten();
    let records = entries
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .parse::<std::net::IpAddr>()
                .is_ok()
        })
        .map(|entry| std::fs::read_to_string(entry.path()).unwrap());
    records
        .map(|record| record.lines().next().unwrap().to_owned())
        .collect()
}

fn set<const N: usize>(ids: [&str; N]) -> BTreeSet<String> {
    ids.into_iter().map(str::to_owned).collect()
}

#[track_caller]
fn require_refused(outcome: &Outcome) {
    assert_eq!(outcome.code(), Code::INVALID_ENVIRONMENT, "{outcome}");
    let lives = outcome
        .msg()
        .ends_with("is attached to network net by eth0 already");
    assert!(lives && outcome.details().contains("DEL"), "{outcome}");
}

fn a_second_add_with_another_netns_frees_nothing(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let other = host.pod("b");
    let added = network.add(&pod);
    require_refused(&network.request(Command::Add, "a").pod(&other).run());
    assert_eq!(recorded(host), set(["a"]));
    assert_eq!(other.inside(kernel::names), ["lo"]);
    network.check(&pod, &added).silent_success();
}

/// KubeVirt's bridge binding does this.
fn a_second_add_after_the_interface_was_renamed_frees_nothing(host: &Host) {
    kernel::require_tool("ip");
    let network = network(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    pod.inside(|| {
        kernel::set_down("eth0");
        kernel::tool("ip link set eth0 name eth0-nic");
        kernel::set_up("eth0-nic");
    });
    require_refused(&network.add(&pod));
    assert_eq!(recorded(host), set(["a"]));
    assert_eq!(
        pod.inside(|| kernel::addresses("eth0-nic")),
        ["10.1.0.2/24"]
    );
    network.del(&pod).silent_success();
    assert_eq!(
        (recorded(host), pod.inside(kernel::names)),
        (set([]), vec!["lo".to_owned()])
    );
}

fn a_second_add_after_the_interface_was_moved_frees_nothing(host: &Host) {
    kernel::require_tool("ip");
    let network = network(host);
    let pod = host.pod("a");
    let other = host.pod("b");
    network.add(&pod).success();
    pod.inside(|| kernel::tool("ip link set eth0 netns b"));
    require_refused(&network.add(&pod));
    assert_eq!(recorded(host), set(["a"]));
    assert_eq!(
        other
            .inside(|| kernel::find_link("eth0"))
            .map(|link| link.name.to_string()),
        Some("eth0".to_owned())
    );
    network.del(&pod).silent_success();
    assert_eq!(recorded(host), set([]));
    assert_eq!(kernel::names(), ["cni0", "lo"]);
}

/// The link that had the name is deleted, and the name is free again.
fn a_second_add_whose_first_had_to_take_another_name_frees_nothing(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let other = host.pod("b");
    let first = network.add(&pod).result().interfaces[1].name.clone();
    network.del(&pod).silent_success();
    kernel::create_bridge(&first);
    let second = network.add(&pod).result().interfaces[1].name.clone();
    assert_ne!(first, second);
    kernel::remove_link(&first);
    require_refused(&network.request(Command::Add, "a").pod(&other).run());
    assert_eq!(recorded(host), set(["a"]));
    network.request(Command::Del, "a").run().silent_success();
    assert_eq!(
        (recorded(host), pod.inside(kernel::names)),
        (set([]), vec!["lo".to_owned()])
    );
}

fn a_sandbox_that_is_made_again_after_the_old_one_died_is_attached(host: &Host) {
    let pod = host.pod("a");
    let ipam = fixed_ipam(
        host,
        "fixed",
        json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.9/24"}]}),
    );
    let network = Network::new(host, json!({"ipam": ipam}));
    for _ in 0..5 {
        // The kernel removes the old link asynchronously; until then the attachment lives, and IPAM
        // is not asked.
        kernel::wait_until("the old namespace is dead", || {
            network.add(&pod).status.success()
        });
        pod.remove();
        drop(host.pod("a"));
    }
    assert_eq!(calls(host), ["ADD a"; 5]);
    assert_eq!(kernel::names().len(), 3);
}

/// Runs two requests at once.
fn both(request: impl Fn() -> Outcome + Sync) -> [Outcome; 2] {
    std::thread::scope(|scope| {
        let runs = [scope.spawn(&request), scope.spawn(&request)];
        runs.map(|run| run.join().unwrap())
    })
}

/// Asserts that one of them succeeded, and that the error of the other names the reason.
#[track_caller]
fn require_one(outcomes: &[Outcome; 2]) {
    let (won, lost): (Vec<_>, Vec<_>) = outcomes
        .iter()
        .partition(|outcome| outcome.status.success());
    let [lost] = lost[..] else {
        fail(format_args!("{} succeeded: {outcomes:?}", won.len()))
    };
    let told = lost.msg().contains("already");
    assert!(
        told && matches!(lost.code(), Code::INVALID_ENVIRONMENT | Code::TRY_AGAIN),
        "{lost}"
    );
}

fn pairs() -> usize {
    std::env::var("CNI_TEST_PAIRS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(PAIRS)
}

fn of_two_adds_at_once_one_wins_and_keeps_its_address(host: &Host) {
    let network = network(host);
    for _ in 0..pairs() {
        let pod = host.pod("a");
        require_one(&both(|| network.add(&pod)));
        assert_eq!(recorded(host), set(["a"]));
        assert_eq!(pod.inside(|| kernel::addresses("eth0")).len(), 1);
        assert_eq!(kernel::rules_of("a"), 1);
        network.del(&pod).silent_success();
        assert_eq!((recorded(host), kernel::rules_of("a")), (set([]), 0));
        pod.remove();
    }
}

/// Makes a pair as an earlier plugin does, and returns its result.
fn earlier(pod: &Pod, port: &str) -> serde_json::Value {
    kernel::require_tool("ip");
    kernel::tool(&format!(
        "ip link add {port} type veth peer name eth0 netns {}",
        id(pod)
    ));
    json!({"cniVersion": "1.1.0", "interfaces": [{"name": port}, {"name": "eth0", "sandbox": pod.path()}]})
}

fn of_two_chained_adds_at_once_one_wins_and_keeps_its_address(host: &Host) {
    let pod = host.pod("a");
    let network = network(host).with(json!({"prevResult": earlier(&pod, "port0")}));
    for _ in 0..pairs() / 4 {
        let outcomes = both(|| network.add(&pod));
        require_one(&outcomes);
        assert_eq!(recorded(host), set(["a"]));
        assert_eq!(pod.inside(|| kernel::addresses("eth0")).len(), 1);
        let won = outcomes
            .iter()
            .find(|outcome| outcome.status.success())
            .unwrap()
            .json();
        network
            .with(json!({"prevResult": won}))
            .del(&pod)
            .silent_success();
        assert_eq!(recorded(host), set([]));
        pod.inside(|| kernel::tool("ip addr flush dev eth0"));
    }
}

fn a_second_chained_add_with_another_port_frees_nothing(host: &Host) {
    let pod = host.pod("a");
    let again = host.pod("b");
    let network = network(host);
    let first = network.with(json!({"prevResult": earlier(&pod, "port0")}));
    let second = network.with(json!({"prevResult": earlier(&again, "port1")}));
    first.add(&pod).success();
    require_refused(&second.request(Command::Add, "a").pod(&again).run());
    assert_eq!(
        (recorded(host), kernel::link("port1").master),
        (set(["a"]), None)
    );
    require_refused(&first.add(&pod));
    assert_eq!(recorded(host), set(["a"]));
}

fn a_port_that_cannot_be_marked_gets_no_addresses_of_its_own(host: &Host) {
    let pod = host.pod("a");
    let network = network(host).with(json!({"prevResult": earlier(&pod, "port0")}));
    kernel::tool("ip link set port0 alias mine");
    let outcome = network.add(&pod);
    assert_eq!(
        outcome.msg(),
        "interface port0 of prevResult has the alias \"mine\""
    );
    assert_eq!(outcome.code(), Code::INVALID_CONFIG);
    network.with(json!({"ipam": null})).add(&pod).success();
}

/// A claim of another process counts, too: the kernel keeps it.
fn an_add_that_runs_keeps_others_of_its_attachment_out(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    network.del(&pod).silent_success();
    let busy =
        network.with(json!({"ipam": crate::network::script_ipam(host, "slow", "exec sleep 60")}));
    let request = busy.attachment(Command::Add, &pod);
    let mut running = request
        .process()
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    kernel::wait_until("IPAM was asked", || calls(host) == ["ADD a"]);
    let outcome = network.add(&pod);
    assert_eq!(
        outcome.msg(),
        "container a is being attached to network net by eth0 already"
    );
    assert_eq!(outcome.code(), Code::TRY_AGAIN);
    // Another attachment of the same container goes on.
    network
        .attachment(Command::Add, &pod)
        .ifname("eth1")
        .run()
        .success();
    running.kill().unwrap();
    running.wait().unwrap();
    // The claim is gone; the pair exists, and its mark names the attachment.
    assert!(network.add(&pod).msg().contains("already exists"));
    network.del(&pod).silent_success();
    network.add(&pod).success();
    let held = Netns::open(pod.path()).unwrap();
    assert!(held.run(|| kernel::find_link("eth0")).unwrap().is_some());
}
