//! DEL: needs nothing, can be repeated, and leaves the bridge.

use crate::{
    kernel,
    network::{Network, V4, V6, calls, failing_plugin, fixed_ipam, host_local},
    snapshot::Snapshot,
};
use cni_types::{Code, Command};
use serde_json::json;
use testkit::{Host, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        del_undoes_add,
        del_never_removes_the_bridge,
        del_without_a_previous_result_succeeds,
        del_twice_succeeds,
        del_of_what_was_never_added_succeeds,
        del_without_netns_frees_everything,
        del_with_a_missing_netns_frees_everything,
        del_with_a_plain_file_as_netns_frees_everything,
        del_removes_the_pair_of_a_namespace_whose_path_is_gone,
        del_does_not_take_another_containers_pair,
        del_leaves_the_interface_of_another_network_in_the_same_pod,
        del_leaves_a_device_that_is_no_veth_and_succeeds,
        del_with_the_own_netns_touches_neither_lo_nor_the_host,
        del_of_lo_leaves_lo,
        del_frees_what_is_left_when_the_bridge_is_gone,
        del_works_with_a_configuration_that_add_refuses,
        del_of_one_interface_leaves_the_other,
        del_removes_the_own_pair_and_leaves_a_veth_that_took_its_place,
        a_foreign_link_with_the_name_of_the_hosts_end_is_left_alone,
        del_finds_the_hosts_end_that_had_to_take_another_name,
        del_frees_the_addresses_though_the_interface_is_gone,
        a_failure_of_ipam_does_not_keep_the_interface,
        without_proc_no_namespace_is_taken_for_gone,
    ]
}

