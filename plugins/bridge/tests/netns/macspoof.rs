//! `macspoofchk`: the rules; frames with a false source address are dropped; stale rules are
//! removed, others stay.

use crate::{
    kernel,
    network::{Network, V4, V6, failing_plugin, host_local, id},
    snapshot::Snapshot,
};
use cni_types::{Code, Command, MacAddr};
use serde_json::json;
use std::{net::UdpSocket, time::Duration};
use testkit::{Host, OrFail, Outcome, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_rules_are_the_references,
        a_frame_with_a_false_source_address_is_dropped,
        without_macspoofchk_a_false_source_address_passes,
        a_container_interface_that_is_left_down_is_checked_too,
        without_macspoofchk_there_is_no_rule,
        del_removes_the_rules_however_it_is_called,
        an_add_leaves_rules_and_policy_of_others,
        what_an_earlier_attachment_left_is_replaced,
        what_the_reference_left_twice_is_replaced,
        the_del_of_a_network_that_was_refused_leaves_the_rules_of_the_other,
        chains_of_another_attachment_of_the_same_name_are_refused_and_stay,
        the_longest_id_works_and_a_longer_one_is_refused_at_once,
        a_base_chain_of_another_kind_is_reported_and_nothing_is_left,
        a_later_failure_takes_the_rules_back,
        check_reports_what_is_missing,
        check_reports_an_address_that_the_rules_do_not_know,
        gc_removes_the_rules_of_attachments_that_are_not_valid,
        gc_leaves_the_rules_of_others,
        gc_removes_rules_whose_interface_is_gone,
        the_rules_of_an_earlier_plugins_interface_are_known_by_its_alias,
        status_asks_for_nf_tables,
        twenty_at_once_leave_nothing,
    ]
}

fn network(host: &Host) -> Network<'_> {
    kernel::require_tool("nft");
    Network::new(host, json!({"macspoofchk": true}))
}

/// Returns the ruleset with the names replaced, and the part of it that is ours alone.
fn ruleset() -> String {
    kernel::tool("nft list ruleset")
}

const BASE: &str = "table bridge nat {
	chain PREROUTING {
		type filter hook prerouting priority dstnat; policy accept;
	}
}
";

/// Returns the ruleset with one attachment, as the reference 1.9.1 and 1.1.1 leave it.
fn with_one(id: &str, host_end: &str, mac: &str) -> String {
    format!(
        "table bridge nat {{
	chain PREROUTING {{
		type filter hook prerouting priority dstnat; policy accept;
		iifname \"{host_end}\" jump cni-br-iface-{id}-eth0 comment \"macspoofchk-{id}-eth0\"
	}}

	chain cni-br-iface-{id}-eth0 {{
		jump cni-br-iface-{id}-eth0-mac comment \"macspoofchk-{id}-eth0\"
	}}

	chain cni-br-iface-{id}-eth0-mac {{
		ether saddr {mac} return comment \"macspoofchk-{id}-eth0\"
		drop comment \"macspoofchk-{id}-eth0\"
	}}
}}
"
    )
}

/// Returns the same for the attachment of an ADD.
fn of(id: &str, added: &Outcome) -> String {
    let interfaces = added.result().interfaces;
    with_one(id, &interfaces[1].name, &interfaces[2].mac)
}

fn the_rules_are_the_references(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let added = network.add(&pod);
    assert_eq!(ruleset(), of("a", &added));
    assert_eq!(
        kernel::eth0(&pod).mac.unwrap().to_string(),
        added.result().interfaces[2].mac
    );
    network.check(&pod, &added).silent_success();
}

fn set_mac(pod: &Pod, mac: MacAddr) {
    pod.inside(|| kernel::change("eth0", |batch, link| batch.set_mac(link, mac)));
}

/// Returns true if a packet of `from` reaches `to`.
fn reaches(from: &Pod, to: &Pod, address: &str, timeout: Duration) -> bool {
    let mut server = None;
    // A process that another test is starting may still hold a copy of the previous socket.
    kernel::wait_until("the server's port is free", || {
        server = to.inside(|| UdpSocket::bind((address, 7)).ok());
        server.is_some()
    });
    let server = server.or_fail("bind the server");
    let client = from.inside(|| UdpSocket::bind("0.0.0.0:0").or_fail("bind the client"));
    server.set_read_timeout(Some(timeout)).unwrap();
    client
        .send_to(b"hello", (address, 7))
        .or_fail("send a packet");
    server.recv_from(&mut [0; 8]).is_ok()
}

