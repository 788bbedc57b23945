//! The store on a directory of its own: records, lock and index.

mod trouble;

use super::*;
use crate::alloc::Span;
use cni_types::AttachmentId;
use std::{fs, net::IpAddr, sync::LazyLock};

/// A data directory of its own, removed at the end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("host-local-{}-{test}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn store(&self) -> Store<'static> {
        store(&self.0, "n")
    }

    pub(super) fn locked(&self) -> Locked<'static> {
        self.store().create_and_lock(TIMEOUT).unwrap()
    }

    pub(super) fn records(&self) -> Vec<Record> {
        let Some(folder) = self.store().open().unwrap() else {
            return Vec::new();
        };
        all(&folder)
    }

    pub(super) fn seed(&self, name: &str, content: &[u8]) {
        fs::create_dir_all(self.0.join("n")).unwrap();
        fs::write(self.0.join("n").join(name), content).unwrap();
    }

    pub(super) fn content(&self, name: &str) -> String {
        fs::read_to_string(self.0.join("n").join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn store(data_dir: &Path, network: &str) -> Store<'static> {
    static NEVER: LazyLock<Stop> = LazyLock::new(Stop::never);
    Store::new(
        data_dir,
        &NetworkName::parse(network).unwrap(),
        &SystemPaths::default(),
        &NEVER,
    )
}

pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

fn all(folder: &Folder<'_>) -> Vec<Record> {
    folder
        .find(&|_| true)
        .unwrap()
        .found
        .into_iter()
        .map(|file| file.record)
        .collect()
}

pub(super) fn reserve(locked: &Locked<'_>, ip: &str, id: &str) -> Reserve {
    locked.reserve(address(ip), attachment(id), None).unwrap()
}

pub(super) fn attachment(container_id: &str) -> AttachmentId<'_> {
    AttachmentId {
        network: "n",
        container_id,
        if_name: "eth0",
    }
}

pub(super) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_record_is_written_once_and_read_back() {
    let scratch = Scratch::new("record");
    let store = scratch.store();
    assert!(
        store.lock(TIMEOUT).unwrap().is_none(),
        "looking makes no folder"
    );
    let locked = scratch.locked();
    for ip in ["10.0.0.2", "fd00::2"] {
        assert_eq!(reserve(&locked, ip, "c1"), Reserve::Done);
        assert_eq!(reserve(&locked, ip, "c2"), Reserve::Taken);
        assert_eq!(scratch.content(ip), "c1\r\neth0");
    }
    let records = all(locked.folder());
    assert!(
        records.len() == 2
            && records
                .iter()
                .all(|record| record.owner.is(attachment("c1"))),
        "{records:?}"
    );
    for record in &records {
        locked.release(record).unwrap();
        locked.release(record).unwrap();
    }
    assert_eq!(scratch.records(), []);
    assert!(
        !scratch.0.join(".n.new").exists(),
        "nothing is left beside the folder"
    );
}

