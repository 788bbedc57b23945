//! Namespaces in which plugins may do what they like, without root and without a trace on the
//! machine.
//!
//! A process enters a user, a network and a mount namespace of its own ([`enter`]); in there it is
//! root. Root outside goes the same way, so that everybody runs the same thing. Then any thread can
//! become a "host" of its own ([`become_host`]): its own network, its own `/run` and
//! `/var/lib/cni`.

pub mod binaries;
pub mod frame;
pub mod inventory;
mod mismatch;
mod mounts;
mod netns;
pub mod probe;
mod process;
mod processes;
mod request;
mod run;
pub mod script;
mod state;
pub mod stdin;
pub mod trace;
pub mod wire;

pub use mismatch::Mismatch;
pub use netns::Netns;
pub use process::{RunError, Spawned};
pub use processes::{end_on_signals, end_processes};
pub use request::Request;
pub use run::{Run, decode};
pub use state::State;

use cni_net::{Batch, NetError, Rtnl};
use cni_types::IfName;
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid},
};
use std::{io, path::Path};

/// The reason for which there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or the administrator allows no user namespaces; the text names the switch.
    #[error("cannot make a user namespace: {0}")]
    Forbidden(String),
    /// An operation inside the namespaces failed.
    #[error("cannot {operation} {object}: {source}")]
    Operation {
        /// The operation that failed.
        operation: &'static str,
        /// The object of the operation.
        object: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The network refused something.
    #[error(transparent)]
    Net(#[from] NetError),
}

impl Error {
    pub(crate) fn new(
        operation: &'static str,
        object: impl AsRef<Path>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Operation {
            operation,
            object: object.as_ref().display().to_string(),
            source: source.into(),
        }
    }
}

/// Moves the process into a user, a network and a mount namespace of its own, in which it is root.
/// To be called before any thread is started: the kernel refuses it afterwards.
///
/// # Errors
/// [`Error::Forbidden`] with one sentence that names the remedy, or what else failed.
pub fn enter() -> Result<(), Error> {
    let uid = Uid::current();
    let gid = Gid::current();
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|errno| Error::Forbidden(reason(errno)))?;
    // Without "deny" the kernel lets only the privileged write gid_map.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let path = Path::new("/proc/self").join(file);
        std::fs::write(&path, text).map_err(|e| match e.raw_os_error() {
            // Ubuntu's AppArmor lets the namespace be made, and then denies every use of it.
            Some(code) if Errno::from_raw(code) == Errno::EPERM => {
                Error::Forbidden(reason(Errno::EPERM))
            }
            _ => Error::new("write", &path, e),
        })?;
    }
    make_private()
}

/// Makes the calling thread a host of its own: a network namespace with `lo`, and mounts of its own
/// with an empty `/run` (with `/run/netns`) and an empty `/var/lib/cni`. Threads and processes that
/// it starts belong to the same host. When the last of them ends, the kernel removes it all.
///
/// # Errors
/// Fails if the kernel refuses one of the steps; the thread is then of no further use.
pub fn become_host() -> Result<(), Error> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|e| Error::new("unshare", "network and mounts", e))?;
    make_private()?;
    mounts::cover_state_directories()?;
    set_lo_up()
}

/// Covers a further folder, which must be there, by an empty one: for the host that the calling
/// thread has become.
///
/// # Errors
/// Fails if there is no such folder, or the kernel refuses.
pub fn mount_tmpfs_over(folder: &Path) -> Result<(), Error> {
    mounts::mount_tmpfs_over(folder)
}

/// Covers a folder, which must be there, by an empty one with room for 64 KiB of data.
///
/// # Errors
/// As [`mount_tmpfs_over`].
pub fn mount_small_tmpfs_over(folder: &Path) -> Result<(), Error> {
    mounts::mount_small_tmpfs_over(folder)
}

/// Makes a folder that [`mount_tmpfs_over`] or [`mount_small_tmpfs_over`] has covered read-only, or
/// writable again.
///
/// # Errors
/// Fails if the kernel refuses.
pub fn set_read_only(folder: &Path, read_only: bool) -> Result<(), Error> {
    mounts::set_read_only(folder, read_only)
}

/// Sets the loopback interface of the thread's namespace up, as it is on every host.
///
/// # Errors
/// Fails if the kernel refuses.
pub fn set_lo_up() -> Result<(), Error> {
    let mut rtnl = Rtnl::open()?;
    let mut batch = Batch::new();
    if let Some(lo) = rtnl.find_link(&IfName::LO)? {
        batch.set_up(&lo);
    }
    Ok(rtnl.run(batch)?)
}

/// Nothing that is mounted from here on is seen outside, and the other way round.
fn make_private() -> Result<(), Error> {
    let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
        .map_err(|e| Error::new("make private the mounts below", "/", e))
}

/// One sentence on why there are no user namespaces here, and what to do about it.
fn reason(errno: Errno) -> String {
    let switches = [
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("user.max_user_namespaces", "0", "10000"),
    ];
    let setting =
        |name: &str| std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/")));
    let culprit = switches
        .iter()
        .find(|(name, bad, _)| setting(name).is_ok_and(|value| value.trim() == *bad));
    match culprit {
        Some((name, bad, good)) => {
            format!("{errno}: sysctl {name} is {bad}; allow them with `sysctl -w {name}={good}`")
        }
        None => format!(
            "{errno}: forbidden by this container or kernel (sysctls user.max_user_namespaces and \
             kernel.apparmor_restrict_unprivileged_userns are not the cause; a seccomp profile may be, or a chroot)"
        ),
    }
}
