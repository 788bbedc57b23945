//! The data directory: `<dataDir>/<network>/<address>`, one record per file, beside
//! `last_reserved_ip.<n>` and `lock`. It knows nothing of ranges.
//!
//! Those files are the truth, and shared with the reference. What else we keep lies outside the
//! network's folder, since the reference takes every file in there for a record; no network's name
//! begins with a dot, so the names are free:
//!
//! - `.<network>.new`: a record in the making (see `publish`);
//! - `.index/<network>`: what the records say, arranged for the search (see [`crate::index`]);
//! - `.origin/<network>`: which boot a record is of (see [`crate::ledger`]).
//!
//! Any of them can be deleted at any time.

mod derived;
mod folder;
mod last_reserved;
mod ledgers;
mod lock;
mod locked;
mod names;
mod publish;

pub(crate) use folder::{Folder, Found, Search, Sighting, Unread};
pub(crate) use ledgers::Origins;
pub(crate) use locked::Locked;
pub(crate) use publish::Reserved;

use crate::{
    directory::Directory,
    system::{Id, SystemPaths},
};
use cni_types::{Code, Error, NetworkName, Stop};
use lock::{Patience, Purpose};
use nix::{errno::Errno, libc::S_IFMT, sys::stat::SFlag};
use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::Duration,
};

/// Where one network's records are, or would be.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    data_dir: PathBuf,
    network: String,
    boot: Option<Id>,
    stop: &'a Stop,
}

impl<'a> Store<'a> {
    /// The folder of `network` in `data_dir`; whatever takes long ends if `stop` is asked for.
    /// Touches nothing.
    pub(crate) fn new(
        data_dir: &Path,
        network: &NetworkName,
        system: &SystemPaths,
        stop: &'a Stop,
    ) -> Self {
        // Without a slash or a dot at the end, which would make the kernel follow a link.
        let data_dir = data_dir.components().collect();
        Self {
            data_dir,
            network: network.to_string(),
            boot: system.boot_id(),
            stop,
        }
    }

    /// Opens the folder. None if it is not there.
    ///
    /// # Errors
    /// Code 5, also if the directory or the folder is a symbolic link.
    pub(crate) fn open(&self) -> Result<Option<Folder<'a>>, Error> {
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

    fn folder(&self, data: Directory, records: Directory) -> Folder<'a> {
        let (network, boot, stop) = (self.network.clone(), self.boot, self.stop);
        Folder {
            data,
            records,
            network,
            boot,
            stop,
        }
    }

    fn create(&self) -> Result<Folder<'a>, Error> {
        let path = self.data_dir.join(&self.network);
        let create = || {
            let data = Directory::ensure(&self.data_dir)?;
            let records = data.ensure_child(&self.network, 0o755)?;
            Ok(self.folder(data, records))
        };
        create().map_err(|e: io::Error| failed("create data directory", &path, &e))
    }

    /// Takes the lock, to reserve addresses; creates the folder if it is missing.
    ///
    /// # Errors
    /// Code 5, or 11 if the lock cannot be had in time, or the process was asked to stop.
    pub(crate) fn create_and_lock(&self, patience: Duration) -> Result<Locked<'a>, Error> {
        let patience = Patience::new(patience);
        loop {
            let folder = match self.open()? {
                Some(folder) => folder,
                None => self.create()?,
            };
            if let Some(locked) = Locked::new(folder, Purpose::Reserve, patience)? {
                return Ok(locked);
            }
        }
    }

    /// Takes the lock, to free addresses. None if there is no folder.
    ///
    /// # Errors
    /// Code 5, or 11 if the lock cannot be had in time, or the process was asked to stop.
    pub(crate) fn lock(&self, patience: Duration) -> Result<Option<Locked<'a>>, Error> {
        let patience = Patience::new(patience);
        while let Some(folder) = self.open()? {
            if let Some(locked) = Locked::new(folder, Purpose::Free, patience)? {
                return Ok(Some(locked));
            }
        }
        Ok(None)
    }

    /// Fails if records cannot be written, as far as that shows without writing: in the network's own
    /// folder, which suffices (see `publish`), and under its lock.
    ///
    /// # Errors
    /// Code 50, naming what is in the way.
    pub(crate) fn require_usable(&self) -> Result<(), Error> {
        let folder = self.data_dir.join(&self.network);
        let unusable = |path: &Path, why: &dyn std::fmt::Display| {
            let (folder, path) = (folder.display(), path.display());
            Error::new(
                Code::UNAVAILABLE,
                format!("data directory {folder} cannot be used: {path}: {why}"),
            )
        };
        for path in folder.ancestors() {
            let path = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            };
            let is_ours = path == folder || path == self.data_dir;
            match std::fs::symlink_metadata(path) {
                Ok(meta) if meta.is_symlink() && is_ours => {
                    return Err(unusable(path, &"a symbolic link"));
                }
                // A link above the data directory is followed, as everywhere.
                Ok(_) if !path.is_dir() => return Err(unusable(path, &"not a directory")),
                Ok(_) => {
                    let directory = path.canonicalize().and_then(|path| Directory::open(&path));
                    let directory = directory.map_err(|e| unusable(path, &e))?;
                    directory
                        .require_writable()
                        .map_err(|e| unusable(path, &e))?;
                    if path == folder && !has_room_for_lock(&directory) {
                        return Err(unusable(&path.join(lock::NAME), &"not a plain file"));
                    }
                    return Ok(());
                }
                Err(e) if is_absence(&e) => {}
                Err(e) => return Err(unusable(path, &e)),
            }
        }
        Ok(())
    }
}

/// Returns false if what is called `lock` can be no lock.
fn has_room_for_lock(folder: &Directory) -> bool {
    let is_plain = |mode: u32| mode & S_IFMT == SFlag::S_IFREG.bits();
    folder
        .stat(lock::NAME.as_ref())
        .map_or(true, |found| is_plain(found.st_mode))
}

/// Fails if the path is a symbolic link: we would write, and delete, where it leads.
fn not_a_link(path: &Path) -> Result<(), Error> {
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) {
        let msg = format!(
            "failed to open data directory {}: it is a symbolic link",
            path.display()
        );
        return Err(Error::new(Code::IO, msg)
            .with_details("links are not followed here; give the directory itself as dataDir"));
    }
    Ok(())
}

/// Returns true if there is no such path: a part is missing, or is not a directory.
fn is_absence(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Returns true if nothing may be written.
fn is_read_only(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
    )
}

/// Returns true if the name is free, or that of a link, a socket or a device.
fn is_no_record(e: &io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO | Errno::EISDIR)
    )
}

/// Returns true if the disk, or the user's share of it, is full.
fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Returns true if the error is this process's, and says nothing about the file.
fn is_shortage(e: &io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM))
}

fn failed(what: &str, path: &Path, e: &io::Error) -> Error {
    Error::new(
        Code::IO,
        format!("failed to {what} {}: {e}", path.display()),
    )
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod trouble;
