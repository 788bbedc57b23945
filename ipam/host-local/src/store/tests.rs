//! The store on a directory of its own: what is written, what is found again, and what is taken for free.

use super::*;
use cni_types::{ContainerId, IfName};

/// A data directory of its own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("host-local-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn store(&self) -> Store {
        Store::new(&self.0, &NetworkName::parse("n").unwrap())
    }

    fn seed(&self, name: &str, content: &[u8]) {
        fs::create_dir_all(self.0.join("n")).unwrap();
        fs::write(self.0.join("n").join(name), content).unwrap();
    }

    fn content(&self, name: &str) -> String {
        fs::read_to_string(self.0.join("n").join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn holder(id: &str) -> Holder {
    Holder::new(&ContainerId::parse(id).unwrap(), &IfName::parse("eth0").unwrap())
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_record_is_written_once_and_read_back() {
    let scratch = Scratch::new("record");
    let store = scratch.store();
    assert!(store.lock(&Stop::never()).unwrap().is_none(), "looking makes no folder");
    let locked = store.create_and_lock(&Stop::never()).unwrap();
    for ip in ["10.0.0.2", "fd00::2"] {
        assert_eq!(locked.reserve(address(ip), &holder("c1")).unwrap(), Reserved::Done);
        assert_eq!(locked.reserve(address(ip), &holder("c2")).unwrap(), Reserved::Taken);
        assert_eq!(scratch.content(ip), "c1\r\neth0");
    }
    let records = locked.records().unwrap();
    assert!(records.len() == 2 && records.iter().all(|record| record.owner.is(&holder("c1"))), "{records:?}");
    for record in &records {
        locked.release(record).unwrap();
        locked.release(record).unwrap();
    }
    assert_eq!(store.records().unwrap(), []);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1, "nothing is left beside the folder");
}

#[test]
fn files_are_private_and_directories_are_not_writable_for_others() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("modes");
    let store = scratch.store();
    let locked = store.create_and_lock(&Stop::never()).unwrap();
    locked.reserve(address("10.0.0.2"), &holder("c1")).unwrap();
    locked.last_reserved(0).write(address("10.0.0.2"));
    for name in ["10.0.0.2", "last_reserved_ip.0", "lock"] {
        let mode = fs::metadata(scratch.0.join("n").join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(scratch.0.join("n")).unwrap().permissions().mode() & 0o022, 0);
}

#[test]
fn what_a_killed_writer_left_never_reaches_a_live_record() {
    let scratch = Scratch::new("killed");
    let store = scratch.store();
    let locked = store.create_and_lock(&Stop::never()).unwrap();
    locked.reserve(address("10.0.0.2"), &holder("c1")).unwrap();
    // Killed between link and unlink: the other name is the same file.
    fs::hard_link(scratch.0.join("n/10.0.0.2"), scratch.0.join(".n.new")).unwrap();
    assert_eq!(locked.reserve(address("10.0.0.3"), &holder("c2")).unwrap(), Reserved::Done);
    assert_eq!(scratch.content("10.0.0.2"), "c1\r\neth0");
    assert_eq!(scratch.content("10.0.0.3"), "c2\r\neth0");
    assert!(!scratch.0.join(".n.new").exists());
}

#[test]
fn only_plain_files_with_the_name_of_an_address_are_records() {
    let scratch = Scratch::new("names");
    for name in ["lock", "last_reserved_ip.0", "10.0.0.2.bak", "10.0.0", "notes"] {
        scratch.seed(name, b"c1\r\neth0");
    }
    fs::create_dir(scratch.0.join("n/10.0.0.3")).unwrap();
    fs::write(scratch.0.join("secret"), "c1\r\neth0").unwrap();
    std::os::unix::fs::symlink(scratch.0.join("secret"), scratch.0.join("n/10.0.0.4")).unwrap();
    let store = scratch.store();
    assert_eq!(store.records().unwrap(), []);
    let locked = store.create_and_lock(&Stop::never()).unwrap();
    for taken in ["10.0.0.3", "10.0.0.4"] {
        assert_eq!(locked.reserve(address(taken), &holder("c2")).unwrap(), Reserved::Taken, "{taken}");
    }
    assert_eq!(fs::read_to_string(scratch.0.join("secret")).unwrap(), "c1\r\neth0");
}

#[test]
fn a_record_with_another_spelling_of_its_address_is_found_and_freed() {
    let scratch = Scratch::new("spelling");
    scratch.seed("FD00:0::2", b"c1\r\neth0");
    let store = scratch.store();
    let locked = store.create_and_lock(&Stop::never()).unwrap();
    let records = locked.records().unwrap();
    assert_eq!(records[0].address, address("fd00::2"));
    locked.release(&records[0]).unwrap();
    assert_eq!(locked.records().unwrap(), []);
}

#[test]
fn an_enormous_record_is_somebody_s() {
    let scratch = Scratch::new("enormous");
    scratch.seed("10.0.0.2", &vec![b'x'; 1 << 20]);
    assert_eq!(scratch.store().records().unwrap()[0].owner, Owner::Unknown);
}

#[test]
fn the_last_reserved_address_is_written_in_place() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new("last");
    let store = scratch.store();
    let locked = store.create_and_lock(&Stop::never()).unwrap();
    let path = scratch.0.join("n/last_reserved_ip.3");
    assert_eq!(locked.last_reserved(3).address(), None);
    assert!(!path.exists(), "looking makes no file");
    locked.last_reserved(3).write(address("10.0.0.100"));
    let inode = fs::metadata(&path).unwrap().ino();
    for text in ["10.0.0.2", "fd00:1:2:3:4:5:6:7", "::1"] {
        locked.last_reserved(3).write(address(text));
        assert_eq!(scratch.content("last_reserved_ip.3"), text);
        assert_eq!(locked.last_reserved(3).address(), Some(address(text)));
    }
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
}

#[test]
fn a_garbled_last_reserved_address_counts_as_none() {
    let scratch = Scratch::new("garbled");
    for content in [&b""[..], b"10.0.0.900", b"10.0.0.5\n", b"\xff", &[b'1'; 100]] {
        scratch.seed("last_reserved_ip.0", content);
        let store = scratch.store();
        let locked = store.create_and_lock(&Stop::never()).unwrap();
        assert_eq!(locked.last_reserved(0).address(), None, "{content:?}");
        locked.last_reserved(0).write(address("10.0.0.7"));
        drop(locked);
        assert_eq!(scratch.store().lock(&Stop::never()).unwrap().unwrap().last_reserved(0).len, 8);
    }
}

#[test]
fn the_lock_excludes_a_second_writer_until_it_is_released() {
    let scratch = Scratch::new("lock");
    let (first, second) = (scratch.store(), scratch.store());
    let locked = first.create_and_lock(&Stop::never()).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let locked = second.create_and_lock(&Stop::never());
            sender.send(locked.is_ok()).unwrap();
        });
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err(), "the lock was had twice");
        drop(locked);
        assert!(receiver.recv_timeout(Duration::from_secs(5)).unwrap());
    });
}

#[test]
fn a_file_in_place_of_the_directory_is_absence_for_readers_and_an_error_for_writers() {
    let scratch = Scratch::new("file");
    fs::write(scratch.0.join("n"), "").unwrap();
    let store = scratch.store();
    assert!(store.lock(&Stop::never()).unwrap().is_none());
    assert_eq!(store.records().unwrap(), []);
    assert_eq!(store.create_and_lock(&Stop::never()).unwrap_err().code, Code::IO);
    let error = store.require_usable().unwrap_err();
    assert!(error.code == Code::UNAVAILABLE && error.msg.ends_with(": not a directory"), "{error}");
}

#[test]
fn whether_the_directory_is_usable_is_told_without_making_it() {
    let scratch = Scratch::new("usable");
    let store = Store::new(&scratch.0.join("a/b"), &NetworkName::parse("n").unwrap());
    assert_eq!(store.require_usable(), Ok(()));
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
}
