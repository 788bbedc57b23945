//! Links, bridges and their ports.

use crate::scene::{BRIDGE_MAC, HOST_MAC, bridge, create_veth, find, name, netns, run, set_up};
use cni_net::{Errno, LinkKind, LinkRef, NetError, PortMode, PortState, Rtnl};
use cni_types::MacAddr;
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_loopback_is_found_by_name_and_by_index,
        a_link_that_is_not_there_is_none,
        a_bridge_is_made_up_with_its_mac_and_mtu,
        a_second_bridge_of_the_name_is_refused,
        removing_a_link_may_be_repeated,
        ports_are_those_of_one_bridge,
        a_port_gets_its_mode_and_alias,
        a_port_may_have_one_mode_without_the_other,
        an_alias_that_is_too_long_is_refused_with_its_reason,
        a_link_takes_mac_mtu_promiscuity_and_state,
        a_batch_goes_on_after_a_refusal_and_reports_the_first,
        a_batch_of_a_thousand_requests_is_answered,
        the_error_names_operation_object_and_errno,
    ]
}

fn the_loopback_is_found_by_name_and_by_index(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let lo = find(&mut rtnl, "lo");
    assert_eq!(
        (lo.index, lo.mtu, lo.mac, lo.up),
        (1, 65536, Some(MacAddr::ZERO), true)
    );
    assert_eq!(lo.kind, LinkKind::Other(String::new()));
    assert_eq!(
        (lo.master, lo.peer_index, lo.port, lo.alias.clone()),
        (None, None, None, None)
    );
    assert_eq!(rtnl.link(1).unwrap(), Some(lo.clone()));
    assert_eq!(rtnl.links().unwrap(), [lo]);
}

fn a_link_that_is_not_there_is_none(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    assert_eq!(rtnl.find_link(&name("nosuch")).unwrap(), None);
    assert_eq!(rtnl.link(4711).unwrap(), None);
}

fn a_bridge_is_made_up_with_its_mac_and_mtu(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.create_bridge(&name("br0"), BRIDGE_MAC, Some(1234))
        .unwrap();
    let made = find(&mut rtnl, "br0");
    assert_eq!(
        (made.kind, made.mac, made.mtu, made.up),
        (LinkKind::Bridge, Some(BRIDGE_MAC), 1234, true)
    );
    rtnl.create_bridge(&name("br1"), HOST_MAC, None).unwrap();
    assert_eq!(find(&mut rtnl, "br1").mtu, 1500);
}

fn a_second_bridge_of_the_name_is_refused(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    bridge(&mut rtnl);
    let before = rtnl.links().unwrap();
    let error = rtnl
        .create_bridge(&name("br0"), HOST_MAC, Some(1280))
        .unwrap_err();
    assert!(error.is_exists() && !error.is_absent());
    assert!(
        error
            .to_string()
            .starts_with(r#"failed to create bridge "br0": file exists"#),
        "{error}"
    );
    assert_eq!(rtnl.links().unwrap(), before);
}

fn removing_a_link_may_be_repeated(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    rtnl.remove_link(index).unwrap();
    assert_eq!(rtnl.find_link(&name("br0")).unwrap(), None);
    rtnl.remove_link(index).unwrap();
    // An existing link that cannot be removed is an error.
    let error = rtnl.remove_link(1).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EOPNOTSUPP), "{error}");
}

fn ports_are_those_of_one_bridge(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let first = bridge(&mut rtnl);
    rtnl.create_bridge(&name("br1"), HOST_MAC, None).unwrap();
    let second = find(&mut rtnl, "br1").index;
    let pods = ["a", "b", "c"].map(|pod| host.pod(pod));
    for (pod, (bridge, veth)) in pods
        .iter()
        .zip([(first, "v0"), (second, "v1"), (first, "v2")])
    {
        create_veth(&mut rtnl, bridge, veth, &netns(pod), None).unwrap();
    }
    let mut names = |bridge| -> Vec<String> {
        rtnl.ports(bridge)
            .unwrap()
            .into_iter()
            .map(|link| link.name.to_string())
            .collect()
    };
    assert_eq!(names(first), ["v0", "v2"]);
    assert_eq!(names(second), ["v1"]);
    assert_eq!(names(1), [""; 0]);
}

