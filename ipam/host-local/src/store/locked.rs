//! The folder of one network under its lock: all that is written.

use super::{
    Folder, Found, LEDGERS,
    derived::{Kept, unusable},
    failed, is_shortage,
    last_reserved::LastReserved,
    lock::{self, Patience},
};
use crate::{
    directory::{Access, Directory},
    index::{Container, Index, Item, container},
    ledger::{Identity, Ledger, Origin},
    note,
    record::{Holder, Owner, Record, held_by},
    span::Span,
};
use cni_types::{Error, Stop};
use std::{
    cell::{Cell, RefCell},
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, ErrorKind, Write},
    net::IpAddr,
};

/// The folder and its lock.
#[derive(Debug)]
pub(crate) struct Locked {
    folder: Folder,
    kept: RefCell<Option<Kept>>,
    /// Whether the folder was changed, so that the index on disk needs a new stamp.
    is_changed: Cell<bool>,
    /// Released at the very end.
    _lock: Option<File>,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// The record is there.
    Done,
    /// Somebody else's is.
    Taken,
}

impl Locked {
    /// Locks the folder; nothing where it, or its lock, was deleted meanwhile.
    pub(super) fn new(folder: Folder, stop: &Stop, patience: Patience) -> Result<Option<Self>, Error> {
        let lock = lock::take(&folder.records, stop, patience)?;
        if !lock::is_in_place(&folder, lock.as_ref()) {
            patience.check(folder.path(), stop)?;
            return Ok(None);
        }
        Ok(Some(Self { folder, kept: RefCell::default(), is_changed: Cell::default(), _lock: lock }))
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Asks the index; once more after it was made anew, if it is damaged.
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

    /// Makes the index anew from the records.
    ///
    /// # Errors
    /// Code 5 where the records cannot be read.
    pub(crate) fn refresh(&self) -> Result<(), Error> {
        self.kept.take();
        *self.kept.borrow_mut() = Some(self.folder.new_index()?);
        self.is_changed.set(false);
        Ok(())
    }

    /// Lets the index on disk go stale: the next one who needs it makes it anew.
    fn distrust(&self) {
        self.kept.take();
        self.folder.remove_index();
    }

    /// Tells the index of a change of the folder.
    fn tell(&self, change: impl Fn(&mut Index) -> io::Result<()>) {
        let told = self.kept.borrow_mut().as_mut().map(|kept| change(&mut kept.index));
        self.is_changed.set(true);
        if let Some(Err(_)) = told {
            self.distrust();
        }
    }

    /// The first address of the span that is free.
    ///
    /// # Errors
    /// Code 5 where the records cannot be read.
    pub(crate) fn first_free(&self, span: Span) -> Result<Option<IpAddr>, Error> {
        self.index(|index| index.first_free(span))
    }

    /// For each list of spans how many of their addresses are taken; and how many are in all.
    ///
    /// # Errors
    /// Code 5 where the records cannot be read.
    pub(crate) fn count(&self, lists: &[&[Span]]) -> Result<(Vec<u64>, u64), Error> {
        self.index(|index| Ok((index.count(lists)?, index.taken())))
    }

    /// Whether `number` is kept in the index; from now on it is.
    ///
    /// # Errors
    /// Code 5 where the records cannot be read.
    pub(crate) fn keep_number(&self, number: u64) -> Result<bool, Error> {
        let old = self.index(|index| Ok(std::mem::replace(index.note(), number)))?;
        Ok(old == number)
    }

    /// The records that may be the holder's: those that name it, and the old ones of its container. What the index
    /// says is compared with the files; where they differ, all of them are read.
    ///
    /// # Errors
    /// Code 5 where the records cannot be read.
    pub(crate) fn records_of(&self, holder: &Holder) -> Result<Vec<Found>, Error> {
        let id = container(holder.container_id());
        // Where there is no room for an index, all records are read too.
        let addresses = self.index(|index| index.addresses_of(id)).ok();
        let found = match addresses.map(|addresses| self.records_at(&addresses, id)).transpose()?.flatten() {
            Some(found) => found,
            None => {
                self.distrust();
                self.folder.find(&|record| container_of(record) == Some(id))?
            }
        };
        Ok(found.into_iter().filter(|found| found.record.owner.may_be(holder)).collect())
    }

    /// The records of these addresses, if all of them are the container's.
    fn records_at(&self, addresses: &[IpAddr], container: Container) -> Result<Option<Vec<Found>>, Error> {
        let mut all = Vec::with_capacity(addresses.len());
        for address in addresses {
            match self.folder.record(*address)? {
                Some(found) if container_of(&found.record) == Some(container) => all.push(found),
                _ => return Ok(None),
            }
        }
        Ok(Some(all))
    }

    /// The records that the holder owns (see [`held_by`]).
    ///
    /// # Errors
    /// Code 5 where the records cannot be read.
    pub(crate) fn held_by(&self, holder: &Holder) -> Result<Vec<Record>, Error> {
        let records: Vec<Record> = self.records_of(holder)?.into_iter().map(|found| found.record).collect();
        Ok(held_by(&records, holder).into_iter().cloned().collect())
    }

    /// Records that `holder` owns `address`, unless there is a record of it.
    ///
    /// A record appears whole or not at all, whenever the process dies: it is written to a file beside the folder and
    /// hard-linked to its name, which fails where the name exists. It is that very file that is linked, and not what its
    /// name leads to: others may have removed the lock, and then make one of the same name. That file is made and removed under the lock, so at
    /// most one of them is ever left behind, and the next writer removes it. Nothing is synced: after a power cut the
    /// pods are gone too, and a record that it left without content belongs to nobody.
    ///
    /// # Errors
    /// Code 5. Then nothing is left.
    pub(crate) fn reserve(
        &self,
        address: IpAddr,
        holder: &Holder,
        origin: Option<&Origin>,
    ) -> Result<Reserved, Error> {
        let name = OsString::from(address.to_string());
        let mut linked = self.link(address, &name, holder, origin);
        if linked.as_ref().is_err_and(is_full) {
            // The record matters more than what can be made again from it.
            self.distrust();
            linked = self.link(address, &name, holder, None);
        }
        // What cannot be removed now is removed by the next writer.
        let _ = self.remove_staged();
        let item = Item { address, container: Some(container(holder.container_id())) };
        match linked {
            Ok(()) => self.tell(|index| index.insert(item)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                self.learn_taken(address)?;
                return Ok(Reserved::Taken);
            }
            Err(e) => return Err(failed("write record", &self.folder.path().join(&name), &e)),
        }
        Ok(Reserved::Done)
    }

    /// Lets the index learn that an address is taken which it took for free. A record with an owner there says that
    /// somebody writes without the lock, and there may be more: then the index is made anew.
    fn learn_taken(&self, address: IpAddr) -> Result<(), Error> {
        let found = self.folder.record(address)?;
        if found.is_some_and(|found| !found.record.is_nobodys()) {
            self.distrust();
        } else {
            self.tell(|index| index.set_taken(address));
        }
        Ok(())
    }

    fn link(
        &self,
        address: IpAddr,
        name: &OsStr,
        holder: &Holder,
        origin: Option<&Origin>,
    ) -> io::Result<()> {
        let mut file = self.stage()?;
        file.write_all(holder.content().as_bytes())?;
        if self.folder.records.stat(name).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if let Some(origin) = origin {
            self.note_origin(address, Identity::of(&file.metadata()?), origin);
        }
        self.folder.data.link(&self.staging(), &file, &self.folder.records, name)
    }

    fn staging(&self) -> OsString {
        format!(".{}.new", self.folder.network).into()
    }

    /// A new file to write a record to. One that a killed writer left may be linked to a live record, so it is
    /// removed and never written to.
    fn stage(&self) -> io::Result<File> {
        let create = || self.folder.data.open_file(&self.staging(), Access::Create);
        match create() {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                self.remove_staged()?;
                create()
            }
            opened => opened,
        }
    }

