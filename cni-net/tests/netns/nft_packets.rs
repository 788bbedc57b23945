//! The effect of rules on packets: a pod, its host, and a machine outside.

use crate::{
    nft::open,
    scene::{
        HOST_MAC, add_address, cidr, connected, create_veth, find, name, netns, rtnl_in, run,
        set_up,
    },
};
use cni_net::{
    Family, LinkRef, RouteSpec, Rtnl, Sysctl,
    nft::{
        BaseChain, Condition, Expr, Hook, Nat, NatKind, Range, Register, Table, TableFamily,
        Transaction,
    },
};
use cni_types::{IfName, Route};
use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};
use testkit::{Host, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_packet_to_the_outside_has_the_hosts_address,
        a_packet_to_the_outside_has_the_hosts_address_in_v6,
        a_packet_after_the_removal_has_the_pods_address,
        a_packet_to_a_port_arrives_at_another_one,
    ]
}

const TABLE: Table = Table {
    family: TableFamily::INET,
    name: "t",
};
const LEAVING: BaseChain = BaseChain {
    kind: "nat",
    hook: Hook::Postrouting,
    priority: 100,
};
const COMING: BaseChain = BaseChain {
    kind: "nat",
    hook: Hook::Prerouting,
    priority: -100,
};

struct Net {
    family: Family,
    gateway: &'static str,
    pod: &'static str,
    host_outside: &'static str,
    outside: &'static str,
}

const V4: Net = Net {
    family: Family::V4,
    gateway: "10.1.0.1/16",
    pod: "10.1.0.5/16",
    host_outside: "192.0.2.1/24",
    outside: "192.0.2.2/24",
};
const V6: Net = Net {
    family: Family::V6,
    gateway: "fd00::1/64",
    pod: "fd00::5/64",
    host_outside: "fd01::1/64",
    outside: "fd01::2/64",
};

fn address(text: &str) -> IpAddr {
    cidr(text).address()
}

impl Net {
    /// Connects both namespaces with the host, which routes between them.
    fn connect(&self, pod: &Pod, outside: &Pod) {
        let mut inside = connected(pod, self.gateway, self.pod);
        default_route(&mut inside, self.gateway);
        let mut rtnl = Rtnl::open().unwrap();
        rtnl.create_bridge(&name("out0"), HOST_MAC, None).unwrap();
        let bridge = find(&mut rtnl, "out0").index;
        create_veth(&mut rtnl, bridge, "veth1", &netns(outside), None).unwrap();
        add_address(&mut rtnl, "out0", self.host_outside);
        let mut beyond = rtnl_in(outside);
        set_up(&mut beyond, "eth0");
        add_address(&mut beyond, "eth0", self.outside);
        default_route(&mut beyond, self.host_outside);
        Sysctl::forwarding(self.family).ensure("1").unwrap();
    }

    /// Returns the address that a packet from the pod has when it arrives outside. Packets are sent
    /// until one arrives, since the bridge's ports need some time to forward.
    fn source_seen_outside(&self, pod: &Pod, outside: &Pod) -> IpAddr {
        let any = SocketAddr::new(
            if self.pod.contains(':') {
                address("::/0")
            } else {
                address("0.0.0.0/0")
            },
            0,
        );
        let receiver = outside.inside(|| UdpSocket::bind(any)).unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let target = SocketAddr::new(address(self.outside), receiver.local_addr().unwrap().port());
        let sender = pod.inside(|| UdpSocket::bind(any)).unwrap();
        for _ in 0..200 {
            let _ = sender.send_to(b"hello", target);
            if let Ok((_, from)) = receiver.recv_from(&mut [0; 16]) {
                return from.ip();
            }
        }
        panic!("no packet arrived outside")
    }
}

fn default_route(rtnl: &mut Rtnl, gateway: &str) {
    let gateway = address(gateway);
    let route = Route::new(
        if gateway.is_ipv4() {
            cidr("0.0.0.0/0")
        } else {
            cidr("::/0")
        },
        None,
    );
    let link: u32 = find(rtnl, "eth0").index;
    let eth0: IfName = name("eth0");
    run(rtnl, |batch| {
        batch.create_route(
            LinkRef::new(link, &eth0),
            &RouteSpec {
                route,
                gateway: Some(gateway),
            },
        )
    })
    .unwrap();
}

fn masqueraded(host: &Host, net: &Net) -> (Pod, Pod) {
    let mut nft = open();
    let pod = host.pod("a");
    let outside = host.pod("outside");
    net.connect(&pod, &outside);
    let own = cidr(net.pod);
    let rule = [
        Condition::family_of(own.address()).holds(),
        Condition::Source(own).holds(),
        Condition::Destination(own).fails(),
        vec![Expr::Masquerade {
            flags: 0,
            ports: None,
        }],
    ];
    let mut transaction = Transaction::new();
    transaction.ensure_table(TABLE);
    transaction.ensure_chain(TABLE, "out", Some(LEAVING));
    transaction.append_rule(TABLE, "out", &rule.concat().into());
    nft.commit(transaction).unwrap();
    assert_eq!(
        net.source_seen_outside(&pod, &outside),
        address(net.host_outside)
    );
    (pod, outside)
}

fn a_packet_to_the_outside_has_the_hosts_address(host: &Host) {
    let _ = masqueraded(host, &V4);
}

fn a_packet_to_the_outside_has_the_hosts_address_in_v6(host: &Host) {
    let _ = masqueraded(host, &V6);
}

fn a_packet_after_the_removal_has_the_pods_address(host: &Host) {
    let (pod, outside) = masqueraded(host, &V4);
    let mut transaction = Transaction::new();
    transaction.delete_table(TABLE);
    open().commit(transaction).unwrap();
    assert_eq!(V4.source_seen_outside(&pod, &outside), address(V4.pod));
}

fn a_packet_to_a_port_arrives_at_another_one(host: &Host) {
    let pod = host.pod("a");
    let outside = host.pod("outside");
    V4.connect(&pod, &outside);
    let receiver = outside.inside(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    receiver
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let port = receiver.local_addr().unwrap().port();
    let load = |to, value: &[u8]| Expr::Immediate {
        to,
        value: value.to_vec(),
    };
    let IpAddr::V4(target) = address(V4.outside) else {
        panic!("an IPv4 address")
    };
    let translate = Expr::Nat(Nat {
        kind: NatKind::Destination,
        family: 2,
        addresses: Some(Range::one(Register::R1)),
        ports: Some(Range::one(Register::R2)),
        flags: 0,
    });
    let rule = [
        Condition::Protocol(17).holds(),
        Condition::DestinationPort(7).holds(),
        vec![
            load(Register::R1, &target.octets()),
            load(Register::R2, &port.to_be_bytes()),
            translate,
        ],
    ];
    let table = Table {
        family: TableFamily::IP,
        ..TABLE
    };
    let mut transaction = Transaction::new();
    transaction.ensure_table(table);
    transaction.ensure_chain(table, "in", Some(COMING));
    transaction.append_rule(table, "in", &rule.concat().into());
    open().commit(transaction).unwrap();
    let sender = pod.inside(|| UdpSocket::bind("0.0.0.0:0")).unwrap();
    let gateway = SocketAddr::new(address(V4.gateway), 7);
    let arrives = |_| {
        let _ = sender.send_to(b"hello", gateway);
        receiver.recv_from(&mut [0; 16]).is_ok()
    };
    assert!((0..200).any(arrives), "no packet arrived outside");
}
