//! An open directory, and everything in it reached through that handle. No symbolic link in it is
//! followed, so whatever somebody plants there, nothing is written or deleted elsewhere; nor does
//! it matter if the path leads to another directory meanwhile.
//!
//! A signal that interrupts a call (EINTR; network file systems and FUSE do that) does not fail it:
//! the call is repeated, a bounded number of times.

use nix::{
    dir::{Dir, OwningIter, Type},
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, renameat, renameat2},
    sys::stat::{FileStat, Mode, fstatat, mkdirat},
    unistd::{AccessFlags, UnlinkatFlags, faccessat, linkat, unlinkat},
};
use std::{
    ffi::{CStr, OsStr, OsString},
    fs::{DirBuilder, File, FileTimes, Metadata},
    io,
    os::fd::AsRawFd,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The number of attempts of a call that signals interrupt.
const ATTEMPTS: usize = 16;

/// Makes a system call, and repeats it if a signal interrupts it.
fn repeat<T>(call: impl Fn() -> nix::Result<T>) -> io::Result<T> {
    let mut outcome = call();
    for _ in 1..ATTEMPTS {
        if !matches!(outcome, Err(Errno::EINTR)) {
            break;
        }
        outcome = call();
    }
    Ok(outcome?)
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    handle: File,
    /// The path under which it was opened: for texts only.
    path: PathBuf,
}

/// The way to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// To read an existing file. Opening a FIFO does not wait.
    Read,
    /// To read and write an existing file.
    Write,
    /// To read and write; creates a missing file.
    Ensure,
    /// To read and write a new file; fails with EEXIST.
    Create,
}

impl Access {
    fn flags(self) -> OFlag {
        let always = OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
        always
            | match self {
                Self::Read => OFlag::O_RDONLY,
                Self::Write => OFlag::O_RDWR,
                Self::Ensure => OFlag::O_RDWR | OFlag::O_CREAT,
                Self::Create => OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL,
            }
    }
}

/// A name in a directory.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The name.
    pub(crate) name: OsString,
    /// True if it is a plain file; `None` on file systems that do not say so.
    pub(crate) is_file: Option<bool>,
}

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK);

impl Directory {
    /// Opens the directory at `path`. Follows links before the last part: `/var/run` is one
    /// everywhere.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // A slash or a dot at the end would make the kernel follow the last part too.
        let path: PathBuf = path.components().collect();
        let fd = repeat(|| openat(AT_FDCWD, &path, DIRECTORY, Mode::empty()))?;
        Ok(Self {
            handle: fd.into(),
            path,
        })
    }

    /// Opens the directory at `path`; creates every missing part.
    pub(crate) fn ensure(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o755).create(path)?;
                Self::open(path)
            }
            opened => opened,
        }
    }

    /// Opens the directory called `name` in this one.
    pub(crate) fn open_child(&self, name: &str) -> io::Result<Self> {
        let fd = repeat(|| openat(&self.handle, name, DIRECTORY, Mode::empty()))?;
        Ok(Self {
            handle: fd.into(),
            path: self.path.join(name),
        })
    }

    /// Opens the directory called `name` in this one; creates it with this mode if it is missing.
    pub(crate) fn ensure_child(&self, name: &str, mode: u32) -> io::Result<Self> {
        match self.open_child(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match repeat(|| mkdirat(&self.handle, name, Mode::from_bits_truncate(mode))) {
                    Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
                    _ => self.open_child(name),
                }
            }
            opened => opened,
        }
    }

    /// Opens a file; a new one is for this user alone.
    pub(crate) fn open_file(&self, name: &OsStr, access: Access) -> io::Result<File> {
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        Ok(repeat(|| openat(&self.handle, name, access.flags(), mode))?.into())
    }

    /// The status of this name; of a symbolic link, its own.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        repeat(|| fstatat(&self.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW))
    }

    /// Gives this file, called `name` here, a name in `other` as well; fails if that name exists.
    /// It does not matter if others have replaced `name` meanwhile, unless /proc is missing.
    pub(crate) fn link(
        &self,
        name: &OsStr,
        file: &File,
        other: &Self,
        new_name: &OsStr,
    ) -> io::Result<()> {
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        if Path::new(&itself).is_symlink() {
            let follow = AtFlags::AT_SYMLINK_FOLLOW;
            return repeat(|| linkat(AT_FDCWD, itself.as_str(), &other.handle, new_name, follow));
        }
        if !is_same(&file.metadata()?, &self.stat(name)?) {
            return Err(io::ErrorKind::NotFound.into());
        }
        repeat(|| {
            linkat(
                &self.handle,
                name,
                &other.handle,
                new_name,
                AtFlags::empty(),
            )
        })
    }

    /// Renames a file in this directory, over another if the name exists.
    pub(crate) fn rename(&self, name: &OsStr, new_name: &OsStr) -> io::Result<()> {
        repeat(|| renameat(&self.handle, name, &self.handle, new_name))
    }

    /// Renames a file in this directory; fails if the new name exists, and with EINVAL on a file
    /// system that cannot promise that (renameat2(2), RENAME_NOREPLACE).
    pub(crate) fn rename_to_new(&self, name: &OsStr, new_name: &OsStr) -> io::Result<()> {
        let flags = RenameFlags::RENAME_NOREPLACE;
        repeat(|| renameat2(&self.handle, name, &self.handle, new_name, flags))
    }

    /// Removes a file that may be missing.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match repeat(|| unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Returns true if the name leads to the very file with this metadata.
    pub(crate) fn leads_to(&self, name: &OsStr, meta: io::Result<Metadata>) -> bool {
        meta.is_ok_and(|meta| self.stat(name).is_ok_and(|found| is_same(&meta, &found)))
    }

    /// Fails if nothing may be created in here: no permission, or a read-only file system.
    pub(crate) fn require_writable(&self) -> io::Result<()> {
        let access = AccessFlags::W_OK | AccessFlags::X_OK;
        Ok(faccessat(&self.handle, ".", access, AtFlags::empty())?)
    }

    /// Lists every name but `.` and `..`. An error is the last item.
    pub(crate) fn entries(&self) -> io::Result<Entries> {
        let open = || Dir::openat(&self.handle, ".", DIRECTORY, Mode::empty());
        Ok(Entries {
            names: Some(repeat(open)?.into_iter()),
        })
    }

    /// The directory's own metadata.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.handle.metadata()
    }

    /// Sets the directory's own time of modification.
    pub(crate) fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.handle.set_times(FileTimes::new().set_modified(time))
    }

    /// The path under which it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Returns true if both are of the same file.
