//! Records of attachments that nobody ended: after a reboot, on a shared directory, when the pool
//! runs out.

use crate::program::{DataDir, Request};
use host_local::{HostLocal, SystemPaths};
use serde_json::{Value, json};
use std::{fs, path::PathBuf};

/// A machine whose identity and boot the test chooses.
pub(crate) struct Machine {
    files: DataDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let machine = Self {
            files: DataDir::new(),
        };
        machine.is(1);
        machine.boots(1);
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn is(&self, id: u128) {
        fs::write(self.path("machine-id"), format!("{id:032x}\n")).unwrap();
    }

    /// Reboots it: every existing file was written before.
    pub(crate) fn boots(&self, id: u128) {
        self.is_in_boot(id);
        fs::write(self.path("started"), "").unwrap();
    }

    /// Has another boot id. The kernel is the same.
    fn is_in_boot(&self, id: u128) {
        fs::write(self.path("boot-id"), format!("{id:032x}\n")).unwrap();
    }

    pub(crate) fn plugin(&self) -> HostLocal {
        let system = SystemPaths {
            machine_id: self.path("machine-id"),
            boot_id: self.path("boot-id"),
            started: Some(self.path("started").metadata().unwrap().modified().unwrap()),
        };
        HostLocal {
            system,
            ..HostLocal::default()
        }
    }

    fn run(&self, request: &Request) -> (bool, Value) {
        let (success, said) = request.run_in(&self.plugin());
        let said = if said.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&said).unwrap()
        };
        (success, said)
    }

    /// The first address, or the error's text.
    fn add(&self, data: &DataDir, id: &str, ipam: Value) -> Result<String, String> {
        let (success, said) = self.run(&Request::new("ADD", data, ipam).of(id));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if success {
            return Ok(text(&said["ips"][0]["address"]));
        }
        Err(format!(
            "{}; {}",
            text(&said["msg"]),
            text(&said["details"])
        ))
    }
}

/// Two addresses: .2 and .3.
fn two() -> Value {
    json!({"ranges": [[{"subnet": "10.0.0.0/29", "rangeEnd": "10.0.0.3"}]]})
}

#[test]
fn an_attachment_that_asks_again_after_a_reboot_gets_the_same_address() {
    let machine = Machine::new();
    let data = DataDir::new();
    let ipam = || json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]});
    for (id, wanted) in [("c1", "10.0.0.2/24"), ("c2", "10.0.0.3/24")] {
        assert_eq!(machine.add(&data, id, ipam()), Ok(wanted.into()));
    }
    machine.boots(2);
    let before = data.records();
    assert_eq!(machine.add(&data, "c1", ipam()), Ok("10.0.0.2/24".into()));
    assert_eq!(data.records(), before);
    let error = machine.add(&data, "c1", ipam()).unwrap_err();
    assert!(
        error.contains(
            "duplicate allocation is not allowed; 10.0.0.2 is held by container c1 (eth0) for "
        ),
        "{error}"
    );
    assert!(error.contains("Z, in this boot; run DEL"), "{error}");
}