fn a_frame_with_a_false_source_address_is_dropped(host: &Host) {
    let network = network(host).with(json!({"ipam": host_local(host, &[V4])}));
    let a = host.pod("a");
    let b = host.pod("b");
    network.add(&a).success();
    network.add(&b).success();
    let long = Duration::from_secs(10);
    let short = Duration::from_millis(300);
    assert!(reaches(&a, &b, "10.1.0.3", long));
    let own = kernel::eth0(&a).mac.unwrap();
    set_mac(&a, MacAddr([2, 0, 0, 0, 0, 0xff]));
    assert!(!reaches(&a, &b, "10.1.0.3", short));
    // Nor from the address of a neighbour, whose own frames pass.
    set_mac(&a, kernel::eth0(&b).mac.unwrap());
    assert!(!reaches(&a, &b, "10.1.0.3", short));
    set_mac(&a, own);
    assert!(reaches(&a, &b, "10.1.0.3", long));
}

/// The counterpart, without which the test above could pass for another reason.
fn without_macspoofchk_a_false_source_address_passes(host: &Host) {
    let keys = json!({"macspoofchk": false, "ipam": host_local(host, &[V4])});
    let network = network(host).with(keys);
    let a = host.pod("a");
    let b = host.pod("b");
    network.add(&a).success();
    network.add(&b).success();
    set_mac(&a, MacAddr([2, 0, 0, 0, 0, 0xff]));
    assert!(reaches(&a, &b, "10.1.0.3", Duration::from_secs(10)));
}

fn a_container_interface_that_is_left_down_is_checked_too(host: &Host) {
    let network = network(host).with(json!({"disableContainerInterface": true}));
    let pod = host.pod("a");
    let added = network.add(&pod);
    assert!(!kernel::eth0(&pod).up);
    assert_eq!(ruleset(), of("a", &added));
    network.check(&pod, &added).silent_success();
}

fn without_macspoofchk_there_is_no_rule(host: &Host) {
    let network = network(host).with(json!({"macspoofchk": false}));
    let pod = host.pod("a");
    let added = network.add(&pod);
    assert_eq!(ruleset(), "");
    network.check(&pod, &added).silent_success();
    network.del(&pod).silent_success();
    assert_eq!(ruleset(), "");
}

/// DEL with and without the key, the namespace and its path.
fn del_removes_the_rules_however_it_is_called(host: &Host) {
    let network = network(host);
    let without = network.with(json!({"macspoofchk": null}));
    let a = host.pod("a");
    let b = host.pod("b");
    let kept = of("b", &network.add(&b));
    for del in [
        network.attachment(Command::Del, &a),
        without.attachment(Command::Del, &a),
        without.request(Command::Del, "a"),
        without.request(Command::Del, "a").netns("/run/netns/none"),
    ] {
        network.add(&a).success();
        assert!(ruleset().contains("macspoofchk-a-eth0"));
        del.run().silent_success();
        assert_eq!(ruleset(), kept);
        del.run().silent_success();
        assert_eq!(ruleset(), kept);
    }
    network.add(&a).success();
    a.remove();
    without.del(&a).silent_success();
    assert_eq!(ruleset(), kept);
    network.del(&b).silent_success();
    assert_eq!(ruleset(), BASE);
}

/// ebtables-nft keeps its rules in the same chain. The reference sets its policy to accept.
fn an_add_leaves_rules_and_policy_of_others(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    kernel::tool("nft add table bridge nat");
    kernel::tool(
        "nft add chain bridge nat PREROUTING { type filter hook prerouting priority -300; policy drop; }",
    );
    kernel::tool(
        "nft add rule bridge nat PREROUTING meta mark 7 accept comment \"macspoofchk-a-eth0\"",
    );
    kernel::tool("nft add chain bridge nat cni-br-iface-mine");
    kernel::tool("nft add rule bridge nat PREROUTING meta mark 8 jump cni-br-iface-mine");
    let before = ruleset();
    network.add(&pod).success();
    let lines: Vec<String> = ruleset().lines().map(str::to_owned).collect();
    let missing = before
        .lines()
        .filter(|line| !lines.iter().any(|other| other == line));
    assert_eq!(missing.collect::<Vec<_>>(), [""; 0]);
    network.gc(&[("a", "eth0")]).silent_success();
    network.del(&pod).silent_success();
    assert_eq!(ruleset(), before);
}

