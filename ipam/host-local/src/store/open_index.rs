//! The index of a folder, opened from the disk or built from the records: on disk if possible, else
//! in memory.
//!
//! An index of records of which one could not be read lacks an owner: it is never written to disk,
//! and a caller who asks it for a container's addresses has to report that record.

use super::{
    directory::{Access, is_sole},
    folder::{Folder, Scanned, UnreadableRecords},
    index::{ContainerHash, Index, IndexedRecord, Stamp},
    names::{INDEXES, unfinished},
    record::Owner,
};
use crate::{log, machine::Id};
use cni_types::{Code, Error};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::{
    io,
    time::{Duration, SystemTime},
};

/// More than the time for which a file system's clock can stand still (10 ms at 100 ticks a
/// second).
const TICK: Duration = Duration::from_millis(20);

/// The part of a time that the file system may drop.
const PRECISION: Duration = Duration::from_millis(1);

/// An index in use.
#[derive(Debug)]
pub(super) struct OpenIndex {
    pub(super) index: Index,
    /// The folder's stamp after the last change that the index has; `None` if it is not on disk.
    pub(super) stamp: Option<Stamp>,
    /// False if a record could not be read.
    pub(super) is_whole: bool,
}

impl OpenIndex {
    /// Opens the index on disk; `None` unless it is of the folder as it is now.
    pub(super) fn current(folder: &Folder<'_>) -> Option<Self> {
        let directory = folder.data.open_child(INDEXES).ok()?;
        let name = folder.network.as_ref();
        let file = directory
            .open_file(name, Access::Write)
            .or_else(|_| directory.open_file(name, Access::Read))
            .ok()?;
        // Another name of the file must not change with it.
        if !is_sole(&file).is_ok_and(|is_sole| is_sole) {
            return None;
        }
        let index = Index::open(file, folder.boot?)?;
        let stamp = Self::stamp_of(folder)?;
        (index.is_of(stamp) && !index.is_full()).then_some(Self {
            index,
            stamp: Some(stamp),
            is_whole: true,
        })
    }

    /// The stamp of the folder as it is now; `None` if it cannot be read.
    pub(super) fn stamp_of(folder: &Folder<'_>) -> Option<Stamp> {
        folder.records.metadata().ok().map(|meta| Stamp::of(&meta))
    }

    /// Marks the folder, so that every later change of it shows. Only under the lock. Returns
    /// `None` if that is not allowed, or the file system's times are too coarse for it.
    pub(super) fn mark(folder: &Folder<'_>) -> Option<Stamp> {
        let mark = SystemTime::now().checked_sub(TICK)?;
        folder.records.set_modified(mark).ok()?;
        let meta = folder.records.metadata().ok()?;
        let lost = mark.duration_since(meta.modified().ok()?).ok()?;
        (lost < PRECISION).then(|| Stamp::of(&meta))
    }

    /// Builds an index of the records, on disk if possible. Only under the lock.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(super) fn build(folder: &Folder<'_>) -> Result<Self, Error> {
        // Before the records are read: a change in between shows.
        let stamp = Self::mark(folder).zip(folder.boot);
        let mut records = Records::read(folder)?;
        if !records.are_whole {
            folder.remove_index();
        } else if let Some((stamp, boot)) = stamp
            && let Ok(index) = write(folder, &mut records.items, boot, stamp)
        {
            return Ok(Self {
                index,
                stamp: Some(stamp),
                is_whole: true,
            });
        }
        records.into_memory()
    }

    /// Builds an index of the records in memory.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(super) fn build_in_memory(folder: &Folder<'_>) -> Result<Self, Error> {
        Records::read(folder)?.into_memory()
    }
}

/// All records of a folder, as the index has them.
struct Records {
    items: Vec<IndexedRecord>,
    /// False if one of them could not be read: its address is taken.
    are_whole: bool,
}

impl Records {
    fn read(folder: &Folder<'_>) -> Result<Self, Error> {
        let count = folder.records.entries().map_or(0, Iterator::count);
        let mut items = Vec::with_capacity(count);
        let mut unreadable = UnreadableRecords::default();
        folder.scan(&mut |scanned| {
            let item = match scanned {
                Scanned::Record(record, _) if record.owner == Owner::Nobody => return Ok(()),
                Scanned::Record(record, _) => IndexedRecord {
                    address: record.address,
                    container: record.owner.container_id().map(ContainerHash::of),
                },
                Scanned::Unreadable(address, error) => {
                    unreadable.push(error);
                    IndexedRecord {
                        address,
                        container: None,
                    }
                }
            };
            items.push(item);
            Ok(())
        })?;
        let error = unreadable.into_error();
        error.iter().for_each(log::warn);
        Ok(Self {
            items,
            are_whole: error.is_none(),
        })
    }

    fn into_memory(mut self) -> Result<OpenIndex, Error> {
        let file = memfd_create(c"host-local-index", MFdFlags::MFD_CLOEXEC);
        let index = file
            .map_err(io::Error::from)
            .and_then(|file| Index::build(file.into(), [0; 16], &mut self.items));
        Ok(OpenIndex {
            index: index.map_err(|e| unusable(&e))?,
            stamp: None,
            is_whole: self.are_whole,
        })
    }
}

/// Writes an index of these records to the disk, under a name of its own first.
fn write(
    folder: &Folder<'_>,
    records: &mut [IndexedRecord],
    boot: Id,
    stamp: Stamp,
) -> io::Result<Index> {
    let directory = folder.data.ensure_child(INDEXES, 0o700)?;
    let unfinished = unfinished(&folder.network);
    directory.remove(&unfinished)?;
    let mut write = || {
        let file = directory.open_file(&unfinished, Access::Create)?;
        let mut index = Index::build(file, boot, records)?;
        index.seal(stamp)?;
        directory.rename(&unfinished, folder.network.as_ref())?;
        Ok(index)
    };
    write().inspect_err(|_| {
        let _ = directory.remove(&unfinished);
        let _ = directory.remove(folder.network.as_ref());
    })
}

/// The error of an index that cannot be used, code 5.
pub(super) fn unusable(e: &io::Error) -> Error {
    Error::new(Code::IO, format!("failed to index the records: {e}"))
}
