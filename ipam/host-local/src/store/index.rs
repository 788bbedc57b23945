//! The content of the records, arranged so that a look-up takes the same time however many there
//! are: the addresses that a container holds, and the addresses that are free.
//!
//! The records are the truth. The index lies beside them, and can be deleted or damaged at any
//! time; then it is rebuilt from one look at all records. A [`Stamp`] of the folder shows if
//! somebody else changed it: the reference, or a person. The time of a file system's clock stands
//! still for milliseconds, so a change right after our own could leave the same time. Therefore
//! each change of ours ends by setting the folder's time of modification to one that has passed:
//! every change after that gives it a later one. All arithmetic on figures from the file is
//! checked, and a figure that cannot be right is damage.

use super::{
    key::{self, Key},
    table::{Damage, PageFile, Table, hash, mix},
};
use crate::{
    alloc::{Span, Spans, from_bits, to_bits},
    machine::Id,
};
use std::{
    collections::HashSet,
    fs::{File, Metadata},
    io::{self, ErrorKind},
    net::IpAddr,
    num::NonZeroU64,
    os::unix::fs::MetadataExt,
};

/// The first word of the file: its kind, and the version of its layout.
const MAGIC: u64 = u64::from_le_bytes(*b"hl-idx-1");

/// The pages that a table has at least, a power of two.
const MIN_PAGES: usize = 4;

/// The number of entries of 32 bytes in a page, of 127 that fit, above which a larger table is due.
const FULL: u64 = 96;

/// The number of addresses of one entry, as a power of two: one bit each.
const BLOCK: u32 = 6;

/// The number of blocks that share a page, as a power of two: one page covers 2048 addresses.
const GROUP: u32 = 5;

/// The state of a folder: any name that is made or removed in it changes this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp([u64; 6]);

impl Stamp {
    /// The stamp of a folder with this metadata.
    pub(crate) fn of(folder: &Metadata) -> Self {
        let times = [
            folder.mtime(),
            folder.mtime_nsec(),
            folder.ctime(),
            folder.ctime_nsec(),
        ];
        let [a, b, c, d] = times.map(i64::cast_unsigned);
        Self([folder.dev(), folder.ino(), a, b, c, d])
    }
}

/// The first words of the file.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    boot: Id,
    stamp: [u64; 6],
    owner_pages: u64,
    block_pages: u64,
    owners: u64,
    blocks: u64,
    taken: u64,
    ranges_hash: u64,
}

const WORDS: usize = 16;

impl Header {
    fn to_bytes(self) -> Vec<u8> {
        let [a, b] = halves(self.boot);
        let [s0, s1, s2, s3, s4, s5] = self.stamp;
        let Self {
            owner_pages,
            block_pages,
            owners,
            blocks,
            taken,
            ranges_hash,
            ..
        } = self;
        let identity = [MAGIC, a, b, s0, s1, s2, s3, s4, s5];
        let figures = [owner_pages, block_pages, owners, blocks, taken, ranges_hash];
        let words = identity.into_iter().chain(figures);
        let mut bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
        bytes.extend_from_slice(&hash(&bytes).to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; WORDS * 8]) -> Option<Self> {
        let (content, checksum) = bytes.split_at(WORDS * 8 - 8);
        let mut words = content
            .as_chunks()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word));
        if checksum != hash(content).to_le_bytes() || words.next()? != MAGIC {
            return None;
        }
        let boot = (u128::from(words.next()?) | u128::from(words.next()?) << 64).to_le_bytes();
        let mut next = || words.next();
        let stamp = [next()?, next()?, next()?, next()?, next()?, next()?];
        let [owner_pages, block_pages, owners, blocks, taken, ranges_hash] =
            [next()?, next()?, next()?, next()?, next()?, next()?];
        Some(Self {
            boot,
            stamp,
            owner_pages,
            block_pages,
            owners,
            blocks,
            taken,
            ranges_hash,
        })
    }
}

