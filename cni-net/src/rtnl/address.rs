//! IP addresses of links.

use super::{Batch, Rtnl};
use crate::{error::NetError, sysctl::Family};
use cni_types::{Cidr, IfName};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, Parseable};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
};
use std::net::{IpAddr, Ipv4Addr};

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
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
    pub(super) fn parse(payload: &[u8], link: u32) -> Option<Self> {
        let message = AddressMessage::parse(payload).ok()?;
        // Kernels without strict checking list the addresses of all links.
        if message.header.index != link {
            return None;
        }
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
    /// Where the list cannot be read.
    pub fn addresses_of(&mut self, link: u32, family: Family) -> Result<Vec<Address>, NetError> {
        let mut message = AddressMessage::default();
        message.header.family = match family {
            Family::V4 => AddressFamily::Inet,
            Family::V6 => AddressFamily::Inet6,
        };
        message.header.index = link;
        let answers = self.dump(RouteNetlinkMessage::GetAddress(message), "addresses")?;
        Ok(answers.iter().filter_map(|answer| Address::parse(&answer.payload, link)).collect())
    }
}

impl Batch {
    /// Gives a link an address; `EEXIST` where it has it. With `detect_duplicates` an IPv6 address is tentative until
    /// no neighbour objected (RFC 4862, 5.4), without it can be used at once.
    pub fn create_address(&mut self, link: u32, name: &IfName, cidr: Cidr, detect_duplicates: bool) {
        let mut message = message(link, cidr);
        if !cidr.is_ipv4() && !detect_duplicates {
            message.header.flags |= AddressHeaderFlags::Nodad;
        }
        let object = format!("{cidr} to {name}");
        self.push(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL, "add address", object);
    }

    /// Takes an address away from a link; `EADDRNOTAVAIL` where it does not have it.
    pub fn delete_address(&mut self, link: u32, name: &IfName, cidr: Cidr) {
        let object = format!("{cidr} from {name}");
        self.push(RouteNetlinkMessage::DelAddress(message(link, cidr)), 0, "delete address", object);
    }
}

fn message(link: u32, cidr: Cidr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link;
    message.header.prefix_len = cidr.prefix();
    message.header.family = if cidr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    message.attributes.push(AddressAttribute::Local(cidr.address()));
    message.attributes.push(AddressAttribute::Address(cidr.address()));
    if let Some(broadcast) = broadcast(cidr) {
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
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
