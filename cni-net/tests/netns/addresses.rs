//! Addresses of links.

use crate::scene::{add_address, bridge, cidr, find, name, run, set_up};
use cni_net::{Address, Errno, Family, LinkRef, NetError, Rtnl, Sysctl};
use cni_types::Cidr;
use std::process::Command;
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        addresses_are_listed_v4_first,
        a_v4_address_has_its_broadcast_address,
        a_v6_address_without_detection_can_be_used_at_once,
        a_v6_address_with_detection_is_tentative,
        a_link_local_address_is_distinguished,
        an_address_twice_is_refused,
        a_deleted_address_is_gone,
        deleting_what_is_not_there_is_absence,
        addresses_of_other_links_are_not_listed,
        ipv6_that_is_switched_off_is_permission_denied,
        a_list_of_a_link_that_is_gone_is_an_error_or_empty,
    ]
}

/// Returns the addresses without the link-local one, which the kernel adds at a time of its own.
fn global(rtnl: &mut Rtnl, link: &str) -> Vec<Address> {
    let index = find(rtnl, link).index;
    rtnl.addresses(index)
        .unwrap()
        .into_iter()
        .filter(|address| !address.link_local)
        .collect()
}

fn cidrs(rtnl: &mut Rtnl, link: &str) -> Vec<Cidr> {
    global(rtnl, link)
        .into_iter()
        .map(|address| address.cidr)
        .collect()
}

fn addresses_are_listed_v4_first(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    bridge(&mut rtnl);
    let wanted = ["10.1.0.1/16", "10.2.0.1/32", "fd00::1/64"];
    wanted
        .iter()
        .rev()
        .for_each(|address| add_address(&mut rtnl, "br0", address));
    let mut found = cidrs(&mut rtnl, "br0");
    assert!(!found[2].is_ipv4());
    found.sort();
    assert_eq!(found, wanted.map(cidr));
}

/// cni-net does not read it back, since no caller needs it; ip(8) does.
fn a_v4_address_has_its_broadcast_address(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    bridge(&mut rtnl);
    for address in ["10.1.2.3/20", "10.3.0.0/31", "10.4.0.1/32"] {
        add_address(&mut rtnl, "br0", address);
    }
    let shown = Command::new("ip")
        .args(["-o", "-4", "address", "show", "dev", "br0"])
        .output();
    testkit::require("the ip program", shown.is_ok());
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    let line = |address: &str| {
        shown
            .lines()
            .find(|line| line.contains(address))
            .unwrap()
            .to_owned()
    };
    assert!(line("10.1.2.3/20").contains("brd 10.1.15.255"), "{shown}");
    // RFC 3021
    assert!(
        !line("10.3.0.0/31").contains("brd") && !line("10.4.0.1/32").contains("brd"),
        "{shown}"
    );
}

fn a_v6_address_without_detection_can_be_used_at_once(host: &Host) {
    let pod = host.pod("a");
    let mut inside = crate::scene::connected(&pod, "fd00::1/64", "fd00::2/64");
    let found = global(&mut inside, "eth0");
    assert_eq!(found.len(), 1);
    assert!(!found[0].tentative && !found[0].failed);
    // A tentative address cannot be bound.
    pod.inside(|| std::net::UdpSocket::bind("[fd00::2]:1").unwrap());
}

fn a_v6_address_with_detection_is_tentative(host: &Host) {
    let pod = host.pod("a");
    let mut inside = crate::scene::connected(&pod, "fd00::1/64", "fd00::2/64");
    let index = find(&mut inside, "eth0").index;
    run(&mut inside, |batch| {
        batch.create_address(LinkRef::new(index, &name("eth0")), cidr("fd00::3/64"), true)
    })
    .unwrap();
    let found = global(&mut inside, "eth0");
    let tentative = |address: &str| {
        found
            .iter()
            .find(|a| a.cidr == cidr(address))
            .unwrap()
            .tentative
    };
    assert_eq!(
        (tentative("fd00::3/64"), tentative("fd00::2/64")),
        (true, false)
    );
}

