//! VLANs of bridges and ports, and pairs with both ends on the host.

use crate::scene::{BRIDGE_MAC, HOST_MAC, POD_MAC, bridge, create_veth, find, name, netns, run};
use cni_net::{Errno, LinkKind, LinkRef, Membership, NetError, NewLink, PortVlans, Rtnl};
use cni_types::VlanId;
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_pair_of_the_host_is_down_and_its_peer_has_the_lower_index,
        a_pair_of_the_host_whose_name_is_taken_leaves_nothing,
        a_kernel_without_bridge_vlans_says_so,
        a_port_gets_vlans_and_loses_them,
        a_bridge_gets_vlan_filtering_and_reports_it,
        all_vlans_of_a_port_read_back,
        what_is_no_port_has_no_vlans,
    ]
}

fn id(number: u16) -> VlanId {
    VlanId::new(number).unwrap()
}

/// Creates `br0` and its port `veth0` on a kernel with VLANs; returns the port's index.
fn port(host: &Host, rtnl: &mut Rtnl) -> u32 {
    let index = bridge(rtnl);
    let pod = host.pod("a");
    let there = find(rtnl, "br0").vlans.is_some();
    testkit::require(
        "bridge VLAN filtering (CONFIG_BRIDGE_VLAN_FILTERING)",
        there,
    );
    create_veth(rtnl, index, "veth0", &netns(&pod), None).unwrap();
    find(rtnl, "veth0").index
}

fn create_pair(rtnl: &mut Rtnl, first: &str, peer: &str, bridge: u32) -> Result<(), NetError> {
    let first = name(first);
    let peer = name(peer);
    run(rtnl, |batch| {
        let link = NewLink::named(&first).mac(HOST_MAC).mtu(1400);
        let other = NewLink::named(&peer).mac(POD_MAC).mtu(1400);
        batch.create_veth(&link, &other);
        batch.attach(&peer, LinkRef::new(bridge, &name("br0")));
    })
}

fn a_pair_of_the_host_is_down_and_its_peer_has_the_lower_index(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    create_pair(&mut rtnl, "br0.100", "veth0", index).unwrap();
    let first = find(&mut rtnl, "br0.100");
    let peer = find(&mut rtnl, "veth0");
    assert_eq!(
        (&first.kind, first.mac, first.mtu, first.up),
        (&LinkKind::Veth, Some(HOST_MAC), 1400, false)
    );
    assert_eq!(
        (&peer.kind, peer.mac, peer.mtu, peer.up),
        (&LinkKind::Veth, Some(POD_MAC), 1400, false)
    );
    assert_eq!((first.master, peer.master), (None, Some(index)));
    assert_eq!(
        (first.peer_index, peer.peer_index),
        (Some(peer.index), Some(first.index))
    );
    assert_eq!(peer.index + 1, first.index);
    assert_eq!(find(&mut rtnl, "br0").mac, Some(BRIDGE_MAC));
}

fn a_pair_of_the_host_whose_name_is_taken_leaves_nothing(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    create_pair(&mut rtnl, "br0.100", "veth0", index).unwrap();
    let before = host.state(&[]);
    for (first, peer) in [("br0.100", "veth1"), ("br0.200", "veth0")] {
        let error = create_pair(&mut rtnl, first, peer, index).unwrap_err();
        assert!(error.is_exists(), "{error}");
        assert_eq!(host.state(&[]).difference(&before), "");
    }
}

fn a_kernel_without_bridge_vlans_says_so(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    let there = find(&mut rtnl, "br0").vlans.is_some();
    testkit::only_where("the kernel has no bridge VLAN filtering", !there);
    create_veth(&mut rtnl, index, "veth0", &netns(&pod), None).unwrap();
    let veth = find(&mut rtnl, "veth0").index;
    let vlans: PortVlans = [(id(100), Membership::NATIVE)].into_iter().collect();
    let error = run(&mut rtnl, |batch| {
        batch.add_port_vlans(LinkRef::new(veth, &name("veth0")), &vlans)
    })
    .unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EOPNOTSUPP));
    let text = error.to_string();
    assert!(
        text.starts_with(r#"failed to set VLANs "100 pvid untagged on the bridge port veth0""#),
        "{text}"
    );
    let error = run(&mut rtnl, |batch| batch.set_vlan_filtering(&name("br0"))).unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EOPNOTSUPP));
    assert_eq!(rtnl.port_vlans(veth).unwrap(), PortVlans::default());
}

fn a_port_gets_vlans_and_loses_them(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let port = port(host, &mut rtnl);
    let veth0 = name("veth0");
    assert_eq!(
        rtnl.port_vlans(port).unwrap().to_string(),
        "1 pvid untagged"
    );
    let vlans: PortVlans = [(id(100), Membership::NATIVE), (id(7), Membership::TAGGED)]
        .into_iter()
        .collect();
    // A second request changes nothing.
    for _ in 0..2 {
        run(&mut rtnl, |batch| {
            batch.add_port_vlans(LinkRef::new(port, &veth0), &vlans)
        })
        .unwrap();
        assert_eq!(
            rtnl.port_vlans(port).unwrap().to_string(),
            "1 untagged, 7, 100 pvid untagged"
        );
    }
    for _ in 0..2 {
        run(&mut rtnl, |batch| {
            batch.remove_port_vlan(LinkRef::new(port, &veth0), id(1))
        })
        .unwrap();
        assert_eq!(rtnl.port_vlans(port).unwrap(), vlans);
    }
    let tagged: PortVlans = [(id(100), Membership::TAGGED)].into_iter().collect();
    run(&mut rtnl, |batch| {
        batch.add_port_vlans(LinkRef::new(port, &veth0), &tagged)
    })
    .unwrap();
    assert_eq!(rtnl.port_vlans(port).unwrap().to_string(), "7, 100");
}

fn a_bridge_gets_vlan_filtering_and_reports_it(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let _ = port(host, &mut rtnl);
    let vlans = |rtnl: &mut Rtnl| find(rtnl, "br0").vlans.unwrap();
    assert_eq!(
        (vlans(&mut rtnl).filtering, vlans(&mut rtnl).default),
        (false, Some(id(1)))
    );
    for _ in 0..2 {
        run(&mut rtnl, |batch| batch.set_vlan_filtering(&name("br0"))).unwrap();
        assert!(vlans(&mut rtnl).filtering);
    }
    assert!(find(&mut rtnl, "br0").up && find(&mut rtnl, "veth0").vlans.is_none());
}

/// In ranges, and each for itself: the longest possible answer.
fn all_vlans_of_a_port_read_back(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let port = port(host, &mut rtnl);
    let kind = |at: u16| {
        if at.is_multiple_of(2) {
            Membership::TAGGED
        } else {
            Membership::UNTAGGED
        }
    };
    for wanted in [
        id(1)
            .through(id(4094))
            .map(|id| (id, Membership::TAGGED))
            .collect::<PortVlans>(),
        id(1)
            .through(id(4094))
            .map(|id| (id, kind(id.number())))
            .collect(),
    ] {
        run(&mut rtnl, |batch| {
            batch.add_port_vlans(LinkRef::new(port, &name("veth0")), &wanted)
        })
        .unwrap();
        assert_eq!(rtnl.port_vlans(port).unwrap(), wanted);
    }
}

fn what_is_no_port_has_no_vlans(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let _ = port(host, &mut rtnl);
    for index in [1, 4711] {
        assert_eq!(rtnl.port_vlans(index).unwrap(), PortVlans::default());
    }
}
