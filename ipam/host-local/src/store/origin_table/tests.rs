//! The origins in a table, of which file each is, and growth without loss.

use super::*;
use nix::sys::memfd::{MFdFlags, memfd_create};
use proptest::prelude::*;

fn file() -> File {
    memfd_create(c"test", MFdFlags::empty()).unwrap().into()
}

fn origin(n: u8, path: &str) -> Origin {
    let netns = Netns {
        path: path.into(),
        place: (u64::from(n), 2),
        parent: (3, u64::from(n)),
    };
    Origin {
        boot: Boot {
            machine: [n; 16],
            boot: [n.wrapping_add(1); 16],
        },
        netns: (!path.is_empty()).then_some(netns),
    }
}

fn identity(n: u64) -> FileIdentity {
    FileIdentity {
        inode: n,
        modified: -5,
        nanoseconds: 999_999_999,
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn an_origin_is_known_for_the_very_file_only() {
    let mut table = OriginTable::create(file()).unwrap();
    let address = ip("10.0.0.2");
    assert_eq!(table.origin(address, identity(1)), None);
    table
        .insert(address, identity(1), &origin(7, "/run/netns/a"))
        .unwrap();
    assert_eq!(
        table.origin(address, identity(1)),
        Some(origin(7, "/run/netns/a"))
    );
    assert_eq!(table.origin(address, identity(2)), None);
    assert_eq!(table.origin(ip("::10.0.0.2"), identity(1)), None);
    table.remove(address).unwrap();
    assert_eq!(table.origin(address, identity(1)), None);
}

#[test]
fn a_path_that_is_too_long_is_not_stored() {
    let mut table = OriginTable::create(file()).unwrap();
    for (len, is_kept) in [(MAX_PATH, true), (MAX_PATH + 1, false)] {
        let path = "/".repeat(len);
        table
            .insert(ip("fd00::1"), identity(1), &origin(7, &path))
            .unwrap();
        let found = table.origin(ip("fd00::1"), identity(1)).unwrap();
        assert_eq!(found.netns.is_some(), is_kept);
        assert_eq!(found.boot, origin(7, "").boot);
    }
}

#[test]
fn a_file_that_is_no_table_is_not_opened() {
    for text in [
        &b""[..],
        b"nonsense, and enough of it",
        b"hl-org-1\x03\0\0\0\0\0\0\0",
        b"hl-org-1\0\0\0\0\0\0\0\x01",
    ] {
        let file = file();
        std::os::unix::fs::FileExt::write_all_at(&file, text, 0).unwrap();
        assert!(OriginTable::open(file).unwrap().is_none(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn a_table_that_grows_keeps_what_is_of_use(hosts in prop::collection::btree_set(any::<u16>(), 0..300)) {
        let mut table = OriginTable::create(file()).unwrap();
        let address = |n: u16| IpAddr::from([10, 0, (n >> 8) as u8, n as u8]);
        for n in &hosts {
            while !table.insert(address(*n), identity(u64::from(*n)), &origin(*n as u8, "/x")).unwrap() {
                table = table.copy_into(file(), 2, |_, _| true).unwrap();
            }
        }
        for n in &hosts {
            let known = table.origin(address(*n), identity(u64::from(*n)));
            prop_assert_eq!(known, Some(origin(*n as u8, "/x")));
        }
        let mut half = table.copy_into(file(), 2, |_, identity| identity.inode % 2 == 0).unwrap();
        for n in &hosts {
            let known = half.origin(address(*n), identity(u64::from(*n)));
            prop_assert_eq!(known.is_some(), n % 2 == 0);
        }
    }
}
