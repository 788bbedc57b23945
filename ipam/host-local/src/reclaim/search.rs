//! The search for reclaimable addresses in a full range set.
//!
//! It reads all records, which takes a third of a second for 65,000. So nobody waits for it: no
//! lock is held meanwhile, and the next holder of the lock checks the addresses again.

use super::scan::ReclaimScan;
use crate::{
    alloc::{Count, NoAddress, RangeSet},
    machine::SystemPaths,
    store::Store,
};
use cni_types::Error;
use std::net::IpAddr;

/// The part of a set that is reclaimed at once, as a divisor: one scan of all records should serve
/// many requests if there are many records.
const RECLAIMED_PART: u32 = 256;

/// The limit of the number of addresses that are reclaimed at once.
const MAX_RECLAIMED: u32 = 256;

/// The number of scans for one request, beside one for each range set: other requests may take the
/// addresses that a scan found before this one has the lock.
const EXTRA_SCANS: usize = 8;

/// The addresses that the search has found so far.
#[derive(Debug)]
pub(crate) struct ReclaimSearch<'a> {
    sets: &'a [RangeSet],
    scans_left: usize,
    over: Vec<IpAddr>,
    /// True if there were fewer records than the index counts.
    is_index_wrong: bool,
}

impl<'a> ReclaimSearch<'a> {
    /// Returns a search that has found nothing yet.
    pub(crate) fn in_sets(sets: &'a [RangeSet]) -> Self {
        Self {
            sets,
            scans_left: sets.len() + EXTRA_SCANS,
            over: Vec::new(),
            is_index_wrong: false,
        }
    }

    /// The addresses of attachments that were over, the first to reclaim first.
    pub(crate) fn over(&self) -> &[IpAddr] {
        &self.over
    }

    /// Returns true if the index must be rebuilt from the records before it can refuse anything.
    pub(crate) fn is_index_wrong(&self) -> bool {
        self.is_index_wrong
    }

    /// Scans the records of the set with this index, which gave no address for this reason.
    ///
    /// # Errors
    /// Fails with the reason, explained, if nothing can be reclaimed; with code 5 if the records
    /// cannot be read.
    pub(crate) fn scan(
        &mut self,
        system: &SystemPaths,
        store: &Store<'_>,
        set: usize,
        reason: &NoAddress,
    ) -> Result<(), Error> {
        let (Some(set), Some(scans_left)) = (self.sets.get(set), self.scans_left.checked_sub(1))
        else {
            return Err(reason.explained(None));
        };
        self.scans_left = scans_left;
        // Somebody has just deleted it, and with it all reservations.
        let Some(folder) = store.open()? else {
            return Ok(());
        };
        let limit = set.capacity().at_most(RECLAIMED_PART * MAX_RECLAIMED) / RECLAIMED_PART;
        let now = system.current_boot(folder.path());
        let scan = ReclaimScan::of(&folder, now, limit.max(1) as usize, &|address| {
            set.is_allocatable(address)
        })?;
        self.is_index_wrong = Count::from(scan.count) < set.capacity();
        if scan.over.is_empty() && !self.is_index_wrong {
            return Err(reason.explained(Some(scan.describe())));
        }
        self.over = scan.over.iter().map(|aged| aged.record.address).collect();
        Ok(())
    }
}
