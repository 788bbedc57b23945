//! The real binary under stress: many at once, killed at any time, with writes that fail.

use crate::{
    program::{DataDir, Request},
    traced,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    fs,
    process::Command,
    time::{Duration, Instant},
};

fn ipam() -> Value {
    json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "fd00::/64"}]]})
}

#[test]
fn three_hundred_at_once_get_an_address_each_and_give_them_back() {
    const COUNT: usize = 300;
    let data = DataDir::new();
    let ipam = json!({"ranges": [[{"subnet": "10.0.0.0/22"}], [{"subnet": "fd00::/64"}]]});
    let requests = |command| -> Vec<Request> {
        (0..COUNT)
            .map(|n| Request::new(command, &data, ipam.clone()).of(&format!("c{n}")))
            .collect()
    };
    let run = |requests: Vec<Request>| -> Vec<Vec<String>> {
        let children: Vec<_> = requests
            .iter()
            .map(|request| (request, request.spawn()))
            .collect();
        children
            .into_iter()
            .map(|(request, child)| request.answer(child).addresses())
            .collect()
    };
    let added: Vec<String> = run(requests("ADD")).into_iter().flatten().collect();
    assert_eq!(
        added.iter().collect::<HashSet<_>>().len(),
        2 * COUNT,
        "{added:?}"
    );
    assert_eq!(data.records().len(), 2 * COUNT);
    // Some come while others go, and somebody looks.
    let others = (0..COUNT).map(|n| Request::new("ADD", &data, ipam.clone()).of(&format!("d{n}")));
    let looks = (0..20).map(|_| Request::new("STATUS", &data, ipam.clone()));
    let mixed = requests("DEL")
        .into_iter()
        .zip(others)
        .flat_map(|(a, b)| [a, b])
        .chain(looks)
        .collect();
    let again: Vec<String> = run(mixed).into_iter().flatten().collect();
    assert_eq!(
        again.iter().collect::<HashSet<_>>().len(),
        2 * COUNT,
        "{again:?}"
    );
    assert_eq!(data.records().len(), 2 * COUNT);
}

#[test]
fn after_a_kill_at_any_time_a_del_leaves_nothing() {
    let data = DataDir::new();
    let add = Request::new("ADD", &data, ipam());
    let start = Instant::now();
    add.run().success();
    let whole = start.elapsed().as_micros() as u64;
    Request::new("DEL", &data, ipam()).run().success();
    let mut killed = 0;
    for round in 0..200 {
        let mut child = add.spawn();
        std::thread::sleep(Duration::from_micros(whole * (round % 50) / 50));
        child.kill().unwrap();
        killed += u32::from(!add.answer(child).succeeded());
        assert!(
            data.records()
                .iter()
                .all(|(name, text)| name == ".n.new" || text == "c1\r\neth0"),
            "half a record: {:?}",
            data.records()
        );
        Request::new("DEL", &data, ipam()).run().success();
        assert!(data.holds(&[]), "round {round}: {:?}", data.records());
    }
    assert!(killed > 0, "no ADD was killed in time");
    add.run().success();
    assert_eq!(
        data.records().len(),
        2,
        "what a killed writer left is gone: {:?}",
        data.records()
    );
}

#[test]
fn add_leaves_nothing_where_its_records_cannot_be_written() {
    let data = DataDir::new();
    let mut program = Command::new("/bin/sh");
    // A limit of 0 bytes per file: every write fails, as on a full disk.
    program.args([
        "-c",
        "trap '' XFSZ; ulimit -f 0; exec \"$0\"",
        env!("CARGO_BIN_EXE_host-local"),
    ]);
    let add = Request::new("ADD", &data, ipam());
    let answer = add.answer(add.spawn_as(program));
    answer.assert_failure(5, "failed to ");
    assert!(data.holds(&[]), "{:?}{}", data.records(), answer.report());
    // To free something nothing need be written.
    data.seed("10.0.0.2", "c1\r\neth0");
    let mut program = Command::new("/bin/sh");
    program.args([
        "-c",
        "trap '' XFSZ; ulimit -f 0; exec \"$0\"",
        env!("CARGO_BIN_EXE_host-local"),
    ]);
    let del = Request::new("DEL", &data, ipam());
    del.answer(del.spawn_as(program)).success();
    assert!(data.holds(&[]), "{:?}", data.records());
    add.run().success();
}

