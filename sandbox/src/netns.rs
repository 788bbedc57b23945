//! A network namespace kept at a path, as runtimes keep those of their containers.

use super::Error;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd},
    path::{Path, PathBuf},
};

/// A network namespace, bound to a file below `/run/netns`.
#[derive(Debug)]
pub struct Netns {
    path: PathBuf,
}

impl Netns {
    /// Makes a namespace called `name`. It holds a `lo` that is down, as every new one.
    ///
    /// # Errors
    /// Fails if the name is taken or the kernel refuses.
    pub fn create(name: &str) -> Result<Self, Error> {
        let path = Path::new("/run/netns").join(name);
        File::create_new(&path).map_err(|e| Error::new("make the file", &path, e))?;
        let netns = cni_net::Netns::create()?;
        let open = format!("/proc/self/fd/{}", netns.as_fd().as_raw_fd());
        mount(
            Some(open.as_str()),
            &path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
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
    /// Fails if the namespace is gone.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> Result<T, Error> {
        Ok(cni_net::Netns::open(&self.path)?.run(work)?)
    }

    /// Takes the name away, and with it the namespace unless a process or a descriptor holds it.
    ///
    /// # Errors
    /// Fails if it cannot be unmounted. A name that is gone already is no error.
    pub fn remove(&self) -> Result<(), Error> {
        if !self.path.exists() {
            return Ok(());
        }
        umount2(&self.path, MntFlags::MNT_DETACH)
            .map_err(|e| Error::new("unmount", &self.path, e))?;
        std::fs::remove_file(&self.path).map_err(|e| Error::new("remove", &self.path, e))
    }
}
