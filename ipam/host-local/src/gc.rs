//! GC: frees what belongs to no valid attachment of this network.

use crate::{
    HostLocal, config, note,
    reclaim::{Fate, Holding, reclaim, written},
    record::{Owner, Record},
    store::{Locked, Origins, Sighting, Unread},
    system::Present,
};
use cni_types::{AttachmentId, Call, Error, KeepAddresses, ValidAttachments};
use std::{collections::BTreeSet, fs::File, net::IpAddr};

/// Why a record is freed.
enum Stale {
    /// Its owner is not in the list, or there is no owner.
    Unwanted(Record),
    /// Nobody sent a list, but its attachment is certainly over.
    Over(Holding),
}

/// Frees the records of stale attachments, but for addresses that the caller knows to be in use
/// ([`KeepAddresses`]). Goes on after an error, and looks at no other network.
///
/// # Errors
/// Fails if a stale record cannot be removed, or a record cannot be read; code 11 if the process was
/// asked to stop. What was freed until then stays freed.
pub(crate) fn gc(plugin: &HostLocal, call: &Call) -> Result<(), Error> {
    let (valid, keep) = (
        call.valid_attachments()?,
        KeepAddresses::of(call.environment())?,
    );
    let store = plugin.store(&config::data_dir(call)?, call);
    let Some(locked) = store.lock(plugin.patience)? else {
        return Ok(());
    };
    if valid == ValidAttachments::Unknown {
        note("GC without a list of valid attachments: only what is certainly dead is freed");
    }
    // What stays is no record, and the next one tries again.
    let _ = locked.remove_leftovers();
    let origins = locked.folder().origins();
    let now = plugin.system.present(locked.folder().path());
    let mut sweep = Sweep {
        stales: Stales {
            network: call.network.as_str(),
            valid: &valid,
            keep,
            now,
            origins,
        },
        any: false,
        kept: BTreeSet::new(),
        failures: Vec::new(),
        unread: Unread::default(),
    };
    // Each is freed as it is met: a list of all would be many times what the rest of the plugin needs.
    let looked = locked.folder().scan(&mut |sighting| {
        sweep.meet(&locked, sighting);
        Ok(())
    });
    let Sweep {
        any,
        kept,
        mut failures,
        unread,
        ..
    } = sweep;
    if !kept.is_empty() {
        let kept: Vec<String> = kept.iter().map(IpAddr::to_string).collect();
        note(&format!(
            "kept {}: in use by an interface of which nothing says whose it is",
            kept.join(", ")
        ));
    }
    failures.extend(unread.into_error());
    // The index is rebuilt once, for all that was freed; if the process is to stop, by the next ADD.
    match looked {
        Err(e) => failures.push(e),
        Ok(()) if any => failures.extend(locked.refresh().err()),
        Ok(()) => {}
    }
    Error::join(failures.into_iter().map(Err))
}

/// One walk over all records.
struct Sweep<'a> {
    stales: Stales<'a>,
    /// True if a record was to be freed.
    any: bool,
    /// Stale addresses that are in use.
    kept: BTreeSet<IpAddr>,
    failures: Vec<Error>,
    unread: Unread,
}

impl Sweep<'_> {
    fn meet(&mut self, locked: &Locked<'_>, sighting: Sighting<'_>) {
        match sighting {
            Sighting::Unread(_, error) => self.unread.push(error),
            Sighting::Record(record, file) => {
                let address = record.address;
                let stale = self.stales.judge(record, file);
                if stale.is_some() && self.stales.keep.contains(address) {
                    self.kept.insert(address);
                } else if let Some(stale) = stale {
                    self.any = true;
                    self.failures.extend(free(locked, &stale).err());
                }
            }
        }
    }
}

/// What decides if a record is freed.
struct Stales<'a> {
    network: &'a str,
    valid: &'a ValidAttachments,
    keep: KeepAddresses,
    now: Option<Present>,
    origins: Origins<'a>,
}

impl Stales<'_> {
    fn judge(&mut self, record: Record, file: &File) -> Option<Stale> {
        if self.is_unwanted(&record) {
            return Some(Stale::Unwanted(record));
        }
        if *self.valid != ValidAttachments::Unknown {
            return None;
        }
        let meta = file.metadata().ok()?;
        let written = written(&meta);
        let fate = Fate::of(
            self.origins.of(record.address, &meta).as_ref(),
            written,
            self.now,
        );
        fate.is_over().then_some(Stale::Over(Holding {
            record,
            written,
            fate,
        }))
    }

    fn is_unwanted(&self, record: &Record) -> bool {
        match &record.owner {
            Owner::Attachment {
                container_id,
                if_name,
            } => self.valid.excludes(AttachmentId {
                network: self.network,
                container_id,
                if_name,
            }),
            Owner::Container(id) => self.valid.excludes_container(id),
            Owner::Nobody => true,
            Owner::Unknown => false,
        }
    }
}

fn free(locked: &Locked<'_>, stale: &Stale) -> Result<(), Error> {
    match stale {
        Stale::Over(holding) => reclaim(locked, holding),
        Stale::Unwanted(record) => {
            locked.free(record)?;
            if record.is_nobodys() {
                note(&format!(
                    "freed {}, whose record has no content",
                    record.address
                ));
            }
            Ok(())
        }
    }
}
