//! GC: frees the addresses that belong to no valid attachment of this network.

use crate::{
    config, log,
    machine::CurrentBoot,
    plugin::HostLocal,
    reclaim::{AgedRecord, reclaim},
    store::{Locked, Origins, Owner, Record, Scanned, UnreadableRecords},
};
use cni_types::{AttachmentId, Call, Error, KeepAddresses, ValidAttachments};
use std::{collections::BTreeSet, fs::File, net::IpAddr};

/// A record to free, by the reason.
enum Stale {
    /// Its owner is not in the list, or there is no owner.
    Unlisted(Record),
    /// The runtime sent no list, but the attachment is certainly over.
    Over(AgedRecord),
}

/// Frees the records of stale attachments, but for addresses that the caller knows to be in use
/// ([`KeepAddresses`]). Goes on after an error, and concerns no other network.
///
/// # Errors
/// Fails if a stale record cannot be removed, or a record cannot be read; code 11 if the process
/// was asked to stop. Addresses that were freed until then stay free.
pub(super) fn gc(plugin: &HostLocal, call: &Call) -> Result<(), Error> {
    let valid = call.valid_attachments()?;
    let in_use = KeepAddresses::of(call.environment())?;
    let store = plugin.store(&config::data_dir(call)?, call);
    let Some(locked) = store.lock(plugin.lock_timeout)? else {
        return Ok(());
    };
    if valid == ValidAttachments::Unknown {
        log::warn("GC without a list of valid attachments: only what is certainly dead is freed");
    }
    // A leftover is no record, and the next operation tries again.
    let _ = locked.remove_leftovers();
    let mut sweep = Sweep {
        locked: &locked,
        filter: StaleFilter {
            network: call.network.as_str(),
            valid: &valid,
            now: plugin.system.current_boot(locked.folder().path()),
            origins: Origins::of_folder(locked.folder()),
        },
        in_use,
        spared: BTreeSet::new(),
        found_any: false,
        failures: Vec::new(),
        unreadable: UnreadableRecords::default(),
    };
    // Frees each record as it is met: a list of all would need many times the memory of the rest.
    let scanned = locked.folder().scan(&mut |scanned| {
        sweep.visit(scanned);
        Ok(())
    });
    sweep.finish(scanned)
}

/// One walk over all records.
struct Sweep<'a> {
    locked: &'a Locked<'a>,
    filter: StaleFilter<'a>,
    /// The addresses that the caller knows to be in use.
    in_use: KeepAddresses,
    /// The stale addresses that are in use.
    spared: BTreeSet<IpAddr>,
    /// True if a record was to be freed.
    found_any: bool,
    failures: Vec<Error>,
    unreadable: UnreadableRecords,
}

impl Sweep<'_> {
    fn visit(&mut self, scanned: Scanned<'_>) {
        match scanned {
            Scanned::Unreadable(_, error) => self.unreadable.push(error),
            Scanned::Record(record, file) => {
                let address = record.address;
                let stale = self.filter.classify(record, file);
                if stale.is_some() && self.in_use.contains(address) {
                    self.spared.insert(address);
                } else if let Some(stale) = stale {
                    self.found_any = true;
                    self.failures.extend(free(self.locked, &stale).err());
                }
            }
        }
    }

    /// Reports everything that was not freed.
    fn finish(mut self, scanned: Result<(), Error>) -> Result<(), Error> {
        if !self.spared.is_empty() {
            let spared: Vec<String> = self.spared.iter().map(IpAddr::to_string).collect();
            let spared = spared.join(", ");
            log::warn(format_args!(
                "kept {spared}: in use by an interface of which nothing says whose it is"
            ));
        }
        self.failures.extend(self.unreadable.into_error());
        // The index is rebuilt once, for all that was freed; if the process is to stop, by the next
        // ADD.
        match scanned {
            Err(e) => self.failures.push(e),
            Ok(()) if self.found_any => self.failures.extend(self.locked.rebuild_index().err()),
            Ok(()) => {}
        }
        Error::join(self.failures.into_iter().map(Err))
    }
}

/// The decision about each record.
struct StaleFilter<'a> {
    network: &'a str,
    valid: &'a ValidAttachments,
    now: Option<CurrentBoot>,
    origins: Origins<'a>,
}

impl StaleFilter<'_> {
    /// Returns the record with the reason for which it is stale; `None` if it is not.
    fn classify(&mut self, record: Record, file: &File) -> Option<Stale> {
        if self.is_unlisted(&record) {
            return Some(Stale::Unlisted(record));
        }
        if *self.valid != ValidAttachments::Unknown {
            return None;
        }
        let meta = file.metadata().ok()?;
        let aged = AgedRecord::new(&mut self.origins, record, &meta, self.now);
        aged.liveness.is_over().then_some(Stale::Over(aged))
    }

    fn is_unlisted(&self, record: &Record) -> bool {
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
        Stale::Over(aged) => reclaim(locked, aged),
        Stale::Unlisted(record) => {
            locked.free(record)?;
            if record.has_no_owner() {
                let address = record.address;
                log::warn(format_args!("freed {address}, whose record has no content"));
            }
            Ok(())
        }
    }
}
