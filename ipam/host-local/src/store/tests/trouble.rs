//! The store in trouble: files of killed processes and backups, calls whose answers are wrong, and
//! changes that others make without the lock.

use super::*;
use crate::store::{open_index::OpenIndex, publish::Way, record::MAX_CONTENT};
use std::{fs, io::ErrorKind};

#[test]
fn every_way_to_publish_leaves_a_whole_record_and_never_replaces_one() {
    for way in [Way::Link, Way::Rename, Way::InPlace] {
        let scratch = Scratch::new(&format!("way-{way:?}"));
        let locked = scratch.locked();
        locked
            .reserve_by(way, address("10.0.0.2"), attachment("c1"))
            .unwrap();
        let again = locked
            .reserve_by(way, address("10.0.0.2"), attachment("c2"))
            .unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists, "{way:?}");
        assert_eq!(scratch.content("10.0.0.2"), "c1\r\neth0", "{way:?}");
        let mut left: Vec<_> = fs::read_dir(scratch.path().join("n")).unwrap().collect();
        left.retain(|entry| entry.as_ref().unwrap().file_name() != "lock");
        assert_eq!(
            (left.len(), scratch.path().join(".n.new").exists()),
            (1, false),
            "{way:?}"
        );
    }
}

#[test]
fn a_file_of_a_killed_writer_in_the_folder_is_never_published() {
    let scratch = Scratch::new("killed-inside");
    scratch.seed(".new", b"c9\r\neth0");
    let locked = scratch.locked();
    locked
        .reserve_by(Way::Rename, address("10.0.0.2"), attachment("c1"))
        .unwrap();
    assert_eq!(scratch.content("10.0.0.2"), "c1\r\neth0");
    assert!(!scratch.path().join("n/.new").exists());
}

#[test]
fn leftovers_of_every_kind_are_removed() {
    let scratch = Scratch::new("leftovers");
    let locked = scratch.locked();
    let leftovers =
        [".n.new", "n/.new", ".index/.n", ".origin/.n"].map(|name| scratch.path().join(name));
    for path in &leftovers {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "c1\r\neth0").unwrap();
    }
    locked.remove_leftovers().unwrap();
    assert!(leftovers.iter().all(|path| !path.exists()));
    locked.remove_leftovers().unwrap();
}

fn origin() -> Origin {
    Origin {
        boot: SystemPaths::default().boot().unwrap(),
        netns: None,
    }
}

/// Backups that share unchanged files make second names: `cp -al`, `rsync --link-dest`.
#[test]
fn a_second_name_of_our_files_is_never_written_to() {
    let scratch = Scratch::new("second-name");
    let work = |ip: &str, id: &str| {
        let locked = scratch.locked();
        locked.first_free(SUBNET).unwrap();
        locked
            .reserve(address(ip), attachment(id), Some(&origin()))
            .unwrap();
        LastReserved::read(&locked, 0).write(address(ip));
    };
    work("10.0.0.2", "c1");
    let names = ["n/last_reserved_ip.0", ".index/n", ".origin/n"];
    let backups = names.map(|name| scratch.path().join(name.replace('/', "-")));
    let before = names.map(|name| fs::read(scratch.path().join(name)).unwrap());
    for (name, backup) in names.iter().zip(&backups) {
        fs::hard_link(scratch.path().join(name), backup).unwrap();
    }
    work("10.0.0.30", "c2");
    for (backup, content) in backups.iter().zip(before) {
        assert!(
            fs::read(backup).unwrap() == content,
            "{} was written to",
            backup.display()
        );
    }
    require_truth(&scratch);
    assert_eq!(scratch.content("last_reserved_ip.0"), "10.0.0.30");
    let folder = scratch.store().open().unwrap().unwrap();
    for ip in ["10.0.0.2", "10.0.0.30"] {
        let found = folder.record(address(ip)).unwrap().unwrap();
        assert_eq!(
            Origins::of_folder(&folder).find(address(ip), &found.meta),
            Some(origin()),
            "{ip}"
        );
    }
}