fn masquerading(host: &Host) -> Network<'_> {
    let keys =
        json!({"isDefaultGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4, V6])});
    Network::new(host, keys)
}

/// Asserts that nothing of the attachments is left on the host: no link but the bridge, no rule, no
/// address.
fn require_nothing_left(host: &Host) {
    assert_eq!(kernel::names(), ["cni0", "lo"]);
    assert_eq!(kernel::rules(), [""; 0]);
    for address in ["10.1.0.2", "fd01::2"] {
        assert!(
            !host.data_dir().join("net").join(address).exists(),
            "{address} is still reserved"
        );
    }
}

fn del_undoes_add(host: &Host) {
    let network = masquerading(host);
    let pods = ["a", "b"].map(|name| host.pod(name));
    network.add(&pods[0]).success();
    network.del(&pods[0]).silent_success();
    let before = Snapshot::of(host, &[&pods[0], &pods[1]]);
    network.add(&pods[1]).success();
    network.del(&pods[1]).silent_success();
    before.require_unchanged_but_for_the_last_address();
}

fn del_never_removes_the_bridge(host: &Host) {
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    let before = kernel::link("cni0");
    network.del(&pod).silent_success();
    assert_eq!(kernel::link("cni0").index, before.index);
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.1/24", "fd01::1/64"]);
}

fn del_without_a_previous_result_succeeds(host: &Host) {
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    network
        .with(json!({"prevResult": null}))
        .del(&pod)
        .silent_success();
    require_nothing_left(host);
    assert_eq!(pod.inside(kernel::names), ["lo"]);
}

fn del_twice_succeeds(host: &Host) {
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    network.del(&pod).silent_success();
    let before = Snapshot::of(host, &[&pod]);
    network.del(&pod).silent_success();
    before.require_unchanged();
}

fn del_of_what_was_never_added_succeeds(host: &Host) {
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    masquerading(host).del(&pod).silent_success();
    before.require_unchanged();
}

/// Adds a pod, removes its namespace, and runs DEL with `netns`.
fn del_after_the_namespace_went(host: &Host, netns: Option<&str>) {
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    pod.remove();
    let request = network.request(Command::Del, "a");
    let request = netns.map_or(request.clone(), |netns| request.netns(netns));
    request.run().silent_success();
    require_nothing_left(host);
    request.run().silent_success();
}

fn del_without_netns_frees_everything(host: &Host) {
    del_after_the_namespace_went(host, None);
    del_after_the_namespace_went(host, Some(""));
}

fn del_with_a_missing_netns_frees_everything(host: &Host) {
    del_after_the_namespace_went(host, Some("/run/netns/a"));
    del_after_the_namespace_went(host, Some("/run/netns/a/b/c"));
}

fn del_with_a_plain_file_as_netns_frees_everything(host: &Host) {
    let file = host.file("plain", "no namespace");
    del_after_the_namespace_went(host, file.to_str());
}

/// A process keeps the namespace alive, and so the pair; only the host's end can still be found.
fn del_removes_the_pair_of_a_namespace_whose_path_is_gone(host: &Host) {
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    let held = cni_net::Netns::open(pod.path()).unwrap();
    pod.remove();
    assert!(held.run(|| kernel::find_link("eth0")).unwrap().is_some());
    network.del(&pod).silent_success();
    assert!(held.run(|| kernel::find_link("eth0")).unwrap().is_none());
    require_nothing_left(host);
}

fn del_does_not_take_another_containers_pair(host: &Host) {
    let network = masquerading(host);
    let a = host.pod("a");
    let b = host.pod("b");
    network.add(&a).success();
    let before = Snapshot::of(host, &[&a, &b]);
    network
        .request(Command::Del, "other")
        .run()
        .silent_success();
    network
        .request(Command::Del, "a")
        .ifname("eth1")
        .run()
        .silent_success();
    network
        .with(json!({"name": "net2"}))
        .request(Command::Del, "a")
        .run()
        .silent_success();
    network.attachment(Command::Del, &b).run().silent_success();
    before.require_unchanged();
}

/// ADD was refused because the name is taken, and the runtime sends the DEL that the spec asks for.
fn del_leaves_the_interface_of_another_network_in_the_same_pod(host: &Host) {
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    let before = Snapshot::of(host, &[&pod]);
    let other = network.with(json!({"name": "net2"}));
    assert!(other.add(&pod).msg().contains("already exists"));
    other.del(&pod).silent_success();
    before.require_unchanged();
}

/// A physical device with the interface's name cannot be deleted: a DEL that tried would fail for
/// ever.
fn del_leaves_a_device_that_is_no_veth_and_succeeds(host: &Host) {
    let pod = host.pod("a");
    pod.inside(|| kernel::create_bridge("eth0"));
    let before = Snapshot::of(host, &[&pod]);
    masquerading(host).del(&pod).silent_success();
    before.require_unchanged();
}

fn del_with_the_own_netns_touches_neither_lo_nor_the_host(host: &Host) {
    let pod = host.pod("a");
    let network = masquerading(host);
    network.add(&pod).success();
    let port = kernel::names()
        .into_iter()
        .find(|name| name.starts_with("veth"))
        .unwrap();
    let before = Snapshot::of(host, &[&pod]);
    for ifname in ["lo", "cni0", &port, "eth0"] {
        let request = network
            .request(Command::Del, "other")
            .netns("/proc/self/ns/net")
            .ifname(ifname);
        request.run().silent_success();
    }
    before.require_unchanged();
}

fn del_of_lo_leaves_lo(host: &Host) {
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    masquerading(host)
        .attachment(Command::Del, &pod)
        .ifname("lo")
        .run()
        .silent_success();
    before.require_unchanged();
}

fn del_frees_what_is_left_when_the_bridge_is_gone(host: &Host) {
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    kernel::remove_link("cni0");
    network.del(&pod).silent_success();
    assert_eq!(kernel::names(), ["lo"]);
    assert_eq!(kernel::rules(), [""; 0]);
    assert!(!host.data_dir().join("net/10.1.0.2").exists());
}

fn del_works_with_a_configuration_that_add_refuses(host: &Host) {
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    let broken = network.with(json!({
        "bridge": "a/b", "mtu": -5, "hairpinMode": true, "promiscMode": true, "vlan": 9999,
        "ipMasqBackend": "foo", "runtimeConfig": {"mac": "nonsense"},
        "ipam": {"type": "host-local", "dataDir": host.data_dir(), "ranges": [[{"subnet": "nonsense"}]]},
    }));
    let _ = broken.add(&pod).error();
    broken
        .attachment(Command::Del, &pod)
        .args("FOO=bar")
        .run()
        .silent_success();
    require_nothing_left(host);
}

fn del_of_one_interface_leaves_the_other(host: &Host) {
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    network
        .attachment(Command::Add, &pod)
        .ifname("eth1")
        .run()
        .success();
    assert_eq!(pod.inside(kernel::names), ["eth0", "eth1", "lo"]);
    network.del(&pod).silent_success();
    assert_eq!(pod.inside(kernel::names), ["eth1", "lo"]);
    assert_eq!(kernel::rules_of("a"), 2);
    assert!(host.data_dir().join("net/10.1.0.3").exists());
}

/// KubeVirt's bridge binding and others do this.
fn del_removes_the_own_pair_and_leaves_a_veth_that_took_its_place(host: &Host) {
    let network = masquerading(host);
    let pod = host.pod("a");
    let added = network.add(&pod);
    pod.inside(|| {
        kernel::set_down("eth0");
        kernel::tool("ip link set eth0 name eth0-nic");
        kernel::tool("ip link add eth0 type veth peer name far0");
    });
    let error = network.check(&pod, &added).error();
    assert!(
        error.to_string().contains("host end of eth0 not found"),
        "{error}"
    );
    network.del(&pod).silent_success();
    assert_eq!(pod.inside(kernel::names), ["eth0", "far0", "lo"]);
    require_nothing_left(host);
}

/// Creates a foreign link with the name that the host's end of pod `a` would get.
fn take_the_name(host: &Host, network: &Network<'_>) -> String {
    let pod = host.pod("a");
    let name = network.add(&pod).result().interfaces[1].name.clone();
    network.del(&pod).silent_success();
    pod.remove();
    kernel::create_bridge("other0");
    kernel::create_veth(&name, "other0", &host.pod("other"), "net0");
    name
}

fn a_foreign_link_with_the_name_of_the_hosts_end_is_left_alone(host: &Host) {
    let network = masquerading(host);
    let name = take_the_name(host, &network);
    let pod = host.pod("a");
    network.request(Command::Del, "a").run().silent_success();
    let other = network.add(&pod).result().interfaces[1].name.clone();
    assert_ne!(other, name);
    network.del(&pod).silent_success();
    assert!(kernel::find_link(&name).is_some() && kernel::find_link(&other).is_none());
}

fn del_finds_the_hosts_end_that_had_to_take_another_name(host: &Host) {
    let network = masquerading(host);
    let name = take_the_name(host, &network);
    let pod = host.pod("a");
    network.add(&pod).success();
    let held = cni_net::Netns::open(pod.path()).unwrap();
    pod.remove();
    network.del(&pod).silent_success();
    assert!(held.run(|| kernel::find_link("eth0")).unwrap().is_none());
    assert!(kernel::find_link(&name).is_some());
}

fn del_frees_the_addresses_though_the_interface_is_gone(host: &Host) {
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    pod.inside(|| kernel::remove_link("eth0"));
    network.del(&pod).silent_success();
    require_nothing_left(host);
}

fn a_failure_of_ipam_does_not_keep_the_interface(host: &Host) {
    let pod: Pod = host.pod("a");
    let good = fixed_ipam(
        host,
        "good",
        json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.9/24"}]}),
    );
    let network = Network::new(host, json!({"ipMasq": true, "ipam": good}));
    network.add(&pod).success();
    failing_plugin(host, "good", 117, "database is down");
    let error = network.del(&pod).error();
    assert_eq!(
        (error.code.0, error.msg.as_str()),
        (117, "database is down")
    );
    assert_eq!(kernel::names(), ["cni0", "lo"]);
    assert_eq!(kernel::rules(), [""; 0]);
    assert_eq!(calls(host), ["ADD a"]);
}

/// The path below `/proc` is gone then; the namespace lives on.
fn without_proc_no_namespace_is_taken_for_gone(host: &Host) {
    kernel::require_tool("unshare");
    let network = masquerading(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    let bridge = testkit::bin_dir().join("bridge");
    let body = format!(
        "exec unshare -m sh -c 'mount -t tmpfs t /proc && exec {}'",
        bridge.display()
    );
    let program = host.script("without-proc", &body);
    let in_proc = "/proc/self/task/1/ns/net".to_owned();
    for path in [
        pod.path().display().to_string(),
        in_proc,
        "/run/netns/gone".to_owned(),
    ] {
        let request = network
            .attachment(Command::Del, &pod)
            .netns(&path)
            .program(&program);
        let error = request.run().error();
        assert_eq!(error.code, Code::INVALID_NETNS, "{path}: {error}");
        assert!(
            error.msg.contains("/proc is not mounted"),
            "{path}: {error}"
        );
        assert!(error.details.contains("mount -t proc"), "{path}: {error}");
    }
    network.del(&pod).silent_success();
    require_nothing_left(host);
}
