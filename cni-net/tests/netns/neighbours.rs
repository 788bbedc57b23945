//! The neighbour table.

use crate::scene::{HOST_MAC, POD_MAC, bridge, name, run};
use cni_net::{Errno, LinkRef, Neighbour, NetError, Rtnl};
use std::net::IpAddr;
use testkit::{Host, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        an_entry_is_made_replaced_and_deleted,
        deleting_an_entry_that_is_not_there_is_absence,
        entries_of_other_links_are_not_listed,
    ]
}

const ADDRESSES: [&str; 2] = ["10.1.0.5", "fd00::5"];

fn unicast(rtnl: &mut Rtnl, link: u32) -> Vec<Neighbour> {
    // Multicast entries are the kernel's own.
    rtnl.neighbours(link)
        .unwrap()
        .into_iter()
        .filter(|entry| !entry.address.is_multicast())
        .collect()
}

fn an_entry_is_made_replaced_and_deleted(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let link = bridge(&mut rtnl);
    let br0 = name("br0");
    for address in ADDRESSES.map(|text| text.parse::<IpAddr>().unwrap()) {
        for mac in [POD_MAC, HOST_MAC] {
            run(&mut rtnl, |batch| {
                batch.replace_neighbour(LinkRef::new(link, &br0), address, mac)
            })
            .unwrap();
            assert_eq!(
                unicast(&mut rtnl, link),
                [Neighbour {
                    link,
                    address,
                    mac: Some(mac)
                }]
            );
        }
        run(&mut rtnl, |batch| {
            batch.delete_neighbour(LinkRef::new(link, &br0), address)
        })
        .unwrap();
        // An entry in use is not freed at once, but loses its hardware address at once.
        assert!(
            unicast(&mut rtnl, link)
                .iter()
                .all(|entry| entry.mac.is_none())
        );
    }
}

fn deleting_an_entry_that_is_not_there_is_absence(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let link = bridge(&mut rtnl);
    let br0 = name("br0");
    for address in ADDRESSES.map(|text| text.parse().unwrap()) {
        let gone = run(&mut rtnl, |batch| {
            batch.delete_neighbour(LinkRef::new(link, &br0), address)
        });
        assert_eq!(gone.as_ref().unwrap_err().errno(), Some(Errno::ENOENT));
        NetError::absent_is_ok(gone).unwrap();
    }
}

fn entries_of_other_links_are_not_listed(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let first = bridge(&mut rtnl);
    rtnl.create_bridge(&name("br1"), HOST_MAC, None).unwrap();
    let second = rtnl.find_link(&name("br1")).unwrap().unwrap().index;
    let address = ADDRESSES[0].parse().unwrap();
    run(&mut rtnl, |batch| {
        batch.replace_neighbour(LinkRef::new(second, &name("br1")), address, POD_MAC)
    })
    .unwrap();
    assert_eq!(unicast(&mut rtnl, first), []);
    assert_eq!(unicast(&mut rtnl, second).len(), 1);
}
