//! The folder of one network under its lock: everything that changes it.

use super::{
    errno::failed,
    folder::{Folder, SearchResult, UnreadableRecords},
    index::{ContainerHash, Index, IndexedRecord},
    lock::{self, Deadline, Lock, Purpose},
    open_index::{OpenIndex, unusable},
    origins::OriginFile,
    record::{self, Owner, Record, held_by},
};
use crate::alloc::{Occupancy, Span, Spans};
use cni_types::{AttachmentId, Error};
use std::{
    cell::{Cell, RefCell},
    ffi::OsString,
    io,
    net::IpAddr,
};

/// The folder and its lock.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    folder: Folder<'a>,
    index: RefCell<Option<OpenIndex>>,
    /// True if the index on disk lacks changes of the one in use.
    is_changed: Cell<bool>,
    /// Released at the very end.
    _lock: Lock,
}

/// The records of an attachment.
#[derive(Debug)]
pub(crate) struct Held {
    /// The records that it owns.
    pub(crate) records: Vec<Record>,
    /// The records that it may own, but that cannot be read.
    pub(crate) unreadable: UnreadableRecords,
}

impl<'a> Locked<'a> {
    /// Locks the folder; `None` if it, or its lock, was deleted meanwhile.
    pub(super) fn new(
        folder: Folder<'a>,
        purpose: Purpose,
        deadline: Deadline,
    ) -> Result<Option<Self>, Error> {
        let lock = lock::take(&folder, purpose, deadline)?;
        if !lock::is_in_place(&folder, &lock) {
            deadline.check(folder.path(), folder.stop)?;
            return Ok(None);
        }
        Ok(Some(Self {
            folder,
            index: RefCell::default(),
            is_changed: Cell::default(),
            _lock: lock,
        }))
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Folder<'a> {
        &self.folder
    }

