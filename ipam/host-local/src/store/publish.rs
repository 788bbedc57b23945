//! Publishes a record: whole or not at all, whenever the process dies.
//!
//! The reference opens the record under its name and then writes to it; killed in between, it
//! leaves a file without content. Here the file is written under another name first. There are
//! three ways from there; the first that the file system allows is used:
//!
//! 1. The file is in the data directory, where the reference does not look, and link(2) gives it
//!    its name. Killed before: no record, and a file that the next ADD, DEL or GC removes. Killed
//!    after: the record, and a second name of it that is removed likewise (it is never written to).
//! 2. The network's folder is a mount point (EXDEV), the file system has no hard links (EPERM,
//!    EOPNOTSUPP, ENOSYS) or no more of this file (EMLINK), or nothing can be written beside the
//!    folder (EROFS, EACCES). Then the file is in the folder itself, under a name that is no
//!    address, and renameat2(2) with RENAME_NOREPLACE gives it its own. Killed before: a file as
//!    above; the reference's DEL of that attachment removes it too. Killed after: the record.
//! 3. The file system has no such rename either (EINVAL). Then the record is created under its own
//!    name and written to by one write(2), as the reference does. Killed in between: a record
//!    without content. It is nobody's, and certainly not a living attachment's, because an ADD
//!    succeeds only after the write, and every writer holds the lock until then: so the next ADD
//!    that comes to the address takes it over, and GC frees it. Half a content is possible only if
//!    the machine, or the server of the file system, dies within the write; with it die the pods.
//!
//! No way replaces an existing file. Each is judged by the file that exists afterwards, and not by
//! the call's return value: over NFS, a request whose answer is lost is sent again, and the second
//! answer is EEXIST although the first request was served.

use super::{
    directory::{Access, Directory},
    errno::{failed, is_full},
    index::{ContainerHash, IndexedRecord},
    locked::Locked,
    names,
    origin_table::{FileIdentity, Origin},
    record::{self, MAX_CONTENT},
};
use cni_types::{AttachmentId, Code, Error};
use nix::errno::Errno;
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, ErrorKind, Write},
    net::IpAddr,
};

/// The outcome of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reserve {
    /// The record is written.
    Done,
    /// There is a record of somebody else.
    Taken,
}

/// A record to publish.
#[derive(Clone, Copy)]
struct Draft<'a> {
    address: IpAddr,
    name: &'a OsStr,
    content: &'a [u8],
    origin: Option<&'a Origin>,
}

/// A way to publish a record (see the module).
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// From the data directory, by link(2).
    Link,
    /// Within the folder, by renameat2(2).
    Rename,
    /// Under its own name.
    InPlace,
}

