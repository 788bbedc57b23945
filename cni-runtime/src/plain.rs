//! The reading of files from a folder into which anybody may have put something else than a file.
//!
//! A FIFO blocks the process that opens it until another process writes into it, and some devices
//! act when they are opened. So only regular files are opened.

use nix::fcntl::OFlag;
use std::{
    fs::{FileType, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::{FileTypeExt, OpenOptionsExt},
    path::Path,
};

/// Returns the content of a regular file, or of one to which `path` is a symbolic link. Never
/// blocks.
///
/// # Errors
/// Fails if the file cannot be read, and with [`ErrorKind::InvalidInput`] if it is no regular file.
pub fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    require_regular(std::fs::metadata(path)?.file_type())?;
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    // Another file may have taken the place of the first since.
    require_regular(file.metadata()?.file_type())?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn require_regular(kind: FileType) -> io::Result<()> {
    let what = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a directory",
        _ if kind.is_fifo() => "a FIFO",
        _ if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(io::Error::new(
        ErrorKind::InvalidInput,
        format!("it is {what}, not a regular file"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use nix::sys::stat::Mode;
    use std::os::unix::{fs::symlink, net::UnixListener};

    #[test]
    fn only_a_regular_file_is_opened() {
        let folder = Folder::new();
        let path = |name: &str| folder.path().join(name);
        folder.write("file", "text");
        nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        let _listener = UnixListener::bind(path("socket")).unwrap();
        for (link, to) in [
            ("link", "file"),
            ("to-fifo", "fifo"),
            ("device", "/dev/zero"),
            ("up", "."),
        ] {
            symlink(to, path(link)).unwrap();
        }
        for (name, wanted) in [
            ("file", Ok("text")),
            ("link", Ok("text")),
            ("fifo", Err("it is a FIFO, not a regular file")),
            ("to-fifo", Err("it is a FIFO, not a regular file")),
            ("socket", Err("it is a socket, not a regular file")),
            ("device", Err("it is a device, not a regular file")),
            ("up", Err("it is a directory, not a regular file")),
        ] {
            let read = read_plain(&path(name)).map_err(|e| e.to_string());
            let wanted = wanted
                .map(|text: &str| text.as_bytes().to_vec())
                .map_err(str::to_owned);
            assert_eq!(read, wanted, "{name}");
        }
    }
}
