//! Empty folders over those in which plugins and runtimes keep state.

use super::Error;
use nix::mount::{MsFlags, mount};
use std::{
    fs::File,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

const STATE: &str = "/var/lib/cni";

/// Covers `/run` and `/var/lib/cni`.
pub(super) fn cover_state_directories() -> Result<(), Error> {
    mount_tmpfs_over("/run")?;
    create_dir("/run/netns")?;
    if !Path::new(STATE).is_dir() {
        cover_keeping_children("/var/lib")?;
        create_dir(STATE)?;
    }
    mount_tmpfs_over(STATE)
}

/// Puts an empty folder over `target`, which must be there.
pub(super) fn mount_tmpfs_over(target: impl AsRef<Path>) -> Result<(), Error> {
    mount_tmpfs(target.as_ref(), "mode=0755")
}

/// As [`mount_tmpfs_over`], with room for 64 KiB of data.
pub(super) fn mount_small_tmpfs_over(target: &Path) -> Result<(), Error> {
    mount_tmpfs(target, "mode=0755,size=64k")
}

/// Changes a covered folder between read-only and writable.
pub(super) fn set_read_only(target: &Path, read_only: bool) -> Result<(), Error> {
    let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_RDONLY, read_only);
    mount(None::<&str>, target, None::<&str>, flags, None::<&str>)
        .map_err(|e| Error::new("mount again", target, e))
}

fn mount_tmpfs(target: &Path, options: &str) -> Result<(), Error> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
        .map_err(|e| Error::new("mount a tmpfs on", target, e))
}

/// Covers a folder in which nothing may be made, so that something can be made in it: its folders
/// and links appear again in the cover, since a target directory, a home or a toolchain may be
/// among them.
fn cover_keeping_children(target: &str) -> Result<(), Error> {
    let failed = |operation| move |e: std::io::Error| Error::new(operation, target, e);
    let beneath = File::open(target).map_err(failed("open"))?;
    mount_tmpfs_over(target)?;
    let beneath = PathBuf::from(format!("/proc/self/fd/{}", beneath.as_raw_fd()));
    for entry in std::fs::read_dir(&beneath).map_err(failed("read"))? {
        let entry = entry.map_err(failed("read"))?;
        let kind = entry.file_type().map_err(failed("read"))?;
        let shown = Path::new(target).join(entry.file_name());
        if kind.is_dir() {
            create_dir(&shown)?;
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            // One that cannot be shown again is one that this user cannot use.
            let _ = mount(
                Some(&entry.path()),
                &shown,
                None::<&str>,
                flags,
                None::<&str>,
            );
        } else if kind.is_symlink() {
            let link = std::fs::read_link(entry.path()).map_err(failed("read a link in"))?;
            std::os::unix::fs::symlink(link, &shown).map_err(failed("make a link in"))?;
        }
    }
    Ok(())
}

fn create_dir(path: impl AsRef<Path>) -> Result<(), Error> {
    std::fs::create_dir(&path).map_err(|e| Error::new("make the folder", &path, e))
}
