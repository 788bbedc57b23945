//! The folder of one network without its lock, for reading: its records, one by one or all.
//!
//! A record that cannot be read is not a record without an owner: somebody holds the address, and
//! nobody can say who. Each scan reports such records beside those that it read.

use super::{
    directory::{Access, Directory},
    errno::{failed, is_no_record, is_shortage},
    names::INDEXES,
    record::{MAX_CONTENT, Owner, Record},
};
use crate::machine::Id;
use cni_types::{Error, Stop};
use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    io::{self, ErrorKind, Read},
    net::IpAddr,
    path::Path,
};

/// The size of the first read of a record, in bytes; nearly all records are far shorter.
const FIRST_READ: usize = 4096;

/// The number of records that are read between two checks of the request to stop.
const STRIDE: usize = 32;

/// The number of unreadable records that an error names.
const MAX_NAMED: usize = 3;

/// The folder of one network, open.
#[derive(Debug)]
pub(crate) struct Folder<'a> {
    pub(super) data: Directory,
    pub(super) records: Directory,
    pub(super) network: String,
    pub(super) boot: Option<Id>,
    pub(super) stop: &'a Stop,
}

/// A record and its file.
#[derive(Debug)]
pub(crate) struct RecordFile {
    /// The record.
    pub(crate) record: Record,
    /// The file's metadata.
    pub(crate) meta: Metadata,
}

/// An item of a scan of all records.
#[derive(Debug)]
pub(crate) enum Scanned<'a> {
    /// A record, and its file.
    Record(Record, &'a File),
    /// The address of a record that could not be read, and the reason.
    Unreadable(IpAddr, Error),
}

/// The records that a scan could not read.
#[derive(Debug, Default)]
pub(crate) struct UnreadableRecords {
    first: Vec<Error>,
    count: usize,
}

impl UnreadableRecords {
    /// Adds the error of one.
    pub(crate) fn push(&mut self, error: Error) {
        self.count += 1;
        if self.first.len() < MAX_NAMED {
            self.first.push(error);
        }
    }

    /// One error that names the first few; `None` if every record was read.
    pub(crate) fn into_error(self) -> Option<Error> {
        let more = self.count - self.first.len();
        let error = Error::join(self.first.into_iter().map(Err)).err()?;
        Some(if more > 0 {
            error.and_details(&format!("so it is with {more} more"))
        } else {
            error
        })
    }
}

/// The outcome of a search among the records.
#[derive(Debug, Default)]
pub(crate) struct SearchResult {
    /// The records that match.
    pub(crate) found: Vec<RecordFile>,
    /// The records that may match, but cannot be read.
    pub(crate) unreadable: UnreadableRecords,
}

/// The content of a file with the name of an address.
enum Content {
    /// No record: not a plain file, or it has just vanished.
    None,
    Record(Owner, File),
    Unreadable(io::Error),
}

