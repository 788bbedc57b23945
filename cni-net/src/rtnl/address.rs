//! IP addresses of links.

use super::{Batch, LinkRef, Rtnl};
use crate::{error::NetError, sysctl::Family};
use cni_types::Cidr;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
};
use std::net::{IpAddr, Ipv4Addr};

/// The kernel listed an address of another namespace than the requested one.
#[derive(Debug)]
pub(super) struct ForeignAddress;

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The index of its link.
    pub link: u32,
    /// The address and its prefix.
    pub cidr: Cidr,
    /// The address is valid on the link only.
    pub link_local: bool,
    /// Duplicate address detection is still running.
    pub tentative: bool,
    /// Duplicate address detection found it in use elsewhere.
    pub failed: bool,
}

impl Address {
    /// Reads the payload of an RTM_NEWADDR. `netns` is the number of the requested namespace,
    /// `None` for the socket's own.
    ///
    /// # Errors
    /// Fails if the address belongs to another namespace: kernels without strict checking of
    /// requests (before 4.20) ignore the number and list their own.
    pub(super) fn parse(
        payload: &[u8],
        netns: Option<i32>,
    ) -> Result<Option<Self>, ForeignAddress> {
        let Ok(message) = AddressMessage::parse(payload) else {
            return Ok(None);
        };
        let listed = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::TargetNetNsId(number) => Some(*number),
                _ => None,
            });
        if listed == netns {
            Ok(Self::of(&message))
        } else {
            Err(ForeignAddress)
        }
    }

    fn of(message: &AddressMessage) -> Option<Self> {
        let mut flags = AddressFlags::from_bits_truncate(u32::from(message.header.flags.bits()));
        let mut local = None;
        let mut peer = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(address) => local = Some(*address),
                AddressAttribute::Address(address) => peer = Some(*address),
                AddressAttribute::Flags(all) => flags = *all,
                _ => {}
            }
        }
        Some(Self {
            link: message.header.index,
            cidr: Cidr::new(local.or(peer)?, message.header.prefix_len).ok()?,
            link_local: message.header.scope == AddressScope::Link,
            tentative: flags.contains(AddressFlags::Tentative),
            failed: flags.contains(AddressFlags::Dadfailed),
        })
    }
}

impl Rtnl {
    /// Returns the addresses of a link, IPv4 first.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn addresses(&mut self, link: u32) -> Result<Vec<Address>, NetError> {
        let mut addresses = self.addresses_of(link, Family::V4)?;
        addresses.extend(self.addresses_of(link, Family::V6)?);
        Ok(addresses)
    }

    /// Returns the addresses of a link that belong to one family.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn addresses_of(&mut self, link: u32, family: Family) -> Result<Vec<Address>, NetError> {
        let mut addresses = self.list_addresses(link, family, None)?;
        // Kernels without strict checking list the addresses of all links.
        addresses.retain(|address| address.link == link);
        Ok(addresses)
    }

    /// Lists the addresses of a link, or of all links if `link` is 0, in this namespace, or in the
    /// one with the number `netns`.
    pub(super) fn list_addresses(
        &mut self,
        link: u32,
        family: Family,
        netns: Option<i32>,
    ) -> Result<Vec<Address>, NetError> {
        let mut message = AddressMessage::default();
        message.header.family = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        message.header.index = link;
        message
            .attributes
            .extend(netns.map(AddressAttribute::TargetNetNsId));
        let answers = self.dump(RouteNetlinkMessage::GetAddress(message), "addresses")?;
        let addresses = answers
            .iter()
            .filter_map(|answer| Address::parse(&answer.payload, netns).transpose());
        addresses
            .collect::<Result<_, _>>()
            .map_err(|ForeignAddress| NetError::Protocol {
                operation: "list",
                object: "addresses of another namespace".to_owned(),
                reason: "the kernel listed those of this one; Linux 4.20 or later is needed"
                    .to_owned(),
            })
    }
}

impl Batch {
    /// Adds an address to a link; `EEXIST` if the link has it already. With `detect_duplicates`, an
    /// IPv6 address is tentative until duplicate address detection ends (RFC 4862, 5.4); without,
    /// it is usable at once.
    pub fn create_address<'l>(
        &mut self,
        link: impl Into<LinkRef<'l>>,
        cidr: Cidr,
        detect_duplicates: bool,
    ) {
        let link = link.into();
        let mut message = message(link.index, cidr);
        if !cidr.is_ipv4() && !detect_duplicates {
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        let object = format!("{cidr} to {}", link.name);
        self.push(
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_EXCL,
            "add address",
            object,
        );
    }

    /// Removes an address from a link; `EADDRNOTAVAIL` if the link does not have it.
    pub fn delete_address<'l>(&mut self, link: impl Into<LinkRef<'l>>, cidr: Cidr) {
        let link = link.into();
        let object = format!("{cidr} from {}", link.name);
        self.push(
            RouteNetlinkMessage::DelAddress(message(link.index, cidr)),
            0,
            "delete address",
            object,
        );
    }
}

fn message(link: u32, cidr: Cidr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link;
    message.header.prefix_len = cidr.prefix();
    message.header.family = if cidr.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    message
        .attributes
        .push(AddressAttribute::Local(cidr.address()));
    message
        .attributes
        .push(AddressAttribute::Address(cidr.address()));
    if let Some(broadcast) = broadcast(cidr) {
        message
            .attributes
            .push(AddressAttribute::Broadcast(broadcast));
    }
    message
}

/// Returns the broadcast address, which the kernel does not set by itself. A /31 and a /32 have
/// none (RFC 3021).
fn broadcast(cidr: Cidr) -> Option<Ipv4Addr> {
    match cidr.last() {
        IpAddr::V4(last) if cidr.prefix() < 31 => Some(last),
        _ => None,
    }
}
