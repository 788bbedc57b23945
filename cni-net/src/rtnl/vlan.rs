//! The VLANs of bridges and their ports.
//!
//! A port's VLANs are set and read with the link messages of the family AF_BRIDGE (bridge(8),
//! net/bridge/br_netlink.c). The messages name a port by its index only. The kernel applies one
//! VLAN after another, and does not revert the earlier ones if it refuses one.

use super::{Batch, LinkRef, Rtnl, number, split_header};
use crate::{error::NetError, netlink::Answer};
use cni_types::{IfName, VlanId};
use netlink_packet_core::NlasIterator;
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{BridgeVlanInfoFlags, InfoBridge, LinkAttribute, LinkExtentMask, LinkMessage},
};
use rtnetlink::{LinkBridge, LinkBridgeVlan, LinkMessageBuilder};
use std::{collections::BTreeMap, fmt};

/// include/uapi/linux/if_link.h
const IFLA_AF_SPEC: u16 = 26;

/// include/uapi/linux/if_bridge.h
const IFLA_BRIDGE_VLAN_INFO: u16 = 2;
const BRIDGE_VLAN_INFO_PVID: u16 = 1 << 1;
const BRIDGE_VLAN_INFO_UNTAGGED: u16 = 1 << 2;
const BRIDGE_VLAN_INFO_RANGE_BEGIN: u16 = 1 << 3;
const BRIDGE_VLAN_INFO_RANGE_END: u16 = 1 << 4;

/// The membership of a port in a VLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Untagged frames that enter belong to this VLAN. At most one VLAN of a port has this.
    pub pvid: bool,
    /// Frames of the VLAN leave untagged.
    pub untagged: bool,
}

impl Membership {
    /// The membership of a trunk port: frames keep their tags.
    pub const TAGGED: Self = Self {
        pvid: false,
        untagged: false,
    };
    /// Frames leave untagged, but untagged frames that enter belong to another VLAN.
    pub const UNTAGGED: Self = Self {
        pvid: false,
        untagged: true,
    };
    /// The membership of an access port, behind which no VLAN is known.
    pub const NATIVE: Self = Self {
        pvid: true,
        untagged: true,
    };

    fn flags(self) -> BridgeVlanInfoFlags {
        let mut flags = BridgeVlanInfoFlags::empty();
        flags.set(BridgeVlanInfoFlags::Pvid, self.pvid);
        flags.set(BridgeVlanInfoFlags::Untagged, self.untagged);
        flags
    }
}

/// The VLANs of a bridge port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortVlans(BTreeMap<VlanId, Membership>);

impl PortVlans {
    /// Makes the port a member of a VLAN. As in the kernel, a new VLAN for untagged frames replaces
    /// the previous one in that role.
    pub fn insert(&mut self, id: VlanId, membership: Membership) {
        if membership.pvid {
            self.0.values_mut().for_each(|other| other.pvid = false);
        }
        self.0.insert(id, membership);
    }

    /// Returns the port's membership in a VLAN, or `None` if it is no member.
    #[must_use]
    pub fn membership(&self, id: VlanId) -> Option<Membership> {
        self.0.get(&id).copied()
    }

    /// Returns the ranges of adjacent VLANs with equal membership, as first and last. The VLAN for
    /// untagged frames forms a range of its own: the kernel refuses it in a longer one.
    fn runs(&self) -> Vec<(VlanId, VlanId, Membership)> {
        let mut runs: Vec<(VlanId, VlanId, Membership)> = Vec::new();
        for (id, membership) in &self.0 {
            match runs.last_mut() {
                Some((_, last, kind))
                    if kind == membership && !kind.pvid && last.number() + 1 == id.number() =>
                {
                    *last = *id;
                }
                _ => runs.push((*id, *id, *membership)),
            }
        }
        runs
    }

    /// Reads the payload of an RTM_NEWLINK of the family AF_BRIDGE; returns `None` if it is another
    /// link's.
    pub(super) fn parse(payload: &[u8], link: u32) -> Option<Self> {
        let (header, attributes) = split_header::<16>(payload)?;
        if number(header.get(4..)?)? != link {
            return None;
        }
        let mut vlans = Self::default();
        let spec = NlasIterator::new(attributes)
            .flatten()
            .find(|a| a.kind() == IFLA_AF_SPEC)?;
        let mut first = None;
        for attribute in NlasIterator::new(spec.value()).flatten() {
            if attribute.kind() == IFLA_BRIDGE_VLAN_INFO {
                vlans.take(attribute.value(), &mut first);
            }
        }
        Some(vlans)
    }

    /// Reads one `struct bridge_vlan_info`; `first` is the begin of an open range.
    fn take(&mut self, info: &[u8], first: &mut Option<VlanId>) {
        let Some(([a, b, c, d], _)) = info.split_first_chunk::<4>() else {
            return;
        };
        let flags = u16::from_ne_bytes([*a, *b]);
        let Some(id) = VlanId::new(u16::from_ne_bytes([*c, *d])) else {
            return;
        };
        let on = |flag| flags & flag != 0;
        if on(BRIDGE_VLAN_INFO_RANGE_BEGIN) {
            *first = Some(id);
            return;
        }
        let start = first
            .take()
            .filter(|_| on(BRIDGE_VLAN_INFO_RANGE_END))
            .unwrap_or(id);
        let membership = Membership {
            pvid: on(BRIDGE_VLAN_INFO_PVID),
            untagged: on(BRIDGE_VLAN_INFO_UNTAGGED),
        };
        start.through(id).for_each(|id| self.insert(id, membership));
    }
}