#[test]
fn files_are_private_and_directories_are_not_writable_for_others() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new("modes");
    let locked = scratch.locked();
    reserve(&locked, "10.0.0.2", "c1");
    LastReserved::read(&locked, 0).write(address("10.0.0.2"));
    for name in ["10.0.0.2", "last_reserved_ip.0", "lock"] {
        let mode = fs::metadata(scratch.0.join("n").join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(
        fs::metadata(scratch.0.join("n"))
            .unwrap()
            .permissions()
            .mode()
            & 0o022,
        0
    );
}

#[test]
fn a_file_of_a_killed_writer_never_reaches_a_live_record() {
    let scratch = Scratch::new("killed");
    let locked = scratch.locked();
    reserve(&locked, "10.0.0.2", "c1");
    // Killed between link and unlink: the other name is the same file.
    fs::hard_link(scratch.0.join("n/10.0.0.2"), scratch.0.join(".n.new")).unwrap();
    assert_eq!(reserve(&locked, "10.0.0.3", "c2"), Reserve::Done);
    assert_eq!(scratch.content("10.0.0.2"), "c1\r\neth0");
    assert_eq!(scratch.content("10.0.0.3"), "c2\r\neth0");
    assert!(!scratch.0.join(".n.new").exists());
}

#[test]
fn only_plain_files_with_the_name_of_an_address_are_records() {
    let scratch = Scratch::new("names");
    for name in [
        "lock",
        "last_reserved_ip.0",
        "10.0.0.2.bak",
        "10.0.0",
        "notes",
    ] {
        scratch.seed(name, b"c1\r\neth0");
    }
    fs::create_dir(scratch.0.join("n/10.0.0.3")).unwrap();
    fs::write(scratch.0.join("secret"), "c1\r\neth0").unwrap();
    std::os::unix::fs::symlink(scratch.0.join("secret"), scratch.0.join("n/10.0.0.4")).unwrap();
    assert_eq!(scratch.records(), []);
    let locked = scratch.locked();
    for taken in ["10.0.0.3", "10.0.0.4"] {
        assert_eq!(reserve(&locked, taken, "c2"), Reserve::Taken, "{taken}");
    }
    assert_eq!(
        fs::read_to_string(scratch.0.join("secret")).unwrap(),
        "c1\r\neth0"
    );
}

#[test]
fn a_record_with_another_spelling_of_its_address_is_found_and_freed() {
    let scratch = Scratch::new("spelling");
    scratch.seed("FD00:0::2", b"c1\r\neth0");
    let locked = scratch.locked();
    let records = all(locked.folder());
    assert_eq!(records[0].address, address("fd00::2"));
    locked.release(&records[0]).unwrap();
    assert_eq!(all(locked.folder()), []);
}

#[test]
fn an_enormous_record_is_somebody_s() {
    let scratch = Scratch::new("enormous");
    scratch.seed("10.0.0.2", &vec![b'x'; 1 << 20]);
    assert_eq!(scratch.records()[0].owner, Owner::Unknown);
}

#[test]
fn the_last_reserved_address_is_written_in_place() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new("last");
    let locked = scratch.locked();
    let path = scratch.0.join("n/last_reserved_ip.3");
    assert_eq!(LastReserved::read(&locked, 3).address(), None);
    assert!(!path.exists(), "looking makes no file");
    LastReserved::read(&locked, 3).write(address("10.0.0.100"));
    let inode = fs::metadata(&path).unwrap().ino();
    for text in ["10.0.0.2", "fd00:1:2:3:4:5:6:7", "::1"] {
        LastReserved::read(&locked, 3).write(address(text));
        assert_eq!(scratch.content("last_reserved_ip.3"), text);
        assert_eq!(
            LastReserved::read(&locked, 3).address(),
            Some(address(text))
        );
    }
    assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
}

#[test]
fn a_garbled_last_reserved_address_counts_as_none() {
    let scratch = Scratch::new("garbled");
    for content in [
        &b""[..],
        b"10.0.0.900",
        b"10.0.0.5\n",
        b"\xff",
        &[b'1'; 100],
    ] {
        scratch.seed("last_reserved_ip.0", content);
        let locked = scratch.locked();
        assert_eq!(
            LastReserved::read(&locked, 0).address(),
            None,
            "{content:?}"
        );
        LastReserved::read(&locked, 0).write(address("10.0.0.7"));
        drop(locked);
        assert_eq!(LastReserved::read(&scratch.locked(), 0).len, 8);
    }
}

#[test]
fn the_lock_excludes_a_second_writer_until_it_is_released() {
    let scratch = Scratch::new("lock");
    let first = scratch.store();
    let second = scratch.store();
    let locked = first.create_and_lock(TIMEOUT).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let locked = second.create_and_lock(TIMEOUT);
            sender.send(locked.is_ok()).unwrap();
        });
        assert!(
            receiver.recv_timeout(Duration::from_millis(50)).is_err(),
            "the lock was had twice"
        );
        drop(locked);
        assert!(receiver.recv_timeout(Duration::from_secs(5)).unwrap());
    });
}

#[test]
fn a_waiter_for_a_lock_that_was_deleted_takes_the_new_one() {
    for deleted in ["n", "n/lock"] {
        let scratch = Scratch::new("deleted");
        let old = scratch.locked();
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let locked = scratch.locked();
                sender.send(()).unwrap();
                locked.folder().path().join("lock").exists()
            });
            assert!(
                receiver.recv_timeout(Duration::from_millis(50)).is_err(),
                "the lock was had twice"
            );
            let path = scratch.0.join(deleted);
            if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            }
            .unwrap();
            let new = scratch.locked();
            drop(old);
            assert!(
                receiver.recv_timeout(Duration::from_millis(100)).is_err(),
                "{deleted}: two have the lock"
            );
            drop(new);
            receiver.recv_timeout(Duration::from_secs(5)).unwrap();
            assert!(waiting.join().unwrap());
        });
    }
}

