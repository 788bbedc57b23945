//! The folder of one network without its lock, for those who only look: its records, one by one or
//! all.
//!
//! A record that cannot be read is not a record without an owner: somebody holds the address, and
//! nobody can say who. Each look reports such records beside those that it read.

use super::{failed, is_no_record, is_shortage, ledgers::Origins};
use crate::{
    directory::{Access, Directory},
    record::{MAX_CONTENT, Owner, Record},
    system::Id,
};
use cni_types::{Error, Stop};
use std::{
    ffi::{OsStr, OsString},
    fs::{File, Metadata},
    io::{self, ErrorKind, Read},
    net::IpAddr,
    path::Path,
};

/// So much is read of a record at first, in bytes; nearly all are far shorter.
const FIRST_READ: usize = 4096;

/// How many records are read between two looks at the request to stop.
const STRIDE: usize = 32;

/// How many records that could not be read an error names.
const NAMED: usize = 3;

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
pub(crate) struct Found {
    /// The record.
    pub(crate) record: Record,
    /// The file's metadata.
    pub(crate) meta: Metadata,
}

/// What a look at all records meets.
#[derive(Debug)]
pub(crate) enum Sighting<'a> {
    /// A record, and its file.
    Record(Record, &'a File),
    /// A record of this address that could not be read, and why.
    Unread(IpAddr, Error),
}

/// The records that a look at all of them could not read.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    first: Vec<Error>,
    count: usize,
}

impl Unread {
    /// Adds one.
    pub(crate) fn push(&mut self, error: Error) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(error);
        }
    }

    /// One error that names the first few. None if every record was read.
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

/// The records that a look at all of them was for.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Those that match.
    pub(crate) found: Vec<Found>,
    /// Those of which nobody knows if they match.
    pub(crate) unread: Unread,
}

/// What a file with the name of an address turned out to be.
enum Look {
    /// No record: no plain file, or it has just vanished.
    Nothing,
    Record(Owner, File),
    Unreadable(io::Error),
}

impl<'a> Folder<'a> {
    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.records.path()
    }

    /// Visits every record. A name that is no address is no record, and neither is what is not a
    /// plain file. Ends at the first error of `visit`.
    ///
    /// # Errors
    /// Code 5 if the folder cannot be read, 11 if the process was asked to stop.
    pub(crate) fn scan(
        &self,
        visit: &mut dyn FnMut(Sighting<'_>) -> Result<(), Error>,
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
            match self.look_at(&entry.name, entry.is_file, &mut buffer)? {
                Look::Nothing => {}
                Look::Record(owner, file) => {
                    let record = Record {
                        address,
                        owner,
                        file_name: entry.name,
                    };
                    visit(Sighting::Record(record, &file))?;
                }
                Look::Unreadable(e) => {
                    visit(Sighting::Unread(address, self.unreadable(&entry.name, &e)))?;
                }
            }
        }
        Ok(())
    }

    /// The record of `address`, if it has its usual name.
    ///
    /// # Errors
    /// Code 5 if it is there and cannot be read.
    pub(crate) fn record(&self, address: IpAddr) -> Result<Option<Found>, Error> {
        let file_name = OsString::from(address.to_string());
        let unreadable = |e: &io::Error| self.unreadable(&file_name, e);
        match self.look_at(&file_name, None, &mut [0; FIRST_READ])? {
            Look::Nothing => Ok(None),
            Look::Unreadable(e) => Err(unreadable(&e)),
            Look::Record(owner, file) => {
                let meta = file.metadata().map_err(|e| unreadable(&e))?;
                Ok(Some(Found {
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

    /// The records that match, by looking at all.
    ///
    /// # Errors
    /// Code 5 if the folder cannot be read, 11 if the process was asked to stop.
    pub(crate) fn find(&self, matches: &dyn Fn(&Record) -> bool) -> Result<Search, Error> {
        let mut search = Search::default();
        self.scan(&mut |sighting| {
            match sighting {
                Sighting::Unread(_, error) => search.unread.push(error),
                Sighting::Record(record, file) if matches(&record) => match file.metadata() {
                    Ok(meta) => search.found.push(Found { record, meta }),
                    Err(e) => search.unread.push(self.unreadable(&record.file_name, &e)),
                },
                Sighting::Record(..) => {}
            }
            Ok(())
        })?;
        Ok(search)
    }

    /// Where records came from.
    pub(crate) fn origins(&'a self) -> Origins<'a> {
        Origins::new(self)
    }

    fn unreadable(&self, name: &OsStr, e: &io::Error) -> Error {
        failed("read record", &self.path().join(name), e)
    }

    /// Opens the record of this name and reads its owner.
    ///
    /// # Errors
    /// Code 5 if the process lacks what it takes to open files: that says nothing of this record.
    fn look_at(
        &self,
        name: &OsStr,
        is_file: Option<bool>,
        buffer: &mut [u8; FIRST_READ],
    ) -> Result<Look, Error> {
        let mut file = match self.records.open_file(name, Access::Read) {
            Ok(file) => file,
            Err(e) if is_no_record(&e) => return Ok(Look::Nothing),
            Err(e) if is_shortage(&e) => return Err(self.unreadable(name, &e)),
            Err(e) => return Ok(Look::Unreadable(e)),
        };
        if is_file.is_none() {
            match file.metadata() {
                Ok(meta) if meta.is_file() => {}
                Ok(_) => return Ok(Look::Nothing),
                Err(e) => return Ok(Look::Unreadable(e)),
            }
        }
        Ok(match read_owner(&mut file, buffer) {
            Ok(owner) => Look::Record(owner, file),
            Err(e) => Look::Unreadable(e),
        })
    }
}

/// Reads the owner from a record, whatever its length. What is longer than any record can be is
/// nobody's that we could name.
fn read_owner(file: &mut File, buffer: &mut [u8; FIRST_READ]) -> io::Result<Owner> {
    let len = match file.read(buffer) {
        Err(e) if e.kind() == ErrorKind::Interrupted => file.read(buffer)?,
        outcome => outcome?,
    };
    let start = buffer.get(..len).unwrap_or_default();
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

/// The address that a record of this name is of.
fn address_in(file_name: &OsStr) -> Option<IpAddr> {
    file_name.to_str()?.parse().ok()
}
