//! DEL: frees what the attachment holds. It needs no ranges, no namespace and no earlier result.

use crate::{
    HostLocal, config,
    record::{Holder, Record},
    store::Locked,
};
use cni_types::{Call, Detachment, Error};

/// Frees the addresses of the attachment. Nothing to free is success.
///
/// # Errors
/// Fails if a record cannot be removed, or one that may be the attachment's cannot be read. What can
/// be freed is freed.
pub(crate) fn del(plugin: &HostLocal, call: &Call, detachment: &Detachment) -> Result<(), Error> {
    let store = plugin.store(&config::data_dir(call)?, call);
    if let Some(locked) = store.lock(plugin.patience)? {
        // What stays is no record, and the next one tries again.
        let _ = locked.remove_leftovers();
        free(
            &locked,
            call,
            &Holder::new(&detachment.container_id, &detachment.if_name),
        )?;
    }
    // The reference refuses this before it frees anything; here the answer is the same, but nothing
    // leaks.
    config::require_one_address_per_family(call)
}

fn free(locked: &Locked<'_>, call: &Call, holder: &Holder) -> Result<(), Error> {
    let mut held = locked.held_by(holder)?;
    let overlooked = overlooked(locked, call, holder, &held.records);
    if !overlooked.is_empty() {
        locked.distrust();
    }
    held.records.extend(overlooked);
    let failures = held
        .records
        .iter()
        .filter_map(|record| locked.release(record).err());
    Error::join(failures.chain(held.unread.into_error()).map(Err))
}

/// The attachment's records of addresses in prevResult that the index does not have: those that were
/// edited in place, which changes nothing in the folder.
fn overlooked(locked: &Locked<'_>, call: &Call, holder: &Holder, known: &[Record]) -> Vec<Record> {
    // A result that cannot be read is no reason to leave anything.
    let previous = call.prev_result().ok().flatten().unwrap_or_default();
    let addresses = previous.ips.iter().map(|ip| ip.address.address());
    let is_unknown = |address: &_| known.iter().all(|record| record.address != *address);
    let found = addresses
        .filter(is_unknown)
        .filter_map(|address| locked.folder().record(address).ok()?);
    found
        .map(|found| found.record)
        .filter(|record| record.owner.is(holder))
        .collect()
}
