//! The folder of one network under its lock: all that is changed.

use super::{
    Folder, Search, Unread,
    derived::{Kept, unusable},
    failed,
    last_reserved::LastReserved,
    lock::{self, Lock, Patience, Purpose},
};
use crate::{
    index::{Container, Index, Item, container},
    record::{Holder, Owner, Record, held_by},
    span::{Span, Spans},
};
use cni_types::Error;
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
    kept: RefCell<Option<Kept>>,
    /// True if the index on disk lacks what the one in use knows.
    is_changed: Cell<bool>,
    /// Released at the very end.
    _lock: Lock,
}

/// What an attachment holds.
#[derive(Debug)]
pub(crate) struct Held {
    /// Its records.
    pub(crate) records: Vec<Record>,
    /// The records that may be its, but cannot be read.
    pub(crate) unread: Unread,
}

impl<'a> Locked<'a> {
    /// Locks the folder. None if it, or its lock, was deleted meanwhile.
    pub(super) fn new(
        folder: Folder<'a>,
        purpose: Purpose,
        patience: Patience,
    ) -> Result<Option<Self>, Error> {
        let lock = lock::take(&folder, purpose, patience)?;
        if !lock::is_in_place(&folder, &lock) {
            patience.check(folder.path(), folder.stop)?;
            return Ok(None);
        }
        let (kept, is_changed) = (RefCell::default(), Cell::default());
        Ok(Some(Self {
            folder,
            kept,
            is_changed,
            _lock: lock,
        }))
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Folder<'a> {
        &self.folder
    }

    /// Asks the index; once more after it was rebuilt, if it is damaged.
    fn index<T>(&self, ask: impl Fn(&mut Index) -> io::Result<T>) -> Result<T, Error> {
        let mut kept = self.kept.borrow_mut();
        if kept.is_none() {
            *kept = self.folder.current_index();
        }
        if let Some(kept) = kept.as_mut()
            && let Ok(answer) = ask(&mut kept.index)
        {
            return Ok(answer);
        }
        let renewed = kept.insert(self.folder.new_index()?);
        self.is_changed.set(false);
        ask(&mut renewed.index).map_err(|e| unusable(&e))
    }

