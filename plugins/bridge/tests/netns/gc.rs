//! GC: removes what belongs to no valid attachment of this network, and nothing else.

use crate::{
    kernel,
    network::{Network, V4, V6, failing_plugin, host_local},
    trace::Trace,
};
use cni_types::{Code, Command};
use serde_json::json;
use testkit::{Host, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        gc_removes_the_address_pair_and_rules_of_the_one_that_is_not_listed,
        gc_twice_is_gc_once,
        gc_distinguishes_interfaces_of_one_container,
        gc_leaves_the_same_container_in_another_network,
        gc_with_an_empty_list_frees_all,
        gc_with_null_frees_all,
        gc_without_a_list_touches_nothing,
        gc_reads_the_older_key,
        gc_refuses_a_malformed_list_and_touches_nothing,
        gc_finishes_though_ipam_fails,
        gc_goes_on_after_errors_and_reports_all_of_them,
        gc_leaves_the_links_of_others,
        gc_needs_no_bridge_and_no_valid_configuration,
        gc_frees_no_address_whose_pair_it_could_not_remove,
    ]
}

fn network<'a>(host: &'a Host, name: &str, subnets: &[&str]) -> Network<'a> {
    let keys =
        json!({"name": name, "isGateway": true, "ipMasq": true, "ipam": host_local(host, subnets)});
    Network::new(host, keys)
}

fn three(host: &Host) -> (Network<'_>, [Pod; 3]) {
    let network = network(host, "net", &[V4, V6]);
    let pods = ["a", "b", "c"].map(|name| host.pod(name));
    pods.iter().for_each(|pod| drop(network.add(pod).result()));
    (network, pods)
}

/// Returns for each pod if it has addresses, if it has a pair, and the number of its rules.
fn alive(host: &Host, pods: &[Pod; 3]) -> [(bool, bool, usize); 3] {
    let records: Vec<String> = std::fs::read_dir(host.data_dir().join("net"))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .collect();
    ["a", "b", "c"].map(|id| {
        let pod = pods.iter().find(|pod| pod.path().ends_with(id)).unwrap();
        let recorded = records
            .iter()
            .filter(|record| **record == format!("{id}\r\neth0"))
            .count();
        assert!(
            recorded == 0 || recorded == 2,
            "{id} has {recorded} of 2 addresses"
        );
        (
            recorded == 2,
            pod.inside(|| kernel::find_link("eth0")).is_some(),
            kernel::rules_of(id),
        )
    })
}

const ALIVE: (bool, bool, usize) = (true, true, 2);
const GONE: (bool, bool, usize) = (false, false, 0);

fn gc_removes_the_address_pair_and_rules_of_the_one_that_is_not_listed(host: &Host) {
    let (network, pods) = three(host);
    assert_eq!(alive(host, &pods), [ALIVE, ALIVE, ALIVE]);
    network.gc(&[("a", "eth0"), ("c", "eth0")]).silent_success();
    assert_eq!(alive(host, &pods), [ALIVE, GONE, ALIVE]);
    assert_eq!(kernel::names().len(), 4);
}

fn gc_twice_is_gc_once(host: &Host) {
    let (network, pods) = three(host);
    network.gc(&[("a", "eth0")]).silent_success();
    let before = host.state(&[&pods[0], &pods[1], &pods[2]]);
    network.gc(&[("a", "eth0")]).silent_success();
    assert_eq!(
        host.state(&[&pods[0], &pods[1], &pods[2]])
            .difference(&before),
        ""
    );
}

fn gc_distinguishes_interfaces_of_one_container(host: &Host) {
    let network = network(host, "net", &[V4]);
    let pod = host.pod("a");
    network.add(&pod).success();
    network
        .attachment(Command::Add, &pod)
        .ifname("eth1")
        .run()
        .success();
    network.gc(&[("a", "eth1")]).silent_success();
    assert_eq!(pod.inside(kernel::names), ["eth1", "lo"]);
    assert_eq!(kernel::rules_of("a"), 1);
}

fn gc_leaves_the_same_container_in_another_network(host: &Host) {
    let pod = host.pod("a");
    let first = network(host, "net", &[V4]);
    let second = network(host, "net2", &["10.2.0.0/24"]).with(json!({"bridge": "cni2"}));
    first.add(&pod).success();
    second
        .attachment(Command::Add, &pod)
        .ifname("eth1")
        .run()
        .success();
    first.gc(&[]).silent_success();
    assert_eq!(pod.inside(kernel::names), ["eth1", "lo"]);
    assert_eq!(kernel::rules_of("a"), 1);
    assert!(!host.data_dir().join("net/10.1.0.2").exists());
    assert!(host.data_dir().join("net2/10.2.0.2").exists());
}

fn gc_with_an_empty_list_frees_all(host: &Host) {
    let (network, pods) = three(host);
    network.gc(&[]).silent_success();
    assert_eq!(alive(host, &pods), [GONE, GONE, GONE]);
    assert_eq!(kernel::names(), ["cni0", "lo"]);
}

fn gc_with_null_frees_all(host: &Host) {
    let (network, pods) = three(host);
    let text = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "bridge", "ipam": host_local(host, &[V4, V6]),
        "cni.dev/valid-attachments": null,
    });
    network
        .request(Command::Gc, "")
        .conf(text)
        .run()
        .silent_success();
    assert_eq!(alive(host, &pods), [GONE, GONE, GONE]);
}

