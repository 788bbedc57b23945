//! The plugin itself; its operations are in [`crate::ops`].

use crate::{machine::SystemPaths, store::Store};
use cni_types::Call;
use std::{path::Path, time::Duration};

/// The plugin and its surroundings.
#[derive(Clone, Debug)]
pub struct HostLocal {
    /// The sources of the identities of machine and boot.
    pub system: SystemPaths,
    /// The time limit for taking the lock. Holders need a millisecond, unless they hang.
    pub lock_timeout: Duration,
}

impl Default for HostLocal {
    fn default() -> Self {
        Self {
            system: SystemPaths::default(),
            lock_timeout: Duration::from_secs(10),
        }
    }
}

impl HostLocal {
    /// The records of the network that `call` is about.
    pub(crate) fn store<'a>(&self, data_dir: &Path, call: &'a Call) -> Store<'a> {
        Store::new(data_dir, &call.network, &self.system, &call.stop)
    }
}
