//! The stdin of a program.

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::{
    fs::File,
    io::{self, Seek, Write},
};

/// Returns a file in memory that holds `bytes`, at its start. Unlike a pipe it cannot fill up, and
/// no thread has to write into it while the program runs.
///
/// # Errors
/// Fails if memfd_create(2) or the writing does.
pub fn file(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
