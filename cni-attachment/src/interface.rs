//! The interface in the container: kernel parameters while it is down, addresses, link state,
//! routes, and the wait until it is usable.

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

/// An interface in a container. Its methods are grouped by phase: parameters and addresses in
/// `configure`, waiting in `ready`.
#[derive(Clone, Copy)]
pub struct ContainerInterface<'a> {
    /// The plugin's name, which prefixes log lines.
    pub plugin: &'static str,
    /// The namespace that it is in.
    pub netns: &'a Netns,
    /// Its name there.
    pub name: &'a IfName,
    /// If true, IPv6 addresses are used only after duplicate address detection.
    pub detect_duplicates: bool,
}

/// Returns the error for an interface that another program removed during an operation.
#[must_use]
pub fn vanished(name: &IfName) -> Error {
    Error::new(
        Code::TRY_AGAIN,
        format!("interface {name} was removed by another program during the operation"),
    )
}
