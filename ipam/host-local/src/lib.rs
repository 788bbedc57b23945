//! IPAM from ranges of addresses, recorded in a directory of this host.
//!
//! The directory is shared with the reference plugin, in both directions: a node is upgraded, or rolled back,
//! with its pods running. So one file per address holds its owner, and the same lock is taken.
//!
//! `range` and `range_set` say which addresses there are, `allocator` says which of them is next; none of
//! the three does I/O. `store` knows the directory and nothing of ranges; `index` and `ledger` are what it keeps beside
//! the records, to be fast and to know dead ones. `reclaim` says which records are dead. Each operation of the
//! protocol joins them in a file of its own. [`Inspection`] is for tools that only look.

mod add;
mod age;
mod allocator;
mod check;
mod config;
mod count;
mod del;
mod directory;
mod file_system;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod gc;
mod index;
mod inspect;
mod ledger;
mod netns;
mod outsiders;
mod probe;
mod range;
mod range_set;
mod reclaim;
mod record;
mod reservation;
mod resolv_conf;
mod room;
mod span;
mod status;
mod store;
mod system;
mod table;

pub use config::KEYS;
pub use count::Count;
pub use file_system::FileSystem;
pub use inspect::{Inspection, Pool, Reservation, age};
pub use reclaim::Fate;
pub use record::Owner;
pub use system::SystemPaths;

use cni_types::{Attachment, Call, Detachment, Encoded, Error, Plugin};
use std::{io::Write, path::Path, time::Duration};
use store::Store;

/// The plugin, and what it needs of its surroundings.
#[derive(Clone, Debug)]
pub struct HostLocal {
    /// The sources of the identities of machine and boot.
    pub system: SystemPaths,
    /// How long to wait for the lock. Holders need a millisecond, unless they hang.
    pub patience: Duration,
}

impl Default for HostLocal {
    fn default() -> Self {
        Self {
            system: SystemPaths::default(),
            patience: Duration::from_secs(10),
        }
    }
}

impl HostLocal {
    fn store<'a>(&self, data_dir: &Path, call: &'a Call) -> Store<'a> {
        Store::new(data_dir, &call.network, &self.system, &call.stop)
    }
}

impl Plugin for HostLocal {
    fn name(&self) -> &'static str {
        "host-local"
    }

    fn add(&self, call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
        add::add(self, call, attachment)
    }

    fn del(&self, call: &Call, detachment: &Detachment) -> Result<(), Error> {
        del::del(self, call, detachment)
    }

    fn check(&self, call: &Call, attachment: &Attachment) -> Result<(), Error> {
        check::check(self, call, attachment)
    }

    fn status(&self, call: &Call) -> Result<(), Error> {
        status::status(self, call)
    }

    fn gc(&self, call: &Call) -> Result<(), Error> {
        gc::gc(self, call)
    }
}

/// Tells a person something that is not an error. A closed stderr is no reason to fail, as it is for `eprintln!`.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "host-local: {text}");
}
