//! The file system of the data directory: only on one that no other machine can reach is a record
//! of another boot certainly of this machine.
//!
//! Machine-ids do not prove that. Machines cloned from one image share theirs (machine-id(5) warns
//! of it), and so do containers that mount the host's.

use nix::sys::statfs::statfs;
use std::{fmt, io, path::Path};

/// A kind of file system, by its type in statfs(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// On a disk, or in the memory, of this machine alone.
    Local,
    /// Other machines may write it at the same time; with its name.
    Shared(&'static str),
    /// Neither is known; with its type.
    Unknown(i128),
}

/// The types of local file systems, from the kernel's include/uapi/linux/magic.h and fs/.
const LOCAL: [i128; 18] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs; its upper layer cannot be on a network
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
    0xca45_1a4e, // bcachefs
    0x3153_464a, // JFS
    0x5265_4973, // ReiserFS
    0x3434,      // NILFS2
    0x2405_1905, // UBIFS
    0x72b6,      // JFFS2
    0x4d44,      // FAT
    0x2011_bab0, // exFAT
    0x7366_746e, // NTFS
    0x482b,      // HFS+
];

/// The types of file systems that several machines use at once.
const SHARED: [(i128, &str); 17] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x6573_5546, "FUSE"), // GlusterFS, virtiofs, sshfs, s3fs and many more
    (0x0102_1997, "9P"),
    (0x00c3_6400, "CephFS"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x7375_7245, "Coda"),
    (0x786f_4256, "VirtualBox shared folders"),
    (0xbaca_cacb, "VMware shared folders"),
    (0x0bd0_0bd0, "Lustre"),
    (0x4750_4653, "GPFS"),
    (0x1983_0326, "BeeGFS"),
];

impl FileSystem {
    /// The file system of `path`, or, if it does not exist, of the first of its parents that does.
    ///
    /// # Errors
    /// Fails if statfs(2) does, for another reason than ENOENT.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut outcome = Err(io::ErrorKind::NotFound.into());
        for path in path.ancestors() {
            let path = if path.as_os_str().is_empty() {
                Path::new(".")
            } else {
                path
            };
            outcome = statfs(path).map_err(io::Error::from);
            if !outcome
                .as_ref()
                .is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
            {
                break;
            }
        }
        Ok(Self::of_type(i128::from(outcome?.filesystem_type().0)))
    }

    /// The warning about a data directory that is not certainly of this machine alone.
    #[must_use]
    pub fn warning(self, data_dir: &Path) -> Option<String> {
        (self != Self::Local).then(|| {
            format!(
                "data directory {} is on {self}: other machines may write it, so no address is ever \
                 reclaimed; choose a dataDir on a local disk",
                data_dir.display()
            )
        })
    }

    fn of_type(kind: i128) -> Self {
        if LOCAL.contains(&kind) {
            return Self::Local;
        }
        let shared = SHARED.iter().find(|(number, _)| *number == kind);
        shared.map_or(Self::Unknown(kind), |(_, name)| Self::Shared(name))
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("a local file system"),
            Self::Shared(name) => f.write_str(name),
            Self::Unknown(kind) => write!(f, "a file system of type {kind:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_is_local_only_if_it_is_known_to_be() {
        assert_eq!(FileSystem::of_type(0xef53), FileSystem::Local);
        assert_eq!(FileSystem::of_type(0x6969), FileSystem::Shared("NFS"));
        assert_eq!(
            FileSystem::of_type(0x1234).to_string(),
            "a file system of type 0x1234"
        );
        assert!(
            LOCAL
                .iter()
                .all(|kind| SHARED.iter().all(|(shared, _)| kind != shared))
        );
    }

    #[test]
    fn what_is_not_certainly_local_is_warned_of() {
        let warning = |kind| FileSystem::of_type(kind).warning(Path::new("/data"));
        assert_eq!(warning(0x0102_1994), None);
        let text = warning(0x6969).unwrap();
        assert!(
            text.starts_with("data directory /data is on NFS: other machines may write it"),
            "{text}"
        );
        assert!(warning(0x1234).is_some());
    }

    #[test]
    fn a_missing_directory_is_on_the_file_system_of_its_parent() {
        // proc(5) is on no disk, and nobody has a data directory there.
        let proc = FileSystem::of(Path::new("/proc")).unwrap();
        assert_eq!(proc, FileSystem::Unknown(0x9fa0));
        assert_eq!(
            FileSystem::of(Path::new("/proc/self/nothing/there")).unwrap(),
            proc
        );
    }
}