#[test]
fn a_full_pool_gives_away_what_an_earlier_boot_left_oldest_first_and_nothing_else() {
    let machine = Machine::new();
    let data = DataDir::new();
    for id in ["c1", "c2"] {
        machine.add(&data, id, two()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let full = machine.add(&data, "c3", two()).unwrap_err();
    assert!(full.contains("2 of 2 addresses are in use; "), "{full}");
    assert!(
        full.contains("the oldest: 10.0.0.2 is held by container c1 (eth0) for "),
        "{full}"
    );
    let mut strict = two();
    strict["statusWhenFull"] = "error".into();
    let status = Request::new("STATUS", &data, strict);
    assert!(!machine.run(&status).0);
    machine.boots(2);
    assert!(machine.run(&status).0, "what can be reclaimed is free");
    assert!(
        data.holds(&[("10.0.0.2", "c1\r\neth0"), ("10.0.0.3", "c2\r\neth0")]),
        "{:?}",
        data.records()
    );
    assert_eq!(machine.add(&data, "c3", two()), Ok("10.0.0.2/29".into()));
    assert_eq!(machine.add(&data, "c4", two()), Ok("10.0.0.3/29".into()));
    assert!(machine.add(&data, "c5", two()).is_err());
    assert!(
        data.holds(&[("10.0.0.2", "c3\r\neth0"), ("10.0.0.3", "c4\r\neth0")]),
        "{:?}",
        data.records()
    );
}

#[test]
fn nothing_is_reclaimed_where_anything_is_uncertain() {
    type Event = fn(&Machine, &DataDir);
    let reasons: [(&str, Event); 6] = [
        ("another machine shares the directory", |machine, _| {
            machine.is(2)
        }),
        ("this machine has no identity", |machine, _| {
            fs::write(machine.path("machine-id"), "").unwrap()
        }),
        ("this boot has no identity", |machine, _| {
            fs::remove_file(machine.path("boot-id")).unwrap()
        }),
        ("the origin table is gone", |_, data| {
            fs::remove_dir_all(data.path().join(".origin")).unwrap()
        }),
        ("the origin table is damaged", |_, data| {
            let path = data.path().join(".origin/n");
            let len = fs::read(&path).unwrap().len();
            fs::write(path, vec![0xa5; len]).unwrap();
        }),
        ("the reference wrote the record anew", |_, data| {
            for (name, id) in [("10.0.0.2", "c1"), ("10.0.0.3", "c2")] {
                fs::remove_file(data.path().join("n").join(name)).unwrap();
                data.seed(name, &format!("{id}\r\neth0"));
            }
        }),
    ];
    for (reason, happen) in reasons {
        let machine = Machine::new();
        let data = DataDir::new();
        for id in ["c1", "c2"] {
            machine.add(&data, id, two()).unwrap();
        }
        machine.boots(2);
        happen(&machine, &data);
        assert!(machine.add(&data, "c3", two()).is_err(), "{reason}");
        let mut strict = two();
        strict["statusWhenFull"] = "error".into();
        assert!(
            !machine.run(&Request::new("STATUS", &data, strict)).0,
            "{reason}"
        );
        assert!(machine.add(&data, "c1", two()).is_err(), "{reason}");
        assert!(machine.run(&Request::new("GC", &data, two())).0);
        assert_eq!(data.records().len(), 2, "{reason}");
        let del = Request::new("DEL", &data, two());
        assert!(machine.run(&del).0 && data.records().len() == 1, "{reason}");
    }
}

#[test]
fn no_address_of_a_clone_with_the_same_machine_id_is_taken() {
    let machine = Machine::new();
    let data = DataDir::new();
    for id in ["c1", "c2"] {
        machine.add(&data, id, two()).unwrap();
    }
    let before = data.records();
    // A clone has another boot id, and its kernel started before the records were written.
    machine.is_in_boot(2);
    let full = machine.add(&data, "c3", two()).unwrap_err();
    assert!(
        full.contains("in another boot, of this machine or of one with the same machine-id"),
        "{full}"
    );
    let taken = machine.run(
        &Request::new("ADD", &data, two())
            .of("c3")
            .variable("CNI_ARGS", "IP=10.0.0.2"),
    );
    assert!(!taken.0, "{taken:?}");
    assert!(
        machine
            .add(&data, "c1", two())
            .unwrap_err()
            .contains("duplicate allocation")
    );
    assert!(machine.run(&Request::new("GC", &data, two())).0);
    assert_eq!(data.records(), before);
}

#[test]
fn gc_without_a_list_frees_what_an_earlier_boot_left_and_no_more() {
    let machine = Machine::new();
    let data = DataDir::new();
    machine.add(&data, "c1", two()).unwrap();
    machine.boots(2);
    machine.add(&data, "c2", two()).unwrap();
    data.seed("10.0.0.9", "reference\r\neth0");
    assert!(machine.run(&Request::new("GC", &data, two())).0);
    assert!(
        data.holds(&[
            ("10.0.0.3", "c2\r\neth0"),
            ("10.0.0.9", "reference\r\neth0")
        ]),
        "{:?}",
        data.records()
    );
}

#[test]
fn a_requested_address_of_an_earlier_boot_is_given_away() {
    let machine = Machine::new();
    let data = DataDir::new();
    machine.add(&data, "c1", two()).unwrap();
    let request = Request::new("ADD", &data, two())
        .of("c2")
        .variable("CNI_ARGS", "IP=10.0.0.2");
    let (success, said) = machine.run(&request);
    assert!(
        !success
            && said["details"]
                .as_str()
                .unwrap()
                .starts_with("10.0.0.2 is held by container c1 (eth0) for "),
        "{said}"
    );
    machine.boots(2);
    assert!(machine.run(&request).0);
    assert!(
        data.holds(&[("10.0.0.2", "c2\r\neth0")]),
        "{:?}",
        data.records()
    );
}

#[test]
fn a_failed_add_after_a_reboot_leaves_the_earlier_record_as_it_was() {
    let machine = Machine::new();
    let data = DataDir::new();
    let sets =
        |second: &str| json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": second}]]});
    machine
        .add(
            &data,
            "c1",
            json!({"ranges": [[{"subnet": "10.0.0.0/24"}]]}),
        )
        .unwrap();
    data.seed("10.9.0.2", "x\r\neth0");
    machine.boots(2);
    let before = data.records();
    assert!(machine.add(&data, "c1", sets("10.9.0.0/30")).is_err());
    assert_eq!(data.records(), before);
    assert_eq!(
        machine.add(&data, "c1", sets("10.8.0.0/30")),
        Ok("10.0.0.2/24".into()),
        "it is still of an earlier boot"
    );
}

#[test]
fn excluded_addresses_are_not_given_away_and_are_told_of() {
    let data = DataDir::new();
    let mut ipam = json!({"ranges": [[{"subnet": "10.0.0.0/29", "exclude": ["10.0.0.6"]}]], "exclude": ["10.0.0.2/31"]});
    for (id, wanted) in [("c1", "10.0.0.4/29"), ("c2", "10.0.0.5/29")] {
        assert_eq!(
            Request::new("ADD", &data, ipam.clone())
                .of(id)
                .run()
                .addresses(),
            [wanted]
        );
    }
    let (_, msg, details) = Request::new("ADD", &data, ipam.clone())
        .of("c3")
        .run()
        .failure();
    assert!(
        msg.ends_with("no IP addresses available in range set: 10.0.0.1-10.0.0.6"),
        "{msg}"
    );
    assert!(
        details.starts_with(
            "2 of 2 addresses are in use (3 more are excluded by the configuration); "
        ),
        "{details}"
    );
    ipam["statusWhenFull"] = "error".into();
    let (_, _, details) = Request::new("STATUS", &data, ipam.clone()).run().failure();
    assert!(
        details.starts_with("2 of 2 addresses are in use (3 more"),
        "{details}"
    );
    let wanted = Request::new("ADD", &data, ipam.clone())
        .of("c3")
        .variable("CNI_ARGS", "IP=10.0.0.3");
    wanted.run().assert_failure(
        103,
        "failed to allocate for range 0: requested IP address 10.0.0.3 is not available",
    );
    ipam["exclude"] = json!(["10.0.0.4"]);
    let check = Request::new("CHECK", &data, ipam)
        .key("prevResult", json!({"ips": [{"address": "10.0.0.4/29"}]}));
    check.run().success();
}

#[test]
fn reservations_outside_the_ranges_are_told_once_by_add_always_by_status_and_freed_by_del() {
    let data = DataDir::new();
    let ipam = |subnet: &str| json!({"ranges": [[{"subnet": subnet}]]});
    let outside = "addresses are reserved outside the configured ranges";
    let add = |subnet: &str, id: &str| Request::new("ADD", &data, ipam(subnet)).of(id).run();
    assert!(!add("10.0.0.0/24", "c1").stderr().contains(outside));
    let said = add("10.7.0.0/29", "c2").stderr();
    assert!(said.contains(&format!("1 {outside}")), "{said}");
    assert!(
        !add("10.7.0.0/29", "c3").stderr().contains(outside),
        "once is enough"
    );
    let status = Request::new("STATUS", &data, ipam("10.7.0.0/29")).run();
    assert!(
        status.succeeded() && status.stderr().contains(&format!("1 {outside}")),
        "{}",
        status.report()
    );
    for id in ["c4", "c5", "c6"] {
        add("10.7.0.0/29", id).success();
    }
    let mut strict = ipam("10.7.0.0/29");
    strict["statusWhenFull"] = "error".into();
    let (_, _, details) = Request::new("STATUS", &data, strict).run().failure();
    assert!(details.contains(&format!("1 {outside}")), "{details}");
    Request::new("DEL", &data, ipam("10.7.0.0/29"))
        .run()
        .success();
    assert!(!data.path().join("n/10.0.0.2").exists());
}

#[test]
fn a_full_set_is_no_reason_for_status_to_fail_unless_the_configuration_says_so() {
    let data = DataDir::new();
    data.seed("10.0.0.2", "x\r\neth0");
    let mut ipam = json!({"ranges": [[{"subnet": "10.0.0.0/30"}]]});
    let answer = Request::new("STATUS", &data, ipam.clone()).run();
    let said = answer.stderr();
    assert!(
        answer.succeeded() && said.contains("1 of 1 addresses are in use"),
        "{}",
        answer.report()
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    ipam["statusWhenFull"] = "error".into();
    Request::new("STATUS", &data, ipam)
        .run()
        .assert_failure(50, "no IP addresses available");
}

#[test]
fn status_fails_for_a_set_of_nothing_but_its_gateway() {
    let data = DataDir::new();
    let only = json!({"ranges": [[{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.1", "rangeEnd": "10.0.0.1"}]]});
    for (command, code) in [("STATUS", 50), ("ADD", 103), ("STATUS", 50)] {
        let (found, _, details) = Request::new(command, &data, only.clone()).run().failure();
        assert_eq!(found, code);
        assert!(
            details.starts_with("every address of the set is a gateway"),
            "{details}"
        );
    }
}

#[test]
fn status_fails_where_the_file_that_resolv_conf_names_cannot_be_read() {
    let data = DataDir::new();
    let ipam = |path: &str| json!({"ranges": [[{"subnet": "10.0.0.0/24"}]], "resolvConf": path});
    Request::new("STATUS", &data, ipam("/nonexistent"))
        .run()
        .assert_failure(50, "open /nonexistent: ");
    Request::new("STATUS", &data, ipam("/dev/null"))
        .run()
        .success();
    assert!(
        Request::new("ADD", &data, ipam("/dev/null"))
            .run()
            .success()
            .get("dns")
            .is_none()
    );
}

#[test]
fn the_lock_is_waited_for_until_the_deadline_and_its_holder_is_named() {
    let data = DataDir::new();
    data.seed("lock", "");
    let lock = fs::File::open(data.path().join("n/lock")).unwrap();
    lock.lock().unwrap();
    let plugin = HostLocal {
        lock_timeout: std::time::Duration::from_millis(100),
        ..HostLocal::default()
    };
    for command in ["ADD", "DEL", "GC"] {
        let (success, said) = Request::new(command, &data, two()).run_in(&plugin);
        let error: Value = serde_json::from_str(&said).unwrap();
        assert!(!success && error["code"] == 11, "{said}");
        let wanted = format!("n/lock is locked by process {} (", std::process::id());
        assert!(error["msg"].as_str().unwrap().contains(&wanted), "{said}");
    }
    // No ADD would succeed, so STATUS does not either.
    let (success, said) = Request::new("STATUS", &data, two()).run_in(&plugin);
    let error: Value = serde_json::from_str(&said).unwrap();
    assert!(
        !success && error["code"] == 50 && error["msg"].as_str().unwrap().contains("is locked by"),
        "{said}"
    );
    // This only looks, and waits for nobody.
    data.seed("10.0.0.2", "c1\r\neth0");
    assert!(Request::new("CHECK", &data, two()).run_in(&plugin).0);
}
