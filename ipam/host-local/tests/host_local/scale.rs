//! The cost of an operation does not depend on the number of records. It is counted in system
//! calls, which are the same on every machine and every day; benches/run measures the time.

use crate::{
    program::{DataDir, Request},
    traced,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The most memory that an operation may take, in KiB. Of an unoptimised build 2 MiB are its own
/// code.
const PEAK: u64 = 9 << 10;

/// Records of the reference, in an order that a directory does not keep.
fn fill(data: &DataDir, count: u32) {
    for n in 0..count {
        let [_, _, c, d] = (2 + n).to_be_bytes();
        data.seed(&format!("10.1.{c}.{d}"), &format!("{n:064x}\r\neth0"));
    }
    let [_, _, c, d] = (1 + count).to_be_bytes();
    data.seed("last_reserved_ip.0", &format!("10.1.{c}.{d}"));
}

fn ipam() -> Value {
    json!({"ranges": [[{"subnet": "10.1.0.0/16"}]]})
}

/// Runs each operation, and gives what it cost: calls and memory.
fn costs(data: &DataDir) -> Vec<(&'static str, usize, u64)> {
    let mut costs = Vec::new();
    let mut address = Value::Null;
    for command in ["ADD", "CHECK", "STATUS", "DEL", "DEL"] {
        let mut request = Request::new(command, data, ipam());
        if command != "ADD" {
            request = request.key(
                "prevResult",
                json!({"cniVersion": "1.1.0", "ips": [{"address": address}]}),
            );
        }
        let traced = traced::run(&request, None);
        let result = traced.answer.success();
        if command == "ADD" {
            address = result["ips"][0]["address"].clone();
        }
        costs.push((command, traced.system_calls, traced.peak_memory));
    }
    costs
}

#[test]
fn no_operation_costs_more_with_ten_or_sixty_thousand_records() {
    let empty = DataDir::new();
    costs(&empty);
    let wanted = costs(&empty);
    for count in [10_000, 60_000] {
        let data = DataDir::new();
        fill(&data, count);
        // The first one to look makes the index.
        Request::new("STATUS", &data, ipam()).run().success();
        for ((command, few, _), (_, many, memory)) in wanted.iter().zip(costs(&data)) {
            assert!(
                many * 2 <= few * 3,
                "{command}: {few} system calls at 0 records, {many} at {count}"
            );
            assert!(memory < PEAK, "{command}: {memory} KiB at {count} records");
        }
        assert!(std::fs::remove_file(data.path().join("n/10.1.0.9")).is_ok());
        let again = traced::run(&Request::new("ADD", &data, ipam()), None);
        assert_eq!(again.answer.addresses().len(), 1);
        assert!(
            again.peak_memory < PEAK,
            "making an index takes {} KiB",
            again.peak_memory
        );
        assert!(
            again.system_calls > count as usize,
            "it read all records, since somebody removed one"
        );
    }
}

#[test]
fn the_last_free_address_of_a_16_costs_little_more_than_the_first() {
    let data = DataDir::new();
    fill(&data, 65_533);
    std::fs::remove_file(data.path().join("n/10.1.0.7")).unwrap();
    Request::new("STATUS", &data, ipam()).run().success();
    let empty = DataDir::new();
    Request::new("STATUS", &empty, ipam()).run().success();
    costs(&empty);
    let few = traced::run(&Request::new("ADD", &empty, ipam()), None);
    let many = traced::run(&Request::new("ADD", &data, ipam()), None);
    assert_eq!(many.answer.addresses(), ["10.1.0.7/16"]);
    let few = few.system_calls;
    let many = many.system_calls;
    assert!(
        many * 2 <= few * 3,
        "{few} system calls at 0 records, {many} at 65,532"
    );
}

#[test]
fn gc_of_sixty_thousand_stale_records_frees_them_all_in_little_memory() {
    let data = DataDir::new();
    fill(&data, 60_000);
    let gc = traced::run(
        &Request::new("GC", &data, ipam()).key("cni.dev/valid-attachments", Value::Null),
        None,
    );
    gc.answer.success();
    assert!(data.records().is_empty());
    assert!(gc.peak_memory < PEAK, "GC takes {} KiB", gc.peak_memory);
}

#[test]
fn gc_with_100_000_valid_attachments_frees_only_the_stale_one_in_less_than_100_megabytes() {
    let data = DataDir::new();
    fill(&data, 1000);
    let valid: Vec<Value> = (1..=100_000)
        .map(|n| json!({"containerID": format!("{n:064x}"), "ifname": "eth0"}))
        .collect();
    let request = Request::new("GC", &data, ipam()).key("cni.dev/valid-attachments", valid.into());
    let gc = traced::run(&request, None);
    // A report would print the list.
    assert!(gc.answer.succeeded(), "{:.300}", gc.answer.stdout());
    assert_eq!(data.records().len(), 999);
    let memory = gc.peak_memory;
    assert!(memory < 100_000, "GC takes {memory} KiB");
}

/// The name is nearly all that stdin may have.
#[test]
fn a_name_of_31_megabytes_is_refused_in_less_than_100_megabytes() {
    let data = DataDir::new();
    for command in ["ADD", "GC"] {
        let request =
            Request::new(command, &data, ipam()).key("name", "a".repeat(31_000_000).into());
        let traced = traced::run(&request, None);
        // A report would print the name.
        assert!(!traced.answer.succeeded(), "{command}");
        let stdout = traced.answer.stdout();
        let msg = "name: found a string of 31000002 bytes, expected at most 1048576";
        assert!(stdout.contains(msg), "{command}: {stdout:.300}");
        let memory = traced.peak_memory;
        assert!(memory < 100_000, "{command}: {memory} KiB");
    }
}

#[test]
fn an_address_of_a_full_set_that_is_freed_is_given_away_at_once_by_whomever_it_was_freed() {
    let data = DataDir::new();
    fill(&data, 8189);
    let ipam = || json!({"ranges": [[{"subnet": "10.1.0.0/19"}]]});
    let add = Request::new("ADD", &data, ipam());
    add.run().assert_failure(
        103,
        "failed to allocate for range 0: no IP addresses available",
    );
    Request::new("DEL", &data, ipam())
        .of(&format!("{:064x}", 7))
        .run()
        .success();
    assert_eq!(add.run().addresses(), ["10.1.0.9/19"]);
    std::fs::remove_file(data.path().join("n/10.1.0.8")).unwrap();
    assert_eq!(add.of("c2").run().addresses(), ["10.1.0.8/19"]);
}

#[test]
fn a_refused_add_at_a_full_16_keeps_nobody_waiting() {
    let data = DataDir::new();
    fill(&data, 65_533);
    data.seed("lock", "");
    let add = Request::new("ADD", &data, ipam());
    // The first one makes the index.
    add.run().assert_failure(
        103,
        "failed to allocate for range 0: no IP addresses available",
    );
    let begin = Instant::now();
    let mut child = add.spawn();
    let lock = std::fs::File::open(data.path().join("n/lock")).unwrap();
    let mut longest = Duration::ZERO;
    while child.try_wait().unwrap().is_none() {
        let asked = Instant::now();
        lock.lock().unwrap();
        longest = longest.max(asked.elapsed());
        lock.unlock().unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = begin.elapsed();
    add.answer(child).assert_failure(
        103,
        "failed to allocate for range 0: no IP addresses available",
    );
    // To read all records takes nearly all of its time.
    assert!(
        longest * 4 < took,
        "waited {longest:?} for the lock in {took:?}"
    );
}
