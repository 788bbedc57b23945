//! Network namespaces: handles, comparison, and entering one for the length of a closure.
//!
//! setns(2) moves one thread. The process has one thread, a socket stays in the namespace in which
//! it was opened, and `/proc/sys/net` shows the namespace of the thread that opens a file there. A
//! stay in another namespace is therefore short, and ends with the closure. Paths use
//! `/proc/thread-self`, since `/proc/self` shows the main thread's namespace.

use crate::error::NetError;
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{NSFS_MAGIC, fstatfs},
};
use std::{
    fs::{File, OpenOptions},
    io,
    marker::PhantomData,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::Path,
    sync::Arc,
};

const OWN: &str = "/proc/thread-self/ns/net";

/// An open network namespace. It lives as long as the handle, even if its path is removed.
#[derive(Debug)]
pub struct Netns {
    file: Arc<File>,
    name: String,
    identity: (u64, u64),
}

impl Netns {
    /// Opens the namespace at `path`.
    ///
    /// # Errors
    /// Fails with the reference's text `failed to open netns "…"`; use [`is_no_netns`] to tell a
    /// missing namespace from other failures. Fails with [`NetError::NoProc`] if `/proc` is not
    /// mounted: most runtimes give paths below `/proc`, or links to there, so that an absent path
    /// does not mean an absent namespace.
    pub fn open(path: &Path) -> Result<Self, NetError> {
        let opened = match Self::open_any(path) {
            Err(e) if is_no_netns(&e) => return Err(Self::current().err().unwrap_or(e)),
            opened => opened?,
        };
        // Only ioctl(NS_GET_NSTYPE) returns the namespace's type, and no safe crate wraps it; so
        // enter it.
        match opened.run(|| ()) {
            Err(e) if e.errno() == Some(Errno::EINVAL) => Err(no_netns(
                path,
                "it is a namespace, but not a network namespace",
            )),
            outcome => outcome.map(|()| opened),
        }
    }

    /// Opens a namespace of any type.
    fn open_any(path: &Path) -> Result<Self, NetError> {
        let fail = |source: io::Error| NetError::io("open netns", path.display(), source);
        // A FIFO in place of the namespace would block here for ever without O_NONBLOCK.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
        let file = options.open(path).map_err(fail)?;
        let kind = fstatfs(&file).map_err(|errno| fail(errno.into()))?;
        if kind.filesystem_type() != NSFS_MAGIC {
            let reason =
                "it is not a network namespace (was its mount propagated to this mount namespace?)";
            return Err(no_netns(path, reason));
        }
        let metadata = file.metadata().map_err(fail)?;
        Ok(Self {
            file: Arc::new(file),
            name: path.display().to_string(),
            identity: (metadata.dev(), metadata.ino()),
        })
    }

    /// Returns the namespace of the current thread.
    ///
    /// # Errors
    /// Fails with [`NetError::NoProc`] if `/proc` is not mounted.
    pub fn current() -> Result<Self, NetError> {
        // The file of a running thread exists whenever `/proc` is mounted.
        Self::open_any(Path::new(OWN))
            .map_err(|e| if is_no_netns(&e) { NetError::NoProc } else { e })
    }

    /// Creates a namespace; the thread stays in its own.
    ///
    /// # Errors
    /// Fails with `EPERM` without CAP_SYS_ADMIN.
    pub fn create() -> Result<Self, NetError> {
        let home = Self::current()?;
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|e| NetError::io("create", "network namespace", e))?;
        let created = Self::current();
        home.set()?;
        created
    }

    /// Returns true if both handles refer to the same namespace, by whatever paths.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// Returns the inode of the namespace: its number in `/proc/PID/ns/net`.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.identity.1
    }

    /// Runs `inside` in the namespace, and returns to the thread's own in any case.
    ///
    /// # Errors
    /// Fails if the namespace cannot be entered: `EPERM` without CAP_SYS_ADMIN.
    pub fn run<T>(&self, inside: impl FnOnce() -> T) -> Result<T, NetError> {
        let home = Self::current()?;
        self.set()?;
        let guard = Guard {
            home: &home,
            entered: true,
            not_send: PhantomData,
        };
        let value = inside();
        guard.leave()?;
        Ok(value)
    }

    fn set(&self) -> Result<(), NetError> {
        setns(&self.file, CloneFlags::CLONE_NEWNET)
            .map_err(|errno| NetError::io("enter netns", &self.name, errno))
    }

    pub(crate) fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Moves the thread back, even if `inside` panics. `!Send`, since it belongs to this thread.
struct Guard<'a> {
    home: &'a Netns,
    entered: bool,
    not_send: PhantomData<*const ()>,
}

impl Guard<'_> {
    fn leave(mut self) -> Result<(), NetError> {
        self.home.set()?;
        self.entered = false;
        Ok(())
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if self.entered {
            // `inside` panicked, or `leave` failed and this is a second attempt. A rollback opens
            // its sockets in the namespace in which the thread is.
            let _ = self.home.set();
        }
    }
}

fn no_netns(path: &Path, reason: &str) -> NetError {
    NetError::Protocol {
        operation: "open netns",
        object: path.display().to_string(),
        reason: reason.to_owned(),
    }
}

/// Returns true if there is no namespace at the path: nothing exists there, or something else.
#[must_use]
pub fn is_no_netns(error: &NetError) -> bool {
    match error {
        NetError::Protocol { .. } => true,
        // ENXIO: a socket.
        _ => matches!(
            error.errno(),
            Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ENXIO)
        ),
    }
}
