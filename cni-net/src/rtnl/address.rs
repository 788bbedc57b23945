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

/// Says that the kernel listed an address of another namespace than the one it was asked for.
#[derive(Debug)]
pub(super) struct ForeignAddress;

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The index of its link.
    pub link: u32,
    /// The address and its prefix.
    pub cidr: Cidr,
    /// Valid on the link only.
    pub link_local: bool,
    /// Duplicate address detection is still running.
    pub tentative: bool,
    /// Duplicate address detection found it in use elsewhere.
    pub failed: bool,
}

impl Address {
    /// Reads the payload of an RTM_NEWADDR. `netns` is the number of the namespace that was asked
    /// for, `None` for the own one.
    ///
    /// # Errors
    /// Fails if the address is one of another namespace: kernels without strict checking of
    /// requests (before 4.20) do not look at the number and list their own.
    pub(super) fn parse(
        payload: &[u8],
        netns: Option<i32>,
    ) -> Result<Option<Self>, ForeignAddress> {
        let Ok(message) = AddressMessage::parse(payload) else {
            return Ok(None);
        };
        let said = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::TargetNetNsId(number) => Some(*number),
                _ => None,
            });
        if said == netns {
            Ok(Self::of(&message))
        } else {
            Err(ForeignAddress)
        }
    }

    fn of(message: &AddressMessage) -> Option<Self> {
        let mut flags = AddressFlags::from_bits_truncate(u32::from(message.header.flags.bits()));
        let (mut local, mut peer) = (None, None);
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
    /// The addresses of a link, IPv4 first.
    ///
    /// # Errors
    /// Where the list cannot be read.
    pub fn addresses(&mut self, link: u32) -> Result<Vec<Address>, NetError> {
        let mut addresses = self.addresses_of(link, Family::V4)?;
        addresses.extend(self.addresses_of(link, Family::V6)?);
        Ok(addresses)
    }

    /// The addresses of a link that are of one family.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn addresses_of(&mut self, link: u32, family: Family) -> Result<Vec<Address>, NetError> {
        let mut addresses = self.list_addresses(link, family, None)?;
        // Kernels without strict checking list the addresses of all links.
        addresses.retain(|address| address.link == link);
        Ok(addresses)
    }

    /// Lists addresses of a link, or of all links if that is 0, in this namespace or in the one
    /// that has a number here.
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
    /// Gives a link an address; `EEXIST` if it has it. With `detect_duplicates` an IPv6 address is
    /// tentative until no neighbour objected (RFC 4862, 5.4), without it can be used at once.
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

    /// Takes an address away from a link; `EADDRNOTAVAIL` if it does not have it.
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

/// The kernel sets no broadcast address by itself. A /31 and a /32 have none (RFC 3021).
fn broadcast(cidr: Cidr) -> Option<Ipv4Addr> {
    match cidr.last() {
        IpAddr::V4(last) if cidr.prefix() < 31 => Some(last),
        _ => None,
    }
}
