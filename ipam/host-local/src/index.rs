//! What the records say, arranged so that it is found in the same time whatever their number: which
//! addresses a container holds, which addresses are free.
//!
//! The records are the truth. The index lies beside them, and can be deleted or damaged at any time;
//! then it is rebuilt from one look at all records. A [`Stamp`] of the folder shows if somebody else
//! changed it: the reference, or a person. The time of a file system's clock stands still for
//! milliseconds, so a change right after our own could leave the same time. Therefore each change of
//! ours ends by setting the folder's time of modification to one that has passed: every change after
//! that gives it a later one. All arithmetic on what is read from the file is checked, and a figure
//! that cannot be right is damage.

use crate::{
    span::{Span, Spans, from_bits, to_bits},
    system::Id,
    table::{Damage, PageFile, Table, hash, mix},
};
use std::{
    collections::HashSet,
    fs::{File, Metadata},
    io::{self, ErrorKind},
    net::IpAddr,
    num::NonZeroU64,
    os::unix::fs::MetadataExt,
};

/// The first word of the file: what it is, and the version of its layout.
const MAGIC: u64 = u64::from_le_bytes(*b"hl-idx-1");

/// The pages that a table has at least, a power of two.
const FEWEST_PAGES: usize = 4;

/// How many entries of 32 bytes fill a page so far that a larger table is due (there is room for 127).
const FULL: u64 = 96;

/// Addresses of one entry, as a power of two: one bit each.
const BLOCK: u32 = 6;

/// Blocks that share a page, as a power of two: so one page covers 2048 addresses.
const GROUP: u32 = 5;

/// What a folder looked like: whoever makes or removes a name in it changes this.
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
    note: u64,
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
            note,
            ..
        } = self;
        let identity = [MAGIC, a, b, s0, s1, s2, s3, s4, s5];
        let figures = [owner_pages, block_pages, owners, blocks, taken, note];
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
        let [owner_pages, block_pages, owners, blocks, taken, note] =
            [next()?, next()?, next()?, next()?, next()?, next()?];
        Some(Self {
            boot,
            stamp,
            owner_pages,
            block_pages,
            owners,
            blocks,
            taken,
            note,
        })
    }
}

/// Gives the file of an index the checksums of what it holds, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(crate) fn correct_checksums(bytes: &mut [u8]) {
    crate::table::correct_checksums(bytes);
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

/// What the index keeps of a record: the owner's container, as a hash, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The address.
    pub(crate) address: IpAddr,
    /// The hash of the container's id (see [`container`]).
    pub(crate) container: Option<Container>,
}

/// A container, as a hash. Not 0, which makes an [`Item`] smaller; there is one for each record when an index is made.
pub(crate) type Container = NonZeroU64;

/// The hash by which a container is found.
pub(crate) fn container(id: &str) -> Container {
    NonZeroU64::new(hash(id.as_bytes())).unwrap_or(NonZeroU64::MIN)
}

/// An address, or a block of them, as a key: number, family.
type Key = [u8; 17];

fn key(like: IpAddr, bits: u128) -> Key {
    let mut key = [0; 17];
    for (place, byte) in key.iter_mut().zip(
        bits.to_le_bytes()
            .into_iter()
            .chain([u8::from(like.is_ipv4())]),
    ) {
        *place = byte;
    }
    key
}

fn block_of(address: IpAddr) -> Key {
    key(address, to_bits(address) >> BLOCK)
}

fn group_hash(like: IpAddr, block: u128) -> u64 {
    let [low, high] = halves((block >> GROUP).to_le_bytes());
    mix(low ^ mix(high ^ u64::from(like.is_ipv4())))
}

fn bit_of(address: IpAddr) -> u64 {
    1 << (to_bits(address) % (1 << BLOCK))
}

/// Joins a key and a number to an entry.
fn entry(key: Key, word: u64) -> [u8; 32] {
    let mut entry = [0; 32];
    let bytes = key.into_iter().chain([0; 7]).chain(word.to_le_bytes());
    entry
        .iter_mut()
        .zip(bytes)
        .for_each(|(place, byte)| *place = byte);
    entry
}

