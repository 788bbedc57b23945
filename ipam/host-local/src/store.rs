//! The data directory: `<dataDir>/<network>/<address>`, one record per file, beside `last_reserved_ip.<n>` and `lock`.
//! It knows nothing of ranges.
//!
//! Those files are the truth, and shared with the reference. What else we keep lies outside the network's folder, since
//! the reference takes every file in there for a record; no network's name begins with a dot, so the names are free:
//!
//! - `.<network>.new`: a record in the making (see [`Locked::reserve`]);
//! - `.index/<network>`: what the records say, arranged for the search (see [`crate::index`]);
//! - `.origin/<network>`: which boot a record is of (see [`crate::ledger`]).
//!
//! Any of them can be deleted at any time.

mod derived;
mod last_reserved;
mod lock;
mod locked;

use lock::Patience;
pub(crate) use locked::{Locked, Reserved};

use crate::{
    directory::{Access, Directory},
    ledger::{Identity, Ledger, Origin},
    note,
    record::{Owner, Record},
    system::{Id, SystemPaths},
};
use cni_types::{Code, Error, NetworkName, Stop};
use nix::errno::Errno;
use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    io::{self, ErrorKind, Read},
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The most that is read of a record, in bytes; an id and an interface's name are far shorter.
const MAX_RECORD: usize = 4096;

/// Where the ledgers are, in the data directory.
const LEDGERS: &str = ".origin";

/// Where one network's records are, or would be.
#[derive(Debug)]
pub(crate) struct Store {
    data_dir: PathBuf,
    network: String,
    boot: Option<Id>,
}

/// The folder of one network, open, without its lock: for those who only look.
#[derive(Debug)]
pub(crate) struct Folder {
    data: Directory,
    records: Directory,
    network: String,
    boot: Option<Id>,
}

/// A record and its file.
#[derive(Debug)]
pub(crate) struct Found {
    /// The record.
    pub(crate) record: Record,
    /// The file's metadata.
    pub(crate) meta: Metadata,
}

impl Store {
    /// The folder of `network` in `data_dir`. Touches nothing.
    pub(crate) fn new(data_dir: &Path, network: &NetworkName, system: &SystemPaths) -> Self {
        // Without a slash or a dot at the end, which would make the kernel follow a link.
        Self {
            data_dir: data_dir.components().collect(),
            network: network.to_string(),
            boot: system.boot_id(),
        }
    }

    /// Opens the folder; nothing where there is none.
    ///
    /// # Errors
    /// Code 5, also where the directory or the folder is a symbolic link.
    pub(crate) fn open(&self) -> Result<Option<Folder>, Error> {
        let data = match Directory::open(&self.data_dir) {
            Ok(data) => data,
            Err(e) if is_absence(&e) => return not_a_link(&self.data_dir).map(|()| None),
            Err(e) => return Err(failed("open data directory", &self.data_dir, &e)),
        };
        let path = self.data_dir.join(&self.network);
        match data.open_child(&self.network) {
            Ok(records) => Ok(Some(self.folder(data, records))),
            Err(e) if is_absence(&e) => not_a_link(&path).map(|()| None),
            Err(e) => Err(failed("open data directory", &path, &e)),
        }
    }

    fn folder(&self, data: Directory, records: Directory) -> Folder {
        Folder { data, records, network: self.network.clone(), boot: self.boot }
    }

    fn create(&self) -> Result<Folder, Error> {
        let path = self.data_dir.join(&self.network);
        let create = || {
            let data = Directory::ensure(&self.data_dir)?;
            let records = data.ensure_child(&self.network, 0o755)?;
            Ok(self.folder(data, records))
        };
        create().map_err(|e: io::Error| failed("create data directory", &path, &e))
    }

    /// Takes the lock; makes the folder where it is missing.
    ///
    /// # Errors
    /// Code 5, or 11 where the lock cannot be had in time.
    pub(crate) fn create_and_lock(&self, stop: &Stop, patience: Duration) -> Result<Locked, Error> {
        let patience = Patience::new(patience);
        loop {
            let folder = match self.open()? {
                Some(folder) => folder,
                None => self.create()?,
            };
            if let Some(locked) = Locked::new(folder, stop, patience)? {
                return Ok(locked);
            }
        }
    }

    /// Takes the lock; nothing where there is no folder.
    ///
    /// # Errors
    /// Code 5, or 11 where the lock cannot be had in time.
    pub(crate) fn lock(&self, stop: &Stop, patience: Duration) -> Result<Option<Locked>, Error> {
        let patience = Patience::new(patience);
        while let Some(folder) = self.open()? {
            if let Some(locked) = Locked::new(folder, stop, patience)? {
                return Ok(Some(locked));
            }
        }
        Ok(None)
    }

    /// Whether records can be written, as far as that can be told without writing.
    ///
    /// # Errors
    /// Code 50, naming what is in the way.
    pub(crate) fn require_usable(&self) -> Result<(), Error> {
        let folder = self.data_dir.join(&self.network);
        let unusable = |path: &Path, why: &dyn std::fmt::Display| {
            let (folder, path) = (folder.display(), path.display());
            Error::new(Code::UNAVAILABLE, format!("data directory {folder} cannot be used: {path}: {why}"))
        };
        for path in folder.ancestors() {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            let is_ours = path == folder || path == self.data_dir;
            match std::fs::symlink_metadata(path) {
                Ok(meta) if meta.is_symlink() && is_ours => return Err(unusable(path, &"a symbolic link")),
                // A link above the data directory is followed, as everywhere.
                Ok(_) if !path.is_dir() => return Err(unusable(path, &"not a directory")),
                Ok(_) => {
                    let directory = path.canonicalize().and_then(|path| Directory::open(&path));
                    let writable = directory.and_then(|directory| directory.require_writable());
                    return writable.map_err(|e| unusable(path, &e));
                }
                Err(e) if is_absence(&e) => {}
                Err(e) => return Err(unusable(path, &e)),
            }
        }
        Ok(())
    }
}