fn a_port_gets_its_mode_and_alias(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    create_veth(&mut rtnl, index, "veth0", &netns(&pod), None).unwrap();
    let plain = find(&mut rtnl, "veth0").port.unwrap();
    assert_eq!(
        (plain.hairpin, plain.isolated, plain.state),
        (false, false, PortState::Disabled)
    );
    let both = PortMode {
        hairpin: true,
        isolated: true,
    };
    run(&mut rtnl, |batch| {
        batch.set_port(&name("veth0"), both, "cni net c1 eth0")
    })
    .unwrap();
    let link = find(&mut rtnl, "veth0");
    let port = link.port.unwrap();
    assert_eq!((port.hairpin, port.isolated), (true, true));
    assert_eq!(link.alias.as_deref(), Some("cni net c1 eth0"));
    // All properties from the creation are unchanged.
    assert_eq!(
        (link.master, link.mac, link.up),
        (Some(index), Some(HOST_MAC), true)
    );
    assert_eq!(rtnl.ports(index).unwrap()[0].port, Some(port));
}

fn a_port_may_have_one_mode_without_the_other(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    create_veth(&mut rtnl, index, "veth0", &netns(&pod), None).unwrap();
    for (hairpin, isolated) in [(true, false), (false, true)] {
        let mode = PortMode { hairpin, isolated };
        run(&mut rtnl, |batch| batch.set_port(&name("veth0"), mode, "x")).unwrap();
        let port = find(&mut rtnl, "veth0").port.unwrap();
        assert_eq!((port.hairpin, port.isolated), (hairpin, isolated));
    }
}

fn an_alias_that_is_too_long_is_refused_with_its_reason(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    create_veth(&mut rtnl, index, "veth0", &netns(&pod), None).unwrap();
    let mut set_alias = |alias: &str| {
        run(&mut rtnl, |batch| {
            batch.set_port(&name("veth0"), PortMode::default(), alias)
        })
        .map(|()| find(&mut rtnl, "veth0").alias)
    };
    assert_eq!(set_alias("").unwrap(), None);
    let longest = "x".repeat(255);
    assert_eq!(
        set_alias(&longest).unwrap().as_deref(),
        Some(longest.as_str())
    );
    let error = set_alias(&"x".repeat(256)).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ERANGE));
    assert_eq!(
        error.to_string(),
        "failed to configure the bridge port \"veth0\": math result not representable \
         (kernel: Attribute failed policy validation)"
    );
}

fn a_link_takes_mac_mtu_promiscuity_and_state(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let br0 = name("br0");
    run(&mut rtnl, |batch| {
        batch.set_mac(LinkRef::new(index, &br0), HOST_MAC);
        batch.set_mtu(LinkRef::new(index, &br0), 1400);
        batch.set_promiscuous(LinkRef::new(index, &br0));
        batch.set_down(LinkRef::new(index, &br0));
    })
    .unwrap();
    let link = find(&mut rtnl, "br0");
    assert_eq!(
        (link.mac, link.mtu, link.promiscuous, link.up),
        (Some(HOST_MAC), 1400, true, false)
    );
    set_up(&mut rtnl, "br0");
    // Setting the link up leaves the other flags unchanged.
    let link = find(&mut rtnl, "br0");
    assert!(link.up && link.promiscuous);
}

fn a_batch_goes_on_after_a_refusal_and_reports_the_first(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let br0 = name("br0");
    let error = run(&mut rtnl, |batch| {
        batch.set_mtu(LinkRef::new(index, &br0), 1400);
        batch.set_mtu(LinkRef::new(4711, &name("gone0")), 1400);
        batch.set_mac(LinkRef::new(4712, &name("gone1")), HOST_MAC);
        batch.set_mac(LinkRef::new(index, &br0), HOST_MAC);
    })
    .unwrap_err();
    assert!(error.is_absent());
    assert!(
        error
            .to_string()
            .starts_with(r#"failed to set the MTU of "gone0": no such device"#),
        "{error}"
    );
    let link = find(&mut rtnl, "br0");
    assert_eq!((link.mtu, link.mac), (1400, Some(HOST_MAC)));
    // No answer is left over for the next request.
    assert_eq!(rtnl.find_link(&name("nosuch")).unwrap(), None);
    assert_eq!(find(&mut rtnl, "lo").index, 1);
}

/// An IPAM plugin may return a thousand routes, and the kernel drops answers that do not fit into
/// the socket.
fn a_batch_of_a_thousand_requests_is_answered(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let br0 = name("br0");
    run(&mut rtnl, |batch| {
        (0..1000).for_each(|mtu| batch.set_mtu(LinkRef::new(index, &br0), 500 + mtu))
    })
    .unwrap();
    assert_eq!(find(&mut rtnl, "br0").mtu, 1499);
}

fn the_error_names_operation_object_and_errno(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    // lo is no bridge.
    let error = create_veth(&mut rtnl, 1, "veth0", &netns(&host.pod("a")), None).unwrap_err();
    let NetError::Kernel {
        operation,
        object,
        source,
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(
        (*operation, object.as_str()),
        ("create veth", "veth0 with peer eth0")
    );
    assert_eq!(source.errno, Errno::EOPNOTSUPP);
    assert_eq!(rtnl.links().unwrap().len(), 1);
}