    /// Removes what a killed writer may have left.
    pub(crate) fn remove_staged(&self) -> io::Result<()> {
        self.folder.data.remove(&self.staging())
    }

    /// Frees the address of `record`.
    ///
    /// # Errors
    /// Code 5; the record is still there.
    pub(crate) fn release(&self, record: &Record) -> Result<(), Error> {
        let path = self.folder.path().join(&record.file_name);
        self.folder.records.remove(&record.file_name).map_err(|e| failed("remove record", &path, &e))?;
        // What stays is of no record: the next one of this address is another file.
        let _ = self.forget_origin(record.address);
        if record.file_name.to_str() == Some(&record.address.to_string()) {
            let item = Item { address: record.address, container: container_of(record) };
            self.tell(|index| index.remove(item));
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
        self.release(&Record { address, owner, file_name })
    }

    /// Notes anew where a record that is there came from. Where that cannot be written it is at least forgotten that it
    /// is of an earlier boot, if need be with all that is known of others: or it would be taken from the living.
    ///
    /// # Errors
    /// Code 5 where that fails too.
    pub(crate) fn renew_origin(&self, found: &Found, origin: &Origin) -> Result<(), Error> {
        let address = found.record.address;
        let noted = self.write_origin(address, Identity::of(&found.meta), origin);
        let settled =
            noted.or_else(|e| self.forget_origin(address).or_else(|_| self.remove_ledger()).map_err(|_| e));
        settled.map_err(|e| failed("note the origin of", &self.folder.path().join(address.to_string()), &e))
    }

    /// Without it the record is as good as one of the reference: so a failure is no reason to refuse the address.
    fn note_origin(&self, address: IpAddr, identity: Identity, origin: &Origin) {
        if let Err(e) = self.write_origin(address, identity, origin)
            && !is_shortage(&e)
            && !is_full(&e)
        {
            note(&failed("note the origin of", &self.folder.path().join(address.to_string()), &e).msg);
        }
    }

    fn write_origin(&self, address: IpAddr, identity: Identity, origin: &Origin) -> io::Result<()> {
        let (directory, mut ledger) = self.open_ledger()?;
        if ledger.note(address, identity, origin)? {
            return Ok(());
        }
        let mut larger = self.grow(&directory, &mut ledger)?;
        larger.note(address, identity, origin).map(drop)
    }

    fn open_ledger(&self) -> io::Result<(Directory, Ledger)> {
        let directory = self.folder.data.ensure_child(LEDGERS, 0o700)?;
        let name = OsStr::new(&self.folder.network);
        if let Some(ledger) = directory.open_file(name, Access::Write).ok().and_then(Ledger::open) {
            return Ok((directory, ledger));
        }
        let _ = directory.remove(name);
        let created = Ledger::create(directory.open_file(name, Access::Create)?);
        let ledger = created.inspect_err(|_| drop(directory.remove(name)))?;
        Ok((directory, ledger))
    }

    fn grow(&self, directory: &Directory, ledger: &mut Ledger) -> io::Result<Ledger> {
        let unfinished = OsString::from(format!(".{}", self.folder.network));
        directory.remove(&unfinished)?;
        // What cannot be told is kept.
        let is_of_use = |address: IpAddr, identity| match self.folder.record(address) {
            Ok(found) => found.is_some_and(|found| Identity::of(&found.meta) == identity),
            Err(_) => true,
        };
        let grown = directory
            .open_file(&unfinished, Access::Create)
            .and_then(|file| ledger.grow_into(file, is_of_use))
            .and_then(|larger| directory.rename(&unfinished, self.folder.network.as_ref()).map(|()| larger));
        grown.inspect_err(|_| drop(directory.remove(&unfinished)))
    }

    fn forget_origin(&self, address: IpAddr) -> io::Result<()> {
        let directory = self.folder.data.open_child(LEDGERS)?;
        let file = directory.open_file(self.folder.network.as_ref(), Access::Write)?;
        Ledger::open(file).ok_or(ErrorKind::InvalidData)?.forget(address)
    }

    fn remove_ledger(&self) -> io::Result<()> {
        self.folder.data.open_child(LEDGERS)?.remove(self.folder.network.as_ref())
    }

    /// The last address that was reserved from the range set with this index.
    pub(crate) fn last_reserved(&self, set: usize) -> LastReserved<'_> {
        LastReserved::read(&self.folder.records, set)
    }

    /// Gives the index on disk the folder's new stamp, after everything else.
    fn seal(&mut self) {
        let Some(kept) = self.kept.get_mut().as_mut().filter(|kept| kept.is_on_disk) else { return };
        let stamp = if self.is_changed.get() { self.folder.mark() } else { None };
        let sealed = stamp.map(|stamp| kept.index.seal(stamp));
        if let Some(Err(_)) = sealed {
            self.folder.remove_index();
        }
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.seal();
    }
}

/// The hash of the container that owns a record.
fn container_of(record: &Record) -> Option<Container> {
    match &record.owner {
        Owner::Attachment { container_id: id, .. } | Owner::Container(id) => Some(container(id)),
        Owner::Nobody | Owner::Unknown => None,
    }
}

/// Whether the error says that the disk, or the user's share of it, is full.
fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
