//! `ipMasq` over nf_tables: the rules, their owners, and that an outside host really sees the
//! host's address.

use crate::{
    kernel,
    network::{Network, V4, V6, fixed_ipam, host_local},
};
use cni_net::PortState;
use cni_types::Command;
use serde_json::json;
use std::{
    net::{IpAddr, UdpSocket},
    time::Duration,
};
use testkit::{Host, OrFail, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_table_is_the_references,
        a_rule_is_marked_with_its_attachment,
        without_ip_masq_there_is_no_table,
        del_removes_its_own_rules_and_no_others,
        an_address_that_is_used_again_keeps_the_rule_of_its_new_owner,
        a_flushed_postrouting_chain_is_healed_by_the_next_add,
        the_rules_of_others_stay,
        an_outside_host_sees_the_hosts_address,
        without_ip_masq_an_outside_host_sees_the_containers_address,
        within_the_subnet_nothing_is_masqueraded,
        a_long_comment_is_cut_and_its_rule_removed,
        nftables_can_be_named_as_the_backend,
    ]
}

fn masquerading<'a>(host: &'a Host, subnets: &[&str]) -> Network<'a> {
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipam": host_local(host, subnets)});
    Network::new(host, keys)
}

/// The first 16 digits of the SHA-512 of "net" and of "eth0:a", as sha512sum(1) prints them.
const MARK_A: &str = "a4861f4ae9f7d238-a193fd394fc69048";

/// The output of `nft list table` for pod `a`: the reference's format, rule by rule.
fn the_table_is_the_references(host: &Host) {
    kernel::require_tool("nft");
    masquerading(host, &[V4, V6]).add(&host.pod("a")).success();
    let comment = format!("comment \"{MARK_A}, net: net, if: eth0, id: a\"");
    let wanted = format!(
        "table inet cni_plugins_masquerade {{
	chain masq_checks {{
		ip saddr 10.1.0.2 ip daddr != 10.1.0.0/24 masquerade {comment}
		ip6 saddr fd01::2 ip6 daddr != fd01::/64 masquerade {comment}
	}}

	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		ip daddr 224.0.0.0/4 return
		ip6 daddr ff00::/8 return
		goto masq_checks
	}}
}}
"
    );
    assert_eq!(kernel::tool("nft list ruleset"), wanted);
}

fn a_rule_is_marked_with_its_attachment(host: &Host) {
    masquerading(host, &[V4, V6]).add(&host.pod("a")).success();
    let comment = format!("{MARK_A}, net: net, if: eth0, id: a");
    assert_eq!(kernel::rules(), [comment.as_str(), &comment]);
}

fn without_ip_masq_there_is_no_table(host: &Host) {
    masquerading(host, &[V4])
        .with(json!({"ipMasq": false}))
        .add(&host.pod("a"))
        .success();
    assert_eq!(kernel::rules(), [""; 0]);
}

fn del_removes_its_own_rules_and_no_others(host: &Host) {
    let network = masquerading(host, &[V4, V6]);
    let pods = ["a", "b", "c"].map(|name| host.pod(name));
    pods.iter().for_each(|pod| drop(network.add(pod).result()));
    let count = || ["a", "b", "c"].map(kernel::rules_of);
    assert_eq!(count(), [2, 2, 2]);
    network.del(&pods[1]).silent_success();
    assert_eq!(count(), [2, 0, 2]);
    network.del(&pods[1]).silent_success();
    network.del(&pods[0]).silent_success();
    assert_eq!(count(), [0, 0, 2]);
    network.del(&pods[2]).silent_success();
    assert_eq!(count(), [0, 0, 0]);
}

/// The address does not identify the owner: a late DEL of `a` must not cut off `b`, which has the
/// same address by now.
fn an_address_that_is_used_again_keeps_the_rule_of_its_new_owner(host: &Host) {
    let ipam = fixed_ipam(
        host,
        "fixed",
        json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.7/24"}]}),
    );
    let network = masquerading(host, &[V4]).with(json!({"ipam": ipam}));
    let a = host.pod("a");
    let b = host.pod("b");
    network.add(&a).success();
    a.remove();
    network.add(&b).success();
    network.del(&a).silent_success();
    assert_eq!(["a", "b"].map(kernel::rules_of), [0, 1]);
    network.del(&b).silent_success();
    assert_eq!(kernel::rules(), [""; 0]);
}

fn a_flushed_postrouting_chain_is_healed_by_the_next_add(host: &Host) {
    kernel::require_tool("nft");
    let network = masquerading(host, &[V4]);
    network.add(&host.pod("a")).success();
    let before = kernel::tool("nft list chain inet cni_plugins_masquerade postrouting");
    kernel::tool("nft flush chain inet cni_plugins_masquerade postrouting");
    network.add(&host.pod("b")).success();
    assert_eq!(
        kernel::tool("nft list chain inet cni_plugins_masquerade postrouting"),
        before
    );
    assert_eq!(["a", "b"].map(kernel::rules_of), [1, 1]);
}

fn the_rules_of_others_stay(host: &Host) {
    kernel::require_tool("nft");
    kernel::tool("nft add table inet mine");
    kernel::tool("nft add chain inet mine own");
    kernel::tool("nft add rule inet mine own ip saddr 10.1.0.2 counter");
    let mine = kernel::tool("nft list table inet mine");
    let network = masquerading(host, &[V4]);
    let pod = host.pod("a");
    network.add(&pod).success();
    network.del(&pod).silent_success();
    assert_eq!(kernel::tool("nft list table inet mine"), mine);
}

