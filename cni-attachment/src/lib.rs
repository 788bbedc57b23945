//! Attachments of containers to networks: the part that the plugins have in common.
//!
//! The kernel's mechanisms are in `cni-net`, the protocol is in `cni-types`. This crate holds the
//! parts of an attachment and its removal: [`rollback`] of a failed ADD, the [`ipam`] plugin,
//! [`prev_result`], the [`interface`] in the container with its [`routes`], the [`names`] and
//! [`mark`]s of links on the host, the veth [`pair`], the [`claim()`] that excludes a concurrent
//! ADD, the rules in [`netfilter`], [`differences`] for CHECK, the order of [`del`] and [`gc`].
//! Functions take values, never a plugin's configuration.

mod claim;
pub mod del;
pub mod differences;
pub mod gc;
pub mod interface;
pub mod ipam;
pub mod mark;
pub mod names;
pub mod netfilter;
mod netns;
pub mod pair;
pub mod prev_result;
pub mod rollback;
pub mod routes;
pub mod stale;

pub use claim::claim;
pub use differences::Differences;
pub use interface::ContainerInterface;
pub use netns::{container_netns, remaining_netns};
pub use rollback::Rollback;