impl FromIterator<(VlanId, Membership)> for PortVlans {
    fn from_iter<I: IntoIterator<Item = (VlanId, Membership)>>(memberships: I) -> Self {
        let mut vlans = Self::default();
        memberships
            .into_iter()
            .for_each(|(id, membership)| vlans.insert(id, membership));
        vlans
    }
}

/// Writes VLANs as bridge(8) does: `1 untagged, 100 pvid untagged, 200-210`.
impl fmt::Display for PortVlans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (at, (first, last, membership)) in self.runs().into_iter().enumerate() {
            let separator = if at == 0 { "" } else { ", " };
            write!(f, "{separator}{first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
            let words = [
                (membership.pvid, " pvid"),
                (membership.untagged, " untagged"),
            ];
            words
                .iter()
                .filter(|(on, _)| *on)
                .try_for_each(|(_, word)| f.write_str(word))?;
        }
        Ok(())
    }
}

impl Rtnl {
    /// Returns the VLANs of a bridge port; empty if the link is no port. Reads the list of all
    /// ports, since the kernel offers no narrower request (rtnl_bridge_getlink in
    /// net/core/rtnetlink.c).
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn port_vlans(&mut self, port: u32) -> Result<PortVlans, NetError> {
        let mut message = LinkMessage::default();
        message.header.interface_family = AddressFamily::Bridge;
        message.attributes.push(LinkAttribute::ExtMask(vec![
            LinkExtentMask::BrvlanCompressed,
        ]));
        let answers = self.dump(
            RouteNetlinkMessage::GetLink(message),
            "VLANs of bridge ports",
        )?;
        let mut found = answers
            .iter()
            .filter_map(|Answer { payload, .. }| PortVlans::parse(payload, port));
        Ok(found.next().unwrap_or_default())
    }
}

impl Batch {
    /// Makes a bridge separate the VLANs of its ports.
    pub fn set_vlan_filtering(&mut self, bridge: &IfName) {
        let message = LinkMessageBuilder::<LinkBridge>::new(bridge.as_str())
            .append_info_data(InfoBridge::VlanFiltering(true))
            .build();
        let operation = "set VLAN filtering on";
        self.push(
            RouteNetlinkMessage::NewLink(message),
            0,
            operation,
            bridge.to_string(),
        );
    }

    /// Makes a port a member of VLANs. Existing memberships in them are replaced; other VLANs stay.
    /// `EOPNOTSUPP` if the kernel has no bridge VLAN filtering.
    pub fn add_port_vlans<'l>(&mut self, port: impl Into<LinkRef<'l>>, vlans: &PortVlans) {
        let port = port.into();
        let object = format!("{vlans} on the bridge port {}", port.name);
        self.push(
            RouteNetlinkMessage::SetLink(message(port.index, &vlans.runs())),
            0,
            "set VLANs",
            object,
        );
    }

    /// Removes a port from a VLAN. Succeeds if it is no member.
    pub fn remove_port_vlan<'l>(&mut self, port: impl Into<LinkRef<'l>>, id: VlanId) {
        let port = port.into();
        let object = format!("{id} from the bridge port {}", port.name);
        let message = message(port.index, &[(id, id, Membership::TAGGED)]);
        self.push(
            RouteNetlinkMessage::DelLink(message),
            0,
            "remove VLAN",
            object,
        );
    }
}

