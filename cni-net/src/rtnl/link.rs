//! Reading and removing links of any kind.

use super::{
    LinkRef, Rtnl,
    alias::IFLA_IFALIAS,
    bridge::{BridgeVlans, Port, SpanningTree},
    number, split_header,
};
use crate::{
    error::NetError,
    netlink::{Answer, Request, c_string},
};
use cni_types::{IfName, MacAddr};
use netlink_packet_core::{NlaBuffer, NlasIterator};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};
use std::num::NonZeroU32;

/// include/uapi/linux/if.h
const IFF_UP: u32 = 1;
const IFF_PROMISC: u32 = 0x100;
const IF_OPER_UP: u8 = 6;

/// include/uapi/linux/if_link.h
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKINFO: u16 = 18;
const IFLA_GROUP: u16 = 27;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;

/// The kind of a link, as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// `type bridge`
    Bridge,
    /// `type veth`
    Veth,
    /// Any other kind, by its name; empty for a physical device and the loopback.
    Other(String),
}

/// A link, as far as the plugins need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: IfName,
    /// Its hardware address, if that has six bytes.
    pub mac: Option<MacAddr>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// The administrator set it up.
    pub up: bool,
    /// It can send: the operational state is RFC 2863 `up`.
    pub oper_up: bool,
    /// The administrator made it promiscuous.
    pub promiscuous: bool,
    /// Its kind.
    pub kind: LinkKind,
    /// The index of the bridge (or bond, …) that it is a port of.
    pub master: Option<u32>,
    /// For a veth: the index of its peer in the peer's namespace.
    pub peer_index: Option<u32>,
    /// For a veth: the number of the peer's namespace in this namespace, negative if that is being
    /// removed; `None` if the peer is in this namespace.
    pub peer_netns: Option<i32>,
    /// The link group; 0 is the kernel's default.
    pub group: u32,
    /// The alias, a text for people.
    pub alias: Option<String>,
    /// Its properties as a bridge port, if it is one.
    pub port: Option<Port>,
    /// For a bridge: its VLAN settings. `None` if the kernel has no bridge VLAN filtering.
    pub vlans: Option<BridgeVlans>,
    /// For a bridge: its spanning tree; `None` if that is off.
    pub spanning_tree: Option<SpanningTree>,
}

impl Link {
    /// Reads the payload of an RTM_NEWLINK.
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let (header, attributes) = split_header::<16>(payload)?;
        let flags = number(header.get(8..)?)?;
        let named = |attribute: &NlaBuffer<&[u8]>| attribute.kind() == IFLA_IFNAME;
        let name = NlasIterator::new(attributes).flatten().find(named)?;
        let mut link = Self {
            index: number(header.get(4..)?)?,
            name: IfName::from_kernel(&c_string(name.value()))?,
            mac: None,
            mtu: 0,
            up: flags & IFF_UP != 0,
            oper_up: false,
            promiscuous: flags & IFF_PROMISC != 0,
            kind: LinkKind::Other(String::new()),
            master: None,
            peer_index: None,
            peer_netns: None,
            group: 0,
            alias: None,
            port: None,
            vlans: None,
            spanning_tree: None,
        };
        for attribute in NlasIterator::new(attributes) {
            link.take(&attribute.ok()?);
        }
        Some(link)
    }

    fn take(&mut self, attribute: &NlaBuffer<&[u8]>) {
        let value = attribute.value();
        match attribute.kind() {
            IFLA_ADDRESS => self.mac = <[u8; 6]>::try_from(value).ok().map(MacAddr),
            IFLA_MTU => self.mtu = number(value).unwrap_or(0),
            IFLA_LINK => self.peer_index = number(value),
            IFLA_LINK_NETNSID => self.peer_netns = number(value).map(u32::cast_signed),
            IFLA_GROUP => self.group = number(value).unwrap_or(0),
            IFLA_MASTER => self.master = number(value),
            IFLA_OPERSTATE => self.oper_up = value.first() == Some(&IF_OPER_UP),
            IFLA_IFALIAS => self.alias = Some(c_string(value)),
            IFLA_LINKINFO => self.take_info(value),
            _ => {}
        }
    }

    fn take_info(&mut self, info: &[u8]) {
        let mut is_port = false;
        for attribute in NlasIterator::new(info).flatten() {
            let value = attribute.value();
            match attribute.kind() {
                IFLA_INFO_KIND => {
                    self.kind = match c_string(value).as_str() {
                        "bridge" => LinkKind::Bridge,
                        "veth" => LinkKind::Veth,
                        other => LinkKind::Other(other.to_owned()),
                    }
                }
                IFLA_INFO_DATA if self.kind == LinkKind::Bridge => {
                    self.vlans = BridgeVlans::parse(value);
                    self.spanning_tree = SpanningTree::parse(value);
                }
                IFLA_INFO_SLAVE_KIND => is_port = c_string(value) == "bridge",
                IFLA_INFO_SLAVE_DATA if is_port => self.port = Some(Port::parse(value)),
                _ => {}
            }
        }
    }
}

