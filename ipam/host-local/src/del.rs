//! DEL: frees what the attachment holds. It needs no ranges, no namespace and no earlier result.

use crate::{
    config,
    record::{Holder, held_by},
    store::Store,
};
use cni_types::{Call, Detachment, Error};

/// Frees the addresses of the attachment. Nothing to free is success.
pub(crate) fn del(call: &Call, detachment: &Detachment) -> Result<(), Error> {
    let data_dir = config::data_dir(call)?;
    let store = Store::new(&data_dir, &call.network);
    if let Some(locked) = store.lock(&call.stop)? {
        let holder = Holder::new(&detachment.container_id, &detachment.if_name);
        let records = locked.records()?;
        let released = held_by(&records, &holder).into_iter().map(|record| locked.release(record));
        Error::join(released.filter_map(Result::err))?;
    }
    // The reference refuses this before it frees anything; here the answer is the same, but nothing leaks.
    config::require_one_address_per_family(call)
}
