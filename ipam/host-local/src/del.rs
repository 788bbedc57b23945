//! DEL: frees what the attachment holds. It needs no ranges, no namespace and no earlier result.

use crate::{HostLocal, config, record::Holder};
use cni_types::{Call, Detachment, Error};

/// Frees the addresses of the attachment. Nothing to free is success.
pub(crate) fn del(plugin: &HostLocal, call: &Call, detachment: &Detachment) -> Result<(), Error> {
    let store = plugin.store(&config::data_dir(call)?, &call.network);
    if let Some(locked) = store.lock(&call.stop, plugin.patience)? {
        let held = locked.held_by(&Holder::new(&detachment.container_id, &detachment.if_name))?;
        Error::join(held.iter().filter_map(|record| locked.release(record).err()))?;
    }
    // The reference refuses this before it frees anything; here the answer is the same, but nothing leaks.
    config::require_one_address_per_family(call)
}
