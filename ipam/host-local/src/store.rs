//! The data directory: `<dataDir>/<network>/<address>`, one record per file, beside `last_reserved_ip.<n>` and `lock`.
//! It knows nothing of ranges.
//!
//! A record appears whole or not at all, whenever a process dies: it is written to `<dataDir>/.<network>.new` and
//! hard-linked to its name, which fails where the name exists. That file lies outside the network's folder since the
//! reference takes every file in there for a record, and no network's name begins with a dot. It is made and removed
//! under the lock, so at most one of them is ever left behind, and the next writer removes it. Nothing is synced: after
//! a power cut the pods are gone too, and a record that it left without content belongs to nobody.

use crate::{
    note,
    record::{Holder, Owner, Record},
};
use cni_types::{Code, Error, NetworkName, Stop};
use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{ErrorKind, Read, Write},
    net::IpAddr,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long to wait for the lock. Holders need a millisecond, unless they hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest pause between two attempts to take the lock.
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// The most that is read of a record, in bytes; an id and an interface's name are far shorter.
const MAX_RECORD: usize = 4096;

/// The folder of one network, without its lock: for those who only look.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
    staging: PathBuf,
}

/// The folder of one network, and the lock that all writers take, the reference's too.
#[derive(Debug)]
pub(crate) struct Locked<'a> {
    store: &'a Store,
    _lock: File,
}

/// What became of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserved {
    /// The record is there.
    Done,
    /// Somebody else's is.
    Taken,
}

impl Store {
    /// The folder of `network` in `data_dir`. Touches nothing.
    pub(crate) fn new(data_dir: &Path, network: &NetworkName) -> Self {
        Self { directory: data_dir.join(network.as_str()), staging: data_dir.join(format!(".{network}.new")) }
    }

    /// Takes the lock; makes the folder where it is missing.
    ///
    /// # Errors
    /// Code 5, or 11 where the lock cannot be had in time.
    pub(crate) fn create_and_lock(&self, stop: &Stop) -> Result<Locked<'_>, Error> {
        if let Some(locked) = self.lock(stop)? {
            return Ok(locked);
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.directory)
            .map_err(|e| failed("create data directory", &self.directory, &e))?;
        let missing = || failed("lock data directory", &self.directory, &ErrorKind::NotFound.into());
        self.lock(stop)?.ok_or_else(missing)
    }

    /// Takes the lock; nothing where there is no folder.
    ///
    /// # Errors
    /// Code 5, or 11 where the lock cannot be had in time.
    pub(crate) fn lock(&self, stop: &Stop) -> Result<Option<Locked<'_>>, Error> {
        let path = self.directory.join("lock");
        let lock = match OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
        {
            Ok(lock) => lock,
            Err(e) if is_absence(&e) => return Ok(None),
            Err(e) => return Err(failed("open", &path, &e)),
        };
        wait_for(&lock, &path, stop)?;
        Ok(Some(Locked { store: self, _lock: lock }))
    }

    /// Every record. No folder, no records. A name that is no address is no record, and neither is what is not a plain
    /// file, so no symbolic link is followed.
    ///
    /// # Errors
    /// Code 5 where the folder cannot be read.
    pub(crate) fn records(&self) -> Result<Vec<Record>, Error> {
        let mut buffer = [0; MAX_RECORD];
        let entries = self.addresses()?.into_iter().filter_map(|(address, file_name)| {
            let owner = read_owner(&self.directory.join(&file_name), &mut buffer)?;
            Some(Record { address, owner, file_name })
        });
        Ok(entries.collect())
    }

    /// The address of every record and the file's name, without a look inside.
    ///
    /// # Errors
    /// Code 5 where the folder cannot be read.
    pub(crate) fn addresses(&self) -> Result<Vec<(IpAddr, std::ffi::OsString)>, Error> {
        let unreadable = |e| failed("read data directory", &self.directory, &e);
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(e) if is_absence(&e) => return Ok(Vec::new()),
            Err(e) => return Err(unreadable(e)),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(unreadable)?;
            let file_name = entry.file_name();
            let Some(address) = address_in(&file_name) else { continue };
            if entry.file_type().is_ok_and(|kind| kind.is_file()) {
                found.push((address, file_name));
            }
        }
        Ok(found)
    }

    /// Whether records can be written, as far as that can be told without writing.
    ///
    /// # Errors
    /// Code 50, naming what is in the way.
    pub(crate) fn require_usable(&self) -> Result<(), Error> {
        let unusable = |path: &Path, why: &dyn std::fmt::Display| {
            let (directory, path) = (self.directory.display(), path.display());
            Error::new(Code::UNAVAILABLE, format!("data directory {directory} cannot be used: {path}: {why}"))
        };
        for path in self.directory.ancestors() {
            let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
            match fs::metadata(path) {
                Ok(meta) if !meta.is_dir() => return Err(unusable(path, &"not a directory")),
                Ok(_) => return require_writable(path).map_err(|e| unusable(path, &e)),
                Err(e) if is_absence(&e) => {}
                Err(e) => return Err(unusable(path, &e)),
            }
        }
        Ok(())
    }
}