/// Returns a host outside, behind a link of its own: 192.0.2.1 and 2001:db8::1 are this host's
/// addresses on it. It has no route to the containers' networks.
pub(crate) fn outside(host: &Host) -> Pod {
    let outside = host.pod("outside");
    // A router sends neighbour solicitations from its link-local address, and none while that is
    // tentative.
    kernel::set_sysctl("ipv6/conf/default/accept_dad", "0");
    kernel::create_bridge("uplink");
    kernel::create_veth("up0", "uplink", &outside, "wan0");
    kernel::add_address("uplink", "192.0.2.1/24");
    kernel::add_address("uplink", "2001:db8::1/64");
    outside.inside(|| {
        kernel::set_up("wan0");
        kernel::add_address("wan0", "192.0.2.2/24");
        kernel::add_address("wan0", "2001:db8::2/64");
    });
    kernel::wait_until("the outside host can be reached", || {
        let forwards = kernel::link("up0")
            .port
            .is_some_and(|port| port.state == PortState::Forwarding);
        let settled =
            kernel::link_locals("uplink").len() == 1 && kernel::tentative("uplink").is_empty();
        forwards && settled && outside.inside(|| kernel::link("wan0").oper_up)
    });
    outside
}

/// Returns the source address of a packet of `from` as `to` sees it. An answer has to come back, if
/// there can be one.
pub(crate) fn seen_by(from: &Pod, own: &str, to: &Pod, address: IpAddr) -> String {
    let server = to.inside(|| UdpSocket::bind((address, 7)).or_fail("bind the server"));
    let client = from.inside(|| UdpSocket::bind(own).or_fail("bind the client"));
    let mut buffer = [0; 8];
    for socket in [&server, &client] {
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
    }
    client
        .send_to(b"hello", (address, 7))
        .or_fail("send a packet");
    let (_, peer) = server.recv_from(&mut buffer).or_fail("receive the packet");
    if server.send_to(b"answer", peer).is_ok() {
        client.recv_from(&mut buffer).or_fail("receive the answer");
    }
    peer.ip().to_string()
}

fn an_outside_host_sees_the_hosts_address(host: &Host) {
    let outside = outside(host);
    let pod = host.pod("a");
    masquerading(host, &[V4, V6]).add(&pod).success();
    assert_eq!(
        seen_by(&pod, "0.0.0.0:0", &outside, "192.0.2.2".parse().unwrap()),
        "192.0.2.1"
    );
    assert_eq!(
        seen_by(&pod, "[::]:0", &outside, "2001:db8::2".parse().unwrap()),
        "2001:db8::1"
    );
}

/// The counterpart, without which the test above could pass for another reason.
fn without_ip_masq_an_outside_host_sees_the_containers_address(host: &Host) {
    let outside = outside(host);
    let pod = host.pod("a");
    masquerading(host, &[V4, V6])
        .with(json!({"ipMasq": false}))
        .add(&pod)
        .success();
    assert_eq!(
        seen_by(&pod, "0.0.0.0:0", &outside, "192.0.2.2".parse().unwrap()),
        "10.1.0.2"
    );
    assert_eq!(
        seen_by(&pod, "[::]:0", &outside, "2001:db8::2".parse().unwrap()),
        "fd01::2"
    );
}

fn within_the_subnet_nothing_is_masqueraded(host: &Host) {
    let network = masquerading(host, &[V4, V6]);
    let a = host.pod("a");
    let b = host.pod("b");
    network.add(&a).success();
    network.add(&b).success();
    assert_eq!(
        seen_by(&a, "0.0.0.0:0", &b, "10.1.0.3".parse().unwrap()),
        "10.1.0.2"
    );
    assert_eq!(
        seen_by(&a, "[::]:0", &b, "fd01::3".parse().unwrap()),
        "fd01::2"
    );
}

/// nft(8) accepts no comment of more than 128 bytes; the hashes at its start stay.
fn a_long_comment_is_cut_and_its_rule_removed(host: &Host) {
    let network = masquerading(host, &[V4]);
    let pod = host.pod("a");
    let ids = ["x", "y"].map(|last| "c".repeat(200) + last);
    for (id, ifname) in ids.iter().zip(["eth0", "eth1"]) {
        network
            .attachment(Command::Add, &pod)
            .container(id)
            .ifname(ifname)
            .run()
            .success();
    }
    assert_eq!(
        kernel::rules().iter().map(String::len).collect::<Vec<_>>(),
        [128, 128]
    );
    network
        .attachment(Command::Del, &pod)
        .container(&ids[0])
        .run()
        .silent_success();
    assert_eq!(kernel::rules().len(), 1);
    network
        .attachment(Command::Del, &pod)
        .container(&ids[1])
        .ifname("eth1")
        .run()
        .silent_success();
    assert_eq!(kernel::rules(), [""; 0]);
}

fn nftables_can_be_named_as_the_backend(host: &Host) {
    masquerading(host, &[V4])
        .with(json!({"ipMasqBackend": "nftables"}))
        .add(&host.pod("a"))
        .success();
    assert_eq!(kernel::rules_of("a"), 1);
}
