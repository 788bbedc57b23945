//! New links of the kinds that interface plugins make; renaming and moving.

use crate::scene::{HOST_MAC, find, name, netns, rtnl_in, run};
use cni_net::{Batch, Errno, IpvlanMode, Link, LinkKind, LinkRef, MacvlanMode, NewLink, Rtnl};
use cni_types::VlanId;
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_dummy_is_as_asked,
        a_vlan_is_on_its_parent,
        a_macvlan_is_born_in_the_container_with_its_address,
        an_ipvlan_is_born_in_the_container,
        a_vrf_takes_ports,
        a_link_is_renamed_and_moved,
        a_name_that_is_taken_is_refused_for_every_kind,
    ]
}

/// Sends a request for a link of a kind that the kernel may not have.
fn make(rtnl: &mut Rtnl, kind: &str, fill: impl FnOnce(&mut Batch)) {
    let made = run(rtnl, fill);
    let is_lacking = matches!(&made, Err(e) if e.errno() == Some(Errno::EOPNOTSUPP));
    testkit::require(&format!("links of the kind {kind}"), !is_lacking);
    made.unwrap();
}

/// Creates a pair, up, whose end `up0` serves as a parent; every kernel of the tests has veth.
fn parent(rtnl: &mut Rtnl) -> Link {
    let ends = (name("up0"), name("up1"));
    let new = NewLink::named(&ends.0).mac(HOST_MAC).mtu(1400).up();
    run(rtnl, |batch| {
        batch.create_veth(&new, &NewLink::named(&ends.1))
    })
    .unwrap();
    find(rtnl, "up0")
}

fn kind(text: &str) -> LinkKind {
    LinkKind::Other(text.to_owned())
}

fn a_dummy_is_as_asked(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let up0 = name("up0");
    let new = NewLink::named(&up0).mac(HOST_MAC).mtu(1400).up();
    make(&mut rtnl, "dummy", |batch| batch.create_dummy(&new));
    let link = find(&mut rtnl, "up0");
    assert_eq!(
        (link.kind, link.mac, link.mtu, link.up),
        (kind("dummy"), Some(HOST_MAC), 1400, true)
    );
}

fn a_vlan_is_on_its_parent(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let parent = parent(&mut rtnl);
    let vlan = name("up0.100");
    make(&mut rtnl, "vlan", |batch| {
        batch.create_vlan(&NewLink::named(&vlan), &parent, VlanId::new(100).unwrap());
    });
    let link = find(&mut rtnl, "up0.100");
    // IFLA_LINK names the parent, as it names the peer of a veth.
    assert_eq!(
        (link.kind, link.peer_index, link.mtu),
        (kind("vlan"), Some(parent.index), 1400)
    );
}

fn a_macvlan_is_born_in_the_container_with_its_address(host: &Host) {
    let pod = host.pod("a");
    let mut rtnl = Rtnl::open().unwrap();
    let parent = parent(&mut rtnl);
    let netns = netns(&pod);
    let eth0 = name("eth0");
    let mac = crate::scene::POD_MAC;
    make(&mut rtnl, "macvlan", |batch| {
        let new = NewLink::named(&eth0).mac(mac).mtu(1300).in_netns(&netns);
        batch.create_macvlan(&new, &parent, MacvlanMode::Bridge);
    });
    let link = find(&mut rtnl_in(&pod), "eth0");
    assert_eq!(
        (link.kind, link.mac, link.mtu, link.up),
        (kind("macvlan"), Some(mac), 1300, false)
    );
    assert_eq!(rtnl.find_link(&eth0).unwrap(), None);
}

fn an_ipvlan_is_born_in_the_container(host: &Host) {
    let pod = host.pod("a");
    let mut rtnl = Rtnl::open().unwrap();
    let parent = parent(&mut rtnl);
    let netns = netns(&pod);
    let eth0 = name("eth0");
    make(&mut rtnl, "ipvlan", |batch| {
        let new = NewLink::named(&eth0).in_netns(&netns);
        batch.create_ipvlan(&new, &parent, IpvlanMode::L3);
    });
    let link = find(&mut rtnl_in(&pod), "eth0");
    assert_eq!((link.kind, link.mac), (kind("ipvlan"), parent.mac));
}

fn a_vrf_takes_ports(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let port = parent(&mut rtnl);
    let blue = name("blue");
    make(&mut rtnl, "vrf", |batch| {
        batch.create_vrf(&NewLink::named(&blue).up(), 1001);
    });
    let vrf = find(&mut rtnl, "blue");
    assert_eq!((vrf.kind.clone(), vrf.up), (kind("vrf"), true));
    run(&mut rtnl, |batch| batch.set_master(&port, &vrf)).unwrap();
    assert_eq!(find(&mut rtnl, "up0").master, Some(vrf.index));
    run(&mut rtnl, |batch| batch.remove_master(&port)).unwrap();
    assert_eq!(find(&mut rtnl, "up0").master, None);
}

fn a_link_is_renamed_and_moved(host: &Host) {
    let pod = host.pod("a");
    let mut rtnl = Rtnl::open().unwrap();
    let link = parent(&mut rtnl);
    let net1 = name("net1");
    let netns = netns(&pod);
    run(&mut rtnl, |batch| {
        batch.set_down(&link);
        batch.rename(&link, &net1);
        batch.move_to(LinkRef::new(link.index, &net1), &netns);
    })
    .unwrap();
    assert_eq!(rtnl.find_link(&net1).unwrap(), None);
    let moved = find(&mut rtnl_in(&pod), "net1");
    assert_eq!(
        (moved.mac, moved.mtu, moved.up),
        (Some(HOST_MAC), 1400, false)
    );
    let error = run(&mut rtnl, |batch| batch.move_to(&link, &netns)).unwrap_err();
    assert!(error.is_absent(), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("failed to move to another namespace \"up0\": "),
        "{error}"
    );
}

fn a_name_that_is_taken_is_refused_for_every_kind(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let parent = parent(&mut rtnl);
    let new = NewLink::named(&parent.name);
    let requests: [&dyn Fn(&mut Batch); 4] = [
        &|batch| batch.create_dummy(&new),
        &|batch| batch.create_vlan(&new, &parent, VlanId::new(100).unwrap()),
        &|batch| batch.create_macvlan(&new, &parent, MacvlanMode::Private),
        &|batch| batch.create_vrf(&new, 7),
    ];
    for request in requests {
        let error = run(&mut rtnl, request).unwrap_err();
        let is_lacking = error.errno() == Some(Errno::EOPNOTSUPP);
        assert!(error.is_exists() || is_lacking, "{error}");
    }
}
