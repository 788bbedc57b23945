//! The origin table of one network, `.origin/<network>`: opened, written, copied into a larger one.
//!
//! It alone cannot be rebuilt from the records, so it is replaced only if its content was read and
//! is not that of a table. One that cannot be opened stays as it is.

use super::{
    directory::{Access, Directory, is_sole},
    errno::{failed, is_full, is_shortage},
    folder::{Folder, RecordFile},
    names::{ORIGINS, unfinished},
    origin_table::{FileIdentity, Origin, OriginTable},
};
use crate::log;
use cni_types::Error;
use std::{
    ffi::OsStr,
    fs::Metadata,
    io::{self, ErrorKind},
    net::IpAddr,
};

/// The origins of a folder's records, to read. The table is opened at the first look-up.
#[derive(Debug)]
pub(crate) struct Origins<'a> {
    folder: &'a Folder<'a>,
    table: Option<Option<OriginTable>>,
}

impl<'a> Origins<'a> {
    /// Returns the origins of the records in `folder`.
    pub(crate) fn of_folder(folder: &'a Folder<'a>) -> Self {
        Self {
            folder,
            table: None,
        }
    }

    /// Finds the origin of the record of this address and file; `None` if it is not known.
    pub(crate) fn find(&mut self, address: IpAddr, meta: &Metadata) -> Option<Origin> {
        let table = self.table.get_or_insert_with(|| open(self.folder));
        table.as_mut()?.origin(address, FileIdentity::of(meta))
    }
}

fn open(folder: &Folder<'_>) -> Option<OriginTable> {
    let directory = folder.data.open_child(ORIGINS).ok()?;
    let name = folder.network.as_ref();
    let file = directory.open_file(name, Access::Read).ok()?;
    OriginTable::open(file).ok()?
}

/// The origins of a folder's records, to write: only under the lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OriginFile<'a> {
    folder: &'a Folder<'a>,
}

impl<'a> OriginFile<'a> {
    /// Returns the origins of the records in `folder`, whose lock the caller holds.
    pub(super) fn of_locked(folder: &'a Folder<'a>) -> Self {
        Self { folder }
    }

    /// Replaces the origin of an existing record. If that fails, it at least removes the old one,
    /// which is of an earlier boot: the address would be reclaimed from a living attachment.
    ///
    /// # Errors
    /// Code 5 if that fails too.
    pub(crate) fn renew(self, file: &RecordFile, origin: &Origin) -> Result<(), Error> {
        let address = file.record.address;
        let written = self.write(address, FileIdentity::of(&file.meta), origin);
        let settled = written.or_else(|e| self.remove(address).map_err(|_| e));
        settled.map_err(|e| self.not_written(address, &e))
    }

    /// Adds the origin of a record. Without it, the record is as good as one of the reference, so a
    /// failure is no reason to refuse the address.
    pub(super) fn insert(self, address: IpAddr, identity: FileIdentity, origin: &Origin) {
        if let Err(e) = self.write(address, identity, origin)
            && !is_shortage(&e)
            && !is_full(&e)
        {
            log::warn(self.not_written(address, &e).msg);
        }
    }

    /// Removes the origin of the record of an address.
    ///
    /// # Errors
    /// Fails if the table cannot be opened or written.
    pub(super) fn remove(self, address: IpAddr) -> io::Result<()> {
        let directory = self.folder.data.open_child(ORIGINS)?;
        let table = self.open(&directory)?;
        table.ok_or(ErrorKind::InvalidData)?.remove(address)
    }

    fn not_written(self, address: IpAddr, e: &io::Error) -> Error {
        let path = self.folder.path().join(address.to_string());
        failed("note the origin of", &path, e)
    }

    fn write(self, address: IpAddr, identity: FileIdentity, origin: &Origin) -> io::Result<()> {
        let directory = self.folder.data.ensure_child(ORIGINS, 0o700)?;
        let mut table = self.open_or_create(&directory)?;
        if table.insert(address, identity, origin)? {
            return Ok(());
        }
        let mut larger = self.copy(&directory, &mut table, 2)?;
        larger.insert(address, identity, origin).map(drop)
    }

    fn open_or_create(self, directory: &Directory) -> io::Result<OriginTable> {
        let name = OsStr::new(&self.folder.network);
        match self.open(directory) {
            Ok(Some(table)) => return Ok(table),
            Ok(None) => directory.remove(name)?,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        let created = OriginTable::create(directory.open_file(name, Access::Create)?);
        created.inspect_err(|_| drop(directory.remove(name)))
    }

    /// Opens the table to write to it; `None` if its content is not that of a table.
    fn open(self, directory: &Directory) -> io::Result<Option<OriginTable>> {
        let file = directory.open_file(self.folder.network.as_ref(), Access::Write)?;
        let is_sole = is_sole(&file)?;
        let Some(mut table) = OriginTable::open(file)? else {
            return Ok(None);
        };
        // Another name of the file must not change with it.
        if is_sole {
            Ok(Some(table))
        } else {
            self.copy(directory, &mut table, 1).map(Some)
        }
    }

    /// Replaces the table by a copy with `times` as many pages, of the entries that are still of
    /// use.
    fn copy(
        self,
        directory: &Directory,
        table: &mut OriginTable,
        times: u32,
    ) -> io::Result<OriginTable> {
        let unfinished = unfinished(&self.folder.network);
        directory.remove(&unfinished)?;
        // The origin of a record that cannot be read is kept.
        let is_of_use = |address: IpAddr, identity| match self.folder.record(address) {
            Ok(file) => file.is_some_and(|file| FileIdentity::of(&file.meta) == identity),
            Err(_) => true,
        };
        let name = OsStr::new(&self.folder.network);
        let copied = directory
            .open_file(&unfinished, Access::Create)
            .and_then(|file| table.copy_into(file, times, is_of_use))
            .and_then(|copy| directory.rename(&unfinished, name).map(|()| copy));
        copied.inspect_err(|_| drop(directory.remove(&unfinished)))
    }
}
