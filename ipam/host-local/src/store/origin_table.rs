//! The origin of each record: the boot of the machine in which it was written, and the network
//! namespace. It lies in a file beside the records that the reference does not know. If it is lost,
//! or is of another record of the same address, nothing is known, and then nobody reclaims the
//! address.
//!
//! It is written before the record appears. So whenever a writer dies, no record is without its
//! origin. (The exception is a file system on which a record cannot appear whole: see
//! `store/publish.rs`.)

use super::{
    key::{self, Key},
    table::{Damage, PAGE, PageFile, Table, hash},
};
use crate::machine::{Boot, Id, Netns};
use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io::{self, ErrorKind},
    net::IpAddr,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

/// The first word of the file: its kind, and the version of its layout.
const MAGIC: u64 = u64::from_le_bytes(*b"hl-org-1");

/// The longest path of a namespace that is kept, in bytes. A namespace with a longer path is not.
const MAX_PATH: usize = 90;

/// The size of an entry, in bytes.
const ENTRY: usize = 192;

/// The size of an entry's fixed part, in bytes: key, length of the path, inode, time of
/// modification (12), machine and boot, device and inode of the namespace and of its directory.
const FIXED: usize = key::LENGTH + 1 + 8 + 12 + 2 * size_of::<Id>() + 4 * 8;

const _: () = assert!(FIXED + MAX_PATH == ENTRY);

/// The number of pages of a new table.
const MIN_PAGES: u32 = 4;

/// The largest number of pages of a table: entries for 330 million records.
const MAX_PAGES: u32 = 1 << 24;

/// The number of pages to search above which a larger table is due.
const MAX_PROBES: u32 = 2;

/// The identity of a record's file: another file of the same name differs in one of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    inode: u64,
    modified: i64,
    nanoseconds: u32,
}

impl FileIdentity {
    /// The identity of a file with this metadata.
    pub(crate) fn of(meta: &Metadata) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the kernel's are below 10^9"
        )]
        let nanoseconds = meta.mtime_nsec() as u32;
        Self {
            inode: meta.ino(),
            modified: meta.mtime(),
            nanoseconds,
        }
    }
}

/// The origin of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The boot in which it was written.
    pub(crate) boot: Boot,
    /// The namespace of the attachment, if it was mounted somewhere.
    pub(crate) netns: Option<Netns>,
}

/// The origins of one folder's records.
#[derive(Debug)]
pub(crate) struct OriginTable {
    file: PageFile,
    table: Table<ENTRY>,
}

type Bytes = [u8; ENTRY];

fn is(key: Key) -> impl Fn(&Bytes) -> bool {
    let key = key.to_bytes();
    move |bytes| bytes.starts_with(&key)
}

fn hash_of(key: Key) -> u64 {
    hash(&key.to_bytes())
}

/// Puts values one after another into an entry.
struct Writer {
    bytes: Bytes,
    len: usize,
}

impl Writer {
    #[expect(
        clippy::expect_used,
        reason = "an entry has room for its fixed part and the longest path"
    )]
    fn put(&mut self, value: &[u8]) {
        let place = self.bytes.get_mut(self.len..self.len + value.len());
        place.expect("room in the entry").copy_from_slice(value);
        self.len += value.len();
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "no path is longer than MAX_PATH"
)]
fn encode(address: IpAddr, identity: FileIdentity, origin: &Origin) -> Bytes {
    let netns = origin.netns.as_ref();
    let netns = netns.filter(|netns| netns.path.as_os_str().len() <= MAX_PATH);
    let path = netns.map_or(&[][..], |netns| netns.path.as_os_str().as_bytes());
    let (place, parent) = netns.map_or_else(Default::default, |netns| (netns.place, netns.parent));
    let mut writer = Writer {
        bytes: [0; ENTRY],
        len: 0,
    };
    writer.put(&Key::of(address).to_bytes());
    writer.put(&[path.len() as u8]);
    writer.put(&identity.inode.to_le_bytes());
    writer.put(&identity.modified.to_le_bytes());
    writer.put(&identity.nanoseconds.to_le_bytes());
    writer.put(&origin.boot.machine);
    writer.put(&origin.boot.boot);
    for number in [place.0, place.1, parent.0, parent.1] {
        writer.put(&number.to_le_bytes());
    }
    writer.put(path);
    writer.bytes
}

