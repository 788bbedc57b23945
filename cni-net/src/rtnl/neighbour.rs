//! Neighbours: the hardware addresses of IP addresses on a link.

use super::{Batch, LinkRef, Rtnl};
use crate::error::NetError;
use cni_types::MacAddr;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE, Parseable};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};
use std::net::IpAddr;

/// An entry of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The index of the link that the neighbour is behind.
    pub link: u32,
    /// Its IP address.
    pub address: IpAddr,
    /// Its hardware address, if that is known.
    pub mac: Option<MacAddr>,
}

impl Neighbour {
    pub(super) fn parse(payload: &[u8]) -> Option<Self> {
        let message = NeighbourMessage::parse(payload).ok()?;
        let mut entry = (None, None);
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                    entry.0 = Some((*address).into())
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                    entry.0 = Some((*address).into())
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    entry.1 = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(MacAddr);
                }
                _ => {}
            }
        }
        Some(Self {
            link: message.header.ifindex,
            address: entry.0?,
            mac: entry.1,
        })
    }
}

impl Rtnl {
    /// Returns the entries of a link.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn neighbours(&mut self, link: u32) -> Result<Vec<Neighbour>, NetError> {
        let mut message = NeighbourMessage::default();
        message.attributes.push(NeighbourAttribute::IfIndex(link));
        let answers = self.dump(RouteNetlinkMessage::GetNeighbour(message), "neighbours")?;
        let entries = answers
            .iter()
            .filter_map(|answer| Neighbour::parse(&answer.payload));
        Ok(entries.filter(|entry| entry.link == link).collect())
    }
}

impl Batch {
    /// Creates or replaces an entry. The kernel treats it as one that it learnt, and verifies it in
    /// time.
    pub fn replace_neighbour<'l>(
        &mut self,
        link: impl Into<LinkRef<'l>>,
        address: IpAddr,
        mac: MacAddr,
    ) {
        self.enter_neighbour(NLM_F_CREATE | NLM_F_REPLACE, link.into(), address, mac);
    }

    /// Replaces an entry; `ENOENT` if no entry exists.
    pub fn update_neighbour<'l>(
        &mut self,
        link: impl Into<LinkRef<'l>>,
        address: IpAddr,
        mac: MacAddr,
    ) {
        self.enter_neighbour(NLM_F_REPLACE, link.into(), address, mac);
    }

    fn enter_neighbour(&mut self, flags: u16, link: LinkRef<'_>, address: IpAddr, mac: MacAddr) {
        let mut message = message(link.index, address);
        message.header.state = NeighbourState::Reachable;
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let object = format!("{address} on {}", link.name);
        self.push(
            RouteNetlinkMessage::NewNeighbour(message),
            flags,
            "replace neighbour",
            object,
        );
    }

    /// Deletes an entry; `ENOENT` if no entry exists.
    pub fn delete_neighbour<'l>(&mut self, link: impl Into<LinkRef<'l>>, address: IpAddr) {
        let link = link.into();
        let object = format!("{address} on {}", link.name);
        self.push(
            RouteNetlinkMessage::DelNeighbour(message(link.index, address)),
            0,
            "delete neighbour",
            object,
        );
    }
}

fn message(link: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = link;
    let (family, destination) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    message.header.family = family;
    message
        .attributes
        .push(NeighbourAttribute::Destination(destination));
    message
}
