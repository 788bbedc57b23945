//! Hash tables in a file, of entries of one size. A look-up costs the same however many entries
//! there are, and next to no memory, since pages are read as they are needed.
//!
//! The file is not mapped: another process may truncate it, and that would kill this one. A page
//! carries a checksum, so that damage is noticed and never taken for an answer.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
};

/// The size of a page, in bytes.
pub(crate) const PAGE: usize = 4096;

/// The size of a page's head, in bytes: the checksum (8), the number of entries (2), and 1 if
/// entries that belong there are in later pages.
const HEAD: usize = 16;

/// The number of pages that are kept in memory.
const CACHED: usize = 16;

/// The meaning of a page whose checksum is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The whole file is of no use.
    IsAnError,
    /// The entries of that page are lost. A hole in the file is such a page.
    IsLoss,
}

/// A file of pages.
#[derive(Debug)]
pub(crate) struct PageFile {
    file: File,
    damage: Damage,
    /// The most recently used last.
    cache: Vec<Page>,
}

#[derive(Debug)]
struct Page {
    number: u32,
    bytes: Box<[u8; PAGE]>,
    dirty: bool,
}

/// A table in some pages of a file, with entries of `N` bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table<const N: usize> {
    first: u32,
    /// The number of the page after the last; there is at least one page.
    end: u32,
}

fn damaged() -> io::Error {
    ErrorKind::InvalidData.into()
}

/// Mixes bits so that each depends on all of `value`.
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value = (value ^ (value >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    value ^ (value >> 32)
}

/// A hash that stays the same from version to version: it is on disk.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let word = |chunk: &[u8]| {
        chunk
            .iter()
            .rev()
            .fold(0, |word, byte| (word << 8) | u64::from(*byte))
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words
        .iter()
        .map(|chunk| u64::from_le_bytes(*chunk))
        .chain(std::iter::once(word(rest)));
    let folded = words.fold(bytes.len() as u64, |hash, word| {
        (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    mix(folded)
}

impl Page {
    fn empty(number: u32) -> Self {
        Self {
            number,
            bytes: Box::new([0; PAGE]),
            dirty: false,
        }
    }

    fn count(&self) -> u16 {
        let [_, _, _, _, _, _, _, _, low, high, ..] = *self.bytes;
        u16::from_le_bytes([low, high])
    }

    fn set_count(&mut self, count: u16) {
        self.put(8, &count.to_le_bytes());
    }

    fn has_spilt(&self) -> bool {
        let [_, _, _, _, _, _, _, _, _, _, spilt, ..] = *self.bytes;
        spilt == 1
    }

    #[expect(
        clippy::expect_used,
        reason = "callers write the head, or entries that fit"
    )]
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let place = self.bytes.get_mut(at..at + bytes.len());
        place
            .expect("a place within the page")
            .copy_from_slice(bytes);
        self.dirty = true;
    }

    /// The size of the head and of so many entries, in bytes.
    fn size_with<const N: usize>(count: u16) -> usize {
        HEAD + usize::from(count) * N
    }

    #[expect(
        clippy::expect_used,
        reason = "a page that counts more entries than fit is not read"
    )]
    fn entries<const N: usize>(&self) -> &[[u8; N]] {
        let bytes = self.bytes.get(HEAD..Self::size_with::<N>(self.count()));
        bytes.expect("as many entries as fit").as_chunks().0
    }

    /// Adds an entry if there is room.
    fn push<const N: usize>(&mut self, entry: &[u8; N]) -> bool {
        let count = self.count();
        let at = Self::size_with::<N>(count);
        if at + N > PAGE {
            self.put(10, &[1]);
            return false;
        }
        self.put(at, entry);
        self.set_count(count + 1);
        true
    }

    /// Removes the entry of this index; the last one takes its place.
    #[expect(
        clippy::expect_used,
        reason = "the index is of an entry that was found"
    )]
    fn remove<const N: usize>(&mut self, index: usize) {
        let last = *self.entries::<N>().last().expect("an entry");
        self.put(HEAD + index * N, &last);
        self.set_count(self.count() - 1);
    }

    /// The checksum of the whole page but for itself: entries may be of any size.
    fn checksum(&self) -> u64 {
        let [_, _, _, _, _, _, _, _, content @ ..] = &*self.bytes;
        hash(content) ^ mix(u64::from(self.number) + 1)
    }

    /// Returns true if the checksum is right, and as many entries fit as the page says it has.
    fn is_whole<const N: usize>(&self) -> bool {
        Self::size_with::<N>(self.count()) <= PAGE
            && self.bytes.starts_with(&self.checksum().to_le_bytes())
    }
}

