//! The data directory: `<dataDir>/<network>/<address>`, one record per file, beside
//! `last_reserved_ip.<n>` and `lock`. It knows nothing of range sets.
//!
//! Those files are the truth, and shared with the reference. What else we keep lies outside the
//! network's folder, since the reference takes every file in there for a record; no network's name
//! begins with a dot, so the names are free:
//!
//! - `.<network>.new`: a record in the making (see `publish`);
//! - `.index/<network>`: the content of the records, arranged for the search (see [`index`]);
//! - `.origin/<network>`: the boot that each record is of (see [`origin_table`]).
//!
//! Any of them can be deleted at any time.
//!
//! [`Folder`] reads without the lock; [`Locked`] holds it and changes things.

mod directory;
mod errno;
mod folder;
pub(crate) mod index;
mod key;
mod last_reserved;
mod lock;
mod locked;
mod names;
mod open_index;
mod origin_table;
mod origins;
mod publish;
mod query;
mod record;
pub(crate) mod table;

pub(crate) use folder::{Folder, RecordFile, Scanned, SearchResult, UnreadableRecords};
pub(crate) use index::ContainerHash;
pub(crate) use last_reserved::LastReserved;
pub(crate) use locked::Locked;
pub(crate) use origin_table::Origin;
#[cfg(feature = "fuzzing")]
pub(crate) use origin_table::{FileIdentity, OriginTable};
pub(crate) use origins::Origins;
pub(crate) use publish::Reserve;
pub(crate) use query::query_unlocked;
pub use record::Owner;
pub(crate) use record::Record;

use crate::machine::{Id, SystemPaths};
use cni_types::{Code, Error, NetworkName, Stop};
use directory::Directory;
use errno::{failed, is_absence};
use lock::{Deadline, Purpose};
use nix::{libc::S_IFMT, sys::stat::SFlag};
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// The place of one network's records, existing or not.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    data_dir: PathBuf,
    network: String,
    boot: Option<Id>,
    stop: &'a Stop,
}

impl<'a> Store<'a> {
    /// Returns the place of the records of `network` in `data_dir`; long operations end if `stop`
    /// is asked for. Touches nothing.
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

    /// Opens the folder; `None` if it is missing.
    ///
    /// # Errors
    /// Code 5, also if the directory or the folder is a symbolic link.
    pub(crate) fn open(&self) -> Result<Option<Folder<'a>>, Error> {
        let data = match Directory::open(&self.data_dir) {
            Ok(data) => data,
            Err(e) if is_absence(&e) => return require_no_link(&self.data_dir).map(|()| None),
            Err(e) => return Err(failed("open data directory", &self.data_dir, &e)),
        };
        let path = self.data_dir.join(&self.network);
        match data.open_child(&self.network) {
            Ok(records) => Ok(Some(self.folder(data, records))),
            Err(e) if is_absence(&e) => require_no_link(&path).map(|()| None),
            Err(e) => Err(failed("open data directory", &path, &e)),
        }
    }

    fn folder(&self, data: Directory, records: Directory) -> Folder<'a> {
        Folder {
            data,
            records,
            network: self.network.clone(),
            boot: self.boot,
            stop: self.stop,
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
    pub(crate) fn create_and_lock(&self, timeout: Duration) -> Result<Locked<'a>, Error> {
        let deadline = Deadline::after(timeout);
        loop {
            let folder = match self.open()? {
                Some(folder) => folder,
                None => self.create()?,
            };
            if let Some(locked) = Locked::new(folder, Purpose::Reserve, deadline)? {
                return Ok(locked);
            }
        }
    }

    /// Takes the lock, to free addresses; `None` if there is no folder.
    ///
    /// # Errors
    /// Code 5, or 11 if the lock cannot be had in time, or the process was asked to stop.
    pub(crate) fn lock(&self, timeout: Duration) -> Result<Option<Locked<'a>>, Error> {
        let deadline = Deadline::after(timeout);
        while let Some(folder) = self.open()? {
            if let Some(locked) = Locked::new(folder, Purpose::Free, deadline)? {
                return Ok(Some(locked));
            }
        }
        Ok(None)
    }

    /// Fails if records cannot be written, as far as that shows without writing: in the network's
    /// own folder, which suffices (see `publish`), and under its lock.
    ///
    /// # Errors
    /// Code 50, naming the obstacle.
    pub(crate) fn require_usable(&self) -> Result<(), Error> {
        let folder = self.data_dir.join(&self.network);
        let unusable = |path: &Path, why: &dyn std::fmt::Display| {
            let folder = folder.display();
            let path = path.display();
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
                    if path == folder && !can_have_lock(&directory) {
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

/// Returns true if `lock` is a plain file, or missing.
fn can_have_lock(folder: &Directory) -> bool {
    let is_plain = |mode: u32| mode & S_IFMT == SFlag::S_IFREG.bits();
    folder
        .stat(lock::NAME.as_ref())
        .map_or(true, |found| is_plain(found.st_mode))
}

/// Fails if the path is a symbolic link: we would write and delete in the directory that it leads
/// to.
fn require_no_link(path: &Path) -> Result<(), Error> {
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

#[cfg(test)]
mod tests;
