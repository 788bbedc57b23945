//! Pairs whose peer is created in another namespace.

use crate::scene::{HOST_MAC, POD_MAC, bridge, create_veth, find, name, netns, rtnl_in, set_up};
use cni_net::{LinkKind, Netns, Rtnl};
use testkit::{Host, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        both_ends_are_as_asked,
        the_kernels_mtu_is_taken_where_none_is_given,
        a_peer_name_that_is_taken_leaves_nothing,
        a_host_name_that_is_taken_leaves_nothing,
        removing_the_hosts_end_removes_both,
        removing_the_containers_end_removes_both,
        the_hosts_end_goes_with_the_namespace,
        a_peer_may_be_born_in_the_same_namespace,
    ]
}

fn links(pod: &Pod) -> usize {
    rtnl_in(pod).links().unwrap().len()
}

fn both_ends_are_as_asked(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    create_veth(&mut rtnl, index, "veth0", &netns(&pod), Some(1300)).unwrap();
    let ours = find(&mut rtnl, "veth0");
    let theirs = find(&mut rtnl_in(&pod), "eth0");
    assert_eq!(
        (&ours.kind, ours.mac, ours.mtu, ours.up),
        (&LinkKind::Veth, Some(HOST_MAC), 1300, true)
    );
    assert_eq!(
        (&theirs.kind, theirs.mac, theirs.mtu),
        (&LinkKind::Veth, Some(POD_MAC), 1300)
    );
    // The peer is down, so settings still apply from its first packet.
    assert!(!theirs.up);
    assert_eq!((ours.master, theirs.master), (Some(index), None));
    assert_eq!(
        (ours.peer_index, theirs.peer_index),
        (Some(theirs.index), Some(ours.index))
    );
    assert_eq!(find(&mut rtnl, "br0").mac, Some(crate::scene::BRIDGE_MAC));
}

fn the_kernels_mtu_is_taken_where_none_is_given(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    create_veth(&mut rtnl, index, "veth0", &netns(&pod), None).unwrap();
    assert_eq!(
        (
            find(&mut rtnl, "veth0").mtu,
            find(&mut rtnl_in(&pod), "eth0").mtu
        ),
        (1500, 1500)
    );
}

fn a_peer_name_that_is_taken_leaves_nothing(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    create_veth(&mut rtnl, index, "veth0", &netns(&pod), None).unwrap();
    let before = host.state(&[&pod]);
    let error = create_veth(&mut rtnl, index, "veth1", &netns(&pod), Some(1400)).unwrap_err();
    assert!(error.is_exists(), "{error}");
    assert!(
        error
            .to_string()
            .starts_with(r#"failed to create veth "veth1 with peer eth0": file exists"#),
        "{error}"
    );
    assert_eq!(host.state(&[&pod]).difference(&before), "");
}

fn a_host_name_that_is_taken_leaves_nothing(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let a = host.pod("a");
    let b = host.pod("b");
    create_veth(&mut rtnl, index, "veth0", &netns(&a), None).unwrap();
    let before = host.state(&[&a, &b]);
    let error = create_veth(&mut rtnl, index, "veth0", &netns(&b), Some(1400)).unwrap_err();
    assert!(error.is_exists(), "{error}");
    assert_eq!(host.state(&[&a, &b]).difference(&before), "");
}

fn removing_the_hosts_end_removes_both(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    create_veth(&mut rtnl, index, "veth0", &netns(&pod), None).unwrap();
    let veth = find(&mut rtnl, "veth0").index;
    rtnl.remove_link(veth).unwrap();
    assert_eq!(links(&pod), 1);
    assert_eq!(rtnl.ports(index).unwrap(), []);
}

fn removing_the_containers_end_removes_both(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    create_veth(&mut rtnl, index, "veth0", &netns(&pod), None).unwrap();
    let mut inside = rtnl_in(&pod);
    let eth0 = find(&mut inside, "eth0").index;
    inside.remove_link(eth0).unwrap();
    assert_eq!(rtnl.find_link(&name("veth0")).unwrap(), None);
}

fn the_hosts_end_goes_with_the_namespace(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    create_veth(&mut rtnl, index, "veth0", &netns(&pod), None).unwrap();
    let events = cni_net::LinkEvents::subscribe().unwrap();
    pod.remove();
    let limit = std::time::Duration::from_secs(30);
    let gone = |rtnl: &mut Rtnl| Ok(rtnl.find_link(&name("veth0"))?.is_none().then_some(()));
    events
        .wait_until(
            &mut rtnl,
            "the end of veth0",
            limit,
            &cni_types::Stop::never(),
            gone,
        )
        .unwrap();
}

fn a_peer_may_be_born_in_the_same_namespace(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    create_veth(&mut rtnl, index, "veth0", &Netns::current().unwrap(), None).unwrap();
    set_up(&mut rtnl, "eth0");
    assert!(find(&mut rtnl, "eth0").up);
}