impl PageFile {
    /// Uses a file that is there.
    pub(crate) fn new(file: File, damage: Damage) -> Self {
        Self {
            file,
            damage,
            cache: Vec::new(),
        }
    }

    /// Writes empty pages: a page that is all zero is a damaged one.
    pub(crate) fn initialize(&self, pages: std::ops::Range<u32>) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(16 * PAGE);
        let mut at = pages.start;
        for number in pages {
            let mut page = Page::empty(number);
            page.put(0, &page.checksum().to_le_bytes());
            buffer.extend_from_slice(page.bytes.as_slice());
            if buffer.len() == 16 * PAGE {
                self.file.write_all_at(&buffer, offset(at))?;
                buffer.clear();
                at = number + 1;
            }
        }
        self.file.write_all_at(&buffer, offset(at))
    }

    /// Reads bytes that belong to no page of a table.
    pub(crate) fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }

    /// Writes bytes that belong to no page of a table.
    pub(crate) fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Writes the changed pages.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.cache
            .iter_mut()
            .filter(|page| page.dirty)
            .try_for_each(|page| write(&self.file, page))
    }

    /// The same file, without the pages in memory.
    #[cfg(test)]
    pub(crate) fn duplicate(&self) -> File {
        self.file.try_clone().unwrap()
    }

    /// The page of a table with entries of `N` bytes.
    #[expect(
        clippy::expect_used,
        reason = "both branches leave the page at the end"
    )]
    fn page<const N: usize>(&mut self, number: u32) -> io::Result<&mut Page> {
        match self.cache.iter().position(|page| page.number == number) {
            Some(index) => {
                // The next look-up is most often in the same page.
                let last = self.cache.len() - 1;
                self.cache.swap(index, last);
            }
            None => {
                let page = self.read::<N>(number)?;
                if self.cache.len() >= CACHED {
                    let mut oldest = self.cache.swap_remove(0);
                    if oldest.dirty {
                        write(&self.file, &mut oldest)?;
                    }
                }
                self.cache.push(page);
            }
        }
        Ok(self.cache.last_mut().expect("the page"))
    }

    fn read<const N: usize>(&self, number: u32) -> io::Result<Page> {
        let mut page = Page::empty(number);
        let whole = match self
            .file
            .read_exact_at(page.bytes.as_mut_slice(), offset(number))
        {
            Ok(()) => page.is_whole::<N>(),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => false,
            Err(e) => return Err(e),
        };
        match self.damage {
            _ if whole => Ok(page),
            Damage::IsAnError => Err(damaged()),
            Damage::IsLoss => Ok(Page::empty(number)),
        }
    }
}

/// Corrects the checksum of each page of a file, for the fuzzer. The first is no
/// table's.
#[cfg(feature = "fuzzing")]
pub(crate) fn correct_checksums(bytes: &mut [u8]) {
    for (number, chunk) in (0..).zip(bytes.chunks_exact_mut(PAGE)).skip(1) {
        let mut page = Page::empty(number);
        page.put(0, chunk);
        chunk
            .iter_mut()
            .zip(page.checksum().to_le_bytes())
            .for_each(|(place, byte)| *place = byte);
    }
}

fn write(file: &File, page: &mut Page) -> io::Result<()> {
    page.put(0, &page.checksum().to_le_bytes());
    page.dirty = false;
    file.write_all_at(page.bytes.as_slice(), offset(page.number))
}

