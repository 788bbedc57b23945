//! rtnetlink(7): the links, addresses, routes and neighbours of one network namespace.
//!
//! Requests are built with the rust-netlink crates. Answers about links are read attribute by
//! attribute, and only as far as they are needed: a newer kernel adds attributes and lengthens
//! others, and a plugin must still work there.

mod address;
mod alias;
mod bridge;
mod change;
mod create;
mod events;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod link;
mod neighbour;
mod peer;
mod policy;
mod route;
mod vlan;

pub use address::Address;
pub use bridge::{BridgeVlans, Port, PortMode, PortState, SpanningTree};
pub use change::LinkRef;
pub use create::{IpvlanMode, MacvlanMode, NewLink};
pub use events::LinkEvents;
pub use link::{Link, LinkKind};
pub use neighbour::Neighbour;
pub use peer::Peer;
pub use route::{InstalledRoute, RouteSpec};
pub use vlan::{Membership, PortVlans};

use crate::{
    error::NetError,
    netlink::{Answer, NetlinkSocket, Request},
    netns::Netns,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{fs::File, sync::Arc};

/// A connection to the rtnetlink of one namespace.
pub struct Rtnl {
    socket: NetlinkSocket,
}

impl Rtnl {
    /// Connects to the thread's namespace.
    ///
    /// # Errors
    /// Fails if the socket cannot be opened.
    pub fn open() -> Result<Self, NetError> {
        NetlinkSocket::open(NETLINK_ROUTE).map(|socket| Self { socket })
    }

    /// Connects to another namespace.
    ///
    /// # Errors
    /// Fails if the namespace cannot be entered or the socket cannot be opened.
    pub fn open_in(netns: &Netns) -> Result<Self, NetError> {
        netns.run(Self::open)?
    }

    fn execute(
        &mut self,
        requests: Vec<Request<RouteNetlinkMessage>>,
    ) -> Result<Vec<Answer>, NetError> {
        self.socket.execute(requests)
    }

    fn dump(
        &mut self,
        message: RouteNetlinkMessage,
        object: &'static str,
    ) -> Result<Vec<Answer>, NetError> {
        self.socket.dump(&Request {
            message,
            flags: 0,
            operation: "list",
            object: object.to_owned(),
        })
    }

    /// Executes all requests of a batch, in as few system calls as possible. They are no
    /// transaction: a refused request does not stop those behind it.
    ///
    /// # Errors
    /// Returns the first refusal.
    pub fn run(&mut self, batch: Batch) -> Result<(), NetError> {
        self.execute(batch.requests).map(drop)
    }
}

/// Requests that are sent together. The kernel executes them in order. A message names a namespace
/// by the number of a descriptor, which the batch keeps open.
#[derive(Default)]
pub struct Batch {
    requests: Vec<Request<RouteNetlinkMessage>>,
    namespaces: Vec<Arc<File>>,
}

impl Batch {
    /// Returns an empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn push(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        operation: &'static str,
        object: String,
    ) {
        self.requests.push(Request {
            message,
            flags,
            operation,
            object,
        });
    }
}

/// Reads the fixed part of a message as `N` bytes, and returns it with the attributes behind it.
fn split_header<const N: usize>(payload: &[u8]) -> Option<(&[u8; N], &[u8])> {
    payload.split_first_chunk::<N>()
}

/// Reads a number of an attribute, in the machine's byte order.
fn number(value: &[u8]) -> Option<u32> {
    value
        .first_chunk::<4>()
        .map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Another crate reads most of these, and a newer kernel may send more than it knows.
        #[test]
        fn any_answer_is_read_or_passed_over(
            family in prop_oneof![Just(2_u8), Just(10), any::<u8>()],
            header in any::<[u8; 11]>(),
            values in proptest::collection::vec((0_u16..32, any::<Vec<u8>>()), 0..6),
        ) {
            let mut payload = [&[family][..], &header].concat();
            for (kind, value) in values {
                let length = u16::try_from(4 + value.len()).unwrap();
                payload.extend([&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &value].concat());
                payload.resize(payload.len().next_multiple_of(4), 0);
            }
            let _ = (Address::parse(&payload, None), Neighbour::parse(&payload));
            let _ = InstalledRoute::parse_all(&payload);
        }
    }
}
