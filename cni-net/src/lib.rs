//! The kernel side of the plugins: namespaces, rtnetlink, nf_tables, iptables, sysctls.
//!
//! No other crate changes the kernel's network configuration. The names of its functions are
//! promises: `create_*` fails with `EEXIST` if the object exists, `ensure_*` is idempotent, and
//! `remove_*` succeeds if the object is absent.

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