fn word(entry: &[u8; 32]) -> u64 {
    entry
        .last_chunk()
        .copied()
        .map(u64::from_le_bytes)
        .unwrap_or_default()
}

/// Number and family of an entry's key.
fn number(entry: &[u8; 32]) -> (u128, bool) {
    let bits = entry
        .first_chunk()
        .copied()
        .map(u128::from_le_bytes)
        .unwrap_or_default();
    (bits, entry.get(16) == Some(&1))
}

fn has(key: Key) -> impl Fn(&[u8; 32]) -> bool {
    move |entry| entry.starts_with(&key)
}

fn pages_for(entries: usize) -> u64 {
    (entries / 48 + FEWEST_PAGES).next_power_of_two() as u64
}

impl Index {
    /// Opens an index; nothing where it cannot be one of this boot. A power cut may have left some of its pages
    /// behind the folder's state, so one of an earlier boot is never used.
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

    /// Builds an index of these items in an empty file.
    pub(crate) fn build(file: File, boot: Id, items: &mut [Item]) -> io::Result<Self> {
        let blocks: HashSet<Key> = items.iter().map(|item| block_of(item.address)).collect();
        let header = Header {
            boot,
            owner_pages: pages_for(items.len()),
            block_pages: pages_for(blocks.len()),
            ..Header::default()
        };
        drop(blocks);
        let file = PageFile::new(file, Damage::IsAnError);
        let mut index = Self::with(file, header).ok_or(ErrorKind::FileTooLarge)?;
        index.file.initialize(0..index.blocks.end())?;
        // In the order of the pages: each is then read and written once.
        items.sort_unstable_by_key(|item| {
            item.container
                .map(|hash| hash.get() % index.header.owner_pages)
        });
        items
            .iter()
            .try_for_each(|item| index.insert_owner(*item))?;
        items.sort_unstable_by_key(|item| item.address);
        items
            .iter()
            .try_for_each(|item| index.set_taken(item.address))?;
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

    /// A number that a caller wants to find again; 0 in a new index.
    pub(crate) fn note(&mut self) -> &mut u64 {
        &mut self.header.note
    }

    /// The addresses of a container, and those of others whose hash is the same.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or is damaged.
    pub(crate) fn addresses_of(&mut self, container: Container) -> io::Result<Vec<IpAddr>> {
        let container = container.get();
        let found = self
            .owners
            .find(&mut self.file, container, |entry| word(entry) == container)?;
        found
            .iter()
            .map(|entry| address(entry).ok_or_else(damaged))
            .collect()
    }

    /// Notes a record.
    pub(crate) fn insert(&mut self, item: Item) -> io::Result<()> {
        self.insert_owner(item)?;
        self.set_taken(item.address)
    }

    /// Forgets a record.
    pub(crate) fn remove(&mut self, item: Item) -> io::Result<()> {
        if let Some(container) = item.container.map(Container::get) {
            let matches = |entry: &[u8; 32]| {
                word(entry) == container && has(key(item.address, to_bits(item.address)))(entry)
            };
            let removed = self.owners.remove(&mut self.file, container, matches)?;
            let left = self.header.owners.checked_sub(removed.into());
            self.header.owners = left.ok_or_else(damaged)?;
        }
        self.change_block(item.address, |bits| bits & !bit_of(item.address))
    }

    fn insert_owner(&mut self, item: Item) -> io::Result<()> {
        let Some(container) = item.container.map(Container::get) else {
            return Ok(());
        };
        let entry = entry(key(item.address, to_bits(item.address)), container);
        let walked = self
            .owners
            .put(&mut self.file, container, &entry, |other| *other == entry)?;
        walked.ok_or(ErrorKind::StorageFull)?;
        self.header.owners = self.header.owners.checked_add(1).ok_or_else(damaged)?;
        Ok(())
    }

    /// Notes that an address cannot be given away.
    pub(crate) fn set_taken(&mut self, address: IpAddr) -> io::Result<()> {
        self.change_block(address, |bits| bits | bit_of(address))
    }

    fn change_block(&mut self, address: IpAddr, change: impl Fn(u64) -> u64) -> io::Result<()> {
        let (block, hash) = (
            block_of(address),
            group_hash(address, to_bits(address) >> BLOCK),
        );
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
        let Header { blocks, taken, .. } = &mut self.header;
        *blocks = blocks
            .checked_add(known.is_none().into())
            .ok_or_else(damaged)?;
        let sum = taken.checked_add(new.count_ones().into());
        *taken = sum
            .and_then(|sum| sum.checked_sub(old.count_ones().into()))
            .ok_or_else(damaged)?;
        let walked = self
            .blocks
            .put(&mut self.file, hash, &entry(block, new), has(block))?;
        walked.ok_or(ErrorKind::StorageFull)?;
        Ok(())
    }

    /// The first address of the span that is not taken.
    pub(crate) fn first_free(&mut self, span: Span) -> io::Result<Option<IpAddr>> {
        let (mut at, last) = (to_bits(span.first), to_bits(span.last));
        let is_v4 = span.first.is_ipv4();
        loop {
            let group = at >> (BLOCK + GROUP);
            let in_group = |entry: &[u8; 32]| {
                let (block, v4) = number(entry);
                v4 == is_v4 && block >> GROUP == group
            };
            let found = self.blocks.find(
                &mut self.file,
                group_hash(span.first, at >> BLOCK),
                in_group,
            )?;
            let blocks: Vec<(u128, u64)> = found.iter().map(|e| (number(e).0, word(e))).collect();
            while at <= last && at >> (BLOCK + GROUP) == group {
                let bits = blocks
                    .iter()
                    .find(|(block, _)| *block == at >> BLOCK)
                    .map_or(0, |(_, bits)| *bits);
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
            if at > last {
                return Ok(None);
            }
        }
    }

    /// For each list of spans, how many of their addresses are taken.
    pub(crate) fn count(&mut self, lists: &[&Spans]) -> io::Result<Vec<u64>> {
        let mut counts = vec![0; lists.len()];
        self.blocks.for_each(&mut self.file, |entry| {
            let (block, is_v4) = number(entry);
            // No address lies in a block whose number is too large.
            let Some(whole) = block_span(block, is_v4) else {
                return;
            };
            for (count, spans) in counts.iter_mut().zip(lists) {
                for span in spans.overlapping(whole) {
                    *count += u64::from((word(entry) & mask(whole, *span)).count_ones());
                }
            }
        })?;
        Ok(counts)
    }
}

/// The addresses of a block. None if its number is too large for its family.
fn block_span(block: u128, is_v4: bool) -> Option<Span> {
    let start = block.checked_mul(1 << BLOCK)?;
    let like = of_family(is_v4);
    Some(Span {
        first: from_bits(like, start)?,
        last: from_bits(like, start | ((1 << BLOCK) - 1))?,
    })
}

/// An address of the family.
fn of_family(is_v4: bool) -> IpAddr {
    if is_v4 {
        IpAddr::from([0; 4])
    } else {
        IpAddr::from([0; 16])
    }
}

/// The bits of a block whose addresses are in the span.
fn mask(block: Span, span: Span) -> u64 {
    block.overlap(span).map_or(0, |part| {
        bits_from(bit_of(part.first)) & bits_to(bit_of(part.last))
    })
}

/// This bit and all above it.
fn bits_from(bit: u64) -> u64 {
    !(bit - 1)
}

/// This bit and all below it.
fn bits_to(bit: u64) -> u64 {
    bit | (bit - 1)
}

/// The address of an entry. None if the number is too large for its family.
fn address(entry: &[u8; 32]) -> Option<IpAddr> {
    let (bits, is_v4) = number(entry);
    from_bits(of_family(is_v4), bits)
}

fn damaged() -> io::Error {
    ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests;
