//! The lock that all writers take, the reference's too: flock(2) of the file `lock`.
//!
//! Somebody may delete the folder, or the lock, while others hold it or wait for it. Then they have
//! the lock of a file that nobody else finds, and it excludes nobody: so it counts only while the
//! names still lead to the locked file.
//!
//! A disk so full that the file cannot be created must not keep anybody from freeing addresses: DEL
//! and GC lock the folder itself instead. No ADD can have the file then. An ADD that creates it as
//! soon as there is room again is not excluded, so a record is read right before it is freed.

use super::{
    directory::{Access, Directory},
    errno::{failed, is_full, is_read_only},
    folder::Folder,
};
use cni_types::{Code, Error, Stop, WaitOutcome};
use std::{
    fs::{File, TryLockError},
    io::{self, ErrorKind, Read, Write},
    os::{
        fd::AsFd,
        unix::{fs::MetadataExt, net::UnixStream},
    },
    path::Path,
    time::{Duration, Instant},
};

/// The stack of the thread that waits, in bytes.
const STACK: usize = 64 << 10;

/// The lock's name in the folder.
pub(super) const NAME: &str = "lock";

/// The purpose for which the lock is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To reserve addresses.
    Reserve,
    /// To free addresses, which must be possible on a full disk.
    Free,
}

/// The lock that keeps other writers out.
#[derive(Debug)]
pub(super) enum Lock {
    /// The lock of the file.
    File(File),
    /// The lock of the folder, since there is no room for the file.
    Folder {
        /// Holds the lock.
        _handle: File,
    },
    /// Nothing can be written, and there is no lock: nobody can be writing.
    Unneeded,
}

/// The time limit of all attempts to get the lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    timeout: Duration,
    end: Instant,
}

impl Deadline {
    /// Returns the deadline that is so far from now.
    pub(super) fn after(timeout: Duration) -> Self {
        Self {
            timeout,
            end: Instant::now() + timeout,
        }
    }

    /// Fails if there is no time for another attempt.
    ///
    /// # Errors
    /// Code 11.
    pub(super) fn check(&self, folder: &Path, stop: &Stop) -> Result<(), Error> {
        stop.check()?;
        if Instant::now() < self.end {
            return Ok(());
        }
        let msg = format!(
            "try again later: {} is deleted again and again",
            folder.display()
        );
        Err(self.expired(msg))
    }

    fn expired(&self, msg: String) -> Error {
        Error::new(Code::TRY_AGAIN, msg)
            .with_details(format!("gave up after {} s", self.timeout.as_secs_f32()))
    }
}

/// Returns true if the folder is still the one that its name leads to, and the lock the one in it.
pub(super) fn is_in_place(folder: &Folder<'_>, lock: &Lock) -> bool {
    folder
        .data
        .leads_to(folder.network.as_ref(), folder.records.metadata())
        && match lock {
            Lock::File(file) => folder.records.leads_to(NAME.as_ref(), file.metadata()),
            Lock::Folder { .. } => folder.records.stat(NAME.as_ref()).is_err(),
            Lock::Unneeded => true,
        }
}

/// Takes the lock before the deadline.
///
/// # Errors
/// Code 5, or 11 if the lock cannot be had in time, or the process was asked to stop.
pub(super) fn take(
    folder: &Folder<'_>,
    purpose: Purpose,
    deadline: Deadline,
) -> Result<Lock, Error> {
    let (file, into_lock): (File, fn(File) -> Lock) = match open_or_make_room(folder, purpose)? {
        Opened::File(file) => (file, Lock::File),
        Opened::NoRoom => (own_handle(folder)?, |handle| Lock::Folder {
            _handle: handle,
        }),
        Opened::Nothing => return Ok(Lock::Unneeded),
    };
    if try_lock(&folder.records, &file)? {
        return Ok(into_lock(file));
    }
    let woken = wait(&file, folder.stop, deadline.end);
    match woken.map_err(|e| failed("lock", &folder.path().join(NAME), &e))? {
        WaitOutcome::Ready => Ok(into_lock(file)),
        WaitOutcome::Stopped => Err(Stop::error()),
        WaitOutcome::TimedOut => Err(timed_out(&folder.records, &file, deadline)),
    }
}

/// Opens the folder again, for a lock of its own: a duplicate would share that of others.
fn own_handle(folder: &Folder<'_>) -> Result<File, Error> {
    let opened = folder.records.open_file(".".as_ref(), Access::Read);
    opened.map_err(|e| failed("lock", folder.path(), &e))
}

