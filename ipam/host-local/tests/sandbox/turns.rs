//! The reference and ours on one data directory, as on a node that is being upgraded, or rolled
//! back.

use crate::program::{DataDir, Request};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    process::Command,
};
use testkit::{Host, require};

const VERSIONS: [&str; 2] = ["1.9.1", "1.1.1"];

fn reference(version: &str) -> PathBuf {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/reference");
    let program = target.join(version).join("host-local");
    require(
        &format!("the reference {version} (scripts/fetch-reference)"),
        program.exists(),
    );
    program
}

fn ours() -> PathBuf {
    env!("CARGO_BIN_EXE_host-local").into()
}

fn ipam() -> Value {
    json!({"ranges": [[{"subnet": "10.0.0.0/28"}], [{"subnet": "fd00::/64"}]]})
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

pub(crate) fn the_reference_and_ours_take_turns(_: &Host) {
    let programs = [ours(), reference(VERSIONS[0]), reference(VERSIONS[1])];
    for seed in 0..6 {
        let data = DataDir::new();
        let mut dice = Dice(seed);
        let mut live: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for _ in 0..80 {
            let id = format!("c{}", dice.throw(16));
            let program = &programs[usize::try_from(dice.throw(4)).unwrap() % 3];
            let held = live.get(&id).cloned().unwrap_or_default();
            let command = ["ADD", "ADD", "DEL", "CHECK"][usize::try_from(dice.throw(4)).unwrap()];
            let ips: Vec<Value> = held
                .iter()
                .map(|address| json!({"address": address}))
                .collect();
            let request = Request::new(command, &data, ipam())
                .of(&id)
                .key("cniVersion", "1.0.0".into())
                .key("prevResult", json!({"cniVersion": "1.0.0", "ips": ips}));
            let answer = request.answer(request.spawn_as(Command::new(program)));
            let wanted = match command {
                "ADD" => held.is_empty() && live.len() < 13,
                "CHECK" => !held.is_empty(),
                _ => true,
            };
            assert_eq!(
                answer.succeeded(),
                wanted,
                "{}{}",
                program.display(),
                answer.report()
            );
            match command {
                "ADD" if wanted => drop(live.insert(id, answer.addresses())),
                "DEL" => drop(live.remove(&id)),
                _ => {}
            }
            let record = |(id, address): (&String, &String)| {
                (
                    format!("n/{}", address.split_once('/').unwrap().0),
                    format!("{id}\r\neth0"),
                )
            };
            let pairs = live
                .iter()
                .flat_map(|(id, addresses)| addresses.iter().map(move |a| (id, a)));
            assert_eq!(
                data.records(),
                pairs.map(record).collect(),
                "{}{}",
                program.display(),
                answer.report()
            );
        }
    }
}

pub(crate) fn the_reference_is_not_misled_by_what_a_killed_writer_left(_: &Host) {
    for version in VERSIONS {
        let program = reference(version);
        let data = DataDir::new();
        data.seed(".new", "c1\r\neth0");
        let run = |command| {
            let request = Request::new(command, &data, ipam()).key("cniVersion", "1.0.0".into());
            request.answer(request.spawn_as(Command::new(&program)))
        };
        assert_eq!(
            run("ADD").addresses(),
            ["10.0.0.2/28", "fd00::2/64"],
            "{version}"
        );
        run("DEL").success();
        assert!(data.holds(&[]), "{version}: {:?}", data.records());
    }
}

pub(crate) fn the_reference_and_ours_at_once_give_no_address_twice(_: &Host) {
    let programs = [ours(), reference(VERSIONS[0])];
    let data = DataDir::new();
    let ipam = json!({"ranges": [[{"subnet": "10.0.0.0/24"}]]});
    let run = |command| -> Vec<String> {
        let requests: Vec<Request> = (0..120)
            .map(|n| Request::new(command, &data, ipam.clone()).of(&format!("c{n}")))
            .map(|request| request.key("cniVersion", "1.0.0".into()))
            .collect();
        let start =
            |(n, request): (usize, &Request)| request.spawn_as(Command::new(&programs[n % 2]));
        let children: Vec<_> = requests.iter().enumerate().map(start).collect();
        let answers = requests
            .iter()
            .zip(children)
            .map(|(request, child)| request.answer(child));
        answers.flat_map(|answer| answer.addresses()).collect()
    };
    let added = run("ADD");
    assert_eq!(added.iter().collect::<HashSet<_>>().len(), 120, "{added:?}");
    run("DEL");
    assert!(data.holds(&[]), "{:?}", data.records());
}
