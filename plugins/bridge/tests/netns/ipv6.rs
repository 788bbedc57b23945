//! IPv6: addresses and routes from IPAM only, no wait without `enabledad`, and an error that
//! explains itself if IPv6 is off.

use crate::{
    kernel,
    network::{Network, V4, V6, host_local},
    snapshot::Snapshot,
};
use cni_net::Rtnl;
use sandbox::wire::RogueRouter;
use serde_json::{Value, json};
use std::time::Duration;
use testkit::{Host, OrFail, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_router_advertiser_changes_nothing_during_an_add_with_v6,
        a_router_advertiser_changes_nothing_during_an_add_with_v4_only,
        a_router_advertiser_changes_nothing_on_a_bridge_without_gateway,
        the_rogue_router_of_these_tests_is_believed_where_nobody_minds,
        an_adopted_bridge_that_is_no_gateway_keeps_its_accept_ra,
        without_enabledad_nothing_waits_for_duplicate_address_detection,
        ipv6_off_in_the_kernel_is_named_with_the_boot_parameter,
        ipv6_off_by_sysctl_on_the_host_is_named,
        v4_needs_no_ipv6_in_the_kernel,
    ]
}

/// Returns true for the prefix and the default route of the rogue router.
fn is_of_the_rogue(line: &str) -> bool {
    line.starts_with("2001:db8:") || line.starts_with("::/0")
}

/// Returns the addresses and routes that only a router advertisement can have made. Does not look
/// at the routes' protocol: the networks here have no default route by IPAM.
fn learnt() -> Vec<String> {
    let mut rtnl = Rtnl::open().unwrap();
    let links = rtnl.links().or_fail("list links");
    let addresses = links
        .iter()
        .flat_map(|link| rtnl.addresses(link.index).or_fail("list addresses"));
    let mut lines: Vec<String> = addresses.map(|address| address.cidr.to_string()).collect();
    let routes = Rtnl::open().unwrap().routes().or_fail("list routes");
    lines.extend(
        routes
            .iter()
            .filter(|route| route.table == 254)
            .map(|route| route.dst.to_string()),
    );
    lines.retain(|line| is_of_the_rogue(line));
    lines
}

/// Returns a host that accepts advertisements, with a pod that sends them without end.
fn besieged<'a>(host: &'a Host, keys: Value) -> (Network<'a>, Pod, RogueRouter) {
    for key in ["ipv6/conf/all/forwarding", "ipv6/conf/default/forwarding"] {
        kernel::set_sysctl(key, "0");
    }
    let network = Network::new(host, keys);
    let rogue = host.pod("rogue");
    network.add(&rogue).success();
    let index = kernel::eth0(&rogue).index;
    let prefix = "2001:db8::".parse().unwrap();
    let router = rogue
        .inside(|| RogueRouter::start(index, prefix))
        .or_fail("start the rogue");
    kernel::wait_until("the rogue advertises itself", || router.sent() > 20);
    (network, rogue, router)
}

fn require_unmoved(host: &Host, keys: Value) {
    let (network, _rogue, router) = besieged(host, keys);
    for name in ["a", "b", "c"] {
        let pod = host.pod(name);
        let sent = router.sent();
        network.add(&pod).success();
        kernel::wait_until("more advertisements came", || router.sent() > sent + 50);
        assert_eq!(pod.inside(learnt), [""; 0], "in the pod");
        assert_eq!(learnt(), [""; 0], "on the host");
        for (key, value) in [("accept_ra", "0"), ("autoconf", "0")] {
            assert_eq!(
                pod.inside(|| kernel::sysctl(&format!("ipv6/conf/eth0/{key}"))),
                value
            );
        }
    }
}

fn a_router_advertiser_changes_nothing_during_an_add_with_v6(host: &Host) {
    require_unmoved(
        host,
        json!({"isGateway": true, "ipam": host_local(host, &[V4, V6])}),
    );
}

/// The gateway's network is IPv4, so the host does not forward IPv6, and would accept any router
/// (CVE-2020-10749).
fn a_router_advertiser_changes_nothing_during_an_add_with_v4_only(host: &Host) {
    require_unmoved(
        host,
        json!({"isGateway": true, "ipam": host_local(host, &[V4])}),
    );
    assert_eq!(kernel::sysctl("ipv6/conf/all/forwarding"), "0");
}

fn a_router_advertiser_changes_nothing_on_a_bridge_without_gateway(host: &Host) {
    require_unmoved(host, json!({"ipam": host_local(host, &[V4, V6])}));
}