#[test]
fn a_record_that_the_index_lacks_makes_it_rebuild() {
    let scratch = Scratch::new("unknown");
    let locked = scratch.locked();
    assert_eq!(reserve(&locked, "10.0.0.2", "c1"), Reserve::Done);
    assert_eq!(
        locked.first_free(SUBNET).unwrap(),
        Some(address("10.0.0.3"))
    );
    for name in ["10.0.0.3", "10.0.0.4"] {
        scratch.seed(name, b"c2\r\neth0");
    }
    assert_eq!(
        locked.first_free(SUBNET).unwrap(),
        Some(address("10.0.0.3")),
        "it looks at the folder once"
    );
    assert_eq!(reserve(&locked, "10.0.0.3", "c3"), Reserve::Taken);
    assert_eq!(
        locked.first_free(SUBNET).unwrap(),
        Some(address("10.0.0.5"))
    );
    assert_eq!(locked.held_by(attachment("c2")).unwrap().records.len(), 2);
}

#[test]
fn a_file_in_place_of_the_directory_is_absence_for_readers_and_an_error_for_writers() {
    let scratch = Scratch::new("file");
    fs::write(scratch.0.join("n"), "").unwrap();
    let store = scratch.store();
    assert!(store.lock(TIMEOUT).unwrap().is_none());
    assert_eq!(scratch.records(), []);
    assert_eq!(store.create_and_lock(TIMEOUT).unwrap_err().code, Code::IO);
    let error = store.require_usable().unwrap_err();
    assert!(
        error.code == Code::UNAVAILABLE && error.msg.ends_with(": not a directory"),
        "{error}"
    );
}

#[test]
fn the_directory_is_checked_without_making_it() {
    let scratch = Scratch::new("usable");
    let store = store(&scratch.0.join("a/b"), "n");
    assert_eq!(store.require_usable(), Ok(()));
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 0);
}

fn hosts(range: std::ops::Range<u8>) -> Vec<IpAddr> {
    range.map(|host| IpAddr::from([10, 0, 0, host])).collect()
}

pub(super) const SUBNET: Span = Span {
    first: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)),
    last: IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 254)),
};

/// Fails unless the index agrees with the files.
pub(super) fn require_truth(scratch: &Scratch) {
    let locked = scratch.locked();
    let records = all(locked.folder());
    let addresses: Vec<IpAddr> = records.iter().map(|record| record.address).collect();
    let free = hosts(2..255)
        .into_iter()
        .find(|address| !addresses.contains(address));
    assert_eq!(locked.first_free(SUBNET).unwrap(), free);
    assert_eq!(
        locked.count(&[&[SUBNET].into_iter().collect()]).unwrap(),
        (vec![addresses.len() as u64], addresses.len() as u64)
    );
    for id in ["c1", "c2", "c3"] {
        let mut wanted: Vec<&Record> = records
            .iter()
            .filter(|record| record.owner.may_be(attachment(id)))
            .collect();
        let mut found = locked.held_by(attachment(id)).unwrap().records;
        wanted.sort_by_key(|record| record.address);
        found.sort_by_key(|record| record.address);
        assert_eq!(found.iter().collect::<Vec<_>>(), wanted, "{id}");
    }
}

fn index_of(scratch: &Scratch) -> PathBuf {
    scratch.0.join(".index/n")
}

#[test]
fn the_index_lasts_from_one_to_the_next_as_long_as_nobody_else_changes_anything() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new("lasts");
    require_truth(&scratch);
    let inode = || fs::metadata(index_of(&scratch)).unwrap().ino();
    let first = inode();
    for host in ["10.0.0.2", "10.0.0.3", "10.0.0.9"] {
        let locked = scratch.locked();
        locked.first_free(SUBNET).unwrap();
        assert_eq!(reserve(&locked, host, "c1"), Reserve::Done);
        drop(locked);
        require_truth(&scratch);
    }
    let locked = scratch.locked();
    let held = locked.held_by(attachment("c1")).unwrap().records;
    locked.release(&held[1]).unwrap();
    drop(locked);
    require_truth(&scratch);
    assert_eq!(inode(), first, "the index was built only once");
}

