//! Reservations outside the ranges that are configured now: a podCIDR that changed, or a range that was taken away.
//! They are valid until their attachments end, but somebody should know.

use crate::{note, range_set::RangeSet, span::Spans, store::Locked, table::hash};
use cni_types::Error;

/// All addresses of all ranges.
pub(crate) fn configured(sets: &[RangeSet]) -> Spans {
    sets.iter().flat_map(RangeSet::range_spans).collect()
}

/// The warning about so many reservations outside; `None` if there are none.
pub(crate) fn warning(count: u64) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "{count} addresses are reserved outside the configured ranges: the ranges were changed while attachments \
             used them; they are freed by DEL or GC"
        )
    })
}

/// Reports on stderr what is reserved outside, once after every change of the ranges.
pub(crate) fn warn_once(locked: &Locked<'_>, sets: &[RangeSet]) -> Result<(), Error> {
    let ranges: Vec<String> = sets.iter().map(RangeSet::to_string).collect();
    let number = hash(ranges.join(" ").as_bytes()).max(1);
    if locked.keep_number(number)? {
        return Ok(());
    }
    let (inside, all) = locked.count(&[&configured(sets)])?;
    let count = all.saturating_sub(inside.iter().sum());
    warning(count).inspect(|text| note(text));
    Ok(())
}
