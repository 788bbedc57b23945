//! New links: veth pairs, and vlan, macvlan, ipvlan, vrf and dummy devices.
//!
//! One request creates a link with all its properties. A link for another namespace is created
//! there and not moved, so no name clashes on the way and no event is sent twice. The kernel
//! creates no tun or tap device by rtnetlink (tun_validate in drivers/net/tun.c).

use super::{Batch, LinkRef};
use crate::netns::Netns;
use cni_types::{IfName, MacAddr, VlanId};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoVeth, InfoVlan, InfoVrf, IpVlanMode,
        LinkAttribute, LinkMessage, MacVlanMode,
    },
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};
use std::{num::NonZeroU32, os::fd::AsRawFd};

/// The properties of a new link that links of all kinds have.
#[derive(Clone, Copy, Debug)]
pub struct NewLink<'a> {
    name: &'a IfName,
    mac: Option<MacAddr>,
    mtu: Option<u32>,
    master: Option<u32>,
    group: Option<NonZeroU32>,
    netns: Option<&'a Netns>,
    up: bool,
}

impl<'a> NewLink<'a> {
    /// Describes a link of this name, down, with the kernel's defaults for all else.
    #[must_use]
    pub fn named(name: &'a IfName) -> Self {
        Self {
            name,
            mac: None,
            mtu: None,
            master: None,
            group: None,
            netns: None,
            up: false,
        }
    }

    /// Sets its hardware address, which the kernel then counts as set by the administrator.
    #[must_use]
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Sets its MTU, in bytes.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Makes it a port of a bridge, or of another link that has ports.
    #[must_use]
    pub fn port_of<'l>(mut self, master: impl Into<LinkRef<'l>>) -> Self {
        self.master = Some(master.into().index);
        self
    }

    /// Puts it into a group of links.
    #[must_use]
    pub fn group(mut self, group: NonZeroU32) -> Self {
        self.group = Some(group);
        self
    }

    /// Creates it in another namespace.
    #[must_use]
    pub fn in_netns(mut self, netns: &'a Netns) -> Self {
        self.netns = Some(netns);
        self
    }

    /// Sets it up at once.
    #[must_use]
    pub fn up(mut self) -> Self {
        self.up = true;
        self
    }

    /// Returns the message without the kind. The message names the namespace by the number of its
    /// descriptor, which the batch keeps open.
    fn message(&self, batch: &mut Batch) -> LinkMessage {
        let mut link = LinkUnspec::new_with_name(self.name.as_str());
        if let Some(mac) = self.mac {
            link = link.address(mac.0.to_vec());
        }
        if let Some(mtu) = self.mtu {
            link = link.mtu(mtu);
        }
        if let Some(master) = self.master {
            link = link.controller(master);
        }
        if let Some(group) = self.group {
            link = link.link_group(group.get());
        }
        if let Some(netns) = self.netns {
            let file = netns.file();
            link = link.setns_by_fd(file.as_raw_fd());
            batch.namespaces.push(file);
        }
        if self.up { link.up() } else { link }.build()
    }
}

/// The way in which the macvlan devices of one parent reach each other (ip-link(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacvlanMode {
    /// Directly.
    Bridge,
    /// Not at all.
    Private,
    /// By a switch outside the host, which sends their frames back.
    Vepa,
    /// The parent has one device only, which takes it over.
    Passthru,
}

/// The layer on which ipvlan devices share their parent (ip-link(8)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpvlanMode {
    /// Ethernet: ARP and broadcasts reach the devices.
    L2,
    /// IP: the parent's namespace routes for the devices.
    L3,
    /// IP: the parent's namespace routes for the devices, and netfilter there sees the packets.
    L3s,
}

/// Creation of links. All requests fail with `EEXIST` if a link has the name.
impl Batch {
    /// Creates a veth pair. The same request cannot set the peer up (veth_open in
    /// drivers/net/veth.c returns ENOTCONN), so settings made before it is set up apply from its
    /// first packet. The kernel creates the peer first, so the peer has the lower index.
    pub fn create_veth(&mut self, link: &NewLink<'_>, peer: &NewLink<'_>) {
        let object = format!("{} with peer {}", link.name, peer.name);
        let peer = peer.message(self);
        let info = Some(InfoData::Veth(InfoVeth::Peer(peer)));
        self.create(link, InfoKind::Veth, info, None, "create veth", object);
    }

