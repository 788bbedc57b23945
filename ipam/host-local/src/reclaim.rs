//! Records that have outlived their attachment: how to know them, find them and free them.
//!
//! A runtime that died, or was reset with its machine, never sends the DEL of its pods. Only what
//! is certain counts: a record that we wrote ourselves, on this machine, in an earlier boot, or for
//! a namespace whose mount is gone. Of the reference's records nothing is known.

mod age;
mod aged_record;
mod liveness;
mod scan;
mod search;

pub use age::age;
pub(crate) use aged_record::{AgedRecord, reclaim, written};
pub use liveness::Liveness;
pub(crate) use scan::ReclaimScan;
pub(crate) use search::ReclaimSearch;
