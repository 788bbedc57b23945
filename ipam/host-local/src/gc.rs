//! GC: frees what belongs to no valid attachment of this network.

use crate::{
    HostLocal, config, note,
    reclaim::{Fate, Holding, reclaim},
    record::{Owner, Record},
    store::{Locked, Origins},
    system::Boot,
};
use cni_types::{Call, Error, ValidAttachments};
use std::{fs::File, time::SystemTime};

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
    let (mut failures, mut any) = (Vec::new(), false);
    let mut stale = Stales { valid: &valid, boot: plugin.system.boot(), origins: locked.folder().origins() };
    // Each is freed as it is met: a list of all of them would be many times what the rest of the plugin needs.
    let looked = locked.folder().scan(&mut |record, file| {
        let Some(stale) = stale.judge(record, file) else { return };
        any = true;
        failures.extend(free(&locked, &stale).err());
    });
    failures.extend(looked.err());
    if any {
        failures.extend(locked.refresh().err());
    }
    Error::join(failures)
}

/// What decides whether a record is freed.
struct Stales<'a> {
    valid: &'a ValidAttachments,
    boot: Option<Boot>,
    origins: Origins<'a>,
}

impl Stales<'_> {
    fn judge(&mut self, record: Record, file: &File) -> Option<Stale> {
        if is_unwanted(&record, self.valid) {
            return Some(Stale::Unwanted(record));
        }
        if *self.valid != ValidAttachments::Unknown {
            return None;
        }
        let meta = file.metadata().ok()?;
        let fate = Fate::of(self.origins.of(record.address, &meta).as_ref(), self.boot);
        let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        fate.is_over().then_some(Stale::Over(Holding { record, written, fate }))
    }
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