    /// Rebuilds the index from the records.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn refresh(&self) -> Result<(), Error> {
        self.kept.take();
        *self.kept.borrow_mut() = Some(self.folder.new_index()?);
        self.is_changed.set(false);
        Ok(())
    }

    /// Lets the index on disk go stale: the next one who needs it rebuilds it.
    pub(crate) fn distrust(&self) {
        self.kept.take();
        self.folder.remove_index();
    }

    /// Makes a change of the folder. The index stays in use if nobody else changed the folder before:
    /// so only what others do, without the lock, in the microseconds that the change itself takes
    /// goes unnoticed.
    pub(super) fn change<T>(&self, change: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let known = self.kept.borrow().as_ref().and_then(|kept| kept.stamp);
        let Some(known) = known else { return change() };
        if self.folder.stamp() != Some(known) {
            self.distrust();
            return change();
        }
        // Also after a failure: it may have made a name and removed it.
        let outcome = change();
        match (self.folder.mark(), self.kept.borrow_mut().as_mut()) {
            (Some(mark), Some(kept)) => kept.stamp = Some(mark),
            (_, Some(kept)) => {
                kept.stamp = None;
                self.folder.remove_index();
            }
            (_, None) => {}
        }
        self.is_changed.set(true);
        outcome
    }

    /// Makes a change of the index.
    pub(super) fn update_index(&self, update: impl Fn(&mut Index) -> io::Result<()>) {
        let updated = self
            .kept
            .borrow_mut()
            .as_mut()
            .map(|kept| update(&mut kept.index));
        self.is_changed.set(true);
        if let Some(Err(_)) = updated {
            self.distrust();
        }
    }

    /// The first address of the span that is free.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn first_free(&self, span: Span) -> Result<Option<IpAddr>, Error> {
        self.index(|index| index.first_free(span))
    }

    /// For each list of spans how many of their addresses are taken; and how many are in all.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn count(&self, lists: &[&Spans]) -> Result<(Vec<u64>, u64), Error> {
        self.index(|index| Ok((index.count(lists)?, index.taken())))
    }

    /// Returns true if `number` is kept in the index; from now on it is.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn keep_number(&self, number: u64) -> Result<bool, Error> {
        let old = self.index(|index| Ok(std::mem::replace(index.note(), number)))?;
        Ok(old == number)
    }

    /// The records that may be the holder's: those that name it, and the old ones of its container.
    /// What the index says is compared with the files; if they differ, all of them are read.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn records_of(&self, holder: &Holder) -> Result<Search, Error> {
        let id = container(holder.container_id());
        let mut search = match self.indexed_records_of(id)? {
            Some(search) => search,
            None => self
                .folder
                .find(&|record| container_of(record) == Some(id))?,
        };
        search
            .found
            .retain(|found| found.record.owner.may_be(holder));
        Ok(search)
    }

    /// The container's records, as the index has them. None if it cannot be relied on.
    fn indexed_records_of(&self, id: Container) -> Result<Option<Search>, Error> {
        if let Ok(addresses) = self.index(|index| index.addresses_of(id)) {
            let is_whole = self
                .kept
                .borrow()
                .as_ref()
                .is_some_and(|kept| kept.is_whole);
            if !is_whole {
                return Ok(None);
            }
            if let Some(search) = self.records_at(&addresses, id) {
                return Ok(Some(search));
            }
        }
        self.folder.stop.check()?;
        // It is wrong, or there is no room for one: then a record matters more.
        self.distrust();
        Ok(None)
    }

    /// The records of these addresses. None unless all that can be read are the container's.
    fn records_at(&self, addresses: &[IpAddr], container: Container) -> Option<Search> {
        let mut search = Search::default();
        for address in addresses {
            match self.folder.record(*address) {
                Ok(Some(found)) if container_of(&found.record) == Some(container) => {
                    search.found.push(found);
                }
                Ok(_) => return None,
                Err(error) => search.unread.push(error),
            }
        }
        Some(search)
    }

    /// The records that the holder owns (see [`held_by`]).
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 11 if the process was asked to stop.
    pub(crate) fn held_by(&self, holder: &Holder) -> Result<Held, Error> {
        let Search { found, unread } = self.records_of(holder)?;
        let records: Vec<Record> = found.into_iter().map(|found| found.record).collect();
        let records = held_by(&records, holder).into_iter().cloned().collect();
        Ok(Held { records, unread })
    }

    /// Frees the address of `record`, and forgets where it came from.
    ///
    /// # Errors
    /// Code 5; the record is still there.
    pub(crate) fn release(&self, record: &Record) -> Result<(), Error> {
        self.free(record)?;
        // What stays is of no record: the next one of this address is another file.
        let _ = self.forget_origin(record.address);
        Ok(())
    }

    /// Frees the address of `record`, one of many: the ledger forgets them when it next grows.
    ///
    /// # Errors
    /// Code 5; the record is still there.
    pub(crate) fn free(&self, record: &Record) -> Result<(), Error> {
        let path = self.folder.path().join(&record.file_name);
        let removed = self.change(|| self.folder.records.remove(&record.file_name));
        removed.map_err(|e| failed("remove record", &path, &e))?;
        if record.file_name.to_str() == Some(&record.address.to_string()) {
            let item = Item {
                address: record.address,
                container: container_of(record),
            };
            self.update_index(|index| index.remove(item));
        } else {
            // There may be another record of the same address.
            self.distrust();
        }
        Ok(())
    }

    /// Frees an address that [`Self::reserve`] reserved for `holder`.
    ///
    /// # Errors
    /// Code 5; the record is still there.
    pub(crate) fn unreserve(&self, address: IpAddr, holder: &Holder) -> Result<(), Error> {
        let file_name = OsString::from(address.to_string());
        let owner = Owner::parse(holder.content().as_bytes());
        self.release(&Record {
            address,
            owner,
            file_name,
        })
    }

    /// The last address that was reserved from the range set with this index.
    pub(crate) fn last_reserved(&'a self, set: usize) -> LastReserved<'a> {
        LastReserved::read(self, set)
    }

    /// Writes to the index on disk what the one in use knows, and the stamp of the folder, after
    /// everything else.
    fn seal(&mut self) {
        let Some(kept) = self.kept.get_mut() else {
            return;
        };
        let (Some(stamp), true) = (kept.stamp, self.is_changed.get()) else {
            return;
        };
        if self.folder.stamp() != Some(stamp) || kept.index.seal(stamp).is_err() {
            self.folder.remove_index();
        }
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.seal();
    }
}

/// The hash of the container that owns a record.
fn container_of(record: &Record) -> Option<Container> {
    match &record.owner {
        Owner::Attachment {
            container_id: id, ..
        }
        | Owner::Container(id) => Some(container(id)),
        Owner::Nobody | Owner::Unknown => None,
    }
}
