//! GC: frees what belongs to no valid attachment of this network.

use crate::{
    HostLocal, config, note,
    reclaim::{Fate, Holding, reclaim},
    record::{Owner, Record},
    store::Locked,
};
use cni_types::{Call, Error, ValidAttachments};
use std::time::SystemTime;

/// Why a record is freed.
enum Stale {
    /// Its owner is not in the list, or there is no owner.
    Unwanted(Record),
    /// Nobody sent a list, but its attachment is certainly over.
    Over(Holding),
}

/// Frees the records of stale attachments, goes on after an error, and looks at no other network.
pub(crate) fn gc(plugin: &HostLocal, call: &Call) -> Result<(), Error> {
    let valid = call.valid_attachments()?;
    let store = plugin.store(&config::data_dir(call)?, &call.network);
    let Some(locked) = store.lock(&call.stop, plugin.patience)? else { return Ok(()) };
    if valid == ValidAttachments::Unknown {
        note("GC without a list of valid attachments: only what is certainly dead is freed");
    }
    let _ = locked.remove_staged();
    let stale = stale_records(plugin, &locked, &valid)?;
    let freed = Error::join(stale.iter().filter_map(|stale| free(&locked, stale).err()));
    if !stale.is_empty() {
        locked.refresh()?;
    }
    freed
}

fn stale_records(plugin: &HostLocal, locked: &Locked, valid: &ValidAttachments) -> Result<Vec<Stale>, Error> {
    let boot = plugin.system.boot();
    let mut origins = locked.folder().origins();
    let mut stale = Vec::new();
    locked.folder().scan(&mut |record, file| {
        if is_unwanted(&record, valid) {
            stale.push(Stale::Unwanted(record));
        } else if *valid == ValidAttachments::Unknown
            && let Ok(meta) = file.metadata()
        {
            let fate = Fate::of(origins.of(record.address, &meta).as_ref(), boot);
            let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if fate.is_over() {
                stale.push(Stale::Over(Holding { record, written, fate }));
            }
        }
    })?;
    Ok(stale)
}

fn is_unwanted(record: &Record, valid: &ValidAttachments) -> bool {
    match &record.owner {
        Owner::Attachment { container_id, if_name } => valid.excludes(container_id, if_name),
        Owner::Container(id) => valid.excludes_container(id),
        Owner::Nobody => true,
        Owner::Unknown => false,
    }
}

fn free(locked: &Locked, stale: &Stale) -> Result<(), Error> {
    match stale {
        Stale::Over(holding) => reclaim(locked, holding),
        Stale::Unwanted(record) => {
            locked.release(record)?;
            if record.is_nobodys() {
                note(&format!("freed {}, whose record has no content", record.address));
            }
            Ok(())
        }
    }
}