/// Opens the lock. On a full disk, removes the index to make room for it: it can be rebuilt.
fn open_or_make_room(folder: &Folder<'_>, purpose: Purpose) -> Result<Opened, Error> {
    let opened = open(&folder.records);
    if purpose == Purpose::Reserve || !opened.as_ref().is_err_and(is_full) {
        return opened.map_err(|e| failed("open", &folder.path().join(NAME), &e));
    }
    folder.remove_index();
    match open(&folder.records) {
        Err(e) if is_full(&e) => Ok(Opened::NoRoom),
        opened => opened.map_err(|e| failed("open", &folder.path().join(NAME), &e)),
    }
}

/// Waits for the lock in the kernel, which queues those who wait: of hundreds that poll some never
/// get their turn. A thread does it, since neither SIGTERM nor a timeout can end that wait; an
/// abandoned thread releases the lock as soon as it has it.
fn wait(file: &File, stop: &Stop, deadline: Instant) -> io::Result<WaitOutcome> {
    let (mut woken, mut waker) = UnixStream::pair()?;
    let same = file.try_clone()?;
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || {
            while let Err(e) = same.lock() {
                if e.kind() != ErrorKind::Interrupted || Instant::now() >= deadline {
                    return;
                }
            }
            // If nobody listens any more, the lock is released with its last descriptor.
            let _ = waker.write_all(&[1]);
        })?;
    let outcome = stop.wait_readable(woken.as_fd(), Some(deadline))?;
    if outcome == WaitOutcome::Ready {
        woken.read_exact(&mut [0])?;
    }
    Ok(outcome)
}

/// Takes the lock if nobody has it; `None` otherwise.
pub(super) fn take_if_free(folder: &Folder<'_>) -> Option<Lock> {
    let Opened::File(file) = open(&folder.records).ok()? else {
        return None;
    };
    let is_taken = try_lock(&folder.records, &file).is_ok_and(|taken| taken);
    let lock = Lock::File(file);
    (is_taken && is_in_place(folder, &lock)).then_some(lock)
}

/// The outcome of opening the lock.
enum Opened {
    File(File),
    /// The file is not there, and the disk is full.
    NoRoom,
    /// The file is not there, and nothing can be written.
    Nothing,
}

fn open(folder: &Directory) -> io::Result<Opened> {
    let e = match folder.open_file(NAME.as_ref(), Access::Ensure) {
        Err(e) if is_read_only(&e) => e,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Opened::Nothing),
        opened => return opened.map(Opened::File),
    };
    match folder.open_file(NAME.as_ref(), Access::Read) {
        Ok(file) => Ok(Opened::File(file)),
        Err(again) if again.kind() == ErrorKind::NotFound => Ok(Opened::Nothing),
        Err(_) => Err(e),
    }
}

fn try_lock(folder: &Directory, file: &File) -> Result<bool, Error> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Interrupted => Ok(false),
        Err(TryLockError::Error(e)) => Err(failed("lock", &folder.path().join(NAME), &e)),
    }
}

fn timed_out(folder: &Directory, file: &File, deadline: Deadline) -> Error {
    let path = folder.path().join(NAME);
    let inode = file.metadata().map(|meta| meta.ino()).unwrap_or_default();
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let who = match holder(&locks, inode) {
        Some(pid) => {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim())
        }
        None => "another process".into(),
    };
    deadline.expired(format!(
        "try again later: {} is locked by {who}",
        path.display()
    ))
}

/// The process that holds a flock(2) on this inode, according to /proc/locks. The device is not
/// compared: for a file on btrfs it is another one there. The kernel shows no process of an outer
/// pid namespace.
fn holder(locks: &str, inode: u64) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let is_flock = words.next() == Some("FLOCK");
        let pid = words.nth(2)?.parse().ok().filter(|pid| *pid > 0);
        let (_, number) = words.next()?.rsplit_once(':')?;
        pid.filter(|_| is_flock && number.parse() == Ok(inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_read_from_the_kernel_s_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 fe:00:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 11 fe:00:78 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 13 fe:00:77 0 EOF\n3: FLOCK  ADVISORY  WRITE 12 fe:00:77 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 0 fe:00:79 0 EOF\n";
        assert_eq!(holder(locks, 77), Some(12));
        assert_eq!(holder(locks, 79), None);
        assert_eq!(holder(locks, 7), None);
        assert_eq!(holder("", 77), None);
    }
}
