//! The real binary on a full or read-only disk, with namespaces that come and go, and on one
//! directory with the reference: the tests that need mounts, and so a sandbox.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

#[path = "../host_local/program.rs"]
#[expect(dead_code, reason = "the other tests use all of it")]
mod program;
mod refused;
#[path = "../host_local/traced.rs"]
#[expect(dead_code, reason = "the other tests use all of it")]
mod traced;
mod turns;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use program::{Answer, DataDir, Request};
use refused::{
    a_directory_that_cannot_be_listed_is_an_error_and_no_loop,
    an_add_killed_on_any_file_system_leaves_nothing_that_stays,
    records_are_written_on_file_systems_without_hard_links,
    without_getrandom_or_poll_there_is_one_document_and_nothing_is_left,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, ExitCode},
};
use testkit::{Host, Pod, require};
use turns::{
    the_reference_and_ours_at_once_give_no_address_twice, the_reference_and_ours_take_turns,
    the_reference_is_not_misled_by_what_a_killed_writer_left,
};

fn main() -> ExitCode {
    testkit::main(testkit::tests![
        a_full_disk_fails_an_add_whole_and_no_del,
        status_finds_a_disk_without_inodes,
        a_nearly_full_disk_has_room_for_a_record_though_not_for_an_index,
        a_read_only_disk_fails_what_writes_and_nothing_else,
        an_address_of_a_removed_namespace_is_reclaimed_when_the_pool_is_full,
        a_reboot_is_noticed_by_the_program_itself,
        an_attachment_whose_namespace_is_gone_gets_the_same_address_again,
        a_network_s_folder_may_be_a_mount_point,
        del_and_gc_free_addresses_on_a_full_disk_without_a_lock,
        records_are_written_on_file_systems_without_hard_links,
        an_add_killed_on_any_file_system_leaves_nothing_that_stays,
        a_directory_that_cannot_be_listed_is_an_error_and_no_loop,
        without_getrandom_or_poll_there_is_one_document_and_nothing_is_left,
        the_reference_is_not_misled_by_what_a_killed_writer_left,
        an_address_is_not_given_back_while_it_still_counts_as_one_of_an_earlier_boot,
        the_reference_and_ours_take_turns,
        the_reference_and_ours_at_once_give_no_address_twice,
    ])
}

fn ipam() -> Value {
    json!({"ranges": [[{"subnet": "10.0.0.0/24"}]]})
}

/// A file system of its own for a data directory.
struct Disk(DataDir);

impl Disk {
    fn new(options: &str) -> Self {
        let data = DataDir::new();
        mount(
            Some("tmpfs"),
            data.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options),
        )
        .unwrap();
        Self(data)
    }

    fn remount(&self, flags: MsFlags) {
        let flags = flags | MsFlags::MS_REMOUNT;
        mount(
            Some("tmpfs"),
            self.0.path(),
            Some("tmpfs"),
            flags,
            None::<&str>,
        )
        .unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = umount2(self.0.path(), MntFlags::MNT_DETACH);
    }
}

fn a_full_disk_fails_an_add_whole_and_no_del(_: &Host) {
    let disk = Disk::new("size=8k");
    let data = &disk.0;
    let mut held = Vec::new();
    for n in 0..6 {
        let id = format!("c{n}");
        let answer = Request::new("ADD", data, ipam()).of(&id).run();
        if answer.succeeded() {
            held.push(id);
        } else {
            answer.assert_failure(5, "failed to ");
            assert!(
                answer.stdout().contains("No space left on device"),
                "{}",
                answer.report()
            );
        }
        let records = data.records();
        assert_eq!(records.len(), held.len(), "{records:?}{}", answer.report());
        assert!(
            records.values().all(|text| text.ends_with("\r\neth0")),
            "half a record: {records:?}"
        );
    }
    assert!(!held.is_empty() && held.len() < 6, "{held:?}");
    let before = data.records();
    let (code, msg, _) = Request::new("STATUS", data, ipam()).run().failure();
    assert!(
        code == 50 && msg.ends_with("No space left on device (os error 28)"),
        "{msg}"
    );
    assert_eq!(data.records(), before, "STATUS leaves nothing");
    for id in held {
        Request::new("CHECK", data, ipam()).of(&id).run().success();
        Request::new("DEL", data, ipam()).of(&id).run().success();
    }
    assert!(data.records().is_empty());
    Request::new("ADD", data, ipam()).run().success();
}

fn status_finds_a_disk_without_inodes(_: &Host) {
    // The root of the file system, the network's folder and the files in it.
    let disk = Disk::new("nr_inodes=8");
    Request::new("STATUS", &disk.0, ipam()).run().success();
    let mut n = 0;
    while fs::write(disk.0.path().join(format!("other-{n}")), "").is_ok() {
        n += 1;
    }
    let (code, msg, _) = Request::new("STATUS", &disk.0, ipam()).run().failure();
    assert!(
        code == 50 && msg.ends_with("No space left on device (os error 28)"),
        "{msg}"
    );
}