fn a_link_local_address_is_distinguished(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    add_address(&mut rtnl, "br0", "fe80::1234/64");
    add_address(&mut rtnl, "br0", "fd00::1/64");
    let found = rtnl.addresses(index).unwrap();
    let link_local = |address: &str| {
        found
            .iter()
            .find(|a| a.cidr == cidr(address))
            .unwrap()
            .link_local
    };
    assert!(link_local("fe80::1234/64") && !link_local("fd00::1/64"));
}

fn an_address_twice_is_refused(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    for address in ["10.1.0.1/16", "fd00::1/64"] {
        add_address(&mut rtnl, "br0", address);
        let again = run(&mut rtnl, |batch| {
            batch.create_address(LinkRef::new(index, &name("br0")), cidr(address), false)
        });
        let error = again.unwrap_err();
        assert!(error.is_exists(), "{error}");
        let text = format!("failed to add address \"{address} to br0\": file exists");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
    assert_eq!(cidrs(&mut rtnl, "br0").len(), 2);
}

fn a_deleted_address_is_gone(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let all = ["10.1.0.1/16", "10.1.0.2/16", "fd00::1/64", "fd00::2/64"];
    all.iter()
        .for_each(|address| add_address(&mut rtnl, "br0", address));
    run(&mut rtnl, |batch| {
        batch.delete_address(LinkRef::new(index, &name("br0")), cidr("10.1.0.2/16"));
        batch.delete_address(LinkRef::new(index, &name("br0")), cidr("fd00::1/64"));
    })
    .unwrap();
    assert_eq!(
        cidrs(&mut rtnl, "br0"),
        [cidr("10.1.0.1/16"), cidr("fd00::2/64")]
    );
}

fn deleting_what_is_not_there_is_absence(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    for address in ["10.1.0.1/16", "fd00::1/64"] {
        let gone = run(&mut rtnl, |batch| {
            batch.delete_address(LinkRef::new(index, &name("br0")), cidr(address))
        });
        assert_eq!(
            gone.as_ref().unwrap_err().errno(),
            Some(Errno::EADDRNOTAVAIL)
        );
        NetError::absent_is_ok(gone).unwrap();
    }
}

fn addresses_of_other_links_are_not_listed(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    bridge(&mut rtnl);
    add_address(&mut rtnl, "br0", "10.1.0.1/16");
    assert_eq!(
        cidrs(&mut rtnl, "lo"),
        [cidr("127.0.0.1/8"), cidr("::1/128")]
    );
}

fn ipv6_that_is_switched_off_is_permission_denied(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let br0 = name("br0");
    Sysctl::of_interface(Family::V6, &br0, "disable_ipv6")
        .write("1")
        .unwrap();
    let error = run(&mut rtnl, |batch| {
        batch.create_address(LinkRef::new(index, &br0), cidr("fd00::1/64"), false)
    })
    .unwrap_err();
    assert_eq!(error.errno(), Some(Errno::EACCES), "{error}");
    // Newer kernels give the reason as a text (net/ipv6/addrconf.c); Linux 6.1 does not.
    let texts = [
        "failed to add address \"fd00::1/64 to br0\": permission denied",
        "failed to add address \"fd00::1/64 to br0\": IPv6 is disabled on this device",
    ];
    assert!(
        texts.iter().any(|text| error.to_string().starts_with(text)),
        "{error}"
    );
    set_up(&mut rtnl, "br0");
    assert_eq!(rtnl.addresses(index).unwrap(), []);
}

fn a_list_of_a_link_that_is_gone_is_an_error_or_empty(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let gone = rtnl.addresses(4711);
    assert!(gone.map_or_else(|e| e.is_absent(), |list| list.is_empty()));
}