fn message(port: u32, runs: &[(VlanId, VlanId, Membership)]) -> LinkMessage {
    let one = |builder: LinkMessageBuilder<LinkBridgeVlan>, run: &(VlanId, VlanId, Membership)| {
        let (first, last, membership) = run;
        let flags = membership.flags();
        if first == last {
            return builder.vlan(first.number(), flags);
        }
        builder
            .vlan_range_start(first.number(), flags)
            .vlan_range_end(last.number(), flags)
    };
    runs.iter().fold(LinkBridgeVlan::new(port), one).build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::Emitable;
    use proptest::prelude::*;

    /// AF_BRIDGE, index 7, all else 0.
    const HEADER: [u8; 16] = [7, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn id(number: u16) -> VlanId {
        VlanId::new(number).unwrap()
    }

    fn vlans(memberships: &[(u16, Membership)]) -> PortVlans {
        memberships
            .iter()
            .map(|(number, membership)| (id(*number), *membership))
            .collect()
    }

    fn encoded(vlans: &PortVlans) -> Vec<u8> {
        let message = message(7, &vlans.runs());
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        bytes
    }

    /// Returns the bytes of a `struct bridge_vlan_info` as an attribute.
    fn info(flags: u16, vid: u16) -> Vec<u8> {
        [&[8, 0, 2, 0], &flags.to_ne_bytes()[..], &vid.to_ne_bytes()].concat()
    }

    fn spec(infos: &[Vec<u8>]) -> Vec<u8> {
        let length = u16::try_from(4 + infos.concat().len()).unwrap();
        [
            &length.to_ne_bytes()[..],
            &IFLA_AF_SPEC.to_ne_bytes(),
            &infos.concat(),
        ]
        .concat()
    }

    /// The request of `bridge vlan add dev X vid 100 pvid untagged`.
    #[test]
    fn an_access_port_is_one_vlan_with_both_flags() {
        let bytes = encoded(&vlans(&[(100, Membership::NATIVE)]));
        assert_eq!(bytes, [&HEADER[..], &spec(&[info(0x06, 100)])].concat());
    }

    #[test]
    fn neighbours_travel_as_a_range_and_the_native_vlan_alone() {
        let mut trunk: PortVlans = id(200)
            .through(id(203))
            .map(|id| (id, Membership::TAGGED))
            .collect();
        trunk.insert(id(202), Membership::NATIVE);
        trunk.insert(id(300), Membership::TAGGED);
        let infos = [
            info(0x08, 200),
            info(0x10, 201),
            info(0x06, 202),
            info(0, 203),
            info(0, 300),
        ];
        assert_eq!(encoded(&trunk), [&HEADER[..], &spec(&infos)].concat());
        assert_eq!(trunk.to_string(), "200-201, 202 pvid untagged, 203, 300");
    }

    #[test]
    fn an_answer_with_ranges_is_read() {
        let answer = [
            &HEADER[..],
            &[5, 0, 3, 0, b'v', 0, 0, 0],
            // With NLA_F_NESTED, as newer kernels send it.
            &{
                let mut spec = spec(&[
                    info(0x04, 1),
                    info(0x06, 100),
                    info(0x0c, 200),
                    info(0x14, 202),
                ]);
                spec[3] |= 0x80;
                spec
            },
        ]
        .concat();
        let wanted = vlans(&[
            (1, Membership::UNTAGGED),
            (100, Membership::NATIVE),
            (200, Membership::UNTAGGED),
            (201, Membership::UNTAGGED),
            (202, Membership::UNTAGGED),
        ]);
        assert_eq!(PortVlans::parse(&answer, 7), Some(wanted));
        assert_eq!(PortVlans::parse(&answer, 8), None);
    }

    #[test]
    fn an_answer_without_vlans_or_with_impossible_ones_has_none() {
        assert_eq!(PortVlans::parse(&HEADER, 7), None);
        for infos in [
            vec![],
            vec![info(0, 0)],
            vec![info(0, 4095)],
            vec![info(0x08, 5)],
            vec![info(0x08, 5), info(0x10, 4)],
        ] {
            let answer = [&HEADER[..], &spec(&infos)].concat();
            assert_eq!(
                PortVlans::parse(&answer, 7),
                Some(PortVlans::default()),
                "{infos:?}"
            );
        }
        assert_eq!(PortVlans::default().to_string(), "none");
    }

    #[test]
    fn an_untagged_frame_has_one_vlan() {
        let port = vlans(&[(1, Membership::NATIVE), (100, Membership::NATIVE)]);
        assert_eq!(port.membership(id(1)), Some(Membership::UNTAGGED));
        assert_eq!(port.to_string(), "1 untagged, 100 pvid untagged");
    }

    #[test]
    fn a_request_that_filters_vlans_names_the_bridge() {
        let mut batch = Batch::new();
        batch.set_vlan_filtering(&IfName::parse("br0").unwrap());
        let RouteNetlinkMessage::NewLink(message) = &batch.requests[0].message else {
            panic!("another message")
        };
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        let name = [8, 0, 3, 0, b'b', b'r', b'0', 0];
        let kind = [11, 0, 1, 0, b'b', b'r', b'i', b'd', b'g', b'e', 0, 0];
        let data = [12, 0, 2, 0, 5, 0, 7, 0, 1, 0, 0, 0];
        let info = [&[28, 0, 18, 0][..], &kind, &data].concat();
        assert_eq!(bytes, [&[0; 16][..], &name, &info].concat());
    }

    prop_compose! {
        fn any_membership()(pvid in prop::bool::weighted(0.1), untagged: bool) -> Membership {
            Membership { pvid, untagged }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(all in proptest::collection::vec((1_u16..40, any_membership()), 0..30)) {
            let vlans = vlans(&all);
            let read = PortVlans::parse(&encoded(&vlans), 7);
            prop_assert_eq!(read.unwrap_or_default(), vlans);
        }

        #[test]
        fn any_answer_is_read_or_passed_over(bytes: Vec<u8>, infos: Vec<[u8; 4]>) {
            let _ = PortVlans::parse(&bytes, 7);
            let infos: Vec<Vec<u8>> = infos.iter().map(|value| [&[8, 0, 2, 0][..], value].concat()).collect();
            prop_assert!(PortVlans::parse(&[&HEADER[..], &spec(&infos)].concat(), 7).is_some());
        }
    }
}
