//! The requests of runtimes, and their order, as seen in the field: some are in no specification.

use crate::{
    kernel,
    network::{Network, V4, V6, failing_plugin, host_local, id},
    snapshot::Snapshot,
};
use cni_types::Command;
use serde_json::json;
use testkit::{Host, Invocation, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        containerd_adds_loopback_beside_the_chain,
        containerd_dels_again_without_a_netns_and_without_a_previous_result,
        crio_probes_versions_with_dummies,
        crio_asks_status_and_collects_with_null_lists_at_its_start,
        crio_checks_after_each_add_and_again_after_its_restart,
        podman_asks_for_the_same_address_after_a_reload,
        libcni_dels_plugins_that_were_never_added,
        kubelet_dels_one_sandbox_four_times,
        two_dels_of_one_sandbox_overlap,
        an_add_after_overlapping_dels_is_whole,
        nerdctl_dels_without_a_netns_before_each_add,
        an_error_of_del_that_matters_is_not_taken_for_absence,
    ]
}

fn network(host: &Host) -> Network<'_> {
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
                      "ipam": host_local(host, &[V4, V6])});
    Network::new(host, keys)
}

fn loopback<'a>(host: &'a Host, command: Command, pod: &Pod) -> Invocation<'a> {
    let conf = json!({"cniVersion": "0.3.1", "name": "cni-loopback", "type": "loopback"});
    host.plugin("loopback", command)
        .container(&id(pod))
        .ifname("lo")
        .pod(pod)
        .conf(conf)
}

/// Asserts that nothing of an attachment is on the host or in the pod.
fn require_nothing_left(host: &Host, pod: &Pod) {
    assert_eq!(kernel::names(), ["cni0", "lo"]);
    assert_eq!(kernel::rules(), [""; 0]);
    assert_eq!(pod.inside(kernel::names), ["lo"]);
    for address in ["10.1.0.2", "fd01::2"] {
        assert!(
            !host.data_dir().join("net").join(address).exists(),
            "{address} is still reserved"
        );
    }
}

fn containerd_adds_loopback_beside_the_chain(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| loopback(host, Command::Add, &pod).run());
        let added = network.add(&pod);
        beside.join().unwrap().success();
        network.check(&pod, &added).silent_success();
    });
    assert!(pod.inside(|| kernel::link("lo")).up);
    std::thread::scope(|scope| {
        let beside = scope.spawn(|| loopback(host, Command::Del, &pod).run());
        network.del(&pod).silent_success();
        beside.join().unwrap().silent_success();
    });
    require_nothing_left(host, &pod);
}

fn containerd_dels_again_without_a_netns_and_without_a_previous_result(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let added = network.add(&pod);
    network
        .with(json!({"prevResult": added.json()}))
        .del(&pod)
        .silent_success();
    let before = Snapshot::of(host, &[&pod]);
    network
        .request(Command::Del, &id(&pod))
        .netns("")
        .run()
        .silent_success();
    loopback(host, Command::Del, &pod)
        .netns("")
        .run()
        .silent_success();
    before.require_unchanged();
}

fn crio_probes_versions_with_dummies(host: &Host) {
    for plugin in ["bridge", "loopback", "host-local"] {
        let probe = host
            .plugin(plugin, Command::Version)
            .container("dummy")
            .ifname("dummy");
        let probe = probe
            .netns("dummy")
            .env("CNI_PATH", "dummy")
            .conf(json!({"cniVersion": "1.1.0"}));
        let supported = probe.run().json()["supportedVersions"].clone();
        assert_eq!(
            supported,
            json!([
                "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"
            ]),
            "{plugin}"
        );
    }
}

fn crio_asks_status_and_collects_with_null_lists_at_its_start(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    network.status().silent_success();
    // No pods: both names of the list, both null. The pod's attachment is from before the restart
    // of the node.
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "bridge": "cni0",
                      "ipam": host_local(host, &[V4, V6]),
                      "cni.dev/valid-attachments": null, "cni.dev/attachments": null});
    network
        .request(Command::Gc, "")
        .conf(conf)
        .run()
        .silent_success();
    require_nothing_left(host, &pod);
}

