//! The kernel, as the plugins need it: namespaces, rtnetlink, nf_tables, iptables, sysctls.
//!
//! This is the only crate that speaks to the kernel's network configuration. Its functions are named for what they
//! promise: `create_*` fails where the object is there (`EEXIST`), `ensure_*` may be repeated, `remove_*`
//! succeeds where nothing is there.

mod capability;
mod claim;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
pub mod iptables;
mod netlink;
mod netns;
pub mod nft;
mod report;
mod rtnl;
mod sysctl;

pub use capability::{Capability, require_capabilities};
pub use claim::Claim;
pub use error::{Feature, KernelError, NetError};
pub use netns::{Netns, is_no_netns};
pub use nix::errno::Errno;
pub use rtnl::{
    Address, Batch, BridgeVlans, InstalledRoute, IpvlanMode, Link, LinkEvents, LinkKind, LinkRef,
    MacvlanMode, Membership, Neighbour, NewLink, Peer, Port, PortMode, PortState, PortVlans,
    RouteSpec, Rtnl, SpanningTree,
};
pub use sysctl::{Family, Sysctl};