#[test]
fn sigterm_ends_a_wait_for_the_lock_with_an_error_and_changes_nothing() {
    let data = DataDir::new();
    data.seed("lock", "");
    data.seed("10.0.0.9", "c1\r\neth0");
    let lock = fs::File::open(data.path().join("n/lock")).unwrap();
    lock.lock().unwrap();
    for (command, id) in [("ADD", "c2"), ("DEL", "c1"), ("GC", "c1")] {
        let request = Request::new(command, &data, ipam()).of(id);
        let request = request.key("cni.dev/valid-attachments", json!([]));
        let child = request.spawn();
        std::thread::sleep(Duration::from_millis(200));
        let kill = format!("kill -TERM {}", child.id());
        let start = Instant::now();
        assert!(
            Command::new("/bin/sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        let answer = request.answer(child);
        answer.assert_failure(11, "terminated by SIGTERM");
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{command}: {:?}",
            start.elapsed()
        );
        assert!(
            data.holds(&[("10.0.0.9", "c1\r\neth0")]),
            "{command}: {:?}",
            data.records()
        );
    }
    drop(lock);
    Request::new("DEL", &data, ipam()).run().success();
    Request::new("ADD", &data, ipam()).run().success();
}

/// Between two records: what was freed stays freed, the rest is for the next.
#[test]
fn sigterm_ends_a_look_at_all_records() {
    const COUNT: usize = 600;
    let fill = || {
        let data = DataDir::new();
        for n in 0..COUNT {
            data.seed(
                &format!("10.1.{}.{}", n / 250, n % 250),
                &format!("d{n}\r\neth0"),
            );
        }
        data
    };
    for command in ["ADD", "DEL", "GC", "STATUS"] {
        let data = fill();
        let request = Request::new(command, &data, ipam());
        let request = request.key("cni.dev/valid-attachments", json!([]));
        let traced = traced::run_until(&request, 500, Signal::SIGTERM);
        traced.answer.assert_failure(11, "terminated by SIGTERM");
        assert!(
            traced.system_calls < 900,
            "{command}: {} system calls",
            traced.system_calls
        );
        let left = data.records().len();
        assert!(
            if command == "GC" {
                left > 0 && left < COUNT
            } else {
                left == COUNT
            },
            "{command}: {left}"
        );
        Request::new("GC", &data, ipam())
            .key("cni.dev/valid-attachments", json!([]))
            .run()
            .success();
        assert!(data.holds(&[]), "{:?}", data.records());
    }
}

#[test]
fn what_a_killed_process_left_goes_with_the_next_del_or_gc() {
    for command in ["DEL", "GC"] {
        let data = DataDir::new();
        Request::new("ADD", &data, ipam()).of("c0").run().success();
        let leftovers =
            [".n.new", "n/.new", ".index/.n", ".origin/.n"].map(|name| data.path().join(name));
        leftovers
            .iter()
            .for_each(|path| fs::write(path, "c1\r\neth0").unwrap());
        Request::new(command, &data, ipam()).run().success();
        let left: Vec<_> = leftovers.iter().filter(|path| path.exists()).collect();
        assert!(left.is_empty(), "{command}: {left:?}");
    }
}

#[test]
fn a_record_that_cannot_be_read_is_reported_by_del_and_gc_and_given_to_nobody() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let data = DataDir::new();
    let elsewhere = DataDir::new();
    let set = || json!({"ranges": [[{"subnet": "10.0.0.0/24"}]]});
    for (address, id) in [("10.0.0.2", "c1"), ("10.0.0.3", "c1"), ("10.0.0.4", "c2")] {
        data.seed(address, &format!("{id}\r\neth0"));
    }
    let sick = data.path().join("n/10.0.0.2");
    if is_root() {
        for path in [data.path().to_owned(), data.path().join("n")] {
            chown(path, Some(65_534), Some(65_534)).unwrap();
        }
    }
    let set_mode = |mode| fs::set_permissions(&sick, fs::Permissions::from_mode(mode)).unwrap();
    let run = |command, id: &str| {
        let valid = json!([{"containerID": "c1", "ifname": "eth0"}, {"containerID": "c2", "ifname": "eth0"}]);
        let request = Request::new(command, &data, set())
            .of(id)
            .key("cni.dev/valid-attachments", valid);
        request.answer(request.spawn_as(somebody_else(&elsewhere)))
    };
    // With an index that knows the record, and without one.
    run("STATUS", "c1").success();
    for round in 0..2 {
        set_mode(0o000);
        data.seed("10.0.0.3", "c1\r\neth0");
        for command in ["DEL", "GC"] {
            let answer = run(command, "c1");
            answer.assert_failure(5, "failed to read record ");
            assert!(
                answer.stdout().contains("n/10.0.0.2: Permission denied"),
                "{}",
                answer.report()
            );
        }
        assert!(
            !data.path().join("n/10.0.0.3").exists(),
            "{round}: what can be freed is freed"
        );
        // In the second round it would have to be rebuilt, and lack an owner.
        assert_eq!(data.path().join(".index/n").exists(), round == 0, "{round}");
        let requested = Request::new("ADD", &data, set())
            .of("c9")
            .variable("CNI_ARGS", "IP=10.0.0.2");
        requested
            .answer(requested.spawn_as(somebody_else(&elsewhere)))
            .failure();
        let added = run("ADD", "c3");
        assert_ne!(added.addresses(), ["10.0.0.2/24"], "{round}");
        set_mode(0o644);
        run("DEL", "c3").success();
        run("DEL", "c1").success();
        assert!(
            data.holds(&[("10.0.0.4", "c2\r\neth0")]),
            "{round}: {:?}",
            data.records()
        );
        data.seed("10.0.0.2", "c1\r\neth0");
    }
}