/// The counterpart, without which the tests above could pass for another reason.
fn the_rogue_router_of_these_tests_is_believed_where_nobody_minds(host: &Host) {
    let (_network, _rogue, _router) = besieged(host, json!({"ipam": host_local(host, &[V4])}));
    kernel::set_sysctl("ipv6/conf/cni0/accept_ra", "1");
    kernel::wait_until("the host has an address and a route of the rogue", || {
        learnt().len() >= 3
    });
    let pod = host.pod("layer2");
    Network::new(host, json!({})).add(&pod).success();
    kernel::wait_until("a pod of layer 2 has them too", || {
        pod.inside(learnt).len() >= 3
    });
}

/// The host itself may have its address by router advertisements on such a bridge.
fn an_adopted_bridge_that_is_no_gateway_keeps_its_accept_ra(host: &Host) {
    kernel::create_bridge("cni0");
    kernel::set_sysctl("ipv6/conf/cni0/accept_ra", "2");
    Network::new(host, json!({"ipam": host_local(host, &[V4, V6])}))
        .add(&host.pod("a"))
        .success();
    assert_eq!(kernel::sysctl("ipv6/conf/cni0/accept_ra"), "2");
}

/// Duplicate address detection would take a minute here, and a plugin that waits for it gives up
/// after 5 s. Without it, an emulated machine takes 1 s.
fn without_enabledad_nothing_waits_for_duplicate_address_detection(host: &Host) {
    kernel::set_sysctl("ipv6/conf/default/dad_transmits", "60");
    let pod = host.pod("a");
    pod.inside(|| kernel::set_sysctl("ipv6/conf/default/dad_transmits", "60"));
    let network = Network::new(
        host,
        json!({"isGateway": true, "ipam": host_local(host, &[V4, V6])}),
    );
    let added = network.add(&pod);
    added.success();
    assert!(
        added.duration < Duration::from_secs(3),
        "{:?}",
        added.duration
    );
    for address in ["fd01::1/64", "fd01::2/64"] {
        assert!(!kernel::tentative("cni0").contains(&address.to_owned()));
        assert!(
            !pod.inside(|| kernel::tentative("eth0"))
                .contains(&address.to_owned())
        );
    }
}

/// Hides the part of `/proc/sys` that `ipv6.disable=1` removes.
fn hide_ipv6() {
    kernel::require_tool("mount");
    kernel::tool("mount -t tmpfs none /proc/sys/net/ipv6");
}

/// Hides it on the host and in the pod: each namespace has folders of its own in `/proc/sys`.
fn hide_ipv6_from(pod: &Pod) {
    hide_ipv6();
    pod.inside(hide_ipv6);
}

fn ipv6_off_in_the_kernel_is_named_with_the_boot_parameter(host: &Host) {
    let first = host.pod("first");
    Network::new(host, json!({"ipam": host_local(host, &[V4, V6])}))
        .add(&first)
        .success();
    let pod = host.pod("a");
    hide_ipv6_from(&pod);
    let before = Snapshot::of(host, &[&pod]);
    let error = Network::new(host, json!({"ipam": host_local(host, &[V4, V6])}))
        .add(&pod)
        .error();
    assert!(error.msg.starts_with("failed to enable IPv6: "), "{error}");
    assert!(error.details.contains("ipv6.disable=1"), "{error}");
    before.require_unchanged_but_for_the_last_address();
}

fn ipv6_off_by_sysctl_on_the_host_is_named(host: &Host) {
    kernel::set_sysctl("ipv6/conf/all/disable_ipv6", "1");
    kernel::set_sysctl("ipv6/conf/default/disable_ipv6", "1");
    let pod = host.pod("a");
    let network = Network::new(
        host,
        json!({"isGateway": true, "ipam": host_local(host, &[V6])}),
    );
    let error = network.add(&pod).error();
    let wanted = "IPv6 is disabled on cni0: net.ipv6.conf.cni0.disable_ipv6 is 1, wanted 0";
    assert_eq!(error.details, wanted, "{error}");
    network.with(json!({"isGateway": null})).add(&pod).success();
}

fn v4_needs_no_ipv6_in_the_kernel(host: &Host) {
    let pod = host.pod("a");
    hide_ipv6_from(&pod);
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4])});
    let network = Network::new(host, keys.clone());
    let added = Network::new(host, keys).add(&pod);
    network.check(&pod, &added).silent_success();
    network.del(&pod).silent_success();
}
