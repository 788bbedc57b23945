//! Attachments of containers to networks, as far as the plugins that make them have it in common.
//!
//! The kernel's mechanisms are `cni-net`'s, the protocol is `cni-types`'s; this crate holds what an
//! attachment is made of and how it ends: [`rollback`] of a failed ADD, the [`ipam`] plugin,
//! [`prev_result`], the [`interface`] in the container with its [`routes`], the [`names`] and
//! [`mark`]s of links on the host, the veth [`pair`], the [`claim()`] that keeps two ADDs apart,
//! the rules in [`netfilter`],
//! [`differences`] for CHECK, the order of [`del`] and [`gc`]. Functions take values, never a
//! plugin's configuration.

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