/// The index gives way, since it can be rebuilt.
fn a_nearly_full_disk_has_room_for_a_record_though_not_for_an_index(_: &Host) {
    for pages in 3..24 {
        let disk = Disk::new(&format!("size={}k", 4 * pages));
        let mut count = 0;
        while Request::new("ADD", &disk.0, ipam())
            .of(&format!("c{count}"))
            .run()
            .succeeded()
        {
            count += 1;
        }
        // One page for the round robin, at most five for the origin table, which alone cannot be
        // rebuilt.
        assert!(count + 6 >= pages, "{count} records on {pages} pages");
        assert_eq!(disk.0.records().len(), count);
    }
}

fn a_read_only_disk_fails_what_writes_and_nothing_else(_: &Host) {
    let disk = Disk::new("size=1m");
    let data = &disk.0;
    Request::new("ADD", data, ipam()).run().success();
    disk.remount(MsFlags::MS_RDONLY);
    let before = data.records();
    Request::new("ADD", data, ipam())
        .of("c2")
        .run()
        .assert_failure(5, "failed to ");
    Request::new("DEL", data, ipam())
        .run()
        .assert_failure(5, "failed to remove record ");
    Request::new("DEL", data, ipam()).of("c2").run().success();
    Request::new("CHECK", data, ipam()).run().success();
    Request::new("STATUS", data, ipam())
        .run()
        .assert_failure(50, "data directory ");
    assert_eq!(data.records(), before);
    disk.remount(MsFlags::empty());
    Request::new("DEL", data, ipam()).run().success();
    assert!(data.records().is_empty());
}

/// Two addresses: .2 and .3.
fn two() -> Value {
    json!({"ranges": [[{"subnet": "10.0.0.0/29", "rangeEnd": "10.0.0.3"}]]})
}

fn request(command: &'static str, data: &DataDir, pod: &Pod, id: &str) -> Request {
    Request::new(command, data, two())
        .of(id)
        .variable("CNI_NETNS", pod.path().to_str().unwrap())
}

