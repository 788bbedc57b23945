//! The limits of the kernel, number of ports and MTU: an error says which limit is reached, and
//! what to do.

use crate::{
    kernel,
    network::{Network, V4, V6, host_local},
    snapshot::Snapshot,
};
use cni_net::{Batch, Netns, NewLink, Rtnl};
use cni_types::{Code, MacAddr};
use serde_json::{Value, json};
use testkit::{Host, OrFail, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_bridge_with_1023_ports_has_no_free_one_and_says_so,
        an_mtu_that_is_too_large_is_named_with_the_limit,
        the_largest_mtu_is_taken,
        an_mtu_that_is_too_small_for_ipv6_is_named_with_the_limit,
        an_adopted_bridge_whose_mtu_is_too_small_for_ipv6_is_named,
        a_small_mtu_is_taken_without_ipv6,
    ]
}

/// Gives the bridge as many ports as it can have (BR_MAX_PORTS in net/bridge/br_private.h), less
/// one.
fn fill(bridge: &str, far: &Pod) {
    let netns = Netns::open(far.path()).unwrap();
    let bridge = kernel::link(bridge);
    for hundred in 0..11_u8 {
        let mut batch = Batch::new();
        for at in (0..100_u8).filter(|at| u16::from(hundred) * 100 + u16::from(*at) < 1023) {
            let port = kernel::if_name(&format!("p{hundred}-{at}"));
            let link = NewLink::named(&port)
                .mac(MacAddr([2, 1, 0, 0, hundred, at]))
                .port_of(&bridge)
                .up();
            let inside = kernel::if_name(&format!("f{hundred}-{at}"));
            let peer = NewLink::named(&inside)
                .mac(MacAddr([2, 2, 0, 0, hundred, at]))
                .in_netns(&netns);
            batch.create_veth(&link, &peer);
        }
        Rtnl::open().unwrap().run(batch).or_fail("fill the bridge");
    }
}

fn a_bridge_with_1023_ports_has_no_free_one_and_says_so(host: &Host) {
    used_before(host);
    let far = host.pod("far");
    let pod = host.pod("a");
    fill("cni0", &far);
    let network = Network::new(
        host,
        json!({"ipMasq": true, "ipam": host_local(host, &[V4])}),
    );
    let before = Snapshot::of(host, &[&pod]);
    let error = network.add(&pod).error();
    assert_eq!(
        (error.code, error.msg.as_str()),
        (Code::KERNEL, "bridge cni0 has no free port (1023 used)")
    );
    before.require_unchanged_but_for_the_last_address();
    kernel::remove_link("p0-0");
    network.add(&pod).success();
}

/// Uses a bridge and a network once, so that their folders and lock exist.
fn used_before(host: &Host) {
    kernel::create_bridge("cni0");
    let network = Network::new(host, json!({"ipam": host_local(host, &[V4, V6])}));
    let pod = host.pod("before");
    network.add(&pod).success();
    network.del(&pod).silent_success();
}

/// Asserts that ADD is refused with this text and these words in the details, and changes nothing.
#[track_caller]
fn require_refused(host: &Host, keys: Value, msg: &str, details: &[&str]) {
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    let error = Network::new(host, keys).add(&pod).error();
    assert_eq!(
        (error.code, error.msg.as_str()),
        (Code::INVALID_CONFIG, msg)
    );
    for word in details {
        assert!(error.details.contains(word), "{word}: {error}");
    }
    before.require_unchanged_but_for_the_last_address();
    pod.remove();
}

fn an_mtu_that_is_too_large_is_named_with_the_limit(host: &Host) {
    kernel::create_bridge("cni0");
    for mtu in [65536_i64, 1_000_000, 1 << 40] {
        let keys = json!({"mtu": mtu, "ipam": host_local(host, &[V4])});
        let msg = format!("invalid MTU {mtu}: it is too large");
        require_refused(host, keys, &msg, &["\"mtu\"", &mtu.to_string(), "65535"]);
    }
}

fn the_largest_mtu_is_taken(host: &Host) {
    let pod = host.pod("a");
    Network::new(host, json!({"mtu": 65535}))
        .add(&pod)
        .success();
    assert_eq!(
        (kernel::link("cni0").mtu, kernel::eth0(&pod).mtu),
        (65535, 65535)
    );
}

fn an_mtu_that_is_too_small_for_ipv6_is_named_with_the_limit(host: &Host) {
    used_before(host);
    let keys = json!({"mtu": 1279, "ipMasq": true, "ipam": host_local(host, &[V4, V6])});
    require_refused(
        host,
        keys,
        "MTU 1279 is too small for IPv6",
        &["\"mtu\"", "1280", "IPAM gave fd01::"],
    );
    let keys = json!({"mtu": 1280, "bridge": "new0", "isGateway": true, "ipam": host_local(host, &[V4, V6])});
    Network::new(host, keys).add(&host.pod("b")).success();
}

fn an_adopted_bridge_whose_mtu_is_too_small_for_ipv6_is_named(host: &Host) {
    used_before(host);
    kernel::change("cni0", |batch, link| batch.set_mtu(link, 1000));
    for gateway in [true, false] {
        let keys = json!({"isGateway": gateway, "ipam": host_local(host, &[V6])});
        require_refused(
            host,
            keys,
            "MTU 1000 is too small for IPv6",
            &["the MTU of bridge cni0", "1280"],
        );
    }
}

fn a_small_mtu_is_taken_without_ipv6(host: &Host) {
    let pod = host.pod("a");
    Network::new(
        host,
        json!({"mtu": 576, "isGateway": true, "ipam": host_local(host, &[V4])}),
    )
    .add(&pod)
    .success();
    assert_eq!(kernel::eth0(&pod).mtu, 576);
}
