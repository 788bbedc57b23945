//! Room in a full range set: the addresses of attachments that are over.
//!
//! To find them, all records are read, which takes a third of a second for 65,000. So nobody waits
//! for it: no lock is held meanwhile. Whoever holds the lock next judges again what was found.

use crate::{
    HostLocal, allocator::NoAddress, count::Count, range_set::RangeSet, reclaim::Survey,
    store::Store,
};
use cni_types::Error;
use std::net::IpAddr;

/// The part of a set that is reclaimed at once, as a divisor: one look at all records should serve
/// many requests if there are many records.
const SHARE: u32 = 256;

/// The most addresses that are reclaimed at once.
const MOST: u32 = 256;

/// How often all records are read for one request, beside once for each range set: what a look
/// found, other requests may have taken before this one has the lock.
const MORE_LOOKS: usize = 8;

/// What looking for room has found so far.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    sets: &'a [RangeSet],
    looks_left: usize,
    over: Vec<IpAddr>,
    /// True if there were fewer records than the index made believe.
    is_index_wrong: bool,
}

impl<'a> Room<'a> {
    /// Nothing found, nothing looked at.
    pub(crate) fn for_sets(sets: &'a [RangeSet]) -> Self {
        Self {
            sets,
            looks_left: sets.len() + MORE_LOOKS,
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

    /// Looks for room in the set with this index, which was refused for this reason.
    ///
    /// # Errors
    /// Fails with the reason, explained, if there is none; with code 5 if the records cannot be read.
    pub(crate) fn look(
        &mut self,
        plugin: &HostLocal,
        store: &Store<'_>,
        set: usize,
        reason: &NoAddress,
    ) -> Result<(), Error> {
        let (Some(set), Some(looks_left)) = (self.sets.get(set), self.looks_left.checked_sub(1))
        else {
            return Err(reason.explained(None));
        };
        self.looks_left = looks_left;
        // Somebody has just deleted it, and with it all reservations.
        let Some(folder) = store.open()? else {
            return Ok(());
        };
        let limit = (set.capacity().at_most(SHARE * MOST) / SHARE).max(1);
        let now = plugin.system.present(folder.path());
        let survey = Survey::of(&folder, now, limit as usize, &|address| {
            set.is_allocatable(address)
        })?;
        self.is_index_wrong = Count::from(survey.count) < set.capacity();
        if survey.over.is_empty() && !self.is_index_wrong {
            return Err(reason.explained(Some(survey.describe())));
        }
        self.over = survey
            .over
            .iter()
            .map(|holding| holding.record.address)
            .collect();
        Ok(())
    }
}