fn gc_without_a_list_touches_nothing(host: &Host) {
    let (network, pods) = three(host);
    let before = host.state(&[&pods[0], &pods[1], &pods[2]]);
    network.request(Command::Gc, "").run().silent_success();
    assert_eq!(
        host.state(&[&pods[0], &pods[1], &pods[2]])
            .difference(&before),
        ""
    );
}

fn gc_reads_the_older_key(host: &Host) {
    let (network, pods) = three(host);
    let list = json!([{"containerID": "b", "ifname": "eth0"}]);
    network
        .with(json!({"cni.dev/attachments": list}))
        .request(Command::Gc, "")
        .run()
        .silent_success();
    assert_eq!(alive(host, &pods), [GONE, ALIVE, GONE]);
}

fn gc_refuses_a_malformed_list_and_touches_nothing(host: &Host) {
    let (network, pods) = three(host);
    for list in [json!([{"containerID": "a"}]), json!("all"), json!([7])] {
        let request = network
            .with(json!({"cni.dev/valid-attachments": list}))
            .request(Command::Gc, "");
        assert_eq!(request.run().code(), Code::DECODE);
    }
    assert_eq!(alive(host, &pods), [ALIVE, ALIVE, ALIVE]);
}

fn gc_finishes_though_ipam_fails(host: &Host) {
    let (network, pods) = three(host);
    failing_plugin(host, "failing", 117, "database is down");
    let error = network
        .with(json!({"ipam": {"type": "failing"}}))
        .gc(&[("a", "eth0")])
        .error();
    assert_eq!(
        (error.code.0, error.msg.as_str()),
        (117, "database is down")
    );
    assert_eq!(
        alive(host, &pods),
        [ALIVE, (true, false, 0), (true, false, 0)]
    );
}

/// Pairs of other software, and one whose alias only looks like ours.
fn gc_leaves_the_links_of_others(host: &Host) {
    let (network, pods) = three(host);
    let port = |pod: &Pod| {
        let peer = kernel::eth0(pod).peer_index;
        kernel::names()
            .into_iter()
            .find(|name| Some(kernel::link(name).index) == peer)
            .unwrap()
    };
    for (pod, alias) in [
        (&pods[0], "uplink to rack 7"),
        (&pods[1], "cni net b"),
        (&pods[2], "cni other c eth0"),
    ] {
        kernel::change(&port(pod), |batch, link| {
            batch.set_port(
                &link.name,
                cni_net::PortMode {
                    hairpin: true,
                    isolated: false,
                },
                alias,
            );
        });
    }
    // The pods still use their addresses.
    network.gc(&[]).success();
    assert_eq!(
        alive(host, &pods),
        [(true, true, 0), (true, true, 0), (true, true, 0)]
    );
}

fn gc_needs_no_bridge_and_no_valid_configuration(host: &Host) {
    let (network, pods) = three(host);
    kernel::remove_link("cni0");
    let broken = json!({"bridge": "a/b", "mtu": -1, "vlan": -100, "ipMasqBackend": "foo"});
    network.with(broken).gc(&[]).silent_success();
    assert_eq!(alive(host, &pods), [GONE, GONE, GONE]);
}

/// One message to the kernel after another is refused: GC either removes the pair, or fails and
/// leaves its addresses reserved; the next GC removes the rest.
fn gc_frees_no_address_whose_pair_it_could_not_remove(host: &Host) {
    kernel::require_tool("strace");
    let network = network(host, "net", &[V4, V6]);
    let pod = host.pod("a");
    let gc = network
        .with(json!({"cni.dev/valid-attachments": []}))
        .request(Command::Gc, "");
    let mut kept = 0;
    for number in 1.. {
        network.add(&pod).success();
        let trace = Trace::with_fault(host, &gc, "sendto", "EPERM", number);
        let is_left = pod.inside(|| kernel::find_link("eth0")).is_some();
        let is_reserved = !kernel::records(host.data_dir()).is_empty();
        if is_left {
            kept += 1;
            assert!(
                is_reserved,
                "an address was freed while eth0 has it: {}",
                trace.outcome
            );
            let _ = trace.outcome.error();
        }
        gc.run().silent_success();
        assert_eq!(kernel::records(host.data_dir()), [""; 0]);
        if !trace.lines.iter().any(|line| line.contains("(INJECTED)")) {
            break;
        }
    }
    assert!(kept > 0, "no refusal kept the pair");
}

/// Nothing can be removed, and each refusal is reported; with the capability the same request
/// removes all.
fn gc_goes_on_after_errors_and_reports_all_of_them(host: &Host) {
    kernel::require_tool("setpriv");
    let (network, pods) = three(host);
    failing_plugin(host, "failing", 117, "database is down");
    let list = json!([{"containerID": "a", "ifname": "eth0"}]);
    let network =
        network.with(json!({"cni.dev/valid-attachments": list, "ipam": {"type": "failing"}}));
    let error = network
        .request(Command::Gc, "")
        .program(kernel::without_net_admin(host))
        .run()
        .error();
    let all = error.to_string();
    for wanted in [
        "failed to reach \"nf_tables\"",
        "failed to set the group of \"veth",
        "failed to delete \"link group ",
    ] {
        assert!(all.contains(wanted), "{wanted}: {all}");
    }
    // The pairs are still there, so no address is freed.
    assert!(!all.contains("database is down"), "{all}");
    assert_eq!(alive(host, &pods), [ALIVE, ALIVE, ALIVE]);
}