impl Locked<'_> {
    /// Records that `attachment` owns `address`, unless there is a record of it. Nothing is synced:
    /// after a power cut the pods are gone too, and a record without content belongs to nobody.
    ///
    /// # Errors
    /// Code 4 if the id is longer than a record can hold, 5 if it cannot be written, 11 if the
    /// process was asked to stop. Then no file is left.
    pub(crate) fn reserve(
        &self,
        address: IpAddr,
        attachment: AttachmentId<'_>,
        origin: Option<&Origin>,
    ) -> Result<Reserve, Error> {
        self.folder().stop.check()?;
        let name = OsString::from(address.to_string());
        let content = record::content(attachment);
        if content.len() > MAX_CONTENT {
            let msg = format!("the container's id has more than {MAX_CONTENT} bytes");
            return Err(Error::new(Code::INVALID_ENVIRONMENT, msg));
        }
        let draft = Draft {
            address,
            name: &name,
            content: content.as_bytes(),
            origin,
        };
        let mut published = self.change(|| self.publish(draft));
        if published.as_ref().is_err_and(is_full) {
            // The record matters more than the index, which can be rebuilt from it.
            self.invalidate_index();
            published = self.change(|| {
                self.publish(Draft {
                    origin: None,
                    ..draft
                })
            });
        }
        match published {
            Ok(()) => {
                let indexed = IndexedRecord {
                    address,
                    container: Some(ContainerHash::of(attachment.container_id)),
                };
                self.update_index(|index| index.insert(indexed));
                Ok(Reserve::Done)
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                self.mark_taken(address);
                Ok(Reserve::Taken)
            }
            Err(e) => Err(failed(
                "write record",
                &self.folder().path().join(&name),
                &e,
            )),
        }
    }

    /// Marks an address as taken that is free according to the index. A record with an owner there
    /// means that somebody writes without the lock, and there may be more: then the index is
    /// rebuilt, as it is if the record cannot be read.
    fn mark_taken(&self, address: IpAddr) {
        match self.folder().record(address) {
            Ok(Some(found)) if !found.record.has_no_owner() => self.invalidate_index(),
            Ok(_) => self.update_index(|index| index.set_taken(address)),
            Err(_) => self.invalidate_index(),
        }
    }

    fn publish(&self, draft: Draft<'_>) -> io::Result<()> {
        let mut outcome = Ok(());
        for way in [Way::Link, Way::Rename, Way::InPlace] {
            outcome = self.publish_by(way, draft);
            if !outcome.as_ref().is_err_and(|e| calls_for_another(way, e)) {
                break;
            }
        }
        outcome
    }

    fn publish_by(&self, way: Way, draft: Draft<'_>) -> io::Result<()> {
        let folder = self.folder();
        match way {
            Way::Link => {
                let staged = names::staged(&folder.network);
                self.publish_staged(&folder.data, &staged, draft, &|file| {
                    folder.data.link(&staged, file, &folder.records, draft.name)
                })
            }
            Way::Rename => {
                let staged = OsStr::new(names::STAGED_INSIDE);
                self.publish_staged(&folder.records, staged, draft, &|_| {
                    folder.records.rename_to_new(staged, draft.name)
                })
            }
            Way::InPlace => self.publish_in_place(draft),
        }
    }

    /// Writes the record to a file `staged` in `directory`, calls `publish` to give it its name,
    /// and removes the name `staged`.
    fn publish_staged(
        &self,
        directory: &Directory,
        staged: &OsStr,
        draft: Draft<'_>,
        publish: &dyn Fn(&File) -> io::Result<()>,
    ) -> io::Result<()> {
        let published = stage(directory, staged).and_then(|mut file| {
            file.write_all(draft.content)?;
            if self.folder().records.stat(draft.name).is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            if let Some(origin) = draft.origin {
                let identity = FileIdentity::of(&file.metadata()?);
                self.origin_file().insert(draft.address, identity, origin);
            }
            publish(&file).or_else(|e| {
                // The return value may be wrong (see the module).
                let is_ours = self.folder().records.leads_to(draft.name, file.metadata());
                if is_ours { Ok(()) } else { Err(e) }
            })
        });
        // If it cannot be removed now, the next ADD, DEL or GC removes it.
        let _ = directory.remove(staged);
        published
    }

    fn publish_in_place(&self, draft: Draft<'_>) -> io::Result<()> {
        let records = &self.folder().records;
        let mut file = records.open_file(draft.name, Access::Create)?;
        if let Err(e) = file.write_all(draft.content) {
            records.remove(draft.name)?;
            return Err(e);
        }
        // Only now: the write sets the time of modification, a part of the file's identity.
        if let (Some(origin), Ok(meta)) = (draft.origin, file.metadata()) {
            let identity = FileIdentity::of(&meta);
            self.origin_file().insert(draft.address, identity, origin);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn reserve_by(
        &self,
        way: Way,
        address: IpAddr,
        attachment: AttachmentId<'_>,
    ) -> io::Result<()> {
        let name = OsString::from(address.to_string());
        let content = record::content(attachment);
        let draft = Draft {
            address,
            name: &name,
            content: content.as_bytes(),
            origin: None,
        };
        self.publish_by(way, draft)
    }

    /// Removes the files of a killed process: a record, an index or an origin table in the making.
    ///
    /// # Errors
    /// Fails if one of them exists and cannot be removed; the others are removed.
    pub(crate) fn remove_leftovers(&self) -> io::Result<()> {
        let folder = self.folder();
        let unfinished = names::unfinished(&folder.network);
        let beside = folder.data.remove(&names::staged(&folder.network));
        let inside = folder.records.remove(names::STAGED_INSIDE.as_ref());
        let derived =
            [names::INDEXES, names::ORIGINS].map(|name| match folder.data.open_child(name) {
                Ok(directory) => directory.remove(&unfinished),
                Err(_) => Ok(()),
            });
        derived
            .into_iter()
            .fold(beside.and(inside), io::Result::and)
    }
}

/// Returns true if a record that cannot be published this way may be published by the next one.
fn calls_for_another(way: Way, e: &io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw);
    match way {
        // Any error may concern the data directory only.
        Way::Link => e.kind() != ErrorKind::AlreadyExists,
        Way::Rename => {
            matches!(
                errno,
                Some(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EPERM)
            )
        }
        Way::InPlace => false,
    }
}

/// Creates a file to write a record to. A file that a killed writer left may be a second name of a
/// live record, so it is removed and never written to.
fn stage(directory: &Directory, name: &OsStr) -> io::Result<File> {
    match directory.open_file(name, Access::Create) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {
            directory.remove(name)?;
            directory.open_file(name, Access::Create)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::{Scratch, address, attachment};

    /// Over NFS, the answer may be lost and the request sent again.
    #[test]
    fn a_record_that_appeared_is_ours_whatever_the_call_returned() {
        for kind in [
            ErrorKind::AlreadyExists,
            ErrorKind::Interrupted,
            ErrorKind::NotFound,
        ] {
            let scratch = Scratch::new(&format!("lies-{kind:?}"));
            let locked = scratch.locked();
            let name = OsStr::new("10.0.0.2");
            let content = record::content(attachment("c1"));
            let address = address("10.0.0.2");
            let draft = Draft {
                address,
                name,
                content: content.as_bytes(),
                origin: None,
            };
            let data = &locked.folder().data;
            let records = &locked.folder().records;
            let staged = OsStr::new("staged");
            let publish = |does: bool| {
                locked.publish_staged(data, staged, draft, &|file| {
                    if does {
                        data.link(staged, file, records, name)?;
                    }
                    Err(kind.into())
                })
            };
            assert_eq!(publish(false).unwrap_err().kind(), kind);
            publish(true).unwrap();
            assert_eq!(scratch.content("10.0.0.2"), "c1\r\neth0");
            assert_eq!(publish(true).unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
    }
}