    /// Creates a device that sends and receives the frames of one VLAN of its parent.
    pub fn create_vlan<'l>(
        &mut self,
        link: &NewLink<'_>,
        parent: impl Into<LinkRef<'l>>,
        id: VlanId,
    ) {
        let info = InfoData::Vlan(vec![InfoVlan::Id(id.number())]);
        self.create_on(link, InfoKind::Vlan, info, parent.into(), "create vlan");
    }

    /// Creates a device with a hardware address of its own on its parent.
    pub fn create_macvlan<'l>(
        &mut self,
        link: &NewLink<'_>,
        parent: impl Into<LinkRef<'l>>,
        mode: MacvlanMode,
    ) {
        let mode = match mode {
            MacvlanMode::Bridge => MacVlanMode::Bridge,
            MacvlanMode::Private => MacVlanMode::Private,
            MacvlanMode::Vepa => MacVlanMode::Vepa,
            MacvlanMode::Passthru => MacVlanMode::Passthrough,
        };
        let info = InfoData::MacVlan(vec![InfoMacVlan::Mode(mode)]);
        self.create_on(
            link,
            InfoKind::MacVlan,
            info,
            parent.into(),
            "create macvlan",
        );
    }

    /// Creates a device that shares the hardware address of its parent.
    pub fn create_ipvlan<'l>(
        &mut self,
        link: &NewLink<'_>,
        parent: impl Into<LinkRef<'l>>,
        mode: IpvlanMode,
    ) {
        let mode = match mode {
            IpvlanMode::L2 => IpVlanMode::L2,
            IpvlanMode::L3 => IpVlanMode::L3,
            IpvlanMode::L3s => IpVlanMode::L3S,
        };
        let info = InfoData::IpVlan(vec![InfoIpVlan::Mode(mode)]);
        self.create_on(link, InfoKind::IpVlan, info, parent.into(), "create ipvlan");
    }

    /// Creates a VRF, whose ports look up routes in the table of this number.
    pub fn create_vrf(&mut self, link: &NewLink<'_>, table: u32) {
        let info = Some(InfoData::Vrf(vec![InfoVrf::TableId(table)]));
        let object = link.name.to_string();
        self.create(link, InfoKind::Vrf, info, None, "create vrf", object);
    }

    /// Creates a device that discards the packets that it is sent.
    pub fn create_dummy(&mut self, link: &NewLink<'_>) {
        let object = link.name.to_string();
        self.create(link, InfoKind::Dummy, None, None, "create dummy", object);
    }

    fn create_on(
        &mut self,
        link: &NewLink<'_>,
        kind: InfoKind,
        info: InfoData,
        parent: LinkRef<'_>,
        operation: &'static str,
    ) {
        let object = format!("{} on {}", link.name, parent.name);
        self.create(
            link,
            kind,
            Some(info),
            Some(parent.index),
            operation,
            object,
        );
    }

    fn create(
        &mut self,
        link: &NewLink<'_>,
        kind: InfoKind,
        info: Option<InfoData>,
        parent: Option<u32>,
        operation: &'static str,
        object: String,
    ) {
        let mut message = link.message(self);
        message.attributes.extend(parent.map(LinkAttribute::Link));
        let mut described = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(kind);
        if let Some(info) = info {
            described = described.set_info_data(info);
        }
        message.attributes.extend(described.build().attributes);
        let message = RouteNetlinkMessage::NewLink(message);
        self.push(message, NLM_F_CREATE | NLM_F_EXCL, operation, object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::attribute;
    use netlink_packet_core::Emitable;

    /// include/uapi/linux/if_link.h, if_vlan.h
    const IFLA_ADDRESS: u16 = 1;
    const IFLA_IFNAME: u16 = 3;
    const IFLA_MTU: u16 = 4;
    const IFLA_LINK: u16 = 5;
    const IFLA_MASTER: u16 = 10;
    const IFLA_LINKINFO: u16 = 18;
    const IFLA_GROUP: u16 = 27;
    const IFLA_INFO_KIND: u16 = 1;
    const IFLA_INFO_DATA: u16 = 2;
    /// IFLA_VLAN_ID, IFLA_MACVLAN_MODE, IFLA_IPVLAN_MODE, IFLA_VRF_TABLE, VETH_INFO_PEER
    const FIRST_OF_DATA: u16 = 1;
    const IFF_UP: u32 = 1;

    fn name(text: &str) -> IfName {
        IfName::parse(text).unwrap()
    }

    fn number(kind: u16, value: u32) -> Vec<u8> {
        attribute(kind, &value.to_ne_bytes())
    }

    /// Returns a `struct ifinfomsg` with flags only: their values, and the mask of those that
    /// count.
    fn header(flags: u32) -> Vec<u8> {
        let words = [0, 0, flags, flags];
        words
            .iter()
            .flat_map(|word: &u32| word.to_ne_bytes())
            .collect()
    }

    fn info(kind: &str, data: &[u8]) -> Vec<u8> {
        let kind = attribute(IFLA_INFO_KIND, format!("{kind}\0").as_bytes());
        attribute(IFLA_LINKINFO, &[kind, data.to_vec()].concat())
    }

    fn data(value: &[u8]) -> Vec<u8> {
        attribute(IFLA_INFO_DATA, &attribute(FIRST_OF_DATA, value))
    }

    /// Returns the bytes of the one request that a batch holds.
    fn encoded(fill: impl FnOnce(&mut Batch)) -> Vec<u8> {
        let mut batch = Batch::new();
        fill(&mut batch);
        let [request] = batch.requests.as_slice() else {
            panic!("not one request");
        };
        assert_eq!(request.flags, NLM_F_CREATE | NLM_F_EXCL);
        let RouteNetlinkMessage::NewLink(message) = &request.message else {
            panic!("no RTM_NEWLINK");
        };
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    #[test]
    fn a_pair_is_made_with_all_that_it_is_to_have() {
        let host = name("veth0");
        let inside = name("eth0");
        let bridge = name("br0");
        let master = LinkRef {
            index: 7,
            name: &bridge,
        };
        let group = NonZeroU32::new(77).unwrap();
        let mac = |last| MacAddr([2, 0, 0, 0, 0, last]);
        let link = NewLink::named(&host).mac(mac(1)).mtu(1400);
        let link = link.port_of(master).group(group).up();
        let peer = NewLink::named(&inside).mac(mac(2)).mtu(1400);
        let of_peer = [
            header(0),
            attribute(IFLA_IFNAME, b"eth0\0"),
            attribute(IFLA_ADDRESS, &mac(2).0),
            number(IFLA_MTU, 1400),
        ];
        let wanted = [
            header(IFF_UP),
            attribute(IFLA_IFNAME, b"veth0\0"),
            attribute(IFLA_ADDRESS, &mac(1).0),
            number(IFLA_MTU, 1400),
            number(IFLA_MASTER, 7),
            number(IFLA_GROUP, 77),
            info("veth", &data(&of_peer.concat())),
        ];
        assert_eq!(
            encoded(|batch| batch.create_veth(&link, &peer)),
            wanted.concat()
        );
    }

    #[test]
    fn a_pair_without_a_master_names_none() {
        let a = name("a");
        let b = name("b");
        let bytes = encoded(|batch| batch.create_veth(&NewLink::named(&a), &NewLink::named(&b)));
        let peer = [header(0), attribute(IFLA_IFNAME, b"b\0")].concat();
        let wanted = [
            header(0),
            attribute(IFLA_IFNAME, b"a\0"),
            info("veth", &data(&peer)),
        ];
        assert_eq!(bytes, wanted.concat());
    }

    #[test]
    fn a_device_on_a_parent_names_it_and_its_mode() {
        let parent = name("up0");
        let name = name("eth0");
        let new = NewLink::named(&name);
        let parent = LinkRef {
            index: 9,
            name: &parent,
        };
        let wanted = |kind: &str, value: &[u8]| {
            let parts = [
                header(0),
                attribute(IFLA_IFNAME, b"eth0\0"),
                number(IFLA_LINK, 9),
                info(kind, &data(value)),
            ];
            parts.concat()
        };
        let id = VlanId::new(100).unwrap();
        let vlan = encoded(|batch| batch.create_vlan(&new, parent, id));
        assert_eq!(vlan, wanted("vlan", &100_u16.to_ne_bytes()));
        // MACVLAN_MODE_* are bits.
        for (mode, number) in [
            (MacvlanMode::Private, 1_u32),
            (MacvlanMode::Vepa, 2),
            (MacvlanMode::Bridge, 4),
            (MacvlanMode::Passthru, 8),
        ] {
            let macvlan = encoded(|batch| batch.create_macvlan(&new, parent, mode));
            assert_eq!(macvlan, wanted("macvlan", &number.to_ne_bytes()));
        }
        for (mode, number) in [
            (IpvlanMode::L2, 0_u16),
            (IpvlanMode::L3, 1),
            (IpvlanMode::L3s, 2),
        ] {
            let ipvlan = encoded(|batch| batch.create_ipvlan(&new, parent, mode));
            assert_eq!(ipvlan, wanted("ipvlan", &number.to_ne_bytes()));
        }
    }

    #[test]
    fn a_vrf_has_its_table_and_a_dummy_nothing() {
        let name = name("x0");
        let new = NewLink::named(&name).up();
        let wanted = |kind: &str, data: &[u8]| {
            let name = attribute(IFLA_IFNAME, b"x0\0");
            [header(IFF_UP), name, info(kind, data)].concat()
        };
        let vrf = encoded(|batch| batch.create_vrf(&new, 1001));
        assert_eq!(vrf, wanted("vrf", &data(&1001_u32.to_ne_bytes())));
        let dummy = encoded(|batch| batch.create_dummy(&new));
        assert_eq!(dummy, wanted("dummy", &[]));
    }
}
