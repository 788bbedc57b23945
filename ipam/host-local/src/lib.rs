//! IPAM from ranges of addresses, recorded in a directory of this host.
//!
//! The directory is shared with the reference plugin, in both directions: a node is upgraded, or
//! rolled back, with its pods running. So one file per address holds its owner, and the same lock
//! is taken.
//!
//! Each room has one purpose, and uses only those that come before it here:
//!
//! - `alloc`: the addresses that there are, and the next one to give out; no I/O;
//! - `machine`: this machine, its boots, file systems and mounted namespaces;
//! - `store`: the data directory, its lock, and the files beside the records that make it fast and
//!   identify dead ones;
//! - `reclaim`: the records that have outlived their attachment;
//! - `ops`: one file for each operation of the protocol, and [`Inspection`] for tools that only
//!   look.

mod alloc;
mod config;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod log;
mod machine;
mod ops;
mod plugin;
mod reclaim;
mod store;

pub use alloc::Count;
pub use config::KEYS;
pub use machine::{FileSystem, SystemPaths};
pub use ops::{Inspection, Pool, Reservation};
pub use plugin::HostLocal;
pub use reclaim::{Liveness, age};
pub use store::Owner;
