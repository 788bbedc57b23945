//! Keeps the index beside the records: uses the one on disk while it is right, rebuilds one that is
//! not, and does without a file if none can be written.
//!
//! An index of records of which one could not be read lacks an owner: it is never written to disk,
//! and whoever asks it for a container's addresses has to report that record.

use super::{
    Folder, Sighting, Unread, lock,
    names::{INDEXES, unfinished},
};
use crate::{
    directory::{Access, Directory, is_sole},
    index::{Index, Item, Stamp, container},
    note,
    record::Owner,
    system::Id,
};
use cni_types::{Code, Error};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::{
    io,
    time::{Duration, SystemTime},
};

/// More than the time for which a file system's clock can stand still (10 ms at 100 ticks a second).
const TICK: Duration = Duration::from_millis(20);

/// How much of a time the file system may drop.
const PRECISION: Duration = Duration::from_millis(1);

/// How often somebody who only looks tries to find the index at rest.
const LOOKS: u32 = 5;

/// An index in use.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) index: Index,
    /// The folder's stamp after the last change that the index knows of. None if it is not on disk.
    pub(super) stamp: Option<Stamp>,
    /// False if a record could not be read.
    pub(super) is_whole: bool,
}

impl Folder<'_> {
    /// The index on disk. None unless it is of the folder as it is now.
    pub(super) fn current_index(&self) -> Option<Kept> {
        let directory = self.data.open_child(INDEXES).ok()?;
        let name = self.network.as_ref();
        let file = directory
            .open_file(name, Access::Write)
            .or_else(|_| directory.open_file(name, Access::Read));
        // What is written to it must not reach the file of another name.
        let file = file
            .ok()
            .filter(|file| is_sole(file).is_ok_and(|sole| sole))?;
        let index = Index::open(file, self.boot?)?;
        let stamp = self
            .stamp()
            .filter(|stamp| index.is_of(*stamp) && !index.is_full())?;
        Some(Kept {
            index,
            stamp: Some(stamp),
            is_whole: true,
        })
    }

    pub(super) fn stamp(&self) -> Option<Stamp> {
        self.records.metadata().ok().map(|meta| Stamp::of(&meta))
    }

    /// Marks the folder, so that every later change of it shows. Only under the lock. None if that is
    /// not allowed, or the file system's times are too coarse for it.
    pub(super) fn mark(&self) -> Option<Stamp> {
        let mark = SystemTime::now().checked_sub(TICK)?;
        self.records.set_modified(mark).ok()?;
        let meta = self.records.metadata().ok()?;
        let lost = mark.duration_since(meta.modified().ok()?).ok()?;
        (lost < PRECISION).then(|| Stamp::of(&meta))
    }

    /// Builds an index of the records, on disk if possible. Only under the lock.
    pub(super) fn new_index(&self) -> Result<Kept, Error> {
        // Before the records are read: a change in between shows.
        let stamp = self.mark().zip(self.boot);
        let (mut items, is_whole) = self.items()?;
        if !is_whole {
            self.remove_index();
        } else if let Some((stamp, boot)) = stamp
            && let Ok(index) = self.write_index(&mut items, boot, stamp)
        {
            return Ok(Kept {
                index,
                stamp: Some(stamp),
                is_whole,
            });
        }
        Ok(Kept {
            index: in_memory(&mut items)?,
            stamp: None,
            is_whole,
        })
    }

    /// Builds an index of the records that is not kept.
    fn passing_index(&self) -> Result<Kept, Error> {
        let (mut items, is_whole) = self.items()?;
        Ok(Kept {
            index: in_memory(&mut items)?,
            stamp: None,
            is_whole,
        })
    }

    /// An item for each record, and false if one of them could not be read: its address is taken.
    fn items(&self) -> Result<(Vec<Item>, bool), Error> {
        let count = self.records.entries().map_or(0, Iterator::count);
        let (mut items, mut unread) = (Vec::with_capacity(count), Unread::default());
        self.scan(&mut |sighting| {
            let (address, container) = match sighting {
                Sighting::Record(record, _) => match &record.owner {
                    Owner::Attachment {
                        container_id: id, ..
                    }
                    | Owner::Container(id) => (record.address, Some(container(id))),
                    Owner::Unknown => (record.address, None),
                    Owner::Nobody => return Ok(()),
                },
                Sighting::Unread(address, error) => {
                    unread.push(error);
                    (address, None)
                }
            };
            items.push(Item { address, container });
            Ok(())
        })?;
        let error = unread.into_error();
        error.iter().for_each(|error| note(&error.to_string()));
        Ok((items, error.is_none()))
    }

    fn write_index(&self, items: &mut [Item], boot: Id, stamp: Stamp) -> io::Result<Index> {
        let directory = self.data.ensure_child(INDEXES, 0o700)?;
        let unfinished = unfinished(&self.network);
        directory.remove(&unfinished)?;
        let mut write = || {
            let mut index = Index::build(
                directory.open_file(&unfinished, Access::Create)?,
                boot,
                items,
            )?;
            index.seal(stamp)?;
            directory.rename(&unfinished, self.network.as_ref())?;
            Ok(index)
        };
        write().inspect_err(|_: &io::Error| {
            let _ = directory.remove(&unfinished);
            self.remove_index_in(&directory);
        })
    }

    /// Gives the index's room on the disk back.
    pub(super) fn remove_index(&self) {
        if let Ok(directory) = self.data.open_child(INDEXES) {
            self.remove_index_in(&directory);
        }
    }

    fn remove_index_in(&self, directory: &Directory) {
        let _ = directory.remove(self.network.as_ref());
    }

    /// Asks the index, without waiting for the lock: it is at rest if neither the folder nor its header
    /// have changed meanwhile.
    ///
    /// # Errors
    /// Code 5 if there is no index and the records cannot be read, 11 if the process was asked to
    /// stop.
    pub(crate) fn look<T>(&self, ask: impl Fn(&mut Index) -> io::Result<T>) -> Result<T, Error> {
        for _ in 0..LOOKS {
            if let Some(mut kept) = self.current_index()
                && let Ok(answer) = ask(&mut kept.index)
                && self.stamp().is_some_and(|stamp| kept.index.is_of(stamp))
                && kept.index.is_unchanged()
            {
                return Ok(answer);
            }
            if let Some(_lock) = lock::take_if_free(self) {
                return ask(&mut self.new_index()?.index).map_err(|e| unusable(&e));
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        ask(&mut self.passing_index()?.index).map_err(|e| unusable(&e))
    }
}

fn in_memory(items: &mut [Item]) -> Result<Index, Error> {
    let file = memfd_create(c"host-local-index", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from);
    file.and_then(|file| Index::build(file.into(), [0; 16], items))
        .map_err(|e| unusable(&e))
}

pub(super) fn unusable(e: &io::Error) -> Error {
    Error::new(Code::IO, format!("failed to index the records: {e}"))
}