/// Corrects the checksums in the file of an index, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(crate) fn correct_checksums(bytes: &mut [u8]) {
    crate::store::table::correct_checksums(bytes);
    if let Some((content, checksum)) = bytes
        .get_mut(..WORDS * 8)
        .and_then(<[u8]>::split_last_chunk_mut)
    {
        *checksum = hash(content).to_le_bytes();
    }
}

fn halves(id: Id) -> [u64; 2] {
    let bits = u128::from_le_bytes(id);
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    [bits as u64, (bits >> 64) as u64]
}

/// The index of one folder.
#[derive(Debug)]
pub(crate) struct Index {
    file: PageFile,
    header: Header,
    owners: Table<32>,
    blocks: Table<32>,
}

/// The part of a record that the index keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexedRecord {
    /// The address.
    pub(crate) address: IpAddr,
    /// The owner's container; `None` if the owner is unknown.
    pub(crate) container: Option<ContainerHash>,
}

/// The hash of a container's id. Not 0, which makes an [`IndexedRecord`] smaller: there is one for
/// each record when an index is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContainerHash(NonZeroU64);

impl ContainerHash {
    /// The hash of this id.
    pub(crate) fn of(id: &str) -> Self {
        // Two ids may have the same hash: records are compared with the id itself.
        Self(NonZeroU64::new(hash(id.as_bytes())).unwrap_or(NonZeroU64::MIN))
    }

    fn number(self) -> u64 {
        self.0.get()
    }
}

/// The block that an address is in.
fn block_of(address: IpAddr) -> Key {
    Key {
        number: to_bits(address) >> BLOCK,
        is_ipv4: address.is_ipv4(),
    }
}

/// The hash of a block's group: blocks of one group share a page.
fn group_hash(block: Key) -> u64 {
    let [low, high] = halves((block.number >> GROUP).to_le_bytes());
    mix(low ^ mix(high ^ u64::from(block.is_ipv4)))
}

fn bit_of(address: IpAddr) -> u64 {
    1 << (to_bits(address) % (1 << BLOCK))
}

/// Joins a key and a number to an entry.
fn entry(key: Key, word: u64) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..key::LENGTH].copy_from_slice(&key.to_bytes());
    entry[24..].copy_from_slice(&word.to_le_bytes());
    entry
}

/// The number of an entry.
fn word(entry: &[u8; 32]) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = *entry;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The key of an entry.
fn key_in(entry: &[u8; 32]) -> Key {
    let mut key = [0; key::LENGTH];
    key.copy_from_slice(&entry[..key::LENGTH]);
    Key::from_bytes(key)
}

fn has(key: Key) -> impl Fn(&[u8; 32]) -> bool {
    let key = key.to_bytes();
    move |entry| entry.starts_with(&key)
}

fn pages_for(entries: usize) -> u64 {
    (entries / 48 + MIN_PAGES).next_power_of_two() as u64
}

impl Index {
    /// Opens an index; `None` unless it is one of this boot. A power cut may have left some of the
    /// pages older than the folder's state, so an index of an earlier boot is never used.
    pub(crate) fn open(file: File, boot: Id) -> Option<Self> {
        let file = PageFile::new(file, Damage::IsAnError);
        let mut bytes = [0; WORDS * 8];
        file.read_at(&mut bytes, 0).ok()?;
        Self::with(
            file,
            Header::from_bytes(&bytes).filter(|header| header.boot == boot)?,
        )
    }

    fn with(file: PageFile, header: Header) -> Option<Self> {
        let owners = Table::new(1, u32::try_from(header.owner_pages).ok()?)?;
        let blocks = Table::new(owners.end(), u32::try_from(header.block_pages).ok()?)?;
        Some(Self {
            file,
            header,
            owners,
            blocks,
        })
    }

