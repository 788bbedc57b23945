//! Network namespaces that are mounted at a path, and those that no longer are.
//!
//! Only a path at which the namespace itself is mounted proves anything. A symbolic link does not:
//! it may lead to `/proc/<pid>/ns/net`, which goes with that process (and, as every path in there,
//! if /proc is not mounted for us) while the namespace lives on.

use nix::sys::statfs::{NSFS_MAGIC, PROC_SUPER_MAGIC, statfs};
use std::{
    fs::{Metadata, metadata, symlink_metadata},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Device and inode of a file.
pub(crate) type Place = (u64, u64);

/// A network namespace that is mounted at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Netns {
    /// The path.
    pub(crate) path: PathBuf,
    /// The namespace.
    pub(crate) place: Place,
    /// The directory that the path is in.
    pub(crate) parent: Place,
}

/// Identifies the namespace at `path`; `None` unless one is mounted there, at that very path. A
/// path below `/proc` goes when its process does, and the namespace may live on.
pub(crate) fn identify(path: &Path) -> Option<Netns> {
    let parent = path.parent()?;
    let is = |path, magic| statfs(path).is_ok_and(|fs| fs.filesystem_type() == magic);
    if !path.is_absolute() || !is(path, NSFS_MAGIC) || is(parent, PROC_SUPER_MAGIC) {
        return None;
    }
    let meta = symlink_metadata(path)
        .ok()
        .filter(|meta| !meta.is_symlink())?;
    let parent = place(&metadata(parent).ok()?);
    Some(Netns {
        path: path.to_owned(),
        place: place(&meta),
        parent,
    })
}

fn place(meta: &Metadata) -> Place {
    (meta.dev(), meta.ino())
}

/// Returns true if the namespace is certainly no longer mounted there: the name is gone, or another
/// namespace has it. The directory must be the same one: a process with other mounts sees nothing,
/// and knows nothing.
pub(crate) fn is_gone(netns: &Netns) -> bool {
    let directory = netns.path.parent().and_then(|parent| metadata(parent).ok());
    if directory.is_none_or(|directory| place(&directory) != netns.parent) {
        return false;
    }
    match symlink_metadata(&netns.path) {
        Ok(meta) if meta.is_symlink() => false,
        Ok(meta) => meta.dev() == netns.place.0 && meta.ino() != netns.place.1,
        Err(e) => e.kind() == ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_a_namespace_that_is_certainly_unmounted_is_gone() {
        let root = std::env::temp_dir().join(format!("host-local-netns-{}", std::process::id()));
        fs::create_dir_all(root.join("netns")).unwrap();
        let path = root.join("netns/a");
        fs::write(&path, "").unwrap();
        let known = Netns {
            path: path.clone(),
            place: place(&metadata(&path).unwrap()),
            parent: place(&metadata(root.join("netns")).unwrap()),
        };
        assert!(!is_gone(&known));
        // As one to /proc/<pid>/ns/net is, if /proc is not mounted.
        let link = root.join("netns/link");
        std::os::unix::fs::symlink("/nonexistent/1/ns/net", &link).unwrap();
        assert!(
            !is_gone(&Netns {
                path: link.clone(),
                ..known.clone()
            }),
            "a link leads nowhere"
        );
        fs::remove_file(&link).unwrap();
        assert!(is_gone(&Netns {
            place: (known.place.0, known.place.1 + 1),
            ..known.clone()
        }));
        let on_another_file_system = Netns {
            place: (known.place.0 + 1, 7),
            ..known.clone()
        };
        assert!(
            !is_gone(&on_another_file_system),
            "the mount point is seen, but not what is mounted"
        );
        fs::remove_file(&path).unwrap();
        assert!(is_gone(&known));
        assert!(
            !is_gone(&Netns {
                parent: (7, 7),
                ..known.clone()
            }),
            "another directory has that path"
        );
        fs::remove_dir(root.join("netns")).unwrap();
        assert!(!is_gone(&known));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_path_without_a_mounted_namespace_is_unknown() {
        let link =
            std::env::temp_dir().join(format!("host-local-netns-link-{}", std::process::id()));
        std::os::unix::fs::symlink("/proc/self/ns/net", &link).unwrap();
        for path in [
            "/proc/self/ns/net",
            "/nonexistent/netns",
            "/etc/passwd",
            "netns",
        ] {
            assert_eq!(identify(Path::new(path)), None, "{path}");
        }
        assert_eq!(identify(&link), None, "a link to a namespace of a process");
        fs::remove_file(&link).unwrap();
    }
}
