//! The waits of ADD and their lengths: on the kernel's events, never by polling; and without
//! listing many objects.

use crate::{
    kernel,
    network::{Network, V4, V6, files, host_local, script_ipam},
    snapshot::Snapshot,
    trace::Trace,
};
use cni_types::{Code, Command};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use testkit::{Host, OrFail, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        add_returns_within_50_ms_after_its_port_forwards,
        addresses_that_do_not_settle_within_5_seconds_are_an_error,
        nothing_sleeps,
        add_lists_no_more_than_the_addresses_of_the_bridge_and_the_two_rules_of_postrouting,
    ]
}

/// Returns the time from the moment that the port forwards to the return of ADD. The test holds the
/// host's end back as a supplicant does (802.1X): it is not operational before that is set.
fn delay_after_forwarding(host: &Host, name: &str) -> Duration {
    let pod = host.pod(name);
    let network = Network::new(host, json!({"ipam": held_ipam(host)}));
    let adding_since = Instant::now();
    let (added, returned, released) = std::thread::scope(|scope| {
        let adding = scope.spawn(|| (network.add(&pod), Instant::now()));
        let port = hold_back_the_port(host);
        std::thread::sleep(Duration::from_millis(300));
        let released = Instant::now();
        kernel::tool(&format!("ip link set {port} state up"));
        let (added, returned) = adding.join().unwrap();
        (added, returned, released)
    });
    added.success();
    assert!(
        returned > released,
        "it did not wait: {:?}",
        adding_since.elapsed()
    );
    network.del(&pod).silent_success();
    returned.duration_since(released)
}

/// The best of some attempts: the machine may be busy. A plugin that polls every 500 ms, as the
/// reference does, needs luck for one.
fn add_returns_within_50_ms_after_its_port_forwards(host: &Host) {
    kernel::only_at_full_speed();
    kernel::require_tool("ip");
    kernel::create_bridge("cni0");
    let delays: Vec<Duration> = (0..5)
        .map(|at| delay_after_forwarding(host, &format!("p{at}")))
        .collect();
    host.note(format!("{delays:?}"));
    assert!(
        delays
            .iter()
            .any(|delay| *delay < Duration::from_millis(50)),
        "{delays:?}"
    );
}

/// Makes an IPAM plugin that answers when it is released.
pub(crate) fn held_ipam(host: &Host) -> Value {
    let _ = std::fs::remove_file(files(host).join("go"));
    let wait = "while [ ! -e \"${0%/*}/go\" ]; do sleep 0.01; done";
    script_ipam(
        host,
        "held",
        &format!("{wait}; echo '{{\"ips\": [{{\"address\": \"10.1.0.9/24\"}}]}}'"),
    )
}

/// Waits for the port of an ADD with [`held_ipam`], keeps it from becoming operational by itself,
/// and releases IPAM.
pub(crate) fn hold_back_the_port(host: &Host) -> String {
    let port = || {
        let names = kernel::names()
            .into_iter()
            .filter(|name| name.starts_with("veth"));
        names
            .into_iter()
            .find(|name| kernel::find_link(name).is_some_and(|link| !link.oper_up))
    };
    kernel::wait_until("the pair is there", || port().is_some());
    let port = port().unwrap();
    kernel::tool(&format!("ip link set {port} mode dormant"));
    std::fs::write(files(host).join("go"), "").or_fail("let IPAM go");
    port
}

/// A minute of detection, as on a link with many probes.
fn addresses_that_do_not_settle_within_5_seconds_are_an_error(host: &Host) {
    kernel::create_bridge("cni0");
    let first = host.pod("first");
    let pod = host.pod("a");
    let network = Network::new(
        host,
        json!({"ipMasq": true, "ipam": host_local(host, &[V4, V6])}),
    );
    network.add(&first).success();
    pod.inside(|| kernel::set_sysctl("ipv6/conf/default/dad_transmits", "60"));
    let before = Snapshot::of(host, &[&first, &pod]);
    let outcome = network.with(json!({"enabledad": true})).add(&pod);
    let error = outcome.error();
    assert_eq!(error.code, Code::KERNEL);
    assert!(
        error
            .msg
            .starts_with("failed to settle addresses for \"eth0\": timed out"),
        "{error}"
    );
    let limits = Duration::from_secs(5)..Duration::from_secs(10);
    assert!(limits.contains(&outcome.duration), "{:?}", outcome.duration);
    before.require_unchanged_but_for_the_last_address();
}

fn full(host: &Host) -> Network<'_> {
    Network::new(
        host,
        json!({"isDefaultGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4, V6])}),
    )
}

fn nothing_sleeps(host: &Host) {
    let network = full(host);
    let pod = host.pod("a");
    for command in [Command::Add, Command::Del] {
        let trace = Trace::of(
            host,
            &network.attachment(command, &pod),
            "nanosleep,clock_nanosleep,select",
        );
        trace.outcome.success();
        assert_eq!(trace.lines, [""; 0], "{command:?}");
    }
}

/// With a thousand pods on the bridge, or ten thousand routes on the host, a list of them takes
/// most of the time.
fn add_lists_no_more_than_the_addresses_of_the_bridge_and_the_two_rules_of_postrouting(
    host: &Host,
) {
    let network = full(host);
    network.add(&host.pod("first")).success();
    let index = kernel::link("cni0").index;
    let trace = Trace::of(
        host,
        &network.attachment(Command::Add, &host.pod("a")),
        "sendto,sendmsg",
    );
    trace.outcome.success();
    let sends = trace
        .lines
        .iter()
        .filter(|line| line.contains("nlmsg_type=RTM_"))
        .count();
    assert!(sends > 5, "strace shows what is sent: {sends}");
    let lists: Vec<&String> = trace
        .lines
        .iter()
        .filter(|line| line.contains("NLM_F_DUMP"))
        .collect();
    assert!(lists.len() <= 3, "{lists:#?}");
    let of_bridge = [
        "ifa_index=if_nametoindex(\"cni0\")".to_owned(),
        format!("ifa_index={index}"),
    ];
    // The name of the chain, as strace shows it.
    let postrouting: String = b"postrouting"
        .iter()
        .map(|byte| format!("\\x{byte:02x}"))
        .collect();
    for list in lists {
        let addresses = list.contains("nlmsg_type=RTM_GETADDR")
            && of_bridge.iter().any(|index| list.contains(index));
        let rules = list.contains("NFT_MSG_GETRULE") && list.contains(&postrouting);
        assert!(addresses || rules, "{list}");
    }
}
