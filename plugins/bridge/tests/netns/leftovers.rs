//! Leftovers of a killed ADD: GC finds them, and so does a DEL without a namespace, whatever the
//! system call at which ADD was killed. Also with names that are too long for the kernel's texts.

use crate::{
    kernel,
    network::{Network, V4, V6, host_local},
    snapshot::Snapshot,
    trace::Trace,
};
use cni_net::{Batch, Netns, NewLink, Rtnl};
use cni_types::{Call, Code, Command, Environment, MacAddr, Plugin, Stop};
use sandbox::trace::{Injection, SHELL, Signal, follow};
use serde_json::json;
use std::{num::NonZeroU32, os::unix::process::CommandExt, process::Stdio, time::Duration};
use testkit::{Host, Invocation, OrFail, Pod, Test, bin_dir};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        gc_removes_a_pair_whose_add_was_killed_before_the_alias,
        del_without_netns_removes_a_pair_whose_add_was_killed_before_the_alias,
        an_add_replaces_a_pair_whose_add_was_killed_before_the_alias,
        gc_leaves_a_pair_without_alias_that_may_be_a_valid_attachments,
        gc_leaves_pairs_without_alias_of_other_networks,
        gc_gives_a_pair_back_that_an_earlier_gc_wanted_to_remove,
        gc_removes_many_pairs_at_once,
        gc_that_is_asked_to_stop_leaves_the_rest_to_the_next,
        an_add_killed_at_any_system_call_leaves_nothing_after_gc_or_del,
        names_too_long_for_an_alias_are_found_by_gc,
        names_too_long_for_an_alias_are_found_by_del_without_netns,
    ]
}

fn network(host: &Host) -> Network<'_> {
    Network::new(
        host,
        json!({"isGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4, V6])}),
    )
}

/// Removes the alias of pod `a`'s host end, as if ADD had been killed before it was set. Returns
/// the end's name.
fn unmark(network: &Network<'_>, pod: &Pod) -> String {
    let name = network.add(pod).result().interfaces[1].name.clone();
    kernel::change(&name, |batch, link| batch.set_alias(link, ""));
    name
}

fn gc_removes_a_pair_whose_add_was_killed_before_the_alias(host: &Host) {
    let network = network(host);
    let pods = ["a", "b"].map(|name| host.pod(name));
    unmark(&network, &pods[0]);
    let kept = network.add(&pods[1]);
    network.gc(&[("b", "eth0")]).silent_success();
    assert_eq!(pods[0].inside(kernel::names), ["lo"]);
    network.check(&pods[1], &kept).silent_success();
}

fn del_without_netns_removes_a_pair_whose_add_was_killed_before_the_alias(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    unmark(&network, &pod);
    network.request(Command::Del, "a").run().silent_success();
    assert_eq!(
        (pod.inside(kernel::names), kernel::names()),
        (vec!["lo".into()], vec!["cni0".into(), "lo".into()])
    );
}

fn an_add_replaces_a_pair_whose_add_was_killed_before_the_alias(host: &Host) {
    let pod = host.pod("a");
    let network = Network::new(host, json!({}));
    unmark(&network, &pod);
    let added = network.add(&pod);
    network.check(&pod, &added).silent_success();
    assert_eq!(kernel::names().len(), 3);
}

fn gc_leaves_a_pair_without_alias_that_may_be_a_valid_attachments(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    unmark(&network, &pod);
    network.gc(&[("a", "eth0")]).silent_success();
    assert_eq!(pod.inside(kernel::names), ["eth0", "lo"]);
}

fn gc_leaves_pairs_without_alias_of_other_networks(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    unmark(&network, &pod);
    kernel::create_veth("vethfeedbeef", "cni0", &host.pod("b"), "eth0");
    network
        .with(json!({"name": "other"}))
        .gc(&[])
        .silent_success();
    assert_eq!(pod.inside(kernel::names), ["eth0", "lo"]);
    network.gc(&[]).silent_success();
    assert_eq!(
        (pod.inside(kernel::names), kernel::names().len()),
        (vec!["lo".to_owned()], 3)
    );
}

/// ADD was killed between its two requests, and the list of plugins has changed since.
fn gc_gives_a_pair_back_that_an_earlier_gc_wanted_to_remove(host: &Host) {
    kernel::require_tool("strace");
    let network = network(host);
    let pods = ["a", "b"].map(|name| host.pod(name));
    let kept = network.add(&pods[0]);
    let name = kept.result().interfaces[1].name.clone();
    let living = kernel::link(&name).group;
    let list = json!({"cni.dev/valid-attachments": []});
    let request = network.with(list).request(Command::Gc, "");
    // All requests after the one that moves the pair are refused.
    for first in 1..20 {
        drop(Trace::with_faults_from(
            host, &request, "sendto", "EPERM", first,
        ));
        if kernel::find_link(&name).is_none_or(|link| link.group != living) {
            break;
        }
    }
    assert_ne!(
        kernel::link(&name).group,
        living,
        "no GC was stopped between its requests"
    );
    network.add(&pods[1]).success();
    network.gc(&[("a", "eth0")]).silent_success();
    assert_eq!(kernel::link(&name).group, living);
    assert_eq!(
        pods.each_ref().map(|pod| pod.inside(kernel::names).len()),
        [2, 1]
    );
}

fn gc_removes_many_pairs_at_once(host: &Host) {
    let network = Network::new(host, json!({}));
    let far = host.pod("far");
    network.add(&host.pod("a")).success();
    let group = kernel::names()
        .iter()
        .filter_map(|name| NonZeroU32::new(kernel::link(name).group))
        .max()
        .unwrap();
    let netns = Netns::open(far.path()).unwrap();
    let bridge = kernel::link("cni0");
    for at in 0..300_u16 {
        let [high, low] = at.to_be_bytes();
        let mut batch = Batch::new();
        let host_name = kernel::if_name(&format!("veth{at:08x}"));
        let link = NewLink::named(&host_name)
            .mac(MacAddr([2, 1, 0, 0, high, low]))
            .port_of(&bridge)
            .group(group)
            .up();
        let inside = kernel::if_name(&format!("f{at}"));
        let peer = NewLink::named(&inside)
            .mac(MacAddr([2, 2, 0, 0, high, low]))
            .in_netns(&netns);
        batch.create_veth(&link, &peer);
        Rtnl::open().unwrap().run(batch).or_fail("make a pair");
    }
    network.gc(&[("a", "eth0")]).silent_success();
    assert_eq!(
        (kernel::names().len(), far.inside(kernel::names)),
        (3, vec!["lo".to_owned()])
    );
}

fn gc_that_is_asked_to_stop_leaves_the_rest_to_the_next(host: &Host) {
    let network = Network::new(host, json!({}));
    let pod = host.pod("a");
    network.add(&pod).success();
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "cni.dev/valid-attachments": []});
    let stop = Stop::after(Duration::ZERO);
    let call = Call::new(Environment::default(), conf.to_string().into(), stop).unwrap();
    let error = bridge::Bridge.gc(&call).unwrap_err();
    assert_eq!(error.code, Code::TRY_AGAIN, "{error}");
    assert_eq!(pod.inside(kernel::names), ["eth0", "lo"]);
    network.gc(&[]).silent_success();
    assert_eq!(pod.inside(kernel::names), ["lo"]);
}