/// The namespace was removed, and with it the pair; there was no DEL.
fn what_an_earlier_attachment_left_is_replaced(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    network.add(&pod).success();
    pod.inside(|| kernel::remove_link("eth0"));
    let added = network.add(&pod);
    assert_eq!(ruleset(), of("a", &added));
    network.del(&pod).silent_success();
    assert_eq!(ruleset(), BASE);
}

/// A second ADD by the reference without a DEL adds a second jump; and 1.1.1 puts the drop before
/// the address.
fn what_the_reference_left_twice_is_replaced(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let file = host.file(
        "rules",
        "table bridge nat {
	chain PREROUTING {
		type filter hook prerouting priority dstnat; policy accept;
		iifname \"veth6761f79f\" jump cni-br-iface-a-eth0 comment \"macspoofchk-a-eth0\"
		iifname \"vethf73ab26e\" jump cni-br-iface-a-eth0 comment \"macspoofchk-a-eth0\"
	}
	chain cni-br-iface-a-eth0 {
		jump cni-br-iface-a-eth0-mac comment \"macspoofchk-a-eth0\"
	}
	chain cni-br-iface-a-eth0-mac {
		drop comment \"macspoofchk-a-eth0\"
		ether saddr 2e:2e:a7:13:ce:e9 return comment \"macspoofchk-a-eth0\"
	}
}
",
    );
    kernel::tool(&format!("nft -f {}", file.display()));
    let added = network.add(&pod);
    assert_eq!(ruleset(), of("a", &added));
    kernel::tool("nft flush ruleset");
    kernel::tool(&format!("nft -f {}", file.display()));
    network.del(&pod).silent_success();
    assert_eq!(ruleset(), BASE);
}

/// A runtime calls DEL after a failed ADD. The chains' names do not contain the network.
fn the_del_of_a_network_that_was_refused_leaves_the_rules_of_the_other(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let other = network.with(json!({"name": "other", "bridge": "cni1"}));
    let added = network.add(&pod);
    let msg = other.add(&pod).error().msg;
    assert!(msg.starts_with("container veth name (\"eth0\")"), "{msg}");
    assert_eq!(ruleset(), of("a", &added));
    other.del(&pod).silent_success();
    other.request(Command::Del, "a").run().silent_success();
    assert_eq!(ruleset(), of("a", &added));
    network.check(&pod, &added).silent_success();
    network.del(&pod).silent_success();
    assert_eq!(ruleset(), BASE);
}

/// `cni-br-iface-a-b-eth0` is the chain of container `a-b` and interface `eth0`, and of `a` and
/// `b-eth0`.
fn chains_of_another_attachment_of_the_same_name_are_refused_and_stay(host: &Host) {
    let network = network(host);
    let pod = host.pod("a-b");
    let added = network.add(&pod);
    for (id, ifname) in [("a", "b-eth0"), ("a-b", "eth0-mac")] {
        let other = host.pod("other");
        let before = Snapshot::of(host, &[&pod, &other]);
        let request = |command| {
            network
                .request(command, id)
                .ifname(ifname)
                .pod(&other)
                .run()
        };
        let error = request(Command::Add).error();
        assert!(
            error.msg.starts_with("failed to setup spoof-check: "),
            "{error}"
        );
        assert!(
            error.details.contains("is in use for another attachment"),
            "{error}"
        );
        request(Command::Del).silent_success();
        before.require_unchanged();
        assert_eq!(ruleset(), of("a-b", &added));
        other.remove();
    }
}

fn the_longest_id_works_and_a_longer_one_is_refused_at_once(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    let error = network
        .attachment(Command::Add, &pod)
        .container(&"c".repeat(234))
        .run()
        .error();
    assert_eq!(error.code, Code::INVALID_ENVIRONMENT);
    assert!(
        error.msg.starts_with("failed to setup spoof-check: "),
        "{error}"
    );
    before.require_unchanged();
    assert_eq!(
        (ruleset(), kernel::names()),
        (String::new(), vec!["lo".to_owned()])
    );
    for id in ["c".repeat(233), "A._-9".to_owned()] {
        let request = |command| network.attachment(command, &pod).container(&id);
        let added = request(Command::Add).run();
        assert_eq!(ruleset(), of(&id, &added));
        request(Command::Del).run().silent_success();
        assert_eq!(ruleset(), BASE);
    }
    network
        .attachment(Command::Del, &pod)
        .container(&"c".repeat(300))
        .run()
        .silent_success();
}

