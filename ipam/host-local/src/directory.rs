//! A directory that was opened once, and everything in it reached through that handle. No name is followed when it
//! is a symbolic link, so whatever somebody plants in there, nothing is written or deleted elsewhere; nor does it
//! matter when the path leads to another directory meanwhile.

use nix::{
    dir::{Dir, OwningIter, Type},
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat},
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

/// An open directory.
#[derive(Debug)]
pub(crate) struct Directory {
    handle: File,
    /// Where it was found: for texts only.
    path: PathBuf,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// To read one that is there. Opening a FIFO does not wait.
    Read,
    /// To read and write one that is there.
    Write,
    /// To read and write; made where it is missing.
    Ensure,
    /// To write; an error where it is there.
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
    /// Whether it is a plain file; unknown on some file systems.
    pub(crate) is_file: Option<bool>,
}

const DIRECTORY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC)
    .union(OFlag::O_NONBLOCK);

impl Directory {
    /// Opens the directory at `path`. Links before its last part are followed: `/var/run` is one everywhere.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // A slash or a dot at the end would make the kernel follow the last part too.
        let path: PathBuf = path.components().collect();
        let fd = openat(AT_FDCWD, &path, DIRECTORY, Mode::empty())?;
        Ok(Self { handle: fd.into(), path })
    }

    /// The same, where every missing part of the path is made.
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
        let fd = openat(&self.handle, name, DIRECTORY, Mode::empty())?;
        Ok(Self { handle: fd.into(), path: self.path.join(name) })
    }

    /// The same, made where it is missing, with this mode.
    pub(crate) fn ensure_child(&self, name: &str, mode: u32) -> io::Result<Self> {
        match self.open_child(name) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match mkdirat(&self.handle, name, Mode::from_bits_truncate(mode)) {
                    Ok(()) | Err(Errno::EEXIST) => self.open_child(name),
                    Err(errno) => Err(errno.into()),
                }
            }
            opened => opened,
        }
    }

    /// Opens a file; a new one is for this user alone.
    pub(crate) fn open_file(&self, name: &OsStr, access: Access) -> io::Result<File> {
        Ok(openat(&self.handle, name, access.flags(), Mode::S_IRUSR | Mode::S_IWUSR)?.into())
    }

    /// What the name stands for, itself and not what it may link to.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        Ok(fstatat(&self.handle, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
    }

    /// Gives this file, called `name` here, a name in `other` as well; fails where that name exists. What others have
    /// put in place of `name` meanwhile does not matter, except where there is no /proc.
    pub(crate) fn link(&self, name: &OsStr, file: &File, other: &Self, new_name: &OsStr) -> io::Result<()> {
        let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
        if Path::new(&itself).is_symlink() {
            let follow = AtFlags::AT_SYMLINK_FOLLOW;
            return Ok(linkat(AT_FDCWD, itself.as_str(), &other.handle, new_name, follow)?);
        }
        if !is_same(&file.metadata()?, &self.stat(name)?) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(linkat(&self.handle, name, &other.handle, new_name, AtFlags::empty())?)
    }

    /// Renames a file in this directory, over another where the name exists.
    pub(crate) fn rename(&self, name: &OsStr, new_name: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.handle, name, &self.handle, new_name)?)
    }

    /// Removes a file that may be missing.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match unlinkat(&self.handle, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Fails where nothing may be made in here: no permission, or a read-only file system.
    pub(crate) fn require_writable(&self) -> io::Result<()> {
        let access = AccessFlags::W_OK | AccessFlags::X_OK;
        Ok(faccessat(&self.handle, ".", access, AtFlags::empty())?)
    }

    /// Every name but `.` and `..`.
    pub(crate) fn entries(&self) -> io::Result<Entries> {
        Ok(Entries(Dir::openat(&self.handle, ".", DIRECTORY, Mode::empty())?.into_iter()))
    }

    /// The directory's own metadata.
    pub(crate) fn metadata(&self) -> io::Result<Metadata> {
        self.handle.metadata()
    }

    /// Sets the directory's own time of modification.
    pub(crate) fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.handle.set_times(FileTimes::new().set_modified(time))
    }

    /// Where it was found.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether both tell of the same file.
pub(crate) fn is_same(meta: &Metadata, stat: &FileStat) -> bool {
    (meta.dev(), meta.ino()) == (stat.st_dev, stat.st_ino)
}

/// The names in a directory.
#[derive(Debug)]
pub(crate) struct Entries(OwningIter);

impl Iterator for Entries {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        let is_self_or_parent = |name: &CStr| matches!(name.to_bytes(), b"." | b"..");
        self.0.find_map(|entry| match entry {
            Ok(entry) if is_self_or_parent(entry.file_name()) => None,
            Ok(entry) => Some(Ok(Entry {
                name: OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(),
                is_file: entry.file_type().map(|kind| kind == Type::File),
            })),
            Err(errno) => Some(Err(errno.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_another_put_in_place_of_a_file_is_never_linked() {
        let path = std::env::temp_dir().join(format!("host-local-{}-link", std::process::id()));
        let directory = Directory::ensure(&path).unwrap();
        let (staged, name) = (OsStr::new("staged"), OsStr::new("name"));
        let file = directory.open_file(staged, Access::Create).unwrap();
        fs::write(path.join("staged"), "ours").unwrap();
        fs::hard_link(path.join("staged"), path.join("aside")).unwrap();
        directory.remove(staged).unwrap();
        fs::write(path.join("staged"), "another's").unwrap();
        directory.link(staged, &file, &directory, name).unwrap();
        assert_eq!(fs::read_to_string(path.join("name")).unwrap(), "ours");
        // A file that was removed under all its names has no name to give.
        ["aside", "name"].iter().for_each(|name| fs::remove_file(path.join(name)).unwrap());
        assert!(directory.link(staged, &file, &directory, name).is_err());
        assert!(!path.join("name").exists());
        fs::remove_dir_all(&path).unwrap();
    }
}