    /// The origins of the records.
    pub(crate) fn origin_file(&self) -> OriginFile<'_> {
        OriginFile::of_locked(&self.folder)
    }

    /// Queries the index, rebuilding it once if it is damaged.
    fn query<T>(&self, query: impl Fn(&mut Index) -> io::Result<T>) -> Result<T, Error> {
        let mut index = self.index.borrow_mut();
        if index.is_none() {
            *index = OpenIndex::current(&self.folder);
        }
        if let Some(open) = index.as_mut()
            && let Ok(answer) = query(&mut open.index)
        {
            return Ok(answer);
        }
        let rebuilt = index.insert(OpenIndex::build(&self.folder)?);
        self.is_changed.set(false);
        query(&mut rebuilt.index).map_err(|e| unusable(&e))
    }

    /// Rebuilds the index from the records.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn rebuild_index(&self) -> Result<(), Error> {
        self.index.take();
        *self.index.borrow_mut() = Some(OpenIndex::build(&self.folder)?);
        self.is_changed.set(false);
        Ok(())
    }

    /// Invalidates the index on disk; the next reader rebuilds it.
    pub(crate) fn invalidate_index(&self) {
        self.index.take();
        self.folder.remove_index();
    }

    /// Makes a change of the folder. The index stays in use if nobody else changed the folder
    /// before: so only a change by others, without the lock, in the microseconds that this change
    /// itself takes goes unnoticed.
    pub(super) fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let known = self.index.borrow().as_ref().and_then(|open| open.stamp);
        let Some(known) = known else { return change() };
        if OpenIndex::stamp_of(&self.folder) != Some(known) {
            self.invalidate_index();
            return change();
        }
        // Also after a failure: it may have made a name and removed it.
        let outcome = change();
        let mark = OpenIndex::mark(&self.folder);
        if mark.is_none() {
            self.folder.remove_index();
        }
        if let Some(open) = self.index.borrow_mut().as_mut() {
            open.stamp = mark;
        }
        self.is_changed.set(true);
        outcome
    }

    /// Makes a change of the index in use, if there is one.
    pub(super) fn update_index(&self, update: impl Fn(&mut Index) -> io::Result<()>) {
        let mut index = self.index.borrow_mut();
        let updated = index.as_mut().map(|open| update(&mut open.index));
        drop(index);
        self.is_changed.set(true);
        if let Some(Err(_)) = updated {
            self.invalidate_index();
        }
    }

    /// The first address of the span that is free; `None` if all are taken.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn first_free(&self, span: Span) -> Result<Option<IpAddr>, Error> {
        self.query(|index| index.first_free(span))
    }

    /// Counts the taken addresses of each list of spans, and those in all.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn count(&self, lists: &[&Spans]) -> Result<(Vec<u64>, u64), Error> {
        self.query(|index| Ok((index.count(lists)?, index.taken())))
    }

    /// Stores the hash of the ranges in the index, and returns the one that was there.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn swap_ranges_hash(&self, hash: u64) -> Result<u64, Error> {
        self.query(|index| Ok(std::mem::replace(index.ranges_hash(), hash)))
    }

    /// Finds the records that may be the attachment's: those that name it, and the old ones of its
    /// container. Compares the index with the files, and reads all of them if they differ.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn records_of(&self, attachment: AttachmentId<'_>) -> Result<SearchResult, Error> {
        let id = ContainerHash::of(attachment.container_id);
        let mut search = match self.indexed_records_of(id)? {
            Some(search) => search,
            None => self
                .folder
                .find(&|record| container_of(record) == Some(id))?,
        };
        search
            .found
            .retain(|found| found.record.owner.may_be(attachment));
        Ok(search)
    }

    /// The container's records, as the index has them; `None` if it is wrong.
    fn indexed_records_of(&self, id: ContainerHash) -> Result<Option<SearchResult>, Error> {
        if let Ok(addresses) = self.query(|index| index.addresses_of(id)) {
            let index = self.index.borrow();
            if !index.as_ref().is_some_and(|open| open.is_whole) {
                return Ok(None);
            }
            if let Some(search) = self.records_at(&addresses, id) {
                return Ok(Some(search));
            }
        }
        self.folder.stop.check()?;
        // The index is wrong, or there is no room for one: then a record matters more.
        self.invalidate_index();
        Ok(None)
    }

    /// The records of these addresses; `None` unless all that can be read are the container's.
    fn records_at(&self, addresses: &[IpAddr], container: ContainerHash) -> Option<SearchResult> {
        let mut search = SearchResult::default();
        for address in addresses {
            match self.folder.record(*address) {
                Ok(Some(found)) if container_of(&found.record) == Some(container) => {
                    search.found.push(found);
                }
                Ok(_) => return None,
                Err(error) => search.unreadable.push(error),
            }
        }
        Some(search)
    }

    /// Finds the records that the attachment owns (see [`held_by`]).
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn held_by(&self, attachment: AttachmentId<'_>) -> Result<Held, Error> {
        let SearchResult { found, unreadable } = self.records_of(attachment)?;
        let records: Vec<Record> = found.into_iter().map(|found| found.record).collect();
        let records = held_by(&records, attachment).into_iter().cloned().collect();
        Ok(Held {
            records,
            unreadable,
        })
    }

    /// Frees the address of `record`, and removes its origin.
    ///
    /// # Errors
    /// Code 5; the record is still there.
    pub(crate) fn release(&self, record: &Record) -> Result<(), Error> {
        self.free(record)?;
        // An origin that stays is of no record: the next one of this address is another file.
        let _ = self.origin_file().remove(record.address);
        Ok(())
    }

    /// Frees the address of `record`, one of many: their origins go when the origin table grows.
    ///
    /// # Errors
    /// Code 5; the record is still there.
    pub(crate) fn free(&self, record: &Record) -> Result<(), Error> {
        let path = self.folder.path().join(&record.file_name);
        let removed = self.change(|| self.folder.records.remove(&record.file_name));
        removed.map_err(|e| failed("remove record", &path, &e))?;
        if record.file_name.to_str() == Some(&record.address.to_string()) {
            let indexed = IndexedRecord {
                address: record.address,
                container: container_of(record),
            };
            self.update_index(|index| index.remove(indexed));
        } else {
            // There may be another record of the same address.
            self.invalidate_index();
        }
        Ok(())
    }

    /// Frees an address that [`Self::reserve`] reserved for `attachment`.
    ///
    /// # Errors
    /// Code 5; the record is still there.
    pub(crate) fn unreserve(
        &self,
        address: IpAddr,
        attachment: AttachmentId<'_>,
    ) -> Result<(), Error> {
        let file_name = OsString::from(address.to_string());
        let owner = Owner::parse(record::content(attachment).as_bytes());
        self.release(&Record {
            address,
            owner,
            file_name,
        })
    }

    /// Writes the changes of the index to the disk, and the stamp of the folder after everything
    /// else.
    fn seal(&mut self) {
        let Some(open) = self.index.get_mut() else {
            return;
        };
        let (Some(stamp), true) = (open.stamp, self.is_changed.get()) else {
            return;
        };
        let is_current = OpenIndex::stamp_of(&self.folder) == Some(stamp);
        if !is_current || open.index.seal(stamp).is_err() {
            self.folder.remove_index();
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.seal();
    }
}

impl Occupancy for Locked<'_> {
    fn first_free(&self, span: Span) -> Result<Option<IpAddr>, Error> {
        self.first_free(span)
    }

    fn count(&self, spans: &Spans) -> Result<u64, Error> {
        Ok(self.count(&[spans])?.0.iter().sum())
    }
}

/// The hash of the container that owns a record; `None` if that is not known.
fn container_of(record: &Record) -> Option<ContainerHash> {
    record.owner.container_id().map(ContainerHash::of)
}
