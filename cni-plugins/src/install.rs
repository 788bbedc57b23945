//! Installs plugins into a folder of a node while runtimes use the folder.
//!
//! The program is written once, as a hidden file in the folder, and gets a hidden hard link for
//! each plugin. Then each link is renamed to its plugin's name. So at any moment each plugin is
//! either the whole old program or the whole new one. A killed installation leaves hidden files,
//! which the next one removes.

use crate::Entry;
use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The file of the running program, even if the file has been removed or replaced since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The beginning of the names of hidden files. Runtimes look for plugins by their names only, so
/// none of them runs such a file.
const PREFIX: &str = ".cni-plugins.";
/// The end of the names of hidden files.
const SUFFIX: &str = ".new";

/// The mode of an installed program.
const MODE: u32 = 0o755;

/// The error of an installation. Each plugin is still the whole old program, or already the whole
/// new one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused an operation.
    #[error("cannot {operation} {}: {source}{remedy}", path.display())]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
        /// The remedy, with a semicolon before it; empty if there is no particular remedy.
        remedy: &'static str,
    },
    /// Another installation is at work in the folder.
    #[error("another installation is at work in {}; try again", .0.display())]
    Busy(PathBuf),
    /// A folder has the name of a plugin.
    #[error("{} is a folder, and a plugin's program belongs there; remove it", .0.display())]
    Folder(PathBuf),
}

/// Installs these plugins into `directory`. Replaces no file before all of them are on the disk.
///
/// # Errors
/// Fails if `directory` is missing, is locked by another installation, or has a folder with a
/// plugin's name, or if its file system is full or read-only.
pub fn install(directory: &Path, plugins: &[&Entry]) -> Result<(), Error> {
    let folder = open(directory)?;
    for plugin in plugins {
        let place = directory.join(plugin.name);
        if fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) {
            return Err(Error::Folder(place));
        }
    }
    let mut hidden = HiddenFiles::new(directory);
    hidden.write(hidden.program.clone(), Path::new(OWN_PROGRAM))?;
    for plugin in plugins {
        hidden.link(plugin.name)?;
    }
    for plugin in plugins {
        let place = directory.join(plugin.name);
        fs::rename(hidden.path(plugin.name), &place).map_err(failed("replace", &place))?;
    }
    drop(hidden);
    folder.sync_all().map_err(failed("sync", directory))
}

/// Opens and locks the folder, and removes the hidden files of killed installations.
fn open(directory: &Path) -> Result<File, Error> {
    let folder = File::open(directory).map_err(|source| Error::Io {
        operation: "open",
        path: directory.to_owned(),
        remedy: match source.kind() {
            io::ErrorKind::NotFound => "; make the folder first",
            _ => "",
        },
        source,
    })?;
    match folder.try_lock() {
        Ok(()) => remove_leftovers(directory)?,
        Err(TryLockError::WouldBlock) => return Err(Error::Busy(directory.to_owned())),
        // NFS cannot lock folders. Two installations do no harm to each other, since the names of
        // their hidden files differ; only the leftovers stay.
        Err(TryLockError::Error(_)) => {}
    }
    Ok(folder)
}

fn remove_leftovers(directory: &Path) -> Result<(), Error> {
    let entries = fs::read_dir(directory).map_err(failed("read", directory))?;
    for entry in entries {
        let entry = entry.map_err(failed("read", directory))?;
        let name = entry.file_name();
        let is_leftover = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        if name.to_str().is_some_and(is_leftover) {
            let path = entry.path();
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
    }
    Ok(())
}

/// The hidden files of this installation. Dropping it removes those that were not renamed.
struct HiddenFiles {
    /// The folder and the beginning of the names, which is unique to this installation.
    stem: PathBuf,
    /// The program to which the plugins are linked.
    program: PathBuf,
    /// The program and the plugins.
    paths: Vec<PathBuf>,
}

impl HiddenFiles {
    /// Chooses the names; creates no file.
    fn new(directory: &Path) -> Self {
        let unique = RandomState::new().build_hasher().finish();
        let stem = directory.join(format!("{PREFIX}{unique:016x}"));
        Self {
            program: with_ending(&stem, SUFFIX),
            stem,
            paths: Vec::new(),
        }
    }

    /// Returns the path of a plugin's hidden file.
    fn path(&self, name: &str) -> PathBuf {
        with_ending(&self.stem, &format!(".{name}{SUFFIX}"))
    }

    /// Creates a plugin's hidden file: a hard link to the program, or a copy if the file system has
    /// no hard links.
    ///
    /// # Errors
    /// Fails with the error of the copy if the program can be neither linked nor copied.
    fn link(&mut self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        self.paths.push(path.clone());
        if fs::hard_link(&self.program, &path).is_ok() {
            return Ok(());
        }
        self.write(path, &self.program.clone())
    }

    /// Copies the program `from` to `path`, executable for all users, and syncs it to the disk.
    fn write(&mut self, path: PathBuf, from: &Path) -> Result<(), Error> {
        self.paths.push(path.clone());
        let mut program = File::open(from).map_err(failed("open", from))?;
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("create", &path))?;
        io::copy(&mut program, &mut copy).map_err(failed("write", &path))?;
        // The mode of open(2) would be changed by umask(2).
        let mode = Permissions::from_mode(MODE);
        copy.set_permissions(mode)
            .map_err(failed("set the mode of", &path))?;
        copy.sync_all().map_err(failed("sync", &path))
    }
}

impl Drop for HiddenFiles {
    fn drop(&mut self) {
        for path in &self.paths {
            // A file that was renamed is not there; one that cannot be removed is left to the next
            // installation.
            let _ = fs::remove_file(path);
        }
    }
}

fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

/// Returns the conversion of a kernel's answer into [`Error::Io`].
fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io {
        operation,
        path,
        source,
        remedy: "",
    }
}