    /// Builds an index of these records in an empty file.
    pub(crate) fn build(file: File, boot: Id, records: &mut [IndexedRecord]) -> io::Result<Self> {
        let blocks: HashSet<Key> = records.iter().map(|r| block_of(r.address)).collect();
        let header = Header {
            boot,
            owner_pages: pages_for(records.len()),
            block_pages: pages_for(blocks.len()),
            ..Header::default()
        };
        drop(blocks);
        let file = PageFile::new(file, Damage::IsAnError);
        let mut index = Self::with(file, header).ok_or(ErrorKind::FileTooLarge)?;
        index.file.initialize(0..index.blocks.end())?;
        // In the order of the pages: each is then read and written once.
        let page = |hash: ContainerHash| hash.number() % index.header.owner_pages;
        records.sort_unstable_by_key(|record| record.container.map(page));
        for record in &*records {
            index.insert_owner(*record)?;
        }
        records.sort_unstable_by_key(|record| record.address);
        for record in &*records {
            index.set_taken(record.address)?;
        }
        Ok(index)
    }

    /// Returns true if the index is of a folder with this stamp.
    pub(crate) fn is_of(&self, stamp: Stamp) -> bool {
        self.header.stamp == stamp.0
    }

    /// Returns true if the header in the file is still the one that was read.
    pub(crate) fn is_unchanged(&self) -> bool {
        let mut bytes = [0; WORDS * 8];
        self.file.read_at(&mut bytes, 0).is_ok() && bytes.as_slice() == self.header.to_bytes()
    }

    /// Writes everything that was changed: from now on the index is of a folder with this stamp.
    pub(crate) fn seal(&mut self, stamp: Stamp) -> io::Result<()> {
        self.file.flush()?;
        self.header.stamp = stamp.0;
        self.file.write_at(&self.header.to_bytes(), 0)
    }

    /// Returns true if a larger one should be built.
    pub(crate) fn is_full(&self) -> bool {
        self.header.owners > self.header.owner_pages * FULL
            || self.header.blocks > self.header.block_pages * FULL
    }

    /// The number of addresses that are taken.
    pub(crate) fn taken(&self) -> u64 {
        self.header.taken
    }

    /// The hash of the ranges of the last ADD; 0 in a new index.
    pub(crate) fn ranges_hash(&mut self) -> &mut u64 {
        &mut self.header.ranges_hash
    }

    /// The addresses of the containers with this hash.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or is damaged.
    pub(crate) fn addresses_of(&mut self, container: ContainerHash) -> io::Result<Vec<IpAddr>> {
        let hash = container.number();
        let found = self
            .owners
            .find(&mut self.file, hash, |entry| word(entry) == hash)?;
        found
            .iter()
            .map(|entry| key_in(entry).address().ok_or_else(damaged))
            .collect()
    }

    /// Adds a record.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written, or is damaged.
    pub(crate) fn insert(&mut self, record: IndexedRecord) -> io::Result<()> {
        self.insert_owner(record)?;
        self.set_taken(record.address)
    }

    /// Removes a record.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written, or is damaged.
    pub(crate) fn remove(&mut self, record: IndexedRecord) -> io::Result<()> {
        if let Some(hash) = record.container.map(ContainerHash::number) {
            let has_address = has(Key::of(record.address));
            let matches = |entry: &[u8; 32]| word(entry) == hash && has_address(entry);
            let removed = self.owners.remove(&mut self.file, hash, matches)?;
            let left = self.header.owners.checked_sub(removed.into());
            self.header.owners = left.ok_or_else(damaged)?;
        }
        self.change_block(record.address, |bits| bits & !bit_of(record.address))
    }

    fn insert_owner(&mut self, record: IndexedRecord) -> io::Result<()> {
        let Some(hash) = record.container.map(ContainerHash::number) else {
            return Ok(());
        };
        let entry = entry(Key::of(record.address), hash);
        let visited = self
            .owners
            .put(&mut self.file, hash, &entry, |other| *other == entry)?;
        visited.ok_or(ErrorKind::StorageFull)?;
        self.header.owners = self.header.owners.checked_add(1).ok_or_else(damaged)?;
        Ok(())
    }

    /// Marks an address as one that cannot be given away.
    ///
    /// # Errors
    /// Fails if the file cannot be read or written, or is damaged.
    pub(crate) fn set_taken(&mut self, address: IpAddr) -> io::Result<()> {
        self.change_block(address, |bits| bits | bit_of(address))
    }

