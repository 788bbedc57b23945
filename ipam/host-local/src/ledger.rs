//! Where a record came from: which boot of which machine, and which network namespace. It lies in a
//! file beside the records that the reference does not know. If it is lost, or belongs to another
//! record of the same address, nothing is known, and then nobody takes the address away.
//!
//! It is written before the record appears. So whenever a writer dies, no record is without its
//! origin. (The exception is a file system on which a record cannot appear whole: see
//! `store/publish.rs`.)

use crate::{
    system::{Boot, Id},
    table::{Damage, PAGE, PageFile, Table, hash},
};
use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io::{self, ErrorKind},
    net::IpAddr,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

/// The first word of the file: what it is, and the version of its layout.
const MAGIC: u64 = u64::from_le_bytes(*b"hl-org-1");

/// The longest path of a namespace that is kept, in bytes. Of a longer one nothing is known.
const MAX_PATH: usize = 90;

const ENTRY: usize = 192;

/// Pages of a new ledger.
const FEWEST_PAGES: u32 = 4;

/// The most pages that a ledger can have: entries for 330 million records.
const MOST_PAGES: u32 = 1 << 24;

/// More pages than this to look through call for a larger ledger.
const LONGEST_WALK: u32 = 2;

/// Which file a record is: another one of the same name differs in one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    inode: u64,
    modified: i64,
    nanoseconds: u32,
}

impl Identity {
    /// The identity of a file with this metadata.
    pub(crate) fn of(meta: &Metadata) -> Self {
        let nanoseconds = u32::try_from(meta.mtime_nsec()).unwrap_or_default();
        Self {
            inode: meta.ino(),
            modified: meta.mtime(),
            nanoseconds,
        }
    }
}

/// Device and inode of a file.
pub(crate) type Place = (u64, u64);

/// A network namespace that is mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Netns {
    /// The path.
    pub(crate) path: PathBuf,
    /// The namespace.
    pub(crate) place: Place,
    /// The directory that the path is in.
    pub(crate) parent: Place,
}

/// Where a record came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The boot in which it was written.
    pub(crate) boot: Boot,
    /// The namespace of the attachment, where it was mounted somewhere.
    pub(crate) netns: Option<Netns>,
}

/// The origins of one folder's records.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: PageFile,
    table: Table<ENTRY>,
}

type Bytes = [u8; ENTRY];

fn key(address: IpAddr) -> [u8; 17] {
    let mut key = [0; 17];
    let bits = crate::span::to_bits(address).to_le_bytes();
    key.iter_mut()
        .zip(bits.into_iter().chain([u8::from(address.is_ipv4())]))
        .for_each(|(place, b)| *place = b);
    key
}

fn is(key: [u8; 17]) -> impl Fn(&Bytes) -> bool {
    move |bytes| bytes.starts_with(&key)
}

fn encode(address: IpAddr, identity: Identity, origin: &Origin) -> Bytes {
    let netns = origin
        .netns
        .as_ref()
        .filter(|netns| netns.path.as_os_str().len() <= MAX_PATH);
    let path = netns.map_or(&[][..], |netns| netns.path.as_os_str().as_bytes());
    let (place, parent) = netns.map_or_else(Default::default, |netns| (netns.place, netns.parent));
    let mut bytes = key(address).to_vec();
    bytes.push(u8::try_from(path.len()).unwrap_or_default());
    bytes.extend(identity.inode.to_le_bytes());
    bytes.extend(identity.modified.to_le_bytes());
    bytes.extend(identity.nanoseconds.to_le_bytes());
    bytes.extend(origin.boot.machine);
    bytes.extend(origin.boot.boot);
    for number in [place.0, place.1, parent.0, parent.1] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(path);
    bytes.resize(ENTRY, 0);
    bytes.try_into().unwrap_or([0; ENTRY])
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

fn decode(bytes: &Bytes) -> Option<(Identity, Origin)> {
    let mut reader = Reader(bytes.get(17..)?);
    let [path_len] = reader.take::<1>()?;
    let identity = Identity {
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

impl Ledger {
    /// Opens a ledger. None if the content was read, and is not that of a ledger.
    ///
    /// # Errors
    /// Fails if the file cannot be read: then nothing is known of its content.
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

    /// Creates an empty ledger in an empty file.
    pub(crate) fn create(file: File) -> io::Result<Self> {
        Self::with_pages(file, FEWEST_PAGES)
    }

    fn with_pages(file: File, pages: u32) -> io::Result<Self> {
        let table = Table::new(1, pages).filter(|_| pages <= MOST_PAGES);
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

    /// Copies the entries that are still of use into an empty file, which is to have `times` as many
    /// pages.
    pub(crate) fn copy_into(
        &mut self,
        file: File,
        times: u32,
        is_of_use: impl Fn(IpAddr, Identity) -> bool,
    ) -> io::Result<Self> {
        let mut copy = Self::with_pages(file, self.table.pages().saturating_mul(times))?;
        let mut outcome = Ok(());
        self.table.for_each(&mut self.file, |bytes| {
            let known = address(bytes).zip(decode(bytes));
            let wanted = known.filter(|(address, (identity, _))| is_of_use(*address, *identity));
            if let (Some((address, _)), Ok(())) = (wanted, &outcome) {
                outcome = copy.put(address, bytes).map(drop);
            }
        })?;
        outcome?;
        copy.file.flush()?;
        Ok(copy)
    }

    /// The origin of the record of `address` that is this file.
    pub(crate) fn origin(&mut self, address: IpAddr, identity: Identity) -> Option<Origin> {
        let key = key(address);
        let found = self.table.find(&mut self.file, hash(&key), is(key)).ok()?;
        let (written, origin) = decode(found.first()?)?;
        (written == identity).then_some(origin)
    }

    /// Notes the origin of a record. Returns false if it should be noted in a larger ledger.
    pub(crate) fn note(
        &mut self,
        address: IpAddr,
        identity: Identity,
        origin: &Origin,
    ) -> io::Result<bool> {
        let walked = self.put(address, &encode(address, identity, origin))?;
        self.file.flush()?;
        Ok(walked.is_some_and(|walked| walked <= LONGEST_WALK))
    }

    fn put(&mut self, address: IpAddr, bytes: &Bytes) -> io::Result<Option<u32>> {
        let key = key(address);
        self.table.put(&mut self.file, hash(&key), bytes, is(key))
    }

    /// Forgets what is known of an address.
    pub(crate) fn forget(&mut self, address: IpAddr) -> io::Result<()> {
        let key = key(address);
        if self.table.remove(&mut self.file, hash(&key), is(key))? {
            self.file.flush()?;
        }
        Ok(())
    }
}

/// The number of pages in the head of a ledger. None if it is not one.
fn pages_in(head: &[u8; 16]) -> Option<u32> {
    let (magic, pages) = head.split_first_chunk()?;
    let pages = u32::try_from(u64::from_le_bytes(*pages.first_chunk()?)).ok()?;
    let is_one = u64::from_le_bytes(*magic) == MAGIC && pages.is_power_of_two();
    (is_one && pages <= MOST_PAGES).then_some(pages)
}

/// The address of an entry. None if the number is too large for its family.
fn address(bytes: &Bytes) -> Option<IpAddr> {
    let bits = bytes.first_chunk().copied().map(u128::from_le_bytes)?;
    let like = if bytes.get(16) == Some(&1) {
        IpAddr::from([0; 4])
    } else {
        IpAddr::from([0; 16])
    };
    crate::span::from_bits(like, bits)
}

#[cfg(test)]
mod tests;
