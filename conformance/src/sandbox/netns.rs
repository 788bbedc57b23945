//! A network namespace kept at a path, as runtimes keep those of their containers.

use super::Error;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// The calling thread's own network namespace. `/proc/self` would be the main thread's.
const OWN: &str = "/proc/thread-self/ns/net";

/// A network namespace, bound to a file below `/run/netns`.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
}

impl Netns {
    /// Makes a namespace called `name`. It holds a `lo` that is down, as every new one.
    ///
    /// # Errors
    /// Where the name is taken or the kernel refuses.
    pub fn create(name: &str) -> Result<Self, Error> {
        let path = Path::new("/run/netns").join(name);
        File::create_new(&path).map_err(|e| Error::new("make the file", &path, e))?;
        let _home = Home::remember()?;
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::new("unshare", "the network", e))?;
        mount(Some(OWN), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|e| Error::new("bind a network namespace to", &path, e))?;
        Ok(Self { path })
    }

    /// The path: `CNI_NETNS` for a plugin.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `work` with the calling thread inside the namespace; what it starts is inside too.
    ///
    /// # Errors
    /// Where the namespace is gone.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        let file = File::open(&self.path).map_err(|e| Error::new("open", &self.path, e))?;
        let _home = Home::remember()?;
        setns(file, CloneFlags::CLONE_NEWNET).map_err(|e| Error::new("enter", &self.path, e))?;
        Ok(work())
    }

    /// Takes the name away, and with it the namespace unless a process or a descriptor holds it.
    ///
    /// # Errors
    /// Where it cannot be unmounted; a name that is gone already is none.
    pub fn remove(&self) -> Result<(), Error> {
        if !self.path.exists() {
            return Ok(());
        }
        umount2(&self.path, MntFlags::MNT_DETACH).map_err(|e| Error::new("unmount", &self.path, e))?;
        std::fs::remove_file(&self.path).map_err(|e| Error::new("remove", &self.path, e))
    }
}

/// Brings the thread back to the namespace in which it was, also after a panic.
struct Home(File);

impl Home {
    fn remember() -> Result<Self, Error> {
        File::open(OWN).map(Self).map_err(|e| Error::new("open", OWN, e))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if setns(&self.0, CloneFlags::CLONE_NEWNET).is_err() {
            // A thread in the wrong network could do anything to it.
            std::process::abort();
        }
    }
}