    fn change_block(&mut self, address: IpAddr, change: impl Fn(u64) -> u64) -> io::Result<()> {
        let block = block_of(address);
        let hash = group_hash(block);
        let known = self
            .blocks
            .find(&mut self.file, hash, has(block))?
            .first()
            .map(word);
        let old = known.unwrap_or_default();
        let new = change(old);
        if old == new {
            return Ok(());
        }
        let blocks = self.header.blocks.checked_add(known.is_none().into());
        self.header.blocks = blocks.ok_or_else(damaged)?;
        let sum = self.header.taken.checked_add(new.count_ones().into());
        let taken = sum.and_then(|sum| sum.checked_sub(old.count_ones().into()));
        self.header.taken = taken.ok_or_else(damaged)?;
        let visited = self
            .blocks
            .put(&mut self.file, hash, &entry(block, new), has(block))?;
        visited.ok_or(ErrorKind::StorageFull)?;
        Ok(())
    }

    /// The first address of the span that is not taken; `None` if all are.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or is damaged.
    pub(crate) fn first_free(&mut self, span: Span) -> io::Result<Option<IpAddr>> {
        let is_ipv4 = span.first.is_ipv4();
        let last = to_bits(span.last);
        let mut at = to_bits(span.first);
        while at <= last {
            let group = at >> (BLOCK + GROUP);
            let blocks = self.blocks_of_group(group, is_ipv4)?;
            while at <= last && at >> (BLOCK + GROUP) == group {
                let block = blocks.iter().find(|(number, _)| *number == at >> BLOCK);
                let bits = block.map_or(0, |(_, bits)| *bits);
                let free = u128::from((!bits >> (at % (1 << BLOCK))).trailing_zeros());
                if at % (1 << BLOCK) + free < 1 << BLOCK {
                    let address = at + free;
                    return Ok(from_bits(span.first, address).filter(|_| address <= last));
                }
                let Some(next) = ((at >> BLOCK) + 1).checked_mul(1 << BLOCK) else {
                    return Ok(None);
                };
                at = next;
            }
        }
        Ok(None)
    }

    /// The blocks of a group that have a taken address: the number of each, and its bits.
    fn blocks_of_group(&mut self, group: u128, is_ipv4: bool) -> io::Result<Vec<(u128, u64)>> {
        let hash = group_hash(Key {
            number: group << GROUP,
            is_ipv4,
        });
        let found = self.blocks.find(&mut self.file, hash, |entry| {
            let key = key_in(entry);
            key.is_ipv4 == is_ipv4 && key.number >> GROUP == group
        })?;
        let block = |entry: &[u8; 32]| (key_in(entry).number, word(entry));
        Ok(found.iter().map(block).collect())
    }

    /// Counts the taken addresses of each list of spans.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or is damaged.
    pub(crate) fn count(&mut self, lists: &[&Spans]) -> io::Result<Vec<u64>> {
        let mut counts = vec![0; lists.len()];
        self.blocks.for_each(&mut self.file, |entry| {
            // No address lies in a block whose number is too large.
            let Some(block) = block_span(key_in(entry)) else {
                return;
            };
            for (count, spans) in counts.iter_mut().zip(lists) {
                for part in spans.within(block) {
                    *count += u64::from((word(entry) & bits_of(part)).count_ones());
                }
            }
        })?;
        Ok(counts)
    }
}

/// The addresses of a block; `None` if its number is too large for its family.
fn block_span(block: Key) -> Option<Span> {
    let start = block.number.checked_mul(1 << BLOCK)?;
    let address = |number| Key { number, ..block }.address();
    Some(Span {
        first: address(start)?,
        last: address(start | ((1 << BLOCK) - 1))?,
    })
}

/// The bits of a part of a block.
fn bits_of(part: Span) -> u64 {
    bits_from(bit_of(part.first)) & bits_to(bit_of(part.last))
}

/// This bit and all above it.
fn bits_from(bit: u64) -> u64 {
    !(bit - 1)
}

/// This bit and all below it.
fn bits_to(bit: u64) -> u64 {
    bit | (bit - 1)
}

fn damaged() -> io::Error {
    ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests;
