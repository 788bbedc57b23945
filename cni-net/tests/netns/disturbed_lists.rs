//! Lists that change while they are read: the kernel reports that it lost its place, and the list
//! is read again (containernetworking/plugins#1121).

use crate::scene::{HOST_MAC, POD_MAC, bridge, cidr, find, name, netns, run};
use cni_net::{Batch, LinkRef, NewLink, Rtnl};
use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
};
use testkit::{Host, Test};

const PORTS: usize = 200;
const ROUNDS: usize = 20;
const TURNS: u32 = 10;

/// The number of addresses; large enough that the kernel lists them in several parts.
const ADDRESSES: usize = 500;

/// Adds `10.1.0.1/24` and so on: each is a network of its own, and so has a route of its own.
fn give_addresses(rtnl: &mut Rtnl, link: u32) {
    run(rtnl, |batch| {
        for number in 0..ADDRESSES {
            let address = format!("10.{}.{}.1/24", number / 250, number % 250);
            batch.create_address(LinkRef::new(link, &name("br0")), cidr(&address), false);
        }
    })
    .unwrap();
}

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        links_and_ports_are_complete_while_links_come_and_go,
        addresses_are_complete_while_addresses_come_and_go,
        routes_are_complete_while_routes_come_and_go,
    ]
}

/// Repeats `work` while another thread repeats `churn`, both so often that they must have met.
fn while_churning(churn: impl Fn(&mut Rtnl) + Sync, mut work: impl FnMut()) {
    let done = AtomicBool::new(false);
    let turns = AtomicU32::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut rtnl = Rtnl::open().unwrap();
            while !done.load(Ordering::Relaxed) {
                churn(&mut rtnl);
                turns.fetch_add(1, Ordering::Relaxed);
            }
        });
        // The scope ends only if the other thread does.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut rounds = 0;
            while rounds < ROUNDS || turns.load(Ordering::Relaxed) < TURNS {
                work();
                rounds += 1;
            }
        }));
        done.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn links_and_ports_are_complete_while_links_come_and_go(host: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    let pod = host.pod("a");
    let netns = netns(&pod);
    for number in 0..PORTS {
        let host_name = name(&format!("veth{number}"));
        let container_name = name(&format!("eth{number}"));
        let mut batch = Batch::new();
        let br0 = name("br0");
        let link = NewLink::named(&host_name)
            .mac(HOST_MAC)
            .port_of(LinkRef::new(index, &br0))
            .up();
        let peer = NewLink::named(&container_name)
            .mac(POD_MAC)
            .in_netns(&netns);
        batch.create_veth(&link, &peer);
        rtnl.run(batch).unwrap();
    }
    let churn = |rtnl: &mut Rtnl| {
        rtnl.create_bridge(&name("churn0"), HOST_MAC, None).unwrap();
        let index = find(rtnl, "churn0").index;
        rtnl.remove_link(index).unwrap();
    };
    while_churning(churn, || {
        assert_eq!(rtnl.ports(index).unwrap().len(), PORTS);
        let links = rtnl.links().unwrap();
        let ours = links
            .iter()
            .filter(|link| link.name.as_str().starts_with("veth"))
            .count();
        assert_eq!(ours, PORTS);
    });
}

fn addresses_are_complete_while_addresses_come_and_go(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    rtnl.create_bridge(&name("churn0"), HOST_MAC, None).unwrap();
    let other = find(&mut rtnl, "churn0").index;
    give_addresses(&mut rtnl, index);
    let churn = |rtnl: &mut Rtnl| {
        run(rtnl, |batch| {
            batch.create_address(
                LinkRef::new(other, &name("churn0")),
                cidr("192.0.2.1/24"),
                false,
            );
            batch.delete_address(LinkRef::new(other, &name("churn0")), cidr("192.0.2.1/24"));
        })
        .unwrap();
    };
    while_churning(churn, || {
        let addresses = rtnl.addresses(index).unwrap();
        assert_eq!(
            addresses.iter().filter(|a| !a.link_local).count(),
            ADDRESSES
        );
    });
}

fn routes_are_complete_while_routes_come_and_go(_: &Host) {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    give_addresses(&mut rtnl, index);
    rtnl.create_bridge(&name("churn0"), HOST_MAC, None).unwrap();
    let other = find(&mut rtnl, "churn0").index;
    let churn = |rtnl: &mut Rtnl| {
        run(rtnl, |batch| {
            batch.create_address(
                LinkRef::new(other, &name("churn0")),
                cidr("192.0.2.1/24"),
                false,
            );
            batch.delete_address(LinkRef::new(other, &name("churn0")), cidr("192.0.2.1/24"));
        })
        .unwrap();
    };
    while_churning(churn, || {
        let routes = rtnl.routes().unwrap();
        let ours = routes
            .iter()
            .filter(|route| route.table == 254 && cidr("10.0.0.0/8").overlaps(route.dst));
        assert_eq!(ours.count(), ADDRESSES);
    });
}