/// Writes the identities that the programs of this host see.
fn identify(boot: u128) {
    for (path, text) in [
        ("/etc/machine-id", format!("{:032x}\n", 5)),
        ("/proc/sys/kernel/random/boot_id", format!("{boot:032x}\n")),
    ] {
        let file = Path::new("/run").join(format!("{}-{boot}", path.replace('/', "-")));
        fs::write(&file, text).unwrap();
        require(path, Path::new(path).exists());
        mount(
            Some(&file),
            path,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
    }
}

fn an_address_of_a_removed_namespace_is_reclaimed_when_the_pool_is_full(host: &Host) {
    identify(1);
    let data = DataDir::new();
    let pods: Vec<Pod> = ["a", "b", "c"].iter().map(|name| host.pod(name)).collect();
    for (pod, id) in pods.iter().zip(["c0", "c1"]) {
        request("ADD", &data, pod, id).run().success();
    }
    let add = || request("ADD", &data, &pods[2], "c2").run();
    let (_, _, details) = add().failure();
    assert!(
        details.contains("10.0.0.2 is held by container c0 (eth0)")
            && details.contains("in this boot"),
        "{details}"
    );
    // The mount is gone, the name is still there: nobody knows whether another process sees it.
    umount2(pods[1].path(), MntFlags::MNT_DETACH).unwrap();
    add().assert_failure(
        103,
        "failed to allocate for range 0: no IP addresses available",
    );
    fs::remove_file(pods[1].path()).unwrap();
    Request::new("STATUS", &data, two()).run().success();
    let answer = add();
    assert_eq!(answer.addresses(), ["10.0.0.3/29"]);
    let wanted = "reclaimed an address: 10.0.0.3 is held by container c1 (eth0) for ";
    assert!(
        answer.stderr().contains(wanted)
            && answer.stderr().contains("its network namespace is gone"),
        "{}",
        answer.report()
    );
    assert!(
        data.holds(&[("10.0.0.2", "c0\r\neth0"), ("10.0.0.3", "c2\r\neth0")]),
        "{:?}",
        data.records()
    );
    // GC without a list: the same certainty.
    pods[0].remove();
    Request::new("GC", &data, two()).run().success();
    assert!(
        data.holds(&[("10.0.0.3", "c2\r\neth0")]),
        "{:?}",
        data.records()
    );
}

fn a_reboot_is_noticed_by_the_program_itself(host: &Host) {
    identify(1);
    let data = DataDir::new();
    let pod = host.pod("a");
    for id in ["c0", "c1"] {
        request("ADD", &data, &pod, id).run().success();
    }
    identify(2);
    let another_boot_of_the_same_kernel = request("ADD", &data, &pod, "c2").run();
    another_boot_of_the_same_kernel
        .assert_failure(103, "failed to allocate for range 0: no IP addresses");
    assert_eq!(
        after_a_reboot(&request("ADD", &data, &pod, "c1")).addresses(),
        ["10.0.0.3/29"]
    );
    let answer = after_a_reboot(&request("ADD", &data, &pod, "c2"));
    assert_eq!(answer.addresses(), ["10.0.0.2/29"]);
    assert!(
        answer.stderr().contains("in an earlier boot"),
        "{}",
        answer.report()
    );
    after_a_reboot(&request("ADD", &data, &pod, "c3"))
        .assert_failure(103, "failed to allocate for range 0: no IP addresses");
}

fn an_attachment_whose_namespace_is_gone_gets_the_same_address_again(host: &Host) {
    identify(1);
    let data = DataDir::new();
    let [old, new] = ["old", "new"].map(|name| host.pod(name));
    assert_eq!(
        request("ADD", &data, &old, "c0").run().addresses(),
        ["10.0.0.2/29"]
    );
    request("ADD", &data, &new, "c0")
        .run()
        .assert_failure(103, "failed to allocate for range 0: 10.0.0.2 has been");
    old.remove();
    let again = request("ADD", &data, &new, "c0").run();
    assert_eq!(again.addresses(), ["10.0.0.2/29"]);
    let wanted =
        "container c0 (eth0) gets 10.0.0.2 back, which it held: its network namespace is gone";
    assert!(again.stderr().contains(wanted), "{}", again.report());
    // It is the new sandbox's now.
    request("ADD", &data, &new, "c0")
        .run()
        .assert_failure(103, "failed to allocate for range 0: 10.0.0.2 has been");
    assert!(
        data.holds(&[("10.0.0.2", "c0\r\neth0")]),
        "{:?}",
        data.records()
    );
}

fn a_network_s_folder_may_be_a_mount_point(_: &Host) {
    let bind = |from: &Path, to: &Path| {
        mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    };
    for is_other_file_system in [true, false] {
        let data = DataDir::new();
        let other = Disk::new("size=1m");
        let folder = data.path().join("n");
        let elsewhere = data.path().join("elsewhere");
        [&folder, &elsewhere]
            .iter()
            .for_each(|path| fs::create_dir(path).unwrap());
        bind(
            if is_other_file_system {
                other.0.path()
            } else {
                &elsewhere
            },
            &folder,
        );
        Request::new("STATUS", &data, ipam()).run().success();
        for id in ["c1", "c2"] {
            Request::new("ADD", &data, ipam()).of(id).run().success();
        }
        Request::new("DEL", &data, ipam()).of("c2").run().success();
        let left: Vec<_> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert!(
            left.len() == 3 && left.contains(&"10.0.0.2".into()),
            "{left:?}"
        );
        assert_eq!(
            fs::read_to_string(folder.join("10.0.0.2")).unwrap(),
            "c1\r\neth0"
        );
        umount2(&folder, MntFlags::MNT_DETACH).unwrap();
        fs::remove_dir_all(elsewhere).unwrap();
    }
}

fn del_and_gc_free_addresses_on_a_full_disk_without_a_lock(_: &Host) {
    for command in ["DEL", "GC"] {
        let disk = Disk::new("nr_inodes=8,size=1m");
        let data = &disk.0;
        data.seed("10.0.0.2", "c1\r\neth0");
        let mut fillers = 0;
        while fs::write(data.path().join(format!("filler{fillers}")), "").is_ok() {
            fillers += 1;
        }
        let answer = Request::new("ADD", data, ipam()).of("c2").run();
        answer.assert_failure(5, "failed to open ");
        let request =
            Request::new(command, data, ipam()).key("cni.dev/valid-attachments", json!([]));
        request.run().success();
        assert!(!data.path().join("n/10.0.0.2").exists(), "{command}");
        (0..fillers).for_each(|n| fs::remove_file(data.path().join(format!("filler{n}"))).unwrap());
        assert!(data.holds(&[]), "{command}: {:?}", data.records());
        assert_eq!(
            Request::new("ADD", data, ipam()).run().addresses(),
            ["10.0.0.2/24"]
        );
    }
}

fn an_address_is_not_given_back_while_it_still_counts_as_one_of_an_earlier_boot(host: &Host) {
    identify(1);
    let data = DataDir::new();
    let pod = host.pod("a");
    let add = request("ADD", &data, &pod, "c1");
    add.run().success();
    identify(2);
    let origins = data.path().join(".origin");
    mount(
        Some(&origins),
        &origins,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(
        None::<&str>,
        &origins,
        None::<&str>,
        read_only,
        None::<&str>,
    )
    .unwrap();
    let before = data.records();
    after_a_reboot(&add).assert_failure(5, "failed to note the origin of ");
    assert_eq!(data.records(), before);
    umount2(&origins, MntFlags::MNT_DETACH).unwrap();
    assert_eq!(after_a_reboot(&add).addresses(), ["10.0.0.2/29"]);
}

/// Runs the request under a kernel that seems to have started just now, in a time namespace
/// (time_namespaces(7)): what is on disk was written before.
fn after_a_reboot(request: &Request) -> Answer {
    require("time namespaces", Path::new("/proc/self/ns/time").exists());
    // The whole seconds are taken away, and the rest is less than one.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let seconds = uptime.split('.').next().unwrap();
    let mut program = Command::new("/usr/bin/unshare");
    program.args(["--time", "--fork", "--boottime", &format!("-{seconds}")]);
    program.arg(env!("CARGO_BIN_EXE_host-local"));
    request.answer(request.spawn_as(program))
}