fn a_base_chain_of_another_kind_is_reported_and_nothing_is_left(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    kernel::create_bridge("cni0");
    kernel::tool("nft add table bridge nat");
    kernel::tool(
        "nft add chain bridge nat PREROUTING { type filter hook prerouting priority -200; }",
    );
    let before = Snapshot::of(host, &[&pod]);
    let rules = ruleset();
    let error = network.add(&pod).error();
    assert_eq!(error.code, Code::KERNEL);
    assert!(
        error.msg.starts_with("failed to setup spoof-check: "),
        "{error}"
    );
    assert!(
        error
            .details
            .contains("wanted type filter hook prerouting priority -300"),
        "{error}"
    );
    before.require_unchanged();
    assert_eq!(ruleset(), rules);
}

fn a_later_failure_takes_the_rules_back(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let other = host.pod("b");
    let kept = of("b", &network.add(&other));
    let before = Snapshot::of(host, &[&pod, &other]);
    failing_plugin(host, "failing", 117, "no luck");
    let error = network
        .with(json!({"ipam": {"type": "failing"}}))
        .add(&pod)
        .error();
    assert_eq!(error.msg, "no luck");
    before.require_unchanged();
    assert_eq!(ruleset(), kept);
}

fn check_reports_what_is_missing(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    for (damage, told) in [
        (
            "flush ruleset",
            "macspoofchk rules missing: frames from [] are checked by chain cni-br-iface-a-eth0",
        ),
        (
            "flush chain bridge nat PREROUTING",
            "macspoofchk rules missing: frames from []",
        ),
        (
            "flush chain bridge nat cni-br-iface-a-eth0",
            "macspoofchk rules missing: chain cni-br-iface-a-eth0 drops",
        ),
        (
            "flush chain bridge nat cni-br-iface-a-eth0-mac",
            "macspoofchk lets frames from [] pass, wanted [",
        ),
    ] {
        let added = network.add(&pod);
        network.check(&pod, &added).silent_success();
        kernel::tool(&format!("nft {damage}"));
        let error = network.check(&pod, &added).error();
        assert_eq!(error.code, Code::CHECK_MISMATCH);
        assert!(error.to_string().contains(told), "{damage}: {error}");
        network.del(&pod).silent_success();
    }
}

/// A later plugin of the chain that changes the MAC address would cut the container off.
fn check_reports_an_address_that_the_rules_do_not_know(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let added = network.add(&pod);
    let own = kernel::eth0(&pod).mac.unwrap();
    set_mac(&pod, MacAddr([2, 0, 0, 0, 0, 1]));
    let mut changed = added.json();
    changed["interfaces"][2]["mac"] = json!("02:00:00:00:00:01");
    let error = network
        .with(json!({"prevResult": changed}))
        .attachment(Command::Check, &pod)
        .run()
        .error();
    assert_eq!(
        error.msg,
        format!(
            "macspoofchk lets frames from [{own}] pass, wanted [02:00:00:00:00:01] of interface eth0"
        )
    );
}

fn gc_removes_the_rules_of_attachments_that_are_not_valid(host: &Host) {
    let network = network(host);
    let pods = ["a", "b"].map(|name| host.pod(name));
    let added = pods.each_ref().map(|pod| network.add(pod));
    network.gc(&[("b", "eth0")]).silent_success();
    assert_eq!(ruleset(), of("b", &added[1]));
    network.gc(&[("b", "eth0")]).silent_success();
    assert_eq!(ruleset(), of("b", &added[1]));
    network.gc(&[]).silent_success();
    assert_eq!(ruleset(), BASE);
}

/// Rules of other networks, and of interfaces without a mark.
fn gc_leaves_the_rules_of_others(host: &Host) {
    let network = network(host);
    let a = host.pod("a");
    let b = host.pod("b");
    let other = network.with(json!({"name": "other"}));
    let added = other.add(&a);
    network.gc(&[]).silent_success();
    assert_eq!(ruleset(), of("a", &added));
    // A request without the list of valid attachments frees nothing.
    other.request(Command::Gc, "").run().silent_success();
    assert_eq!(ruleset(), of("a", &added));
    // The reference writes no alias.
    kernel::create_veth("veth12345678", "cni0", &b, "eth0");
    other.gc(&[]).silent_success();
    assert_eq!(ruleset(), BASE);
    let file = host.file("rules", &with_one("b", "veth12345678", "02:00:00:00:01:02"));
    kernel::tool(&format!("nft -f {}", file.display()));
    let before = ruleset();
    network.gc(&[]).silent_success();
    assert_eq!(ruleset(), before);
    network.del(&b).silent_success();
    assert_eq!(ruleset(), BASE);
}

