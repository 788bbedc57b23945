//! The lock that all writers take, the reference's too: flock(2) of the file `lock`.
//!
//! Somebody may delete the folder, or the lock, while others hold it or wait for it. Then they have the lock of a file
//! that nobody else finds, and it excludes nobody: so it counts only while the names still lead to what is locked.

use super::{Folder, failed, is_read_only};
use crate::directory::{Access, Directory, is_same};
use cni_types::{Code, Error, Stop, Woken};
use std::{
    fs::{File, Metadata, TryLockError},
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

const NAME: &str = "lock";

/// How long to try, over all attempts to get the lock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    total: Duration,
    deadline: Instant,
}

impl Patience {
    /// From now on.
    pub(super) fn new(total: Duration) -> Self {
        Self { total, deadline: Instant::now() + total }
    }

    /// Fails where there is no time for another attempt.
    ///
    /// # Errors
    /// Code 11.
    pub(super) fn check(&self, folder: &Path, stop: &Stop) -> Result<(), Error> {
        stop.check()?;
        if Instant::now() < self.deadline {
            return Ok(());
        }
        let msg = format!("try again later: {} is deleted again and again", folder.display());
        Err(self.exhausted(msg))
    }

    fn exhausted(&self, msg: String) -> Error {
        Error::new(Code::TRY_AGAIN, msg).with_details(format!("gave up after {} s", self.total.as_secs_f32()))
    }
}

/// Whether the folder is still the one that its name leads to, and the lock the one in it.
pub(super) fn is_in_place(folder: &Folder, lock: Option<&File>) -> bool {
    let is_found = |directory: &Directory, name: &str, meta: io::Result<Metadata>| {
        let found = directory.stat(name.as_ref());
        meta.is_ok_and(|meta| found.is_ok_and(|found| is_same(&meta, &found)))
    };
    is_found(&folder.data, &folder.network, folder.records.metadata())
        && lock.is_none_or(|lock| is_found(&folder.records, NAME, lock.metadata()))
}

/// Takes the lock within `patience`. Where nothing can be written and no lock is, nobody can be writing: then there
/// is nothing to take.
///
/// # Errors
/// Code 5, or 11 where the lock cannot be had in time.
pub(super) fn take(folder: &Directory, stop: &Stop, patience: Patience) -> Result<Option<File>, Error> {
    let Some(file) = open(folder)? else { return Ok(None) };
    if try_lock(folder, &file)? {
        return Ok(Some(file));
    }
    let woken = wait(&file, stop, patience.deadline);
    match woken.map_err(|e| failed("lock", &folder.path().join(NAME), &e))? {
        Woken::Ready => Ok(Some(file)),
        Woken::Stopped => Err(Stop::error()),
        Woken::TimedOut => Err(timed_out(folder, &file, patience)),
    }
}

/// Waits for the lock in the kernel, where those who wait stand in line: of hundreds who ask again and again some never
/// get their turn. A thread does it, since neither SIGTERM nor time can end that wait; one that is given up lets go
/// of the lock as soon as it has it.
fn wait(file: &File, stop: &Stop, deadline: Instant) -> io::Result<Woken> {
    let (mut woken, mut waker) = UnixStream::pair()?;
    let same = file.try_clone()?;
    std::thread::Builder::new().stack_size(STACK).spawn(move || {
        while let Err(e) = same.lock() {
            if e.kind() != ErrorKind::Interrupted {
                return;
            }
        }
        // Where nobody listens any more, the lock goes with its last descriptor.
        let _ = waker.write_all(&[1]);
    })?;
    let outcome = stop.wait_readable(woken.as_fd(), Some(deadline))?;
    if outcome == Woken::Ready {
        woken.read_exact(&mut [0])?;
    }
    Ok(outcome)
}

/// Takes the lock if nobody has it.
pub(super) fn take_if_free(folder: &Folder) -> Option<File> {
    let file = open(&folder.records).ok()??;
    let is_taken = try_lock(&folder.records, &file).is_ok_and(|taken| taken);
    (is_taken && is_in_place(folder, Some(&file))).then_some(file)
}

fn open(folder: &Directory) -> Result<Option<File>, Error> {
    let opened = match folder.open_file(NAME.as_ref(), Access::Ensure) {
        Err(e) if is_read_only(&e) => folder
            .open_file(NAME.as_ref(), Access::Read)
            .map_err(|again| if again.kind() == ErrorKind::NotFound { again } else { e }),
        opened => opened,
    };
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("open", &folder.path().join(NAME), &e)),
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

fn timed_out(folder: &Directory, file: &File, patience: Patience) -> Error {
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
    patience.exhausted(format!("try again later: {} is locked by {who}", path.display()))
}

/// The process that /proc/locks says holds a flock(2) on this inode. The device is not compared: that of a file on
/// btrfs is another one there. The kernel shows no process of an outer pid namespace.
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