/// Takes values off the front of an entry.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// The content of an entry; `None` if its path is longer than the entry.
fn decode(bytes: &Bytes) -> Option<(FileIdentity, Origin)> {
    let mut reader = Reader(&bytes[key::LENGTH..]);
    let [path_len] = reader.take::<1>()?;
    let identity = FileIdentity {
        inode: reader.number()?,
        modified: reader.take().map(i64::from_le_bytes)?,
        nanoseconds: reader.take().map(u32::from_le_bytes)?,
    };
    let boot = Boot {
        machine: reader.take::<{ size_of::<Id>() }>()?,
        boot: reader.take()?,
    };
    let place = (reader.number()?, reader.number()?);
    let parent = (reader.number()?, reader.number()?);
    let path = Path::new(OsStr::from_bytes(reader.0.get(..usize::from(path_len))?)).to_owned();
    let netns = (path_len > 0).then_some(Netns {
        path,
        place,
        parent,
    });
    Some((identity, Origin { boot, netns }))
}

impl OriginTable {
    /// Opens a table; `None` if the content was read, and is not that of a table.
    ///
    /// # Errors
    /// Fails if the file cannot be read: its content is unknown.
    pub(crate) fn open(file: File) -> io::Result<Option<Self>> {
        let file = PageFile::new(file, Damage::IsLoss);
        let mut head = [0; 16];
        match file.read_at(&mut head, 0) {
            Ok(()) => Ok(pages_in(&head)
                .and_then(|pages| Table::new(1, pages))
                .map(|table| Self { file, table })),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Creates an empty table in an empty file.
    pub(crate) fn create(file: File) -> io::Result<Self> {
        Self::with_pages(file, MIN_PAGES)
    }

    fn with_pages(file: File, pages: u32) -> io::Result<Self> {
        let table = Table::new(1, pages).filter(|_| pages <= MAX_PAGES);
        let table = table.ok_or(ErrorKind::FileTooLarge)?;
        file.set_len((u64::from(pages) + 1) * PAGE as u64)?;
        let file = PageFile::new(file, Damage::IsLoss);
        let head: Vec<u8> = [MAGIC, u64::from(pages)]
            .into_iter()
            .flat_map(u64::to_le_bytes)
            .collect();
        file.write_at(&head, 0)?;
        Ok(Self { file, table })
    }

    /// Copies the entries that are still of use into an empty file, as a table with `times` as many
    /// pages.
    pub(crate) fn copy_into(
        &mut self,
        file: File,
        times: u32,
        is_of_use: impl Fn(IpAddr, FileIdentity) -> bool,
    ) -> io::Result<Self> {
        let mut copy = Self::with_pages(file, self.table.pages().saturating_mul(times))?;
        let mut outcome = Ok(());
        self.table.for_each(&mut self.file, |bytes| {
            let known = key_in(bytes).address().zip(decode(bytes));
            let wanted = known.filter(|(address, (identity, _))| is_of_use(*address, *identity));
            if let (Some((address, _)), Ok(())) = (wanted, &outcome) {
                outcome = copy.put(address, bytes).map(drop);
            }
        })?;
        outcome?;
        copy.file.flush()?;
        Ok(copy)
    }

    /// The origin of the record of `address` that is this file; `None` if it is not known.
    pub(crate) fn origin(&mut self, address: IpAddr, identity: FileIdentity) -> Option<Origin> {
        let key = Key::of(address);
        let found = self
            .table
            .find(&mut self.file, hash_of(key), is(key))
            .ok()?;
        let (written, origin) = decode(found.first()?)?;
        (written == identity).then_some(origin)
    }

    /// Adds the origin of a record. Returns false if it should be added to a larger table.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written.
    pub(crate) fn insert(
        &mut self,
        address: IpAddr,
        identity: FileIdentity,
        origin: &Origin,
    ) -> io::Result<bool> {
        let visited = self.put(address, &encode(address, identity, origin))?;
        self.file.flush()?;
        Ok(visited.is_some_and(|visited| visited <= MAX_PROBES))
    }

    fn put(&mut self, address: IpAddr, bytes: &Bytes) -> io::Result<Option<u32>> {
        let key = Key::of(address);
        self.table.put(&mut self.file, hash_of(key), bytes, is(key))
    }

    /// Removes the origin of the record of `address`.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written.
    pub(crate) fn remove(&mut self, address: IpAddr) -> io::Result<()> {
        let key = Key::of(address);
        if self.table.remove(&mut self.file, hash_of(key), is(key))? {
            self.file.flush()?;
        }
        Ok(())
    }
}

/// The number of pages in the head of a table; `None` if it is not the head of a table.
fn pages_in(head: &[u8; 16]) -> Option<u32> {
    let (magic, pages) = head.split_first_chunk()?;
    let pages = u32::try_from(u64::from_le_bytes(*pages.first_chunk()?)).ok()?;
    let is_one = u64::from_le_bytes(*magic) == MAGIC && pages.is_power_of_two();
    (is_one && pages <= MAX_PAGES).then_some(pages)
}

/// The key of an entry.
fn key_in(bytes: &Bytes) -> Key {
    let mut key = [0; key::LENGTH];
    key.copy_from_slice(&bytes[..key::LENGTH]);
    Key::from_bytes(key)
}

#[cfg(test)]
mod tests;
