//! Puts plugins into a folder of a node, while runtimes use it.
//!
//! The program is written once beside its places and gets a further name for each plugin; then each
//! of these is renamed to its place. So at any moment each plugin is the old or the new one, whole.
//! A killed installation leaves hidden files, which the next one removes.

use crate::Entry;
use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    hash::{BuildHasher, Hasher, RandomState},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The file of the running program, also if its name is gone by now.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// The beginning of the names of files in the making. Runtimes look for plugins by their names
/// only, so none of them runs such a file.
const PREFIX: &str = ".cni-plugins.";
const SUFFIX: &str = ".new";

const MODE: u32 = 0o755;

/// An installation that failed. Each plugin is as it was, or the new one, whole.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused an operation.
    #[error("cannot {operation} {}: {source}{remedy}", path.display())]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// Its object.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
        /// The remedy after a semicolon, or nothing.
        remedy: &'static str,
    },
    /// Another installation is at work in the folder.
    #[error("another installation is at work in {}; try again", .0.display())]
    Busy(PathBuf),
    /// A folder has the name of a plugin.
    #[error("{} is a folder, and a plugin's program belongs there; remove it", .0.display())]
    Folder(PathBuf),
}

/// Puts these plugins into `directory`. Nothing is replaced before all of them are written and on
/// the disk.
///
/// # Errors
/// Fails if `directory` is missing, is locked by another installation, or has a folder with a
/// plugin's name; if its file system takes no more; if it is read-only.
pub fn install(directory: &Path, plugins: &[&Entry]) -> Result<(), Error> {
    let folder = open(directory)?;
    for plugin in plugins {
        let place = directory.join(plugin.name);
        if fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) {
            return Err(Error::Folder(place));
        }
    }
    let mut making = Making::new(directory);
    making.write(making.program.clone(), Path::new(OWN_PROGRAM))?;
    for plugin in plugins {
        making.name(plugin.name)?;
    }
    for plugin in plugins {
        let place = directory.join(plugin.name);
        fs::rename(making.path(plugin.name), &place).map_err(failed("replace", &place))?;
    }
    drop(making);
    folder.sync_all().map_err(failed("sync", directory))
}

/// Opens and locks the folder, and removes what killed installations left in it.
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
        // No folder can be locked over NFS. Files in the making have names of their own, so that
        // two installations do no harm to each other; only the leftovers stay.
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

/// The files in the making, which are removed at the end.
struct Making {
    /// Folder and beginning of their names: of this installation only.
    stem: PathBuf,
    program: PathBuf,
    paths: Vec<PathBuf>,
}

impl Making {
    fn new(directory: &Path) -> Self {
        let unique = RandomState::new().build_hasher().finish();
        let stem = directory.join(format!("{PREFIX}{unique:016x}"));
        Self {
            program: with_ending(&stem, SUFFIX),
            stem,
            paths: Vec::new(),
        }
    }

    /// The place of a plugin in the making.
    fn path(&self, name: &str) -> PathBuf {
        with_ending(&self.stem, &format!(".{name}{SUFFIX}"))
    }

    /// Gives the program a plugin's name: a hard link, or a copy if the file system refuses that.
    /// If it refuses the copy too, that is the reason.
    fn name(&mut self, name: &str) -> Result<(), Error> {
        let path = self.path(name);
        self.paths.push(path.clone());
        if fs::hard_link(&self.program, &path).is_ok() {
            return Ok(());
        }
        self.write(path, &self.program.clone())
    }

    /// Writes a copy of a program, executable for everybody, to the disk.
    fn write(&mut self, path: PathBuf, from: &Path) -> Result<(), Error> {
        self.paths.push(path.clone());
        let mut program = File::open(from).map_err(failed("open", from))?;
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(failed("create", &path))?;
        io::copy(&mut program, &mut copy).map_err(failed("write", &path))?;
        // Not by the mode of open(2), which umask(2) changes.
        let mode = Permissions::from_mode(MODE);
        copy.set_permissions(mode)
            .map_err(failed("set the mode of", &path))?;
        copy.sync_all().map_err(failed("sync", &path))
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        for path in &self.paths {
            // Most are gone by their rename. What stays, the next installation removes.
            let _ = fs::remove_file(path);
        }
    }
}

fn with_ending(stem: &Path, ending: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Io {
        operation,
        path,
        source,
        remedy: "",
    }
}
