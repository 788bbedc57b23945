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
fn three_hundred_at_once_get_an_address_each_and_give_them_back() {
    const COUNT: usize = 300;
    let data = DataDir::new();
    let ipam = json!({"ranges": [[{"subnet": "10.0.0.0/22"}], [{"subnet": "fd00::/64"}]]});
    let requests = |command| -> Vec<Request> {
        (0..COUNT).map(|n| Request::new(command, &data, ipam.clone()).of(&format!("c{n}"))).collect()
    };
    let run = |requests: Vec<Request>| -> Vec<Vec<String>> {
        let children: Vec<_> = requests.iter().map(|request| (request, request.spawn())).collect();
        children.into_iter().map(|(request, child)| request.answer(child).addresses()).collect()
    };
    let added: Vec<String> = run(requests("ADD")).into_iter().flatten().collect();
    assert_eq!(added.iter().collect::<HashSet<_>>().len(), 2 * COUNT, "{added:?}");
    assert_eq!(data.records().len(), 2 * COUNT);
    // Some come while others go, and somebody looks.
    let others = (0..COUNT).map(|n| Request::new("ADD", &data, ipam.clone()).of(&format!("d{n}")));
    let looks = (0..20).map(|_| Request::new("STATUS", &data, ipam.clone()));
    let mixed = requests("DEL").into_iter().zip(others).flat_map(|(a, b)| [a, b]).chain(looks).collect();
    let again: Vec<String> = run(mixed).into_iter().flatten().collect();
    assert_eq!(again.iter().collect::<HashSet<_>>().len(), 2 * COUNT, "{again:?}");
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
    let (mut failed, mut served) = (0, 0);
    for limit in 3..24 {
        let answer = request("ADD", limit);
        if answer.succeeded() {
            assert_eq!(data.records().len(), 2, "{limit}{}", answer.report());
        } else {
            assert!(data.holds(&[]), "{limit}: {:?}{}", data.records(), answer.report());
        }
        Request::new("DEL", &data, ipam()).run().success();
        both.iter().for_each(|(name, content)| data.seed(name, content));
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

/// The program, copied to `elsewhere`, for a user who is not root: to root everything is permitted.
pub(crate) fn somebody_else(elsewhere: &DataDir) -> Command {
    use std::os::unix::process::CommandExt;
    // Others need not be able to enter the folder in which it was built.
    let copy = elsewhere.path().join("host-local");
    if !copy.exists() {
        fs::copy(env!("CARGO_BIN_EXE_host-local"), &copy).unwrap();
    }
    let mut program = Command::new(copy);
    if is_root() {
        program.uid(65_534).gid(65_534);
    }
    program
}

pub(crate) fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

#[test]
fn a_directory_of_somebody_else_is_an_error_that_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let (data, elsewhere) = (DataDir::new(), DataDir::new());
    data.seed("10.0.0.2", "c1\r\neth0");
    let program = || somebody_else(&elsewhere);
    let set_mode =
        |mode| fs::set_permissions(data.path().join("n"), fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o555);
    for (command, code, msg) in
        [("ADD", 5, "failed to "), ("DEL", 5, "failed to "), ("STATUS", 50, "data directory ")]
    {
        let id = if command == "ADD" { "c2" } else { "c1" };
        let request = Request::new(command, &data, ipam()).of(id);
        let answer = request.answer(request.spawn_as(program()));
        answer.assert_failure(code, msg);
        assert!(answer.stdout().contains("ermission denied"), "{}", answer.report());
    }
    // Nothing of that one remains, so its DEL is done.
    let gone = Request::new("DEL", &data, ipam()).of("c9");
    gone.answer(gone.spawn_as(program())).success();
    set_mode(0o755);
    assert!(data.holds(&[("10.0.0.2", "c1\r\neth0")]), "{:?}", data.records());
}
