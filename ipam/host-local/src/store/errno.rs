//! The meaning of the errors of the file system, here.

use cni_types::{Code, Error};
use nix::errno::Errno;
use std::{
    io::{self, ErrorKind},
    path::Path,
};

fn errno(e: &io::Error) -> Option<Errno> {
    e.raw_os_error().map(Errno::from_raw)
}

/// Returns true if there is no such path: a part is missing, or is not a directory.
pub(super) fn is_absence(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Returns true if nothing may be written.
pub(super) fn is_read_only(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
    )
}

/// Returns true if the name is free, or that of a link, a socket or a device.
pub(super) fn is_no_record(e: &io::Error) -> bool {
    matches!(
        errno(e),
        Some(Errno::ENOENT | Errno::ELOOP | Errno::ENXIO | Errno::EISDIR)
    )
}

/// Returns true if the disk, or the user's share of it, is full.
pub(super) fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Returns true if the error is this process's, and says nothing about the file.
pub(super) fn is_shortage(e: &io::Error) -> bool {
    matches!(
        errno(e),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)
    )
}

/// The error of an operation on a path, code 5.
pub(super) fn failed(operation: &str, path: &Path, e: &io::Error) -> Error {
    let path = path.display();
    Error::new(Code::IO, format!("failed to {operation} {path}: {e}"))
}
