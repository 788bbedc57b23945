//! The other end of a veth pair, in any namespace.
//!
//! The kernel names another namespace by a number that is valid within the asking namespace only
//! (RTM_GETNSID; the kernel assigns it at the first need). Two ends therefore form a pair if each
//! has the other's index and the number of the other's namespace. An index alone proves nothing,
//! since every namespace counts from 1.

use super::{Address, Link, LinkKind, Rtnl, number, split_header};
use crate::{error::NetError, netlink::Request, netns::Netns, sysctl::Family};
use netlink_packet_core::NlasIterator;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::LinkAttribute,
    nsid::{NsidAttribute, NsidMessage},
};
use nix::errno::Errno;
use rtnetlink::LinkUnspec;
use std::os::fd::AsRawFd;

/// include/uapi/linux/net_namespace.h
const NETNSA_NSID: u16 = 1;

/// The other end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The peer exists and can be read.
    Link(Box<Link>),
    /// The peer's namespace is being removed, and the pair with it.
    Gone,
    /// The peer exists, but may not be read.
    Hidden,
}

impl Rtnl {
    /// Returns the peer of a veth of this namespace.
    ///
    /// # Errors
    /// Fails if the kernel refuses the look-up for another reason than those that [`Peer`] names.
    pub fn peer(&mut self, link: &Link) -> Result<Peer, NetError> {
        let Some(index) = link.peer_index.filter(|index| *index != 0) else {
            return Ok(Peer::Gone);
        };
        let found = match link.peer_netns {
            None => self
                .link(index)?
                .map(Box::new)
                .map_or(Peer::Hidden, Peer::Link),
            Some(..0) => Peer::Gone,
            Some(netns) => self.link_elsewhere(netns, index)?,
        };
        Ok(found)
    }

    /// Returns the addresses of all links in the namespace of a veth's peer, or `None` if that
    /// namespace is being removed. An address may be on another link than the peer: software in a
    /// container may move it to a bridge of its own, where it still answers.
    ///
    /// # Errors
    /// Fails if the list cannot be read: `EACCES` for another user's namespace.
    pub fn addresses_beside_peer(&mut self, link: &Link) -> Result<Option<Vec<Address>>, NetError> {
        let mut addresses = Vec::new();
        for family in [Family::V4, Family::V6] {
            match self.list_addresses(0, family, link.peer_netns) {
                // The number belongs to no living namespace, as in `peer`.
                Err(e) if e.errno() == Some(Errno::EINVAL) && self.peer(link)? == Peer::Gone => {
                    return Ok(None);
                }
                outcome => addresses.extend(outcome?),
            }
        }
        Ok(Some(addresses))
    }

    fn link_elsewhere(&mut self, netns: i32, index: u32) -> Result<Peer, NetError> {
        let mut message = LinkUnspec::new_with_index(index).build();
        message.attributes.push(LinkAttribute::IfNetnsId(netns));
        match self.read_link(message, format!("link {index} of namespace {netns}")) {
            Ok(link) => Ok(Peer::Link(Box::new(link))),
            // The number belongs to no living namespace: maybe_get_net() in get_net_ns_by_id(),
            // net/core/net_namespace.c.
            Err(e) if e.errno() == Some(Errno::EINVAL) => Ok(Peer::Gone),
            // The namespace belongs to another user, or the peer was just moved.
            Err(e)
                if matches!(
                    e.errno(),
                    Some(Errno::EACCES | Errno::EPERM | Errno::ENODEV)
                ) =>
            {
                Ok(Peer::Hidden)
            }
            Err(e) => Err(e),
        }
    }

    /// Returns the link of this namespace that is the peer of `inside`, a veth of `netns`, or
    /// `None` if the peer is not in this namespace.
    ///
    /// # Errors
    /// Fails if the kernel refuses a look-up.
    pub fn peer_of(&mut self, inside: &Link, netns: &Netns) -> Result<Option<Link>, NetError> {
        let Some(index) = inside.peer_index.filter(|_| inside.kind == LinkKind::Veth) else {
            return Ok(None);
        };
        let number = self.netns_number(netns)?;
        // The socket's own namespace has no number either.
        if number.is_none() && !Netns::current()?.is_same(netns) {
            return Ok(None);
        }
        let is_peer = |link: &Link| {
            link.kind == LinkKind::Veth
                && link.peer_index == Some(inside.index)
                && link.peer_netns == number
        };
        Ok(self.link(index)?.filter(is_peer))
    }

    /// Returns the number of another namespace, or `None` if it has none since no link leads there.
    fn netns_number(&mut self, netns: &Netns) -> Result<Option<i32>, NetError> {
        let file = netns.file();
        let fd = file.as_raw_fd().cast_unsigned();
        let mut message = NsidMessage::default();
        message.attributes.push(NsidAttribute::Fd(fd));
        let message = RouteNetlinkMessage::GetNsId(message);
        let operation = "look up the number of";
        let object = "a network namespace".to_owned();
        let answer = self.socket.read(Request {
            message,
            flags: 0,
            operation,
            object,
        })?;
        let attributes = split_header::<4>(&answer.payload).map(|(_, attributes)| attributes);
        let nsid = NlasIterator::new(attributes.unwrap_or_default())
            .flatten()
            .find(|attribute| attribute.kind() == NETNSA_NSID);
        let number = nsid
            .and_then(|attribute| number(attribute.value()))
            .map(u32::cast_signed);
        Ok(number.filter(|number| *number >= 0))
    }
}