impl<'a> From<&'a Link> for LinkRef<'a> {
    fn from(link: &'a Link) -> Self {
        Self::new(link.index, &link.name)
    }
}

impl Rtnl {
    /// Returns the link called `name`, or `None` if no link has it.
    ///
    /// # Errors
    /// Fails if the kernel refuses for another reason than "no such device".
    pub fn find_link(&mut self, name: &IfName) -> Result<Option<Link>, NetError> {
        let message = LinkUnspec::new_with_name(name.as_str()).build();
        absent_is_none(self.read_link(message, name.to_string()))
    }

    /// Returns the link with this index, or `None` if no link has it.
    ///
    /// # Errors
    /// Fails if the kernel refuses for another reason than "no such device".
    pub fn link(&mut self, index: u32) -> Result<Option<Link>, NetError> {
        let message = LinkUnspec::new_with_index(index).build();
        absent_is_none(self.read_link(message, format!("link {index}")))
    }

    pub(super) fn read_link(
        &mut self,
        mut message: LinkMessage,
        object: String,
    ) -> Result<Link, NetError> {
        let operation = "look up";
        message.attributes.push(without_statistics());
        let message = RouteNetlinkMessage::GetLink(message);
        let answer = self.socket.read(Request {
            message,
            flags: 0,
            operation,
            object: object.clone(),
        })?;
        let reason = "the answer holds no link".to_owned();
        Link::parse(&answer.payload).ok_or(NetError::Protocol {
            operation,
            object,
            reason,
        })
    }

    /// Returns all links.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn links(&mut self) -> Result<Vec<Link>, NetError> {
        self.dump_links(None)
    }

    /// Returns the ports of a bridge.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn ports(&mut self, bridge: u32) -> Result<Vec<Link>, NetError> {
        let mut ports = self.dump_links(Some(bridge))?;
        // Kernels without strict checking ignore the filter.
        ports.retain(|link| link.master == Some(bridge));
        Ok(ports)
    }

    fn dump_links(&mut self, master: Option<u32>) -> Result<Vec<Link>, NetError> {
        let mut message = LinkMessageBuilder::<LinkUnspec>::default().build();
        message.attributes.push(without_statistics());
        message
            .attributes
            .extend(master.map(LinkAttribute::Controller));
        let answers = self.dump(RouteNetlinkMessage::GetLink(message), "links")?;
        Ok(answers
            .iter()
            .filter_map(|Answer { payload, .. }| Link::parse(payload))
            .collect())
    }

    /// Removes a link by its name; a veth goes with its peer. Succeeds if there is no such link.
    ///
    /// # Errors
    /// Fails if the kernel refuses for another reason than "no such device".
    pub fn remove_link_named(&mut self, name: &IfName) -> Result<(), NetError> {
        self.delete_link(
            LinkUnspec::new_with_name(name.as_str()).build(),
            name.to_string(),
        )
    }

    /// Removes a link; a veth goes with its peer. Succeeds if there is no such link.
    ///
    /// # Errors
    /// Fails if the kernel refuses for another reason than "no such device".
    pub fn remove_link(&mut self, index: u32) -> Result<(), NetError> {
        self.delete_link(
            LinkUnspec::new_with_index(index).build(),
            format!("link {index}"),
        )
    }

    /// Removes all links of a group in one request: the kernel then waits for RCU once and not once
    /// for each (rtnl_group_dellink in net/core/rtnetlink.c). Succeeds if the group has no links.
    ///
    /// # Errors
    /// Fails if the kernel refuses for another reason than "no such device".
    pub fn remove_group(&mut self, group: NonZeroU32) -> Result<(), NetError> {
        let message = LinkMessageBuilder::<LinkUnspec>::default()
            .link_group(group.get())
            .build();
        self.delete_link(message, format!("link group {group}"))
    }

    fn delete_link(&mut self, message: LinkMessage, object: String) -> Result<(), NetError> {
        let message = RouteNetlinkMessage::DelLink(message);
        let request = Request {
            message,
            flags: 0,
            operation: "delete",
            object,
        };
        NetError::absent_is_ok(self.execute(vec![request]).map(drop))
    }
}