/// No frame can come from an interface that is gone, so its rules are removed, whatever their
/// owner.
fn gc_removes_rules_whose_interface_is_gone(host: &Host) {
    let network = network(host);
    let kept = host.pod("a");
    let gone = host.pod("b");
    let added = network.add(&kept);
    network.with(json!({"name": "other"})).add(&gone).success();
    gone.inside(|| kernel::remove_link("eth0"));
    network.gc(&[("a", "eth0")]).silent_success();
    assert_eq!(ruleset(), of("a", &added));
    let twice = with_one("c", "veth00000001", "02:00:00:00:01:02");
    for end in ["veth00000001", "veth00000002"] {
        let file = host.file("rules", &twice.replace("veth00000001", end));
        kernel::tool(&format!("nft -f {}", file.display()));
    }
    network.gc(&[("a", "eth0")]).silent_success();
    assert_eq!(ruleset(), of("a", &added));
}

/// In chained use the interface belongs to another plugin, and stays. Its alias names the
/// attachment.
fn the_rules_of_an_earlier_plugins_interface_are_known_by_its_alias(host: &Host) {
    let network = network(host);
    let pod = host.pod("a");
    let other = network.with(json!({"name": "other"}));
    kernel::require_tool("ip");
    kernel::tool("ip link add port0 type veth peer name eth0 address 02:00:00:00:01:02 netns a");
    pod.inside(|| kernel::set_up("eth0"));
    let interfaces = json!([{"name": "port0"}, {"name": "eth0", "sandbox": pod.path()}]);
    let prev = json!({"prevResult": {"cniVersion": "1.1.0", "interfaces": interfaces}});
    let wanted = with_one("a", "port0", "02:00:00:00:01:02");
    for remove in [
        &|added: &Outcome| network.with(json!({"prevResult": added.json()})).del(&pod),
        &|_: &Outcome| network.gc(&[]),
    ] as [&dyn Fn(&Outcome) -> Outcome; 2]
    {
        let added = network.with(prev.clone()).add(&pod);
        assert_eq!(ruleset(), wanted);
        other.del(&pod).silent_success();
        other.gc(&[]).silent_success();
        network.gc(&[("a", "eth0")]).silent_success();
        assert_eq!(ruleset(), wanted);
        network.check(&pod, &added).silent_success();
        remove(&added).silent_success();
        assert_eq!(ruleset(), BASE);
        assert_eq!(kernel::link("port0").master, None);
    }
}

fn status_asks_for_nf_tables(host: &Host) {
    let network = network(host);
    let before = Snapshot::of(host, &[]);
    network.status().silent_success();
    before.require_unchanged();
    assert_eq!(ruleset(), "");
}

fn twenty_at_once_leave_nothing(host: &Host) {
    let keys =
        json!({"isDefaultGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4, V6])});
    let network = network(host).with(keys);
    let pods: Vec<Pod> = (0..20).map(|at| host.pod(&format!("p{at}"))).collect();
    let all = |request: &(dyn Fn(&Pod) -> Outcome + Sync)| -> Vec<Outcome> {
        std::thread::scope(|scope| {
            let runs: Vec<_> = pods
                .iter()
                .map(|pod| scope.spawn(move || request(pod)))
                .collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        })
    };
    let added = all(&|pod| network.add(pod));
    for (pod, added) in pods.iter().zip(&added) {
        network.check(pod, added).silent_success();
        assert!(ruleset().contains(&format!("jump cni-br-iface-{}-eth0 comment", id(pod))));
    }
    // GC and a concurrent DEL remove the same rules.
    let deleted = all(&|pod| {
        if id(pod) == "p7" {
            network.gc(&[])
        } else {
            network.del(pod)
        }
    });
    deleted.iter().for_each(Outcome::silent_success);
    assert_eq!(kernel::tool("nft list table bridge nat"), BASE);
    assert_eq!(kernel::names(), ["cni0", "lo"]);
}
