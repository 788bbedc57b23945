//! GC: frees what belongs to no valid attachment of this network.

use crate::{
    config, note,
    record::{Owner, Record},
    store::{Locked, Store},
};
use cni_types::{Call, Error, ValidAttachments};

/// Frees the records of stale attachments, goes on after an error, and looks at no other network.
pub(crate) fn gc(call: &Call) -> Result<(), Error> {
    let valid = call.valid_attachments()?;
    let data_dir = config::data_dir(call)?;
    let store = Store::new(&data_dir, &call.network);
    let Some(locked) = store.lock(&call.stop)? else { return Ok(()) };
    if valid == ValidAttachments::Unknown {
        note("GC without a list of valid attachments: only records without content are freed");
    }
    let _ = locked.remove_staged();
    let records = locked.records()?;
    let stale = records.iter().filter(|record| is_stale(record, &valid));
    Error::join(stale.filter_map(|record| free(&locked, record).err()))
}

fn is_stale(record: &Record, valid: &ValidAttachments) -> bool {
    match &record.owner {
        Owner::Attachment { container_id, if_name } => valid.excludes(container_id, if_name),
        Owner::Container(id) => valid.excludes_container(id),
        Owner::Nobody => true,
        Owner::Unknown => false,
    }
}

fn free(locked: &Locked<'_>, record: &Record) -> Result<(), Error> {
    locked.release(record)?;
    if record.owner == Owner::Nobody {
        note(&format!("freed {}, whose record has no content", record.address));
    }
    Ok(())
}