/// Kills the request before the system call with this number. Returns false if it makes fewer.
#[expect(clippy::zombie_processes, reason = "`follow` waits for it")]
fn kill(host: &Host, request: &Invocation<'_>, before: usize) -> bool {
    let body = format!("kill -STOP $$; exec {}/bridge", bin_dir().display());
    let mut process = request
        .clone()
        .program(host.script("stopped", &body))
        .process();
    process
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let child = process.spawn().or_fail(SHELL);
    let injection = Injection {
        before,
        signal: Signal::SIGKILL,
    };
    follow(&child, Some(injection), Duration::from_secs(30))
        .or_fail("trace")
        .was_injected
}

/// Returns the step from one killed system call to the next: 1 with `CNI_TEST_EVERY_CALL` set.
fn stride() -> usize {
    if std::env::var_os("CNI_TEST_EVERY_CALL").is_some() {
        1
    } else {
        5
    }
}

fn an_add_killed_at_any_system_call_leaves_nothing_after_gc_or_del(host: &Host) {
    let keys = json!({"macspoofchk": true});
    let network = network(host).with(keys);
    let other = host.pod("other");
    network.add(&other).success();
    let pod = host.pod("a");
    network.add(&pod).success();
    network.del(&pod).silent_success();
    let before = Snapshot::of(host, &[&other, &pod]);
    for (at, number) in (1..).step_by(stride()).enumerate() {
        let was_injected = kill(host, &network.attachment(Command::Add, &pod), number);
        host.note(format!("killed before system call {number}"));
        if at % 2 == 0 {
            network.gc(&[("other", "eth0")]).silent_success();
        } else {
            network.request(Command::Del, "a").run().silent_success();
        }
        before.require_attachments_unchanged();
        if !was_injected {
            assert!(number > 100, "only {number} system calls");
            break;
        }
    }
}

/// Network, container and interface have more than 255 bytes together.
fn long(host: &Host, keys: serde_json::Value) -> (Network<'_>, String) {
    let keys_of_all = json!({"name": "n".repeat(60), "isGateway": true, "ipMasq": true,
                             "ipam": host_local(host, &[V4])});
    (Network::new(host, keys_of_all).with(keys), "c".repeat(200))
}

#[track_caller]
fn require_nothing_left(host: &Host, pod: &Pod) {
    assert_eq!(
        (pod.inside(kernel::names), kernel::names()),
        (vec!["lo".into()], vec!["cni0".into(), "lo".into()])
    );
    assert_eq!(kernel::rules(), [""; 0]);
    let rules = cni_net::nft::Nft::open()
        .unwrap()
        .ruleset()
        .unwrap_or_default();
    let left: Vec<_> = rules
        .iter()
        .filter(|line| line.contains("cccc") || line.contains("CNI-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(
        !host
            .data_dir()
            .join("n".repeat(60))
            .join("10.1.0.2")
            .exists()
    );
}

fn names_too_long_for_an_alias_are_found_by_gc(host: &Host) {
    let (network, id) = long(host, json!({"macspoofchk": true}));
    let pod = host.pod("a");
    network.request(Command::Add, &id).pod(&pod).run().success();
    network.gc(&[(&id, "eth0")]).silent_success();
    assert_eq!(pod.inside(kernel::names), ["eth0", "lo"]);
    network.gc(&[("other", "eth0")]).silent_success();
    require_nothing_left(host, &pod);
}

fn names_too_long_for_an_alias_are_found_by_del_without_netns(host: &Host) {
    let (network, id) = long(host, json!({"macspoofchk": true}));
    let pod = host.pod("a");
    network.request(Command::Add, &id).pod(&pod).run().success();
    network.request(Command::Del, &id).run().silent_success();
    require_nothing_left(host, &pod);
}