fn is_same(meta: &Metadata, stat: &FileStat) -> bool {
    (meta.dev(), meta.ino()) == (stat.st_dev, stat.st_ino)
}

/// Returns true if the file is a plain one and has one name only, so that a write reaches no other.
/// Backups that share unchanged files (`cp -al`, `rsync --link-dest`) give our files a second name.
pub(crate) fn is_sole(file: &File) -> io::Result<bool> {
    let meta = file.metadata()?;
    Ok(meta.is_file() && meta.nlink() == 1)
}

/// The names in a directory.
#[derive(Debug)]
pub(crate) struct Entries {
    /// `None` after an error: readdir(3) may return the same one for ever.
    names: Option<OwningIter>,
}

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_self_or_parent = |name: &CStr| matches!(name.to_bytes(), b"." | b"..");
        let next = self.names.as_mut()?.find(|entry| {
            !entry
                .as_ref()
                .is_ok_and(|entry| is_self_or_parent(entry.file_name()))
        })?;
        if next.is_err() {
            self.names = None;
        }
        Some(next.map_err(io::Error::from).map(|entry| Entry {
            name: OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(),
            is_file: entry.file_type().map(|kind| kind == Type::File),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_another_put_in_place_is_never_linked() {
        let path = std::env::temp_dir().join(format!("host-local-{}-link", std::process::id()));
        let directory = Directory::ensure(&path).unwrap();
        let staged = OsStr::new("staged");
        let name = OsStr::new("name");
        let file = directory.open_file(staged, Access::Create).unwrap();
        fs::write(path.join("staged"), "ours").unwrap();
        fs::hard_link(path.join("staged"), path.join("aside")).unwrap();
        directory.remove(staged).unwrap();
        fs::write(path.join("staged"), "another's").unwrap();
        directory.link(staged, &file, &directory, name).unwrap();
        assert_eq!(fs::read_to_string(path.join("name")).unwrap(), "ours");
        // A file that was removed under all its names has no name to give.
        ["aside", "name"]
            .iter()
            .for_each(|name| fs::remove_file(path.join(name)).unwrap());
        assert!(directory.link(staged, &file, &directory, name).is_err());
        assert!(!path.join("name").exists());
        fs::remove_dir_all(&path).unwrap();
    }
}
