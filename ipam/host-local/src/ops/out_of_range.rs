//! Reservations outside the ranges that are configured now: a podCIDR that changed, or a range that
//! was removed. They are valid until their attachments end, but somebody should know.

use crate::{
    alloc::{RangeSet, Spans},
    log,
    store::{Locked, table::hash},
};
use cni_types::Error;

/// All addresses of all ranges.
pub(super) fn configured(sets: &[RangeSet]) -> Spans {
    sets.iter().flat_map(RangeSet::range_spans).collect()
}

/// The warning about so many reservations outside the ranges; `None` if there are none.
pub(super) fn warning(count: u64) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "{count} addresses are reserved outside the configured ranges: the ranges were changed \
             while attachments used them; they are freed by DEL or GC"
        )
    })
}

/// Reports reservations outside the ranges on stderr, once after every change of the ranges.
///
/// # Errors
/// Code 5 if the records cannot be read, 11 if the process was asked to stop.
pub(super) fn warn_once(locked: &Locked<'_>, sets: &[RangeSet]) -> Result<(), Error> {
    let ranges: Vec<String> = sets.iter().map(RangeSet::to_string).collect();
    // Not 0, which a new index has.
    let ranges_hash = hash(ranges.join(" ").as_bytes()).max(1);
    if locked.swap_ranges_hash(ranges_hash)? == ranges_hash {
        return Ok(());
    }
    let (inside, all) = locked.count(&[&configured(sets)])?;
    let count = all.saturating_sub(inside.iter().sum());
    warning(count).iter().for_each(log::warn);
    Ok(())
}
