//! DEL: frees the addresses of the attachment. It needs no ranges, no namespace and no earlier
//! result.

use crate::{
    config,
    plugin::HostLocal,
    store::{Locked, Record},
};
use cni_types::{AttachmentId, Call, Detachment, Error};

/// Frees the addresses of the attachment. Nothing to free is success.
///
/// # Errors
/// Fails if a record cannot be removed, or a record that may be the attachment's cannot be read.
/// All others are freed.
pub(super) fn del(plugin: &HostLocal, call: &Call, detachment: &Detachment) -> Result<(), Error> {
    let store = plugin.store(&config::data_dir(call)?, call);
    if let Some(locked) = store.lock(plugin.lock_timeout)? {
        // A leftover is no record, and the next operation tries again.
        let _ = locked.remove_leftovers();
        free(&locked, call, detachment.id(&call.network))?;
    }
    // The reference refuses this before it frees anything; here the error is the same, but nothing
    // leaks.
    config::require_one_address_per_family(call)
}

fn free(locked: &Locked<'_>, call: &Call, attachment: AttachmentId<'_>) -> Result<(), Error> {
    let mut held = locked.held_by(attachment)?;
    let missed = missed(locked, call, attachment, &held.records);
    if !missed.is_empty() {
        locked.invalidate_index();
    }
    held.records.extend(missed);
    let failures = held
        .records
        .iter()
        .filter_map(|record| locked.release(record).err());
    Error::join(failures.chain(held.unreadable.into_error()).map(Err))
}

/// The attachment's records of addresses in prevResult that the index does not have: those that
/// were edited in place, which changes nothing in the folder.
fn missed(
    locked: &Locked<'_>,
    call: &Call,
    attachment: AttachmentId<'_>,
    known: &[Record],
) -> Vec<Record> {
    // A result that cannot be read is no reason to leave anything.
    let previous = call.prev_result().ok().flatten().unwrap_or_default();
    let addresses = previous.ips.iter().map(|ip| ip.address.address());
    let is_unknown = |address: &_| known.iter().all(|record| record.address != *address);
    let files = addresses
        .filter(is_unknown)
        .filter_map(|address| locked.folder().record(address).ok()?);
    files
        .map(|file| file.record)
        .filter(|record| record.owner.is(attachment))
        .collect()
}