/// The place of a page in its file, in bytes.
fn offset(page: u32) -> u64 {
    u64::from(page) * PAGE as u64
}

impl<const N: usize> Table<N> {
    /// Returns a table of so many pages from `first` on; `None` unless there is a page, and all of
    /// them have a number: the figures come from a file that anybody may have damaged.
    pub(crate) const fn new(first: u32, pages: u32) -> Option<Self> {
        match first.checked_add(pages) {
            Some(end) if pages > 0 => Some(Self { first, end }),
            _ => None,
        }
    }

    /// The number of the table's pages.
    pub(crate) const fn pages(self) -> u32 {
        self.end - self.first
    }

    /// The number of the page after the table's last.
    pub(crate) const fn end(self) -> u32 {
        self.end
    }

    /// The pages in which an entry with this hash can be, in the order of the search.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a remainder is less than its divisor, a u32"
    )]
    fn pages_of(self, hash: u64) -> impl Iterator<Item = u32> {
        let start = self.first + (hash % u64::from(self.pages())) as u32;
        (start..self.end).chain(self.first..start)
    }

    /// Visits the pages in which entries with this hash can be, until `visit` returns true for one.
    /// Returns the number of pages that were visited, and true if `visit` did.
    fn walk(
        self,
        file: &mut PageFile,
        hash: u64,
        mut visit: impl FnMut(&mut Page) -> bool,
    ) -> io::Result<(u32, bool)> {
        for (visited, number) in (1..).zip(self.pages_of(hash)) {
            let page = file.page::<N>(number)?;
            let is_done = visit(page);
            if is_done || !page.has_spilt() {
                return Ok((visited, is_done));
            }
        }
        Ok((self.pages(), false))
    }

    /// The entries with this hash that match.
    pub(crate) fn find(
        self,
        file: &mut PageFile,
        hash: u64,
        matches: impl Fn(&[u8; N]) -> bool,
    ) -> io::Result<Vec<[u8; N]>> {
        let mut found = Vec::new();
        self.walk(file, hash, |page| {
            found.extend(
                page.entries()
                    .iter()
                    .filter(|entry| matches(entry))
                    .copied(),
            );
            false
        })?;
        Ok(found)
    }

    /// Puts an entry in the place of the one that matches, or adds it. Returns the number of pages
    /// that were visited; `None` if there is no room.
    pub(crate) fn put(
        self,
        file: &mut PageFile,
        hash: u64,
        entry: &[u8; N],
        matches: impl Fn(&[u8; N]) -> bool,
    ) -> io::Result<Option<u32>> {
        let (walked, is_replaced) = self.walk(file, hash, |page| {
            let index = page.entries().iter().position(&matches);
            index
                .inspect(|index| page.put(HEAD + index * N, entry))
                .is_some()
        })?;
        if is_replaced {
            return Ok(Some(walked));
        }
        let (walked, is_added) = self.walk(file, hash, |page| page.push(entry))?;
        Ok(is_added.then_some(walked))
    }

    /// Removes the entry that matches. Returns false if none does.
    pub(crate) fn remove(
        self,
        file: &mut PageFile,
        hash: u64,
        matches: impl Fn(&[u8; N]) -> bool,
    ) -> io::Result<bool> {
        let (_, is_removed) = self.walk(file, hash, |page| {
            let index = page.entries().iter().position(&matches);
            index.inspect(|index| page.remove::<N>(*index)).is_some()
        })?;
        Ok(is_removed)
    }

    /// Visits every entry.
    pub(crate) fn for_each(
        self,
        file: &mut PageFile,
        mut visit: impl FnMut(&[u8; N]),
    ) -> io::Result<()> {
        for number in self.first..self.end() {
            file.page::<N>(number)?
                .entries()
                .iter()
                .for_each(&mut visit);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::memfd::{MFdFlags, memfd_create};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const TABLE: Table<24> = Table::new(1, 8).unwrap();

    fn file(damage: Damage) -> PageFile {
        let file = memfd_create(c"test", MFdFlags::empty()).unwrap();
        let pages = PageFile::new(file.into(), damage);
        pages.initialize(0..9).unwrap();
        pages
    }

    fn entry(key: u16, value: u8) -> [u8; 24] {
        let mut entry = [value; 24];
        entry[..2].copy_from_slice(&key.to_le_bytes());
        entry
    }

    fn is(key: u16) -> impl Fn(&[u8; 24]) -> bool {
        move |entry| entry[..2] == key.to_le_bytes()
    }

    #[test]
    fn damage_is_an_error_or_a_loss_but_never_an_answer() {
        for (damage, at, bytes) in [
            (Damage::IsAnError, PAGE + 40, &[1u8, 2, 3][..]),
            (Damage::IsAnError, PAGE, &[0; PAGE]),
            (Damage::IsLoss, PAGE + 40, &[1, 2, 3]),
        ] {
            let mut pages = file(damage);
            TABLE.put(&mut pages, 8, &entry(1, 9), is(1)).unwrap();
            pages.flush().unwrap();
            pages.write_at(bytes, at as u64).unwrap();
            pages.cache.clear();
            match TABLE.find(&mut pages, 8, is(1)) {
                Ok(found) => assert!(damage == Damage::IsLoss && found.is_empty()),
                Err(e) => {
                    assert!(damage == Damage::IsAnError && e.kind() == ErrorKind::InvalidData)
                }
            }
        }
    }

    #[test]
    fn a_page_that_counts_more_entries_than_fit_is_damaged_in_spite_of_its_checksum() {
        for (damage, count) in [(Damage::IsAnError, 171u16), (Damage::IsLoss, u16::MAX)] {
            let mut pages = file(damage);
            let mut page = Page::empty(1);
            page.put(8, &count.to_le_bytes());
            page.put(0, &page.checksum().to_le_bytes());
            pages.write_at(page.bytes.as_slice(), PAGE as u64).unwrap();
            assert_eq!(
                TABLE.remove(&mut pages, 8, |_| true).is_err(),
                damage == Damage::IsAnError
            );
        }
    }

    #[test]
    fn a_table_without_pages_or_with_pages_beyond_the_last_number_does_not_exist() {
        assert!(Table::<24>::new(1, 0).is_none() && Table::<24>::new(2, u32::MAX - 1).is_none());
        assert!(Table::<24>::new(1, u32::MAX - 1).is_some());
    }

    #[test]
    fn a_file_that_was_cut_short_is_damaged() {
        let mut pages = file(Damage::IsAnError);
        pages.file.set_len(2 * PAGE as u64).unwrap();
        assert_eq!(
            TABLE.find(&mut pages, 7, is(1)).unwrap_err().kind(),
            ErrorKind::InvalidData
        );
    }

    proptest! {
        #[test]
        fn a_table_is_a_map_even_if_pages_spill(
            steps in prop::collection::vec((0u16..900, any::<bool>(), any::<u8>()), 0..1500), spread in 1u64..20,
        ) {
            let mut pages = file(Damage::IsAnError);
            let mut map = BTreeMap::new();
            let hash = |key: u16| u64::from(key) % spread;
            for (key, put, value) in steps {
                if put {
                    TABLE.put(&mut pages, hash(key), &entry(key, value), is(key)).unwrap();
                    map.insert(key, entry(key, value));
                } else {
                    let removed = TABLE.remove(&mut pages, hash(key), is(key)).unwrap();
                    prop_assert_eq!(removed, map.remove(&key).is_some());
                }
            }
            pages.flush().unwrap();
            pages.cache.clear();
            for (key, value) in &map {
                prop_assert_eq!(&TABLE.find(&mut pages, hash(*key), is(*key)).unwrap(), &[*value]);
            }
            let mut count = 0;
            TABLE.for_each(&mut pages, |_| count += 1).unwrap();
            prop_assert_eq!(count, map.len());
        }
    }
}
