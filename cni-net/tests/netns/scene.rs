//! The base of the tests: names, a bridge, a veth pair, and shorthands for one change to a link.

use cni_net::{Batch, Link, LinkRef, NetError, Netns, NewLink, Rtnl};
use cni_types::{Cidr, IfName, MacAddr};
use testkit::{OrFail, Pod};

pub(crate) const BRIDGE_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub(crate) const HOST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub(crate) const POD_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 3]);

pub(crate) fn name(text: &str) -> IfName {
    IfName::parse(text).unwrap()
}

pub(crate) fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

pub(crate) fn netns(pod: &Pod) -> Netns {
    Netns::open(pod.path()).unwrap()
}

pub(crate) fn rtnl_in(pod: &Pod) -> Rtnl {
    Rtnl::open_in(&netns(pod)).unwrap()
}

pub(crate) fn find(rtnl: &mut Rtnl, link: &str) -> Link {
    rtnl.find_link(&name(link)).unwrap().or_fail(link)
}

/// Runs a batch that `fill` fills.
pub(crate) fn run(rtnl: &mut Rtnl, fill: impl FnOnce(&mut Batch)) -> Result<(), NetError> {
    let mut batch = Batch::new();
    fill(&mut batch);
    rtnl.run(batch)
}

/// Creates a bridge called `br0`; returns its index.
pub(crate) fn bridge(rtnl: &mut Rtnl) -> u32 {
    rtnl.create_bridge(&name("br0"), BRIDGE_MAC, None).unwrap();
    find(rtnl, "br0").index
}

/// Creates a veth pair: `host_name` on the bridge, and `eth0` in the pod.
pub(crate) fn create_veth(
    rtnl: &mut Rtnl,
    bridge: u32,
    host_name: &str,
    netns: &Netns,
    mtu: Option<u32>,
) -> Result<(), NetError> {
    let host_name = name(host_name);
    let container_name = name("eth0");
    let mut batch = Batch::new();
    let br0 = name("br0");
    let mut link = NewLink::named(&host_name)
        .mac(HOST_MAC)
        .port_of(LinkRef::new(bridge, &br0))
        .up();
    let mut peer = NewLink::named(&container_name).mac(POD_MAC).in_netns(netns);
    if let Some(mtu) = mtu {
        (link, peer) = (link.mtu(mtu), peer.mtu(mtu));
    }
    batch.create_veth(&link, &peer);
    rtnl.run(batch)
}

pub(crate) fn set_up(rtnl: &mut Rtnl, link: &str) {
    let index = find(rtnl, link).index;
    run(rtnl, |batch| batch.set_up(LinkRef::new(index, &name(link)))).unwrap();
}

/// Adds an address that is usable at once.
pub(crate) fn add_address(rtnl: &mut Rtnl, link: &str, address: &str) {
    let index = find(rtnl, link).index;
    run(rtnl, |batch| {
        batch.create_address(LinkRef::new(index, &name(link)), cidr(address), false)
    })
    .unwrap();
}

/// Gives a pod `eth0` with `address`, up, on a bridge called `br0` with `gateway`.
pub(crate) fn connected(pod: &Pod, gateway: &str, address: &str) -> Rtnl {
    let mut rtnl = Rtnl::open().unwrap();
    let index = bridge(&mut rtnl);
    create_veth(&mut rtnl, index, "veth0", &netns(pod), None).unwrap();
    add_address(&mut rtnl, "br0", gateway);
    let mut inside = rtnl_in(pod);
    set_up(&mut inside, "eth0");
    add_address(&mut inside, "eth0", address);
    inside
}
