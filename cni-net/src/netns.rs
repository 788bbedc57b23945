//! Network namespaces: handles, comparison, and entering one for the length of a closure.
//!
//! setns(2) moves one thread. The process has one thread, a socket stays in the namespace that it was opened in,
//! and `/proc/sys/net` shows the namespace of the thread that opens a file there; so entering is short and
//! ends with the closure. `/proc/thread-self` is used, since `/proc/self` shows the main thread's namespace.

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

/// An open network namespace. It lives on while it is open, whatever happens to its path.
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
    /// The reference's text `failed to open netns "…"`; [`is_no_netns`] is true if it is that there
    /// is none. [`NetError::NoProc`] if that cannot be known, since runtimes give paths below
    /// `/proc`, or links to there.
    pub fn open(path: &Path) -> Result<Self, NetError> {
        let opened = match Self::open_any(path) {
            Err(e) if is_no_netns(&e) => return Err(Self::current().err().unwrap_or(e)),
            opened => opened?,
        };
        // Of which kind it is tells ioctl(NS_GET_NSTYPE), for which there is no safe call; to enter it tells as well.
        match opened.run(|| ()) {
            Err(e) if e.errno() == Some(Errno::EINVAL) => Err(no_netns(
                path,
                "it is a namespace, but not a network namespace",
            )),
            outcome => outcome.map(|()| opened),
        }
    }

    /// Opens a namespace of any kind.
    fn open_any(path: &Path) -> Result<Self, NetError> {
        let fail = |source: io::Error| NetError::io("open netns", path.display(), source);
        // Without O_NONBLOCK a FIFO in place of the namespace would block here for ever.
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

    /// The namespace that this thread is in.
    ///
    /// # Errors
    /// [`NetError::NoProc`] if `/proc` is not mounted.
    pub fn current() -> Result<Self, NetError> {
        // The file of a thread that runs is always there.
        Self::open_any(Path::new(OWN))
            .map_err(|e| if is_no_netns(&e) { NetError::NoProc } else { e })
    }

    /// Makes a new namespace; the thread stays where it is.
    ///
    /// # Errors
    /// `EPERM` without CAP_SYS_ADMIN.
    pub fn create() -> Result<Self, NetError> {
        let home = Self::current()?;
        unshare(CloneFlags::CLONE_NEWNET)
            .map_err(|e| NetError::io("create", "network namespace", e))?;
        let created = Self::current();
        home.set()?;
        created
    }

    /// Whether both are the same namespace, by whatever paths.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity == other.identity
    }

    /// The inode of the namespace: its number in `/proc/PID/ns/net`.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.identity.1
    }

    /// Runs `inside` in the namespace and comes back, whatever happens there.
    ///
    /// # Errors
    /// Where the namespace cannot be entered: `EPERM` without CAP_SYS_ADMIN.
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

/// Brings the thread back, also when `inside` panics. `!Send`, since it is about this thread.
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
            // On the way out of a panic, or once more where it was refused: whoever takes back what was done opens sockets
            // where the thread is.
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

/// True if there is no namespace behind the path: nothing is there, or something else.
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
