//! The real binary under stress: many at once, killed at any time, with writes that fail.

use crate::program::{DataDir, Request};
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
fn fifty_at_once_get_fifty_addresses_and_give_them_back() {
    let data = DataDir::new();
    let requests = |command| -> Vec<Request> {
        (0..50).map(|n| Request::new(command, &data, ipam()).of(&format!("c{n}"))).collect()
    };
    let run = |requests: Vec<Request>| -> Vec<Vec<String>> {
        let children: Vec<_> = requests.iter().map(|request| (request, request.spawn())).collect();
        children.into_iter().map(|(request, child)| request.answer(child).addresses()).collect()
    };
    let added: Vec<String> = run(requests("ADD")).into_iter().flatten().collect();
    assert_eq!(added.len(), 100);
    assert_eq!(added.iter().collect::<HashSet<_>>().len(), 100, "{added:?}");
    assert_eq!(data.records().len(), 100);
    run(requests("DEL"));
    assert!(data.holds(&[]), "{:?}", data.records());
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
            data.records().iter().all(|(name, text)| name == ".n.new" || text == "c1\r\neth0"),
            "half a record: {:?}",
            data.records()
        );
        Request::new("DEL", &data, ipam()).run().success();
        let left: Vec<String> = data.records().into_keys().filter(|name| name != ".n.new").collect();
        assert_eq!(left, Vec::<String>::new(), "round {round}");
    }
    assert!(killed > 0, "no ADD was killed in time");
    add.run().success();
    assert_eq!(data.records().len(), 2, "what a killed writer left is gone: {:?}", data.records());
}

#[test]
fn add_leaves_nothing_where_its_records_cannot_be_written() {
    let data = DataDir::new();
    let mut program = Command::new("/bin/sh");
    // A limit of 0 bytes per file: every write fails, as on a full disk.
    program.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\"", env!("CARGO_BIN_EXE_host-local")]);
    let add = Request::new("ADD", &data, ipam());
    let answer = add.answer(add.spawn_as(program));
    answer.assert_failure(5, "failed to ");
    assert!(data.holds(&[]), "{:?}{}", data.records(), answer.report());
    // To free something nothing need be written.
    data.seed("10.0.0.2", "c1\r\neth0");
    let mut program = Command::new("/bin/sh");
    program.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\"", env!("CARGO_BIN_EXE_host-local")]);
    let del = Request::new("DEL", &data, ipam());
    del.answer(del.spawn_as(program)).success();
    assert!(data.holds(&[]), "{:?}", data.records());
    add.run().success();
}

#[test]
fn sigterm_ends_a_wait_for_the_lock_with_an_error_and_nothing_left() {
    let data = DataDir::new();
    data.seed("lock", "");
    let lock = fs::File::open(data.path().join("n/lock")).unwrap();
    lock.lock().unwrap();
    let add = Request::new("ADD", &data, ipam());
    let child = add.spawn();
    std::thread::sleep(Duration::from_millis(100));
    let killed =
        Command::new("/bin/sh").args(["-c", &format!("kill -TERM {}", child.id())]).status().unwrap();
    assert!(killed.success());
    add.answer(child).assert_failure(11, "terminated by SIGTERM");
    assert!(data.holds(&[]), "{:?}", data.records());
    drop(lock);
    add.run().success();
}