fn crio_checks_after_each_add_and_again_after_its_restart(host: &Host) {
    let network = network(host);
    let pods = ["a", "b", "c"].map(|name| host.pod(name));
    let added = pods.each_ref().map(|pod| {
        let added = network.add(pod);
        network.check(pod, &added).silent_success();
        added
    });
    for (pod, added) in pods.iter().zip(&added) {
        network.check(pod, added).silent_success();
    }
}

fn podman_asks_for_the_same_address_after_a_reload(host: &Host) {
    let options = json!({"args": {"podman_options": {"mac": "", "static_ip": null}}});
    let network = network(host).with(options);
    let pod = host.pod("a");
    let first = network.add(&pod).result();
    network.del(&pod).silent_success();
    let ips: Vec<String> = first
        .ips
        .iter()
        .map(|ip| ip.address.address().to_string())
        .collect();
    let again = network
        .with(json!({"runtimeConfig": {"ips": ips}}))
        .add(&pod)
        .result();
    assert_eq!(again.ips, first.ips);
}

fn libcni_dels_plugins_that_were_never_added(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    network.del(&pod).silent_success();
    loopback(host, Command::Del, &pod).run().silent_success();
    before.require_unchanged();
}

fn kubelet_dels_one_sandbox_four_times(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let other = host.pod("b");
    network.add(&pod).success();
    let kept = network.add(&other);
    let with_netns = network.attachment(Command::Del, &pod);
    let without = network.request(Command::Del, &id(&pod)).netns("");
    for request in [&with_netns, &with_netns, &without, &without] {
        request.run().silent_success();
    }
    network.check(&other, &kept).silent_success();
    network.del(&other).silent_success();
    require_nothing_left(host, &pod);
}

fn two_dels_of_one_sandbox_overlap(host: &Host) {
    let network = network(host);
    let pods = ["a", "b", "c", "d"].map(|name| host.pod(name));
    for pod in &pods {
        network.add(pod).success();
    }
    std::thread::scope(|scope| {
        for pod in pods.iter().flat_map(|pod| [pod, pod, pod]) {
            let network = &network;
            scope.spawn(move || network.del(pod).silent_success());
        }
    });
    require_nothing_left(host, &pods[0]);
}

/// A late DEL belongs to the container that is gone, not to the next one.
fn an_add_after_overlapping_dels_is_whole(host: &Host) {
    let network = network(host);
    let old = host.pod("old");
    let new = host.pod("new");
    network.add(&old).success();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| network.del(&old).silent_success());
        }
        let added = network.add(&new);
        network.check(&new, &added).silent_success();
    });
    let added = network.add(&old);
    network.check(&old, &added).silent_success();
}

fn nerdctl_dels_without_a_netns_before_each_add(host: &Host) {
    let network = network(host);
    let pods = ["a", "b"].map(|name| host.pod(name));
    let added = pods.each_ref().map(|pod| {
        network
            .request(Command::Del, &id(pod))
            .netns("")
            .run()
            .silent_success();
        network.add(pod)
    });
    for (pod, added) in pods.iter().zip(&added) {
        network.check(pod, added).silent_success();
    }
}

/// go-cni takes a failed DEL for a success if the error holds certain words: the addresses leak,
/// and nobody notices.
fn an_error_of_del_that_matters_is_not_taken_for_absence(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    failing_plugin(host, "broken-ipam", 999, "the database is locked");
    let broken = network.with(json!({"ipam": {"type": "broken-ipam"}}));
    let missing = network.with(json!({"ipam": {"type": "nosuch-ipam"}}));
    let path = host.file("plain", "").join("below");
    let requests = [
        broken.attachment(Command::Del, &pod),
        broken.request(Command::Del, "a").netns(""),
        missing.attachment(Command::Del, &pod),
        network.attachment(Command::Del, &pod).env("CNI_PATH", path),
    ];
    for request in requests {
        let error = request.run().error();
        let text = format!("{} {}", error.msg, error.details);
        for words in ["not found", "no such file or directory"] {
            assert!(!text.to_lowercase().contains(words), "{text}");
        }
    }
}