impl Folder {
    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.records.path()
    }

    /// Visits every record. A name that is no address is no record, and neither is what is not a plain file.
    ///
    /// # Errors
    /// Code 5 where the folder cannot be read.
    pub(crate) fn scan(&self, visit: &mut dyn FnMut(Record, &File)) -> Result<(), Error> {
        let unreadable = |e| failed("read data directory", self.path(), &e);
        let mut buffer = [0; MAX_RECORD];
        for entry in self.records.entries().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let Some(address) = address_in(&entry.name) else { continue };
            if entry.is_file == Some(false) {
                continue;
            }
            if let Some((owner, file)) = self.read_owner(&entry.name, entry.is_file, &mut buffer)? {
                visit(Record { address, owner, file_name: entry.name }, &file);
            }
        }
        Ok(())
    }

    /// The record of `address`, if it has its usual name.
    ///
    /// # Errors
    /// Code 5 where the process cannot open files.
    pub(crate) fn record(&self, address: IpAddr) -> Result<Option<Found>, Error> {
        let file_name = OsString::from(address.to_string());
        let Some((owner, file)) = self.read_owner(&file_name, None, &mut [0; MAX_RECORD])? else {
            return Ok(None);
        };
        let meta = file.metadata().map_err(|e| failed("read record", &self.path().join(&file_name), &e))?;
        Ok(Some(Found { record: Record { address, owner, file_name }, meta }))
    }

    /// The records that match, by looking at all.
    ///
    /// # Errors
    /// Code 5 where the folder cannot be read.
    pub(crate) fn find(&self, matches: &dyn Fn(&Record) -> bool) -> Result<Vec<Found>, Error> {
        let mut found = Vec::new();
        self.scan(&mut |record, file| {
            if let (true, Ok(meta)) = (matches(&record), file.metadata()) {
                found.push(Found { record, meta });
            }
        })?;
        Ok(found)
    }

    /// Opens the record of this name and reads its owner; nothing where it is no plain file, or has just vanished.
    fn read_owner(
        &self,
        name: &OsStr,
        is_file: Option<bool>,
        buffer: &mut [u8; MAX_RECORD],
    ) -> Result<Option<(Owner, File)>, Error> {
        let unreadable = |e: &io::Error| failed("read record", &self.path().join(name), e);
        let mut file = match self.records.open_file(name, Access::Read) {
            Ok(file) => file,
            Err(e) if is_no_record(&e) => return Ok(None),
            Err(e) if is_shortage(&e) => return Err(unreadable(&e)),
            Err(e) => {
                note(&unreadable(&e).msg);
                // Its metadata is that of the folder, which tells nothing of the record.
                let stand_in = self.records.open_file(OsStr::new("."), Access::Read);
                return stand_in.map(|file| Some((Owner::Unknown, file))).map_err(|e| unreadable(&e));
            }
        };
        if is_file.is_none() && !file.metadata().is_ok_and(|meta| meta.is_file()) {
            return Ok(None);
        }
        let owner = match file.read(buffer) {
            Ok(len) if len < MAX_RECORD => Owner::parse(buffer.get(..len).unwrap_or_default()),
            _ => Owner::Unknown,
        };
        Ok(Some((owner, file)))
    }

    /// What is known of where records came from.
    pub(crate) fn origins(&self) -> Origins<'_> {
        Origins { folder: self, ledger: None }
    }

    fn ledger(&self) -> Option<Ledger> {
        let directory = self.data.open_child(LEDGERS).ok()?;
        Ledger::open(directory.open_file(self.network.as_ref(), Access::Read).ok()?)
    }
}

/// Where records came from, for those who only look. The ledger is opened for the first one.
#[derive(Debug)]
pub(crate) struct Origins<'a> {
    folder: &'a Folder,
    ledger: Option<Option<Ledger>>,
}

impl Origins<'_> {
    /// Where the record of this address and file came from, if that is known.
    pub(crate) fn of(&mut self, address: IpAddr, meta: &Metadata) -> Option<Origin> {
        let ledger = self.ledger.get_or_insert_with(|| self.folder.ledger());
        ledger.as_mut()?.origin(address, Identity::of(meta))
    }
}

/// The address that a record of this name is of.
fn address_in(file_name: &OsStr) -> Option<IpAddr> {
    file_name.to_str()?.parse().ok()
}

/// Fails where the path is a symbolic link: we would write, and delete, where it leads.
fn not_a_link(path: &Path) -> Result<(), Error> {
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) {
        let msg = format!("failed to open data directory {}: it is a symbolic link", path.display());
        return Err(Error::new(Code::IO, msg)
            .with_details("links are not followed here; give the directory itself as dataDir"));
    }
    Ok(())
}

/// Whether the error says that there is no such path: a part is missing, or is not a directory.
fn is_absence(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Whether the error says that nothing may be written.
fn is_read_only(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}

/// Whether the error says that the name is free, or that of a link, a socket or a device.
fn is_no_record(e: &io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO | Errno::EISDIR))
}

/// Whether the error is this process's, and says nothing about the file.
fn is_shortage(e: &io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM))
}

fn failed(what: &str, path: &Path, e: &io::Error) -> Error {
    Error::new(Code::IO, format!("failed to {what} {}: {e}", path.display()))
}

#[cfg(test)]
mod tests;
