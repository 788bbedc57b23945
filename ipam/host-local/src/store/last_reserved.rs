//! `last_reserved_ip.<n>`: the place at which the round robin of a range set goes on.

use super::{
    directory::{Access, is_sole},
    errno::failed,
    locked::Locked,
};
use crate::log;
use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    net::IpAddr,
    os::unix::fs::FileExt,
};

/// The address that a range set gave away last, and its file.
#[derive(Debug)]
pub(crate) struct LastReserved<'a> {
    locked: &'a Locked<'a>,
    name: OsString,
    file: Option<File>,
    /// The length of the file's content, in bytes, as far as it was read.
    pub(super) len: usize,
    address: Option<IpAddr>,
}

impl<'a> LastReserved<'a> {
    /// Reads the file of the range set with this index, and keeps it open: a write in place is much
    /// cheaper than a new file (by a millisecond on a file system mounted with `discard`).
    pub(crate) fn read(locked: &'a Locked<'a>, set: usize) -> Self {
        let name = OsString::from(format!("last_reserved_ip.{set}"));
        let mut file = locked.folder().records.open_file(&name, Access::Write).ok();
        // Longer than any address.
        let mut buffer = [0; 64];
        let read = file.as_mut().and_then(|file| file.read(&mut buffer).ok());
        let len = read.unwrap_or(0);
        let (content, _) = buffer.split_at(len);
        let text = std::str::from_utf8(content).ok();
        Self {
            locked,
            name,
            file,
            len,
            address: text.and_then(|text| text.parse().ok()),
        }
    }

    /// The address; `None` if the file is missing or garbled, which only costs the round robin its
    /// turn.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Writes `address`. A failure costs the round robin its turn, and not the pod its address.
    pub(crate) fn write(self, address: IpAddr) {
        let path = self.locked.folder().path().join(&self.name);
        if let Err(e) = self.write_text(&address.to_string()) {
            log::warn(failed("write", &path, &e).msg);
        }
    }

    fn write_text(self, text: &str) -> io::Result<()> {
        match self.file {
            // A write in place would reach the other names of the file too.
            Some(file) if is_sole(&file)? => {
                file.write_all_at(text.as_bytes(), 0)?;
                if text.len() < self.len {
                    file.set_len(text.len() as u64)
                } else {
                    Ok(())
                }
            }
            _ => self.locked.change(|| {
                let records = &self.locked.folder().records;
                records.remove(&self.name)?;
                let file = records.open_file(&self.name, Access::Create)?;
                file.write_all_at(text.as_bytes(), 0)
            }),
        }
    }
}