#[test]
fn an_origin_table_that_cannot_be_opened_stays_and_one_of_wrong_content_is_replaced() {
    let scratch = Scratch::new("origin-table");
    let reserve = |ip: &str| {
        let locked = scratch.locked();
        locked
            .reserve(address(ip), attachment("c1"), Some(&origin()))
            .unwrap();
        let found = locked.folder().record(address(ip)).unwrap().unwrap();
        (
            Origins::of_folder(locked.folder()).find(address(ip), &found.meta),
            locked.origin_file().renew(&found, &origin()),
        )
    };
    assert_eq!(reserve("10.0.0.2").0, Some(origin()));
    let (table, aside) = (
        scratch.path().join(".origin/n"),
        scratch.path().join("aside"),
    );
    fs::rename(&table, &aside).unwrap();
    // open(2) fails with ELOOP, as it might with EMFILE, EACCES or EIO.
    std::os::unix::fs::symlink(&aside, &table).unwrap();
    let (known, renewed) = reserve("10.0.0.3");
    assert!(known.is_none() && renewed.is_err_and(|e| e.msg.contains("note the origin")));
    assert!(table.is_symlink());
    fs::rename(&aside, &table).unwrap();
    assert_eq!(reserve("10.0.0.4"), (Some(origin()), Ok(())));
    for content in [&b""[..], b"nonsense, and enough of it"] {
        fs::write(&table, content).unwrap();
        assert_eq!(reserve("10.0.0.5"), (Some(origin()), Ok(())), "{content:?}");
        fs::remove_file(scratch.path().join("n/10.0.0.5")).unwrap();
    }
}

#[test]
fn a_record_that_others_add_while_a_request_is_served_is_noticed() {
    let scratch = Scratch::new("meanwhile");
    let locked = scratch.locked();
    locked.first_free(SUBNET).unwrap();
    scratch.seed("10.0.0.9", b"c2\r\neth0");
    assert_eq!(reserve(&locked, "10.0.0.2", "c1"), Reserve::Done);
    drop(locked);
    require_truth(&scratch);
    let locked = scratch.locked();
    let held = locked.held_by(attachment("c1")).unwrap().records;
    scratch.seed("10.0.0.10", b"c3\r\neth0");
    locked.release(&held[0]).unwrap();
    drop(locked);
    require_truth(&scratch);
}

#[test]
fn the_first_file_of_the_round_robin_does_not_cost_the_index() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new("first-turn");
    let inode = || fs::metadata(scratch.path().join(".index/n")).unwrap().ino();
    let locked = scratch.locked();
    locked.first_free(SUBNET).unwrap();
    let first = inode();
    reserve(&locked, "10.0.0.2", "c1");
    LastReserved::read(&locked, 0).write(address("10.0.0.2"));
    drop(locked);
    require_truth(&scratch);
    assert_eq!(inode(), first);
}

#[test]
fn an_id_of_any_length_that_fits_the_environment_is_written_and_found() {
    let scratch = Scratch::new("long-ids");
    for (n, len) in [4087, 4088, 4089, 4090, 5000, 131_055]
        .into_iter()
        .enumerate()
    {
        let id = "c".repeat(len);
        let ip = address(&format!("10.0.0.{}", n + 2));
        let locked = scratch.locked();
        assert_eq!(
            locked.reserve(ip, attachment(&id), None).unwrap(),
            Reserve::Done,
            "{len}"
        );
        drop(locked);
        let locked = scratch.locked();
        let held = locked.held_by(attachment(&id)).unwrap().records;
        assert_eq!(
            held.iter().map(|record| record.address).collect::<Vec<_>>(),
            [ip],
            "{len}"
        );
        locked.release(&held[0]).unwrap();
    }
    let too_long = "c".repeat(MAX_CONTENT);
    let refused = scratch
        .locked()
        .reserve(address("10.0.0.9"), attachment(&too_long), None);
    assert_eq!(refused.unwrap_err().code, Code::INVALID_ENVIRONMENT);
    assert_eq!(scratch.records(), []);
}

#[test]
fn a_network_s_name_may_be_as_long_as_a_file_s() {
    let scratch = Scratch::new("long-names");
    for len in [249, 250, 251, 254, 255] {
        let store = store(scratch.path(), &"n".repeat(len));
        let locked = store.create_and_lock(TIMEOUT).unwrap();
        locked.first_free(SUBNET).unwrap();
        let reserved = locked.reserve(address("10.0.0.2"), attachment("c1"), Some(&origin()));
        assert_eq!(reserved, Ok(Reserve::Done), "{len}");
        locked.remove_leftovers().unwrap();
        drop(locked);
        assert!(
            OpenIndex::current(&store.open().unwrap().unwrap()).is_some(),
            "{len}"
        );
        let found = store
            .open()
            .unwrap()
            .unwrap()
            .record(address("10.0.0.2"))
            .unwrap()
            .unwrap();
        let folder = store.open().unwrap().unwrap();
        assert_eq!(
            Origins::of_folder(&folder).find(address("10.0.0.2"), &found.meta),
            Some(origin()),
            "{len}"
        );
    }
}

#[test]
fn a_lock_that_is_no_plain_file_makes_the_directory_unusable() {
    let scratch = Scratch::new("no-lock");
    fs::create_dir_all(scratch.path().join("n/lock")).unwrap();
    let error = scratch.store().require_usable().unwrap_err();
    assert!(
        error.code == Code::UNAVAILABLE && error.msg.ends_with("n/lock: not a plain file"),
        "{error}"
    );
    assert!(scratch.store().create_and_lock(TIMEOUT).is_err());
}
