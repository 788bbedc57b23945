//! Keeps the index beside the records: uses the one on disk while it tells the truth, makes a new one where it
//! does not, and does without a file where none can be written.

use super::{Folder, lock};
use crate::{
    directory::{Access, Directory},
    index::{Index, Item, Stamp, container},
    record::Owner,
};
use cni_types::{Code, Error};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::{
    ffi::OsString,
    io,
    time::{Duration, SystemTime},
};

/// Where the indexes are, in the data directory.
const INDEXES: &str = ".index";

/// More than the time for which a file system's clock can stand still (10 ms at 100 ticks a second).
const TICK: Duration = Duration::from_millis(20);

/// How much of a time the file system may drop.
const PRECISION: Duration = Duration::from_millis(1);

/// How often somebody who only looks tries to find the index at rest.
const LOOKS: u32 = 5;

/// An index, and whether it lies on disk.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) index: Index,
    pub(super) is_on_disk: bool,
}

impl Folder {
    /// The index on disk, if it tells of the folder as it is now.
    pub(super) fn current_index(&self) -> Option<Kept> {
        let directory = self.data.open_child(INDEXES).ok()?;
        let name = self.network.as_ref();
        let file =
            directory.open_file(name, Access::Write).or_else(|_| directory.open_file(name, Access::Read));
        let index = Index::open(file.ok()?, self.boot?)?;
        (index.is_of(self.stamp()?) && !index.is_full()).then_some(Kept { index, is_on_disk: true })
    }

    fn stamp(&self) -> Option<Stamp> {
        self.records.metadata().ok().map(|meta| Stamp::of(&meta))
    }

    /// Marks the folder, so that every later change of it shows. Only under the lock. Nothing where that is not allowed,
    /// or the file system's times are too coarse for it.
    pub(super) fn mark(&self) -> Option<Stamp> {
        let mark = SystemTime::now().checked_sub(TICK)?;
        self.records.set_modified(mark).ok()?;
        let meta = self.records.metadata().ok()?;
        let lost = mark.duration_since(meta.modified().ok()?).ok()?;
        (lost < PRECISION).then(|| Stamp::of(&meta))
    }

    /// Makes an index from the records, on disk if possible. Only under the lock.
    pub(super) fn new_index(&self) -> Result<Kept, Error> {
        // Before the records are read: a change in between shows.
        let stamp = self.mark().zip(self.boot);
        let mut items = self.items()?;
        if let Some((stamp, boot)) = stamp
            && let Ok(index) = self.write_index(&mut items, boot, stamp)
        {
            return Ok(Kept { index, is_on_disk: true });
        }
        Ok(Kept { index: in_memory(&mut items)?, is_on_disk: false })
    }

    /// Makes an index from the records that is not kept.
    pub(super) fn passing_index(&self) -> Result<Kept, Error> {
        Ok(Kept { index: in_memory(&mut self.items()?)?, is_on_disk: false })
    }

    fn items(&self) -> Result<Vec<Item>, Error> {
        let count = self.records.entries().map_or(0, Iterator::count);
        let mut items = Vec::with_capacity(count);
        self.scan(&mut |record, _| {
            let container = match &record.owner {
                Owner::Attachment { container_id: id, .. } | Owner::Container(id) => Some(container(id)),
                Owner::Unknown => None,
                Owner::Nobody => return,
            };
            items.push(Item { address: record.address, container });
        })?;
        Ok(items)
    }

    fn write_index(&self, items: &mut [Item], boot: crate::system::Id, stamp: Stamp) -> io::Result<Index> {
        let directory = self.data.ensure_child(INDEXES, 0o700)?;
        let unfinished = OsString::from(format!(".{}", self.network));
        directory.remove(&unfinished)?;
        let mut write = || {
            let mut index = Index::build(directory.open_file(&unfinished, Access::Create)?, boot, items)?;
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

    /// Asks the index, without waiting for the lock: it is at rest where neither the folder nor its header have
    /// changed meanwhile.
    ///
    /// # Errors
    /// Code 5 where there is no index and the records cannot be read.
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
    file.and_then(|file| Index::build(file.into(), [0; 16], items)).map_err(|e| unusable(&e))
}

pub(super) fn unusable(e: &io::Error) -> Error {
    Error::new(Code::IO, format!("failed to index the records: {e}"))
}