/// A file system's clock stands still between two ticks: this makes a change by others show.
#[test]
fn the_folder_s_time_is_in_the_past_after_every_change_of_ours() {
    let scratch = Scratch::new("past");
    for host in ["10.0.0.2", "10.0.0.3"] {
        let locked = scratch.locked();
        locked.first_free(SUBNET).unwrap();
        reserve(&locked, host, "c1");
        drop(locked);
        let modified = fs::metadata(scratch.0.join("n"))
            .unwrap()
            .modified()
            .unwrap();
        assert!(
            modified.elapsed().unwrap() >= Duration::from_millis(20),
            "{modified:?}"
        );
    }
}

#[test]
fn a_change_by_others_is_noticed_even_right_after_our_own() {
    let scratch = Scratch::new("others");
    for round in 0..300u32 {
        let locked = scratch.locked();
        locked.first_free(SUBNET).unwrap();
        reserve(&locked, "10.0.0.2", "c1");
        drop(locked);
        // Within the same tick of the file system's clock.
        match round % 3 {
            0 => fs::remove_file(scratch.0.join("n/10.0.0.2")).unwrap(),
            1 => scratch.seed("10.0.0.3", b"c2\r\neth0"),
            _ => fs::rename(scratch.0.join("n/10.0.0.2"), scratch.0.join("n/10.0.0.4")).unwrap(),
        }
        require_truth(&scratch);
        for name in ["10.0.0.2", "10.0.0.3", "10.0.0.4"] {
            let _ = fs::remove_file(scratch.0.join("n").join(name));
        }
    }
}

#[test]
fn an_index_that_is_lost_or_damaged_changes_no_answer() {
    let scratch = Scratch::new("damaged");
    for (n, id) in [(2, "c1"), (3, "c2"), (5, "c1")] {
        scratch.seed(&format!("10.0.0.{n}"), format!("{id}\r\neth0").as_bytes());
    }
    require_truth(&scratch);
    let path = index_of(&scratch);
    let whole = fs::read(&path).unwrap();
    let damage = |at: usize, len: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at..at + len].fill(byte);
        fs::write(&path, bytes).unwrap();
    };
    for page in 0..whole.len() / 4096 {
        for (at, len, byte) in [
            (0, 4096, 0),
            (0, 4096, 0xff),
            (17, 1, 0x5a),
            (100, 8, 0),
            (8, 2, 0),
        ] {
            damage(page * 4096 + at, len, byte);
            require_truth(&scratch);
        }
    }
    for text in [&b""[..], b"nonsense", &whole[..5000]] {
        fs::write(&path, text).unwrap();
        require_truth(&scratch);
    }
    fs::remove_file(&path).unwrap();
    require_truth(&scratch);
    fs::remove_dir_all(scratch.0.join(".index")).unwrap();
    require_truth(&scratch);
    fs::remove_dir_all(scratch.0.join(".index")).unwrap();
    fs::write(scratch.0.join(".index"), "a file in its place").unwrap();
    require_truth(&scratch);
}

#[test]
fn an_index_of_an_earlier_boot_is_not_trusted() {
    let scratch = Scratch::new("boots");
    scratch.seed("10.0.0.2", b"c1\r\neth0");
    require_truth(&scratch);
    let open =
        |boot| index::Index::open(fs::File::open(index_of(&scratch)).unwrap(), boot).is_some();
    assert!(open(SystemPaths::default().boot_id().unwrap()));
    assert!(!open([7; 16]));
}

#[test]
fn an_index_of_another_place_changes_no_answer() {
    let scratch = Scratch::new("moved");
    scratch.seed("10.0.0.2", b"c1\r\neth0");
    require_truth(&scratch);
    fs::create_dir(scratch.0.join("m")).unwrap();
    fs::copy(index_of(&scratch), scratch.0.join(".index/m")).unwrap();
    let other = store(&scratch.0, "m");
    let locked = other.create_and_lock(TIMEOUT).unwrap();
    assert_eq!(locked.held_by(attachment("c1")).unwrap().records, []);
    assert_eq!(locked.first_free(SUBNET).unwrap(), Some(SUBNET.first));
}

