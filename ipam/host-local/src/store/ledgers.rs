//! The ledger of one network, `.origin/<network>`: opened, written, copied into a larger one.
//!
//! It alone cannot be rebuilt from the records, so it is replaced only if its content was read and is
//! not that of a ledger. A ledger that cannot be opened stays as it is.

use super::{
    Folder, Found, Locked, failed, is_full, is_shortage,
    names::{LEDGERS, unfinished},
};
use crate::{
    directory::{Access, Directory, is_sole},
    ledger::{Identity, Ledger, Origin},
    note,
};
use cni_types::Error;
use std::{
    ffi::OsStr,
    fs::Metadata,
    io::{self, ErrorKind},
    net::IpAddr,
};

/// Where records came from, for those who only look. The ledger is opened for the first one.
#[derive(Debug)]
pub(crate) struct Origins<'a> {
    folder: &'a Folder<'a>,
    ledger: Option<Option<Ledger>>,
}

impl<'a> Origins<'a> {
    pub(super) fn new(folder: &'a Folder<'a>) -> Self {
        Self {
            folder,
            ledger: None,
        }
    }

    /// The origin of the record of this address and file. None if it is not known.
    pub(crate) fn of(&mut self, address: IpAddr, meta: &Metadata) -> Option<Origin> {
        let ledger = self.ledger.get_or_insert_with(|| self.folder.ledger());
        ledger.as_mut()?.origin(address, Identity::of(meta))
    }
}

impl Folder<'_> {
    fn ledger(&self) -> Option<Ledger> {
        let directory = self.data.open_child(LEDGERS).ok()?;
        let file = directory
            .open_file(self.network.as_ref(), Access::Read)
            .ok()?;
        Ledger::open(file).ok()?
    }
}

impl Locked<'_> {
    /// Notes again where a record that is there came from. If that fails, it is at least forgotten
    /// that it is of an earlier boot: or it would be taken from the living.
    ///
    /// # Errors
    /// Code 5 if that fails too.
    pub(crate) fn renew_origin(&self, found: &Found, origin: &Origin) -> Result<(), Error> {
        let address = found.record.address;
        let noted = self.write_origin(address, Identity::of(&found.meta), origin);
        let settled = noted.or_else(|e| self.forget_origin(address).map_err(|_| e));
        settled.map_err(|e| self.not_noted(address, &e))
    }

    /// Notes where a record came from. Without that it is as good as one of the reference, so a
    /// failure is no reason to refuse the address.
    pub(super) fn note_origin(&self, address: IpAddr, identity: Identity, origin: &Origin) {
        if let Err(e) = self.write_origin(address, identity, origin)
            && !is_shortage(&e)
            && !is_full(&e)
        {
            note(&self.not_noted(address, &e).msg);
        }
    }

    fn not_noted(&self, address: IpAddr, e: &io::Error) -> Error {
        failed(
            "note the origin of",
            &self.folder().path().join(address.to_string()),
            e,
        )
    }

    fn write_origin(&self, address: IpAddr, identity: Identity, origin: &Origin) -> io::Result<()> {
        let directory = self.folder().data.ensure_child(LEDGERS, 0o700)?;
        let mut ledger = self.open_or_create_ledger(&directory)?;
        if ledger.note(address, identity, origin)? {
            return Ok(());
        }
        let mut larger = self.copy_ledger(&directory, &mut ledger, 2)?;
        larger.note(address, identity, origin).map(drop)
    }

    fn open_or_create_ledger(&self, directory: &Directory) -> io::Result<Ledger> {
        let name = OsStr::new(&self.folder().network);
        match self.open_ledger(directory) {
            Ok(Some(ledger)) => return Ok(ledger),
            Ok(None) => directory.remove(name)?,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let created = Ledger::create(directory.open_file(name, Access::Create)?);
        created.inspect_err(|_| drop(directory.remove(name)))
    }

    /// Opens the ledger to write to it. None if its content is not that of a ledger.
    fn open_ledger(&self, directory: &Directory) -> io::Result<Option<Ledger>> {
        let file = directory.open_file(self.folder().network.as_ref(), Access::Write)?;
        let is_sole = is_sole(&file)?;
        let Some(mut ledger) = Ledger::open(file)? else {
            return Ok(None);
        };
        // What is written to it must not reach the file of another name.
        if is_sole {
            Ok(Some(ledger))
        } else {
            self.copy_ledger(directory, &mut ledger, 1).map(Some)
        }
    }

    /// Replaces the ledger by a copy with `times` as many pages, of what is still of use.
    fn copy_ledger(
        &self,
        directory: &Directory,
        ledger: &mut Ledger,
        times: u32,
    ) -> io::Result<Ledger> {
        let unfinished = unfinished(&self.folder().network);
        directory.remove(&unfinished)?;
        // What cannot be read is kept.
        let is_of_use = |address: IpAddr, identity| match self.folder().record(address) {
            Ok(found) => found.is_some_and(|found| Identity::of(&found.meta) == identity),
            Err(_) => true,
        };
        let name = OsStr::new(&self.folder().network);
        let copied = directory
            .open_file(&unfinished, Access::Create)
            .and_then(|file| ledger.copy_into(file, times, is_of_use))
            .and_then(|copy| directory.rename(&unfinished, name).map(|()| copy));
        copied.inspect_err(|_| drop(directory.remove(&unfinished)))
    }

    /// Forgets where a record came from.
    pub(super) fn forget_origin(&self, address: IpAddr) -> io::Result<()> {
        let directory = self.folder().data.open_child(LEDGERS)?;
        let ledger = self.open_ledger(&directory)?;
        ledger.ok_or(ErrorKind::InvalidData)?.forget(address)
    }
}