#[test]
fn del_frees_a_record_of_prev_result_that_was_edited_in_place() {
    let data = DataDir::new();
    let set = || json!({"ranges": [[{"subnet": "10.0.0.0/24"}]]});
    Request::new("ADD", &data, set()).of("c1").run().success();
    fs::write(data.path().join("n/10.0.0.2"), "c2\r\neth0").unwrap();
    let previous = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.0.0.2/24"}]});
    let del = |id: &str| {
        Request::new("DEL", &data, set())
            .of(id)
            .key("prevResult", previous.clone())
    };
    del("c3").run().success();
    assert!(
        data.holds(&[("10.0.0.2", "c2\r\neth0")]),
        "{:?}",
        data.records()
    );
    del("c2").run().success();
    assert!(data.holds(&[]), "{:?}", data.records());
    assert_eq!(
        Request::new("ADD", &data, set())
            .variable("CNI_ARGS", "IP=10.0.0.2")
            .run()
            .addresses(),
        ["10.0.0.2/24"]
    );
}

#[test]
fn with_too_few_descriptors_a_request_fails_whole_and_leaves_nothing() {
    let data = DataDir::new();
    let request = |command, limit: u32| {
        let request = Request::new(command, &data, ipam());
        let mut program = Command::new("/bin/sh");
        let script = format!("ulimit -n {limit}; exec \"$0\"");
        program.args(["-c", &script, env!("CARGO_BIN_EXE_host-local")]);
        request.answer(request.spawn_as(program))
    };
    let both = [("10.0.0.2", "c1\r\neth0"), ("fd00::2", "c1\r\neth0")];
    let mut failed = 0;
    let mut served = 0;
    for limit in 3..24 {
        let answer = request("ADD", limit);
        if answer.succeeded() {
            assert_eq!(data.records().len(), 2, "{limit}{}", answer.report());
        } else {
            assert!(
                data.holds(&[]),
                "{limit}: {:?}{}",
                data.records(),
                answer.report()
            );
        }
        Request::new("DEL", &data, ipam()).run().success();
        both.iter()
            .for_each(|(name, content)| data.seed(name, content));
        // A DEL may fail, but it must not say that it is done when it is not.
        let answer = request("DEL", limit);
        failed += u32::from(!answer.succeeded());
        served += u32::from(answer.succeeded());
        assert!(
            data.holds(if answer.succeeded() { &[] } else { &both }),
            "{limit}: {:?}{}",
            data.records(),
            answer.report()
        );
        Request::new("DEL", &data, ipam()).run().success();
        fs::remove_file(data.path().join("n/last_reserved_ip.0")).unwrap_or_default();
        fs::remove_file(data.path().join("n/last_reserved_ip.1")).unwrap_or_default();
    }
    assert!(failed > 0 && served > 0, "{failed} {served}");
}

/// Returns the program, copied to `elsewhere`, for a user who is not root: to root everything is
/// permitted.
fn somebody_else(elsewhere: &DataDir) -> Command {
    use std::os::unix::process::CommandExt;
    // Others need not be able to enter the folder in which it was built.
    let copy = elsewhere.path().join("host-local");
    if !copy.exists() {
        // By another process: if this one held the copy open for writing, a program that another
        // test starts at this moment would inherit that, and execve(2) would fail with ETXTBSY.
        let mut cp = Command::new("cp");
        cp.arg(env!("CARGO_BIN_EXE_host-local")).arg(&copy);
        assert!(cp.status().unwrap().success());
    }
    let mut program = Command::new(copy);
    if is_root() {
        program.uid(65_534).gid(65_534);
    }
    program
}

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

#[test]
fn a_directory_of_somebody_else_is_an_error_that_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let data = DataDir::new();
    let elsewhere = DataDir::new();
    data.seed("10.0.0.2", "c1\r\neth0");
    let program = || somebody_else(&elsewhere);
    let set_mode = |mode| {
        fs::set_permissions(data.path().join("n"), fs::Permissions::from_mode(mode)).unwrap()
    };
    set_mode(0o555);
    for (command, code, msg) in [
        ("ADD", 5, "failed to "),
        ("DEL", 5, "failed to "),
        ("STATUS", 50, "data directory "),
    ] {
        let id = if command == "ADD" { "c2" } else { "c1" };
        let request = Request::new(command, &data, ipam()).of(id);
        let answer = request.answer(request.spawn_as(program()));
        answer.assert_failure(code, msg);
        assert!(
            answer.stdout().contains("ermission denied"),
            "{}",
            answer.report()
        );
    }
    // Nothing of that one remains, so its DEL is done.
    let gone = Request::new("DEL", &data, ipam()).of("c9");
    gone.answer(gone.spawn_as(program())).success();
    set_mode(0o755);
    assert!(
        data.holds(&[("10.0.0.2", "c1\r\neth0")]),
        "{:?}",
        data.records()
    );
}
