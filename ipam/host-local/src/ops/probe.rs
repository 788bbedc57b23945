//! A write that leaves nothing, for STATUS: only the file system itself knows if there is room for
//! another file (quotas, reserved blocks, inodes), and only a real attempt notices a security
//! module.

use cni_types::{Code, Error};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sys::{stat::Mode, statvfs::statvfs},
};
use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    path::Path,
};

/// Fails if no record can be written: in the network's folder, which suffices (see
/// `store/publish.rs`), or in the first directory above it that exists.
///
/// # Errors
/// Code 50, naming the obstacle.
pub(super) fn require_room_on_disk(folder: &Path) -> Result<(), Error> {
    for path in folder.ancestors() {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        match write_nothing(path) {
            Ok(()) => return Ok(()),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(e) => {
                let folder = folder.display();
                let path = path.display();
                let msg = format!("data directory {folder} cannot be used: {path}: {e}");
                return Err(Error::new(Code::UNAVAILABLE, msg));
            }
        }
    }
    Ok(())
}

/// Writes a byte to a file without a name (O_TMPFILE, open(2)): it is gone when it is closed, also
/// if this process is killed.
fn write_nothing(directory: &Path) -> io::Result<()> {
    let flags = OFlag::O_TMPFILE | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    match open(directory, flags, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(file) => File::from(file).write_all(&[0]),
        // A file system, or a kernel, without such files.
        Err(Errno::EOPNOTSUPP | Errno::EISDIR | Errno::EINVAL) => require_free_space(directory),
        Err(errno) => Err(errno.into()),
    }
}

/// Fails if the file system reports that it is full. One that does not count its inodes reports 0
/// of 0.
fn require_free_space(directory: &Path) -> io::Result<()> {
    let space = statvfs(directory)?;
    let is_full = (space.blocks() > 0 && space.blocks_free() == 0)
        || (space.files() > 0 && space.files_free() == 0);
    if is_full {
        Err(ErrorKind::StorageFull.into())
    } else {
        Ok(())
    }
}
