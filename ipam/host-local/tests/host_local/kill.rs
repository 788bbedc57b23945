//! Killed between any two system calls. After a DEL, a GC or a reboot, the records are those of the
//! live attachments.

use crate::{
    program::{DataDir, Request},
    traced,
};
use host_local::{HostLocal, SystemPaths};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs};

/// The event after the kill.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// The runtime ends the attachment.
    Del,
    /// The runtime lists the valid attachments.
    Gc,
    /// The machine reboots, and the runtime does nothing.
    Reboot,
}

fn ipam() -> Value {
    json!({"ranges": [[{"subnet": "10.0.0.0/29"}], [{"subnet": "fd00::/64"}]]})
}

fn records(hosts: &[(&str, &str)]) -> BTreeMap<String, String> {
    hosts
        .iter()
        .map(|(address, id)| (format!("n/{address}"), format!("{id}\r\neth0")))
        .collect()
}

/// A plugin on this machine, after its next start.
fn after_a_reboot(files: &DataDir) -> HostLocal {
    let boot_id = files.path().join("boot-id");
    fs::write(&boot_id, format!("{:032x}", 7)).unwrap();
    let started = Some(std::time::SystemTime::now());
    HostLocal {
        system: SystemPaths {
            boot_id,
            started,
            ..SystemPaths::default()
        },
        ..HostLocal::default()
    }
}

fn gc(data: &DataDir, valid: Value) -> Request {
    Request::new("GC", data, ipam()).key("cni.dev/valid-attachments", valid)
}

/// Kills `command` of container c1 before its system call `n`; c0 lives, and holds .2. Returns
/// true if it was killed.
fn kill_and_go_on(command: &'static str, n: usize, then: Then) -> bool {
    let data = DataDir::new();
    let files = DataDir::new();
    Request::new("ADD", &data, ipam()).of("c0").run().success();
    if command != "ADD" {
        Request::new("ADD", &data, ipam()).run().success();
    }
    let request = match command {
        "GC" => gc(&data, json!([{"containerID": "c0", "ifname": "eth0"}])),
        _ => Request::new(command, &data, ipam()),
    };
    let was_killed = traced::run(&request, Some(n)).was_killed;
    let whole = |text: &String| text == "c0\r\neth0" || text == "c1\r\neth0";
    let left = data.records();
    assert!(
        left.iter()
            .all(|(name, text)| name == ".n.new" || whole(text)),
        "{n}: {left:?}"
    );
    let live = [("10.0.0.2", "c0"), ("fd00::2", "c0")];
    match then {
        Then::Del => drop(Request::new("DEL", &data, ipam()).run().success()),
        Then::Gc => drop(
            gc(&data, json!([{"containerID": "c0", "ifname": "eth0"}]))
                .run()
                .success(),
        ),
        Then::Reboot => {
            let (success, said) = Request::new("GC", &data, ipam()).run_in(&after_a_reboot(&files));
            assert!(success, "{said}");
        }
    }
    let wanted = if matches!(then, Then::Reboot) {
        BTreeMap::new()
    } else {
        records(&live)
    };
    assert_eq!(
        data.records(),
        wanted,
        "{command} killed before system call {n}, then {then:?}"
    );
    // The index knows it too: a free address is found, and no other.
    let next = Request::new("ADD", &data, ipam()).of("c2").run();
    assert_eq!(next.addresses().len(), 2);
    Request::new("DEL", &data, ipam()).of("c2").run().success();
    assert_eq!(
        data.records(),
        wanted,
        "{command} killed before system call {n}, then {then:?}"
    );
    was_killed
}

fn kill_at_every_call(command: &'static str) {
    // A machine without an identity knows nothing of its boots.
    let has_identity = fs::read_to_string("/etc/machine-id").is_ok_and(|id| id.trim().len() == 32);
    let reboot = has_identity.then_some(Then::Reboot);
    for then in [Then::Del, Then::Gc].into_iter().chain(reboot) {
        let mut n = 1;
        while kill_and_go_on(command, n, then) {
            n += 1;
        }
        assert!(n > 30, "only {n} system calls were seen");
    }
}

#[test]
fn an_add_killed_between_any_two_system_calls_leaves_nothing_that_stays() {
    kill_at_every_call("ADD");
}

#[test]
fn a_del_killed_between_any_two_system_calls_can_be_repeated() {
    kill_at_every_call("DEL");
}

#[test]
fn a_gc_killed_between_any_two_system_calls_can_be_repeated() {
    kill_at_every_call("GC");
}