/// Fails on a read-only file system: that is found out before a name is looked up, so to remove one that does not
/// exist tells, and changes nothing.
fn require_writable(directory: &Path) -> std::io::Result<()> {
    match fs::remove_dir(directory.join(".host-local-is-this-writable")) {
        Err(e) if matches!(e.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => Err(e),
        _ => Ok(()),
    }
}

impl Locked<'_> {
    /// Every record (see [`Store::records`]).
    pub(crate) fn records(&self) -> Result<Vec<Record>, Error> {
        self.store.records()
    }

    /// Records that `holder` owns `address`, unless there is a record of it.
    ///
    /// # Errors
    /// Code 5. Then nothing is left.
    pub(crate) fn reserve(&self, address: IpAddr, holder: &Holder) -> Result<Reserved, Error> {
        let path = self.store.directory.join(address.to_string());
        let linked = self
            .stage()
            .and_then(|mut file| file.write_all(holder.content().as_bytes()))
            .and_then(|()| fs::hard_link(&self.store.staging, &path));
        // What cannot be removed now is removed by the next writer.
        let _ = self.remove_staged();
        match linked {
            Ok(()) => Ok(Reserved::Done),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(Reserved::Taken),
            Err(e) => Err(failed("write record", &path, &e)),
        }
    }

    /// A new file to write a record to. One that a killed writer left may be linked to a live record, so it is
    /// removed and never written to.
    fn stage(&self) -> std::io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        match options.open(&self.store.staging) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                self.remove_staged()?;
                options.open(&self.store.staging)
            }
            opened => opened,
        }
    }

    /// Removes what a killed writer may have left.
    pub(crate) fn remove_staged(&self) -> std::io::Result<()> {
        remove(&self.store.staging)
    }

    /// Frees the address of `record`.
    ///
    /// # Errors
    /// Code 5; the record is still there.
    pub(crate) fn release(&self, record: &Record) -> Result<(), Error> {
        self.remove_record(&record.file_name)
    }

    /// Frees an address that [`Self::reserve`] reserved.
    ///
    /// # Errors
    /// Code 5; the record is still there.
    pub(crate) fn unreserve(&self, address: IpAddr) -> Result<(), Error> {
        self.remove_record(address.to_string().as_ref())
    }

    fn remove_record(&self, file_name: &OsStr) -> Result<(), Error> {
        let path = self.store.directory.join(file_name);
        remove(&path).map_err(|e| failed("remove record", &path, &e))
    }

    /// The last address that was reserved from the range set with this index.
    pub(crate) fn last_reserved(&self, set: usize) -> LastReserved {
        LastReserved::read(self.store.directory.join(format!("last_reserved_ip.{set}")))
    }
}

/// The file that keeps the round robin going. It is written in place: to truncate or replace it frees a block, which
/// takes a millisecond on a file system that is mounted with `discard`.
#[derive(Debug)]
pub(crate) struct LastReserved {
    path: PathBuf,
    file: Option<File>,
    len: usize,
    address: Option<IpAddr>,
}

impl LastReserved {
    fn read(path: PathBuf) -> Self {
        let mut buffer = [0; 64];
        let mut file = OpenOptions::new().read(true).write(true).open(&path).ok();
        let len = file.as_mut().and_then(|file| file.read(&mut buffer).ok()).unwrap_or_default();
        let text = buffer.get(..len).and_then(|bytes| std::str::from_utf8(bytes).ok());
        Self { path, file, len, address: text.and_then(|text| text.parse().ok()) }
    }

    /// The address; nothing where the file is missing or garbled, which only costs the round robin its turn.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Writes `address`. A failure costs the round robin its turn, and not the pod its address.
    pub(crate) fn write(self, address: IpAddr) {
        let Self { path, file, len, .. } = self;
        if let Err(e) = write_in_place(&path, file, len, &address.to_string()) {
            note(&failed("write", &path, &e).msg);
        }
    }
}

fn write_in_place(path: &Path, file: Option<File>, len: usize, text: &str) -> std::io::Result<()> {
    let file = match file {
        Some(file) => file,
        None => OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?,
    };
    file.write_all_at(text.as_bytes(), 0)?;
    if text.len() < len { file.set_len(text.len() as u64) } else { Ok(()) }
}

/// Waits for the lock by asking again and again: a wait in the kernel could not be ended by SIGTERM, which is
/// blocked, nor by time.
fn wait_for(lock: &File, path: &Path, stop: &Stop) -> Result<(), Error> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(50);
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Interrupted => {}
            Err(TryLockError::Error(e)) => return Err(failed("lock", path, &e)),
        }
        stop.check()?;
        if Instant::now() >= deadline {
            let msg = format!("try again later: {} is locked by another process", path.display());
            return Err(Error::new(Code::TRY_AGAIN, msg)
                .with_details(format!("gave up after {} s", PATIENCE.as_secs())));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The address that a record of this name is of.
fn address_in(file_name: &OsStr) -> Option<IpAddr> {
    file_name.to_str()?.parse().ok()
}

/// The owner in the record at `path`; nothing where it has just vanished.
fn read_owner(path: &Path, buffer: &mut [u8; MAX_RECORD]) -> Option<Owner> {
    let read = File::open(path).and_then(|mut file| file.read(buffer));
    match read {
        Ok(len) if len < MAX_RECORD => Some(Owner::parse(buffer.get(..len).unwrap_or_default())),
        Ok(_) => Some(Owner::Unknown),
        Err(e) if e.kind() == ErrorKind::NotFound => None,
        Err(e) => {
            note(&failed("read record", path, &e).msg);
            Some(Owner::Unknown)
        }
    }
}

/// Removes a file that may be missing.
fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Whether the error says that there is no such path: a part is missing, or is not a directory.
fn is_absence(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn failed(what: &str, path: &Path, e: &std::io::Error) -> Error {
    Error::new(Code::IO, format!("failed to {what} {}: {e}", path.display()))
}

#[cfg(test)]
mod tests;