impl Folder<'_> {
    /// The folder's path.
    pub(crate) fn path(&self) -> &Path {
        self.records.path()
    }

    /// Visits every record: every plain file whose name is an address. Ends at the first error of
    /// `visit`.
    ///
    /// # Errors
    /// Code 5 if the folder cannot be read, 11 if the process was asked to stop.
    pub(crate) fn scan(
        &self,
        visit: &mut dyn FnMut(Scanned<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let unreadable = |e| failed("read data directory", self.path(), &e);
        let mut buffer = [0; FIRST_READ];
        for (count, entry) in self.records.entries().map_err(unreadable)?.enumerate() {
            if count % STRIDE == 0 {
                self.stop.check()?;
            }
            let entry = entry.map_err(unreadable)?;
            let Some(address) = address_in(&entry.name) else {
                continue;
            };
            if entry.is_file == Some(false) {
                continue;
            }
            match self.read_record(&entry.name, entry.is_file, &mut buffer)? {
                Content::None => {}
                Content::Record(owner, file) => {
                    let record = Record {
                        address,
                        owner,
                        file_name: entry.name,
                    };
                    visit(Scanned::Record(record, &file))?;
                }
                Content::Unreadable(e) => {
                    visit(Scanned::Unreadable(
                        address,
                        self.unreadable(&entry.name, &e),
                    ))?;
                }
            }
        }
        Ok(())
    }

    /// The record of `address`; `None` unless there is one under the usual name.
    ///
    /// # Errors
    /// Code 5 if the record exists and cannot be read.
    pub(crate) fn record(&self, address: IpAddr) -> Result<Option<RecordFile>, Error> {
        let file_name = OsString::from(address.to_string());
        let unreadable = |e: &io::Error| self.unreadable(&file_name, e);
        match self.read_record(&file_name, None, &mut [0; FIRST_READ])? {
            Content::None => Ok(None),
            Content::Unreadable(e) => Err(unreadable(&e)),
            Content::Record(owner, file) => {
                let meta = file.metadata().map_err(|e| unreadable(&e))?;
                Ok(Some(RecordFile {
                    record: Record {
                        address,
                        owner,
                        file_name,
                    },
                    meta,
                }))
            }
        }
    }

    /// Searches all records for those that match.
    ///
    /// # Errors
    /// Code 5 if the folder cannot be read, 11 if the process was asked to stop.
    pub(crate) fn find(&self, matches: &dyn Fn(&Record) -> bool) -> Result<SearchResult, Error> {
        let mut search = SearchResult::default();
        self.scan(&mut |sighting| {
            match sighting {
                Scanned::Unreadable(_, error) => search.unreadable.push(error),
                Scanned::Record(record, file) if matches(&record) => match file.metadata() {
                    Ok(meta) => search.found.push(RecordFile { record, meta }),
                    Err(e) => search
                        .unreadable
                        .push(self.unreadable(&record.file_name, &e)),
                },
                Scanned::Record(..) => {}
            }
            Ok(())
        })?;
        Ok(search)
    }

    /// Removes the index from the disk: it can be rebuilt.
    pub(super) fn remove_index(&self) {
        if let Ok(directory) = self.data.open_child(INDEXES) {
            let _ = directory.remove(self.network.as_ref());
        }
    }

    fn unreadable(&self, name: &OsStr, e: &io::Error) -> Error {
        failed("read record", &self.path().join(name), e)
    }

    /// Opens the record of this name and reads its owner.
    ///
    /// # Errors
    /// Code 5 if this process cannot open any file (EMFILE, ENFILE, ENOMEM): that says nothing of
    /// this record.
    fn read_record(
        &self,
        name: &OsStr,
        is_file: Option<bool>,
        buffer: &mut [u8; FIRST_READ],
    ) -> Result<Content, Error> {
        let mut file = match self.records.open_file(name, Access::Read) {
            Ok(file) => file,
            Err(e) if is_no_record(&e) => return Ok(Content::None),
            Err(e) if is_shortage(&e) => return Err(self.unreadable(name, &e)),
            Err(e) => return Ok(Content::Unreadable(e)),
        };
        if is_file.is_none() {
            match file.metadata() {
                Ok(meta) if meta.is_file() => {}
                Ok(_) => return Ok(Content::None),
                Err(e) => return Ok(Content::Unreadable(e)),
            }
        }
        Ok(match read_owner(&mut file, buffer) {
            Ok(owner) => Content::Record(owner, file),
            Err(e) => Content::Unreadable(e),
        })
    }
}

/// Reads the owner from a record of any length. One that is longer than a record can be has an
/// unknown owner.
fn read_owner(file: &mut File, buffer: &mut [u8; FIRST_READ]) -> io::Result<Owner> {
    let len = match file.read(buffer) {
        Err(e) if e.kind() == ErrorKind::Interrupted => file.read(buffer)?,
        outcome => outcome?,
    };
    let (start, _) = buffer.split_at(len);
    if len < FIRST_READ {
        return Ok(Owner::parse(start));
    }
    let mut content = start.to_vec();
    let rest = (MAX_CONTENT + 1).saturating_sub(len);
    file.take(rest as u64).read_to_end(&mut content)?;
    Ok(if content.len() <= MAX_CONTENT {
        Owner::parse(&content)
    } else {
        Owner::Unknown
    })
}

/// The address that a record of this name is of; `None` if the name is no address.
fn address_in(file_name: &OsStr) -> Option<IpAddr> {
    file_name.to_str()?.parse().ok()
}