/// Excludes statistics: adding them up over all processors is most of the cost of an answer.
fn without_statistics() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

fn absent_is_none(outcome: Result<Link, NetError>) -> Result<Option<Link>, NetError> {
    match outcome {
        Ok(link) => Ok(Some(link)),
        Err(e) if e.is_absent() => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::attribute;
    use proptest::prelude::*;

    fn newlink(attributes: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes[4..8].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[8..12].copy_from_slice(&(IFF_UP | IFF_PROMISC).to_ne_bytes());
        bytes.extend(attributes.concat());
        bytes
    }

    #[test]
    fn a_bridge_port_is_read_with_its_state() {
        // IFLA_BRPORT_STATE, forwarding
        let data = attribute(1, &[3]);
        let info = [
            attribute(IFLA_INFO_KIND, b"veth\0"),
            attribute(IFLA_INFO_SLAVE_KIND, b"bridge\0"),
            attribute(IFLA_INFO_SLAVE_DATA, &data),
        ]
        .concat();
        let bytes = newlink(&[
            attribute(IFLA_IFNAME, b"veth0\0"),
            attribute(IFLA_ADDRESS, &[2, 0, 0, 0, 0, 1]),
            attribute(IFLA_MASTER, &3_u32.to_ne_bytes()),
            attribute(IFLA_OPERSTATE, &[IF_OPER_UP]),
            attribute(IFLA_GROUP, &77_u32.to_ne_bytes()),
            attribute(IFLA_LINK_NETNSID, &(-1_i32).to_ne_bytes()),
            attribute(999, b"from a kernel to come"),
            attribute(IFLA_LINKINFO, &info),
        ]);
        let link = Link::parse(&bytes).unwrap();
        assert_eq!(
            (link.index, link.name.as_str(), link.master),
            (7, "veth0", Some(3))
        );
        assert_eq!(link.mac, Some(MacAddr([2, 0, 0, 0, 0, 1])));
        assert!(link.up && link.oper_up && link.promiscuous);
        assert_eq!(
            (&link.kind, link.group, link.peer_netns),
            (&LinkKind::Veth, 77, Some(-1))
        );
        assert_eq!(link.port, Some(Port::parse(&data)));
    }

    #[test]
    fn a_truncated_link_is_refused_without_a_crash() {
        let bytes = newlink(&[
            attribute(IFLA_IFNAME, b"veth0\0"),
            attribute(IFLA_MTU, &[1]),
        ]);
        for length in 0..bytes.len() {
            let _ = Link::parse(&bytes[..length]);
        }
        assert_eq!(Link::parse(&bytes).unwrap().mtu, 0);
    }

    #[test]
    fn a_link_is_read_by_whatever_name_the_kernel_gave_it() {
        for (bytes, name) in [
            (&b"a\x1bb\0"[..], Some("a\u{1b}b")),
            (b"\xff\0", Some("\u{fffd}")),
            (b"\0", None),
        ] {
            let link = Link::parse(&newlink(&[attribute(IFLA_IFNAME, bytes)]));
            let found = link.as_ref().map(|link| link.name.as_str());
            assert_eq!(found, name);
        }
        assert_eq!(Link::parse(&newlink(&[])), None);
    }

    proptest! {
        #[test]
        fn any_link_is_read_or_refused(bytes: Vec<u8>) {
            let _ = Link::parse(&bytes);
        }

        /// Every attribute that is read, with any value.
        #[test]
        fn any_attributes_are_read(values in proptest::collection::vec((0_u16..64, any::<Vec<u8>>()), 0..8)) {
            let attributes: Vec<Vec<u8>> = values.iter().map(|(kind, value)| attribute(*kind, value)).collect();
            let info = [attribute(IFLA_INFO_SLAVE_KIND, b"bridge"), attribute(IFLA_INFO_SLAVE_DATA, &attributes.concat())];
            let bytes = newlink(&[
                attribute(IFLA_IFNAME, b"eth0\0"),
                attributes.concat(),
                attribute(IFLA_LINKINFO, &info.concat()),
            ]);
            prop_assert!(Link::parse(&bytes).is_some());
        }
    }
}
