//! The interface in the container: kernel parameters while it is down, addresses, up, routes, and
//! the moments until it can be used.

mod announce;
mod configure;
mod parameters;
mod ready;
mod usable;

pub use announce::{announce, correct_neighbours, forget_neighbours};
pub use configure::{Setup, ipv6_disabled, require_v6_mtu};
pub use parameters::{
    Origin, Parameters, enable_forwarding, no_forwarding, refuse_router_advertisements,
};
pub use usable::wait_usable;

use cni_net::Netns;
use cni_types::{Code, Error, IfName};

/// An interface in a container. What is done to it stands with its phases: parameters and
/// addresses in `configure`, waiting in `ready`.
#[derive(Clone, Copy)]
pub struct ContainerInterface<'a> {
    /// The plugin's name, which heads what is logged.
    pub plugin: &'static str,
    /// The namespace that it is in.
    pub netns: &'a Netns,
    /// Its name there.
    pub name: &'a IfName,
    /// IPv6 addresses are used only after no neighbour objected.
    pub detect_duplicates: bool,
}

/// Returns the error for an interface that somebody else removed in the middle of an operation.
#[must_use]
pub fn vanished(name: &IfName) -> Error {
    Error::new(
        Code::TRY_AGAIN,
        format!("interface {name} was removed by somebody else during the operation"),
    )
}
