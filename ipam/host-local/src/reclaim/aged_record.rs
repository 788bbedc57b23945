//! A record, its age, and the liveness of its attachment.

use super::{age, liveness::Liveness};
use crate::{
    log,
    machine::CurrentBoot,
    store::{Folder, Locked, Origins, Record, RecordFile},
};
use cni_types::Error;
use std::{fs::Metadata, time::SystemTime};

/// A record, the time at which it was written, and the liveness of its attachment.
#[derive(Debug)]
pub(crate) struct AgedRecord {
    /// The record.
    pub(crate) record: Record,
    /// The time at which it was written.
    pub(crate) written: SystemTime,
    /// The liveness of its attachment.
    pub(crate) liveness: Liveness,
}

impl AgedRecord {
    /// Looks up the origin of a record.
    pub(crate) fn of(folder: &Folder<'_>, file: RecordFile, now: Option<CurrentBoot>) -> Self {
        Self::new(
            &mut Origins::of_folder(folder),
            file.record,
            &file.meta,
            now,
        )
    }

    /// Looks up the origin of a record whose file has this metadata.
    pub(crate) fn new(
        origins: &mut Origins<'_>,
        record: Record,
        meta: &Metadata,
        now: Option<CurrentBoot>,
    ) -> Self {
        let written = written(meta);
        let origin = origins.find(record.address, meta);
        Self {
            liveness: Liveness::of(origin.as_ref(), written, now),
            record,
            written,
        }
    }

    /// The holder of the address, the age of the record and its boot, for an error.
    pub(crate) fn describe(&self) -> String {
        let age = age::since(self.written, SystemTime::now());
        format!(
            "{} is held by {} for {age}, {}",
            self.record.address,
            self.record.owner,
            self.liveness.as_text()
        )
    }
}

/// The time at which a record was written. If it is not known, the present: that proves nothing.
pub(crate) fn written(meta: &Metadata) -> SystemTime {
    meta.modified().unwrap_or_else(|_| SystemTime::now())
}

/// Frees an address whose attachment is over, and says so on stderr.
///
/// # Errors
/// Code 5; the record is still there.
pub(crate) fn reclaim(locked: &Locked<'_>, aged: &AgedRecord) -> Result<(), Error> {
    locked.release(&aged.record)?;
    log::warn(format_args!("reclaimed an address: {}", aged.describe()));
    Ok(())
}
