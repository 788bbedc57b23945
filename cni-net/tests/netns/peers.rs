//! The other end of a pair in another namespace, and groups of links.

use crate::scene::{bridge, create_veth, find, name, netns, rtnl_in, run};
use cni_net::{LinkRef, NewLink, Peer, Rtnl};
use cni_types::MacAddr;
use std::num::NonZeroU32;
use testkit::{Host, OrFail, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_peer_is_found_in_its_own_namespace,
        a_link_with_the_peers_index_in_another_namespace_is_no_peer,
        addresses_beside_a_peer_are_those_of_its_namespace,
        a_group_is_removed_at_once_and_no_other_link,
    ]
}

/// Creates a pair with both ends in the namespace of `rtnl`.
fn pair(rtnl: &mut Rtnl, one: &str, other: &str) {
    let ends = (name(one), name(other));
    let link = NewLink::named(&ends.0).mac(MacAddr([2, 0, 0, 0, 1, 1]));
    let peer = NewLink::named(&ends.1).mac(MacAddr([2, 0, 0, 0, 1, 2]));
    run(rtnl, |batch| batch.create_veth(&link, &peer)).unwrap();
}

fn a_peer_is_found_in_its_own_namespace(host: &Host) {
    let pod = host.pod("a");
    let mut rtnl = Rtnl::open().unwrap();
    let br0 = bridge(&mut rtnl);
    create_veth(&mut rtnl, br0, "veth0", &netns(&pod), None).unwrap();
    let end = find(&mut rtnl, "veth0");
    let mut inside = rtnl_in(&pod);
    let eth0 = find(&mut inside, "eth0");
    let Peer::Link(found) = rtnl.peer(&end).unwrap() else {
        panic!("no peer of {end:?}")
    };
    assert_eq!(
        (found.index, found.name.as_str(), found.mac),
        (eth0.index, "eth0", eth0.mac)
    );
    assert_eq!(
        rtnl.peer_of(&eth0, &netns(&pod))
            .unwrap()
            .or_fail("find the peer")
            .index,
        end.index
    );
    pair(&mut rtnl, "one", "other");
    let one = find(&mut rtnl, "one");
    let other = find(&mut rtnl, "other");
    assert_eq!(rtnl.peer(&one).unwrap(), Peer::Link(Box::new(other)));
}

/// Both namespaces have a pair with the same two indices.
fn a_link_with_the_peers_index_in_another_namespace_is_no_peer(host: &Host) {
    let pod = host.pod("a");
    let far = host.pod("b");
    let mut rtnl = Rtnl::open().unwrap();
    let mut inside = rtnl_in(&pod);
    pair(&mut inside, "eth0", "xx");
    pair(&mut rtnl, "one", "other");
    let eth0 = find(&mut inside, "eth0");
    let numbers = (eth0.index, eth0.peer_index);
    let one = find(&mut rtnl, "one");
    assert_eq!((one.index, one.peer_index), numbers);
    assert_eq!(rtnl.peer_of(&eth0, &netns(&pod)).unwrap(), None);
    // The same holds if the namespace has a number here.
    let br0 = bridge(&mut rtnl);
    create_veth(&mut rtnl, br0, "veth0", &netns(&far), None).unwrap();
    assert_eq!(
        rtnl.peer_of(&find(&mut rtnl_in(&far), "eth0"), &netns(&pod))
            .unwrap(),
        None
    );
}

fn addresses_beside_a_peer_are_those_of_its_namespace(host: &Host) {
    let pod = host.pod("a");
    let mut rtnl = Rtnl::open().unwrap();
    let br0 = bridge(&mut rtnl);
    create_veth(&mut rtnl, br0, "veth0", &netns(&pod), None).unwrap();
    let end = find(&mut rtnl, "veth0");
    let mut inside = rtnl_in(&pod);
    let eth0 = find(&mut inside, "eth0");
    pair(&mut inside, "eth1", "guest");
    let eth1 = find(&mut inside, "eth1");
    let wanted = [
        (eth0.index, "eth0", "10.1.0.2/24"),
        (eth0.index, "eth0", "fd01::2/64"),
        (eth1.index, "eth1", "10.2.0.2/24"),
    ];
    for (index, link, cidr) in wanted {
        run(&mut inside, |batch| {
            batch.create_address(
                LinkRef::new(index, &name(link)),
                cidr.parse().unwrap(),
                false,
            )
        })
        .unwrap();
    }
    run(&mut rtnl, |batch| {
        batch.create_address(
            LinkRef::new(br0, &name("br0")),
            "10.9.0.1/24".parse().unwrap(),
            false,
        )
    })
    .unwrap();
    let found = rtnl
        .addresses_beside_peer(&end)
        .unwrap()
        .or_fail("find the namespace");
    let mut found: Vec<_> = found
        .iter()
        .map(|address| (address.link, address.cidr.to_string()))
        .collect();
    found.retain(|(index, _)| [eth0.index, eth1.index].contains(index));
    found.sort();
    let mut wanted = wanted.map(|(index, _, cidr)| (index, cidr.to_owned()));
    wanted.sort();
    assert_eq!(found, wanted);
    // A number without a namespace: that was removed since the link was read.
    let gone = cni_net::Link {
        peer_netns: Some(4711),
        ..end
    };
    assert_eq!(rtnl.addresses_beside_peer(&gone).unwrap(), None);
}

fn a_group_is_removed_at_once_and_no_other_link(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let group = NonZeroU32::new(1 << 30).unwrap();
    for at in 0..3 {
        pair(&mut rtnl, &format!("a{at}"), &format!("b{at}"));
    }
    rtnl.remove_group(group).unwrap();
    for link in ["a0", "a1"] {
        let found = find(&mut rtnl, link);
        run(&mut rtnl, |batch| batch.set_group(&found, group)).unwrap();
        assert_eq!(find(&mut rtnl, link).group, group.get());
    }
    rtnl.remove_group(group).unwrap();
    let mut names: Vec<String> = rtnl
        .links()
        .unwrap()
        .into_iter()
        .map(|link| link.name.to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["a2", "b2", "lo"]);
}