#[test]
fn a_record_that_was_edited_in_place_is_not_freed_for_its_former_owner() {
    let scratch = Scratch::new("edited");
    scratch.seed("10.0.0.2", b"c1\r\neth0");
    scratch.seed("10.0.0.3", b"c1\r\neth0");
    require_truth(&scratch);
    fs::write(scratch.0.join("n/10.0.0.2"), b"c2\r\neth0").unwrap();
    let held = scratch.locked().held_by(attachment("c1")).unwrap().records;
    assert_eq!(
        held.iter().map(|record| record.address).collect::<Vec<_>>(),
        hosts(3..4)
    );
    require_truth(&scratch);
}

#[test]
fn a_reader_gets_an_answer_while_the_lock_is_held() {
    let scratch = Scratch::new("looks");
    scratch.seed("10.0.0.2", b"c1\r\neth0");
    let locked = scratch.locked();
    let folder = scratch.store().open().unwrap().unwrap();
    assert_eq!(
        query_unlocked(&folder, |index| Ok(index.taken())).unwrap(),
        1
    );
    assert!(
        !index_of(&scratch).exists(),
        "an index is written only under the lock"
    );
    drop(locked);
    assert_eq!(
        query_unlocked(&folder, |index| Ok(index.taken())).unwrap(),
        1
    );
    assert!(index_of(&scratch).exists());
}

#[test]
fn no_link_is_followed() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::new("links");
    let elsewhere = scratch.0.join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("10.0.0.9"), "c9\r\neth0").unwrap();
    symlink(&elsewhere, scratch.0.join("n")).unwrap();
    let text = "it is a symbolic link";
    for error in [
        scratch.store().create_and_lock(TIMEOUT).unwrap_err(),
        scratch.store().open().unwrap_err(),
    ] {
        assert!(
            error.code == Code::IO && error.msg.ends_with(text),
            "{error}"
        );
    }
    assert!(
        scratch
            .store()
            .require_usable()
            .unwrap_err()
            .msg
            .ends_with("a symbolic link")
    );
    fs::remove_file(scratch.0.join("n")).unwrap();
    symlink(&scratch.0, scratch.0.join("data")).unwrap();
    for path in ["data", "data/", "data/."] {
        let store = store(&scratch.0.join(path), "n");
        assert_eq!(store.open().unwrap_err().code, Code::IO, "{path}");
    }
    for name in [".index", ".origin", ".n.new"] {
        symlink(&elsewhere, scratch.0.join(name)).unwrap();
    }
    fs::create_dir(scratch.0.join("n")).unwrap();
    for name in ["lock", "last_reserved_ip.0"] {
        symlink(elsewhere.join("new"), scratch.0.join("n").join(name)).unwrap();
    }
    assert_eq!(
        scratch.store().create_and_lock(TIMEOUT).unwrap_err().code,
        Code::IO
    );
    fs::remove_file(scratch.0.join("n/lock")).unwrap();
    let locked = scratch.locked();
    LastReserved::read(&locked, 0).write(address("10.0.0.2"));
    let origin = Origin {
        boot: SystemPaths::default().boot().unwrap(),
        netns: None,
    };
    assert_eq!(
        locked
            .reserve(address("10.0.0.2"), attachment("c1"), Some(&origin))
            .unwrap(),
        Reserve::Done
    );
    locked
        .release(&locked.held_by(attachment("c1")).unwrap().records[0])
        .unwrap();
    drop(locked);
    let left: Vec<_> = fs::read_dir(&elsewhere)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(
        left,
        ["10.0.0.9"],
        "nothing was written or removed behind a link"
    );
}

#[test]
fn a_fifo_with_the_name_of_an_address_is_no_record_and_nobody_waits_for_it() {
    let scratch = Scratch::new("fifo");
    scratch.seed("10.0.0.2", b"c1\r\neth0");
    let made = std::process::Command::new("mkfifo")
        .arg(scratch.0.join("n/10.0.0.3"))
        .status()
        .unwrap();
    assert!(made.success());
    assert_eq!(scratch.records().len(), 1);
    assert!(
        scratch
            .locked()
            .folder()
            .record(address("10.0.0.3"))
            .unwrap()
            .is_none()
    );
}
