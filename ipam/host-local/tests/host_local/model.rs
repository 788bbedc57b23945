//! Whatever is asked in whatever order, the records are those of the live attachments, and of nobody else.

use crate::program::{DataDir, Request};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

type Key = (u8, u8);

/// One request about some of twelve attachments, or a mishap.
#[derive(Clone, Debug)]
enum Step {
    Add(Key, Option<u8>),
    Del(Key),
    Check(Key),
    Gc(BTreeSet<Key>),
    Status,
    /// A writer of another kind died and left a file without content.
    Leave(u8),
}

fn steps(mishaps: bool) -> impl Strategy<Value = Vec<Step>> {
    let key = || (0u8..6, 0u8..2);
    let step = prop_oneof![
        6 => (key(), prop::option::weighted(0.3, 0u8..16)).prop_map(|(key, ip)| Step::Add(key, ip)),
        4 => key().prop_map(Step::Del),
        2 => key().prop_map(Step::Check),
        1 => prop::collection::btree_set(key(), 0..8).prop_map(Step::Gc),
        1 => Just(Step::Status),
        u32::from(mishaps) => (2u8..14).prop_map(Step::Leave),
    ];
    prop::collection::vec(step, 1..40)
}

/// Whether a request succeeded, and what it printed.
type Reply = (bool, String);

struct Node {
    data: DataDir,
    serve: fn(&Request) -> Reply,
    /// The addresses of each live attachment, as its ADD answered.
    live: BTreeMap<Key, Vec<String>>,
}

fn names((container, interface): Key) -> (String, String) {
    (format!("c{container}"), format!("eth{interface}"))
}

impl Node {
    fn new(serve: fn(&Request) -> Reply) -> Self {
        Self { data: DataDir::new(), serve, live: BTreeMap::new() }
    }

    /// Seven IPv4 addresses in two ranges, so that they run out; IPv6 without end.
    fn request(
        &self,
        command: &'static str,
        (id, if_name): (String, String),
        key: &str,
        value: Value,
    ) -> Reply {
        let ipam = json!({"ranges": [
            [{"subnet": "10.0.0.0/29"}, {"subnet": "10.0.0.8/29", "rangeEnd": "10.0.0.11"}],
            [{"subnet": "fd00::/64"}],
        ]});
        let request = Request::new(command, &self.data, ipam).of(&id).variable("CNI_IFNAME", &if_name);
        (self.serve)(&request.key(key, value))
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Add(key, host) => self.add(*key, *host)?,
            Step::Del(key) => {
                let (success, said) = self.request("DEL", names(*key), "prevResult", Value::Null);
                prop_assert!(success, "{}", said);
                self.live.remove(key);
            }
            Step::Check(key) => {
                let addresses = self.live.get(key).cloned().unwrap_or_default();
                let ips: Vec<Value> = addresses.iter().map(|address| json!({"address": address})).collect();
                let (success, said) = self.request("CHECK", names(*key), "prevResult", json!({"ips": ips}));
                prop_assert_eq!(success, self.live.contains_key(key), "{}", said);
            }
            Step::Gc(valid) => {
                let entry = |(id, if_name)| json!({"containerID": id, "ifname": if_name});
                let list: Vec<Value> = valid.iter().map(|key| entry(names(*key))).collect();
                let (success, said) =
                    self.request("GC", names((0, 0)), "cni.dev/valid-attachments", list.into());
                prop_assert!(success, "{}", said);
                self.live.retain(|key, _| valid.contains(key));
            }
            Step::Status => {
                let (success, said) = self.request("STATUS", names((0, 0)), "prevResult", Value::Null);
                prop_assert_eq!(success, self.free() > 0, "{}", said);
            }
            Step::Leave(host) => self.leave(*host),
        }
        Ok(())
    }

    fn add(&mut self, key: Key, host: Option<u8>) -> Result<(), TestCaseError> {
        let wanted = host.map(|host| format!("10.0.0.{host}/29"));
        let ips = json!({"ips": wanted.as_slice()});
        let (success, said) = self.request("ADD", names(key), "runtimeConfig", ips);
        let can = match host {
            _ if self.live.contains_key(&key) => false,
            Some(2..=6 | 10..=11) => !self.live.values().flatten().any(|ip| Some(ip) == wanted.as_ref()),
            Some(_) => false,
            None => self.free() > 0,
        };
        prop_assert_eq!(success, can, "{}", said);
        if success {
            let result: Value = serde_json::from_str(&said).unwrap();
            let address = |index: usize| result["ips"][index]["address"].as_str().unwrap().to_owned();
            prop_assert_eq!(wanted.unwrap_or_else(|| address(0)), address(0));
            self.live.insert(key, vec![address(0), address(1)]);
        }
        Ok(())
    }

    fn free(&self) -> usize {
        7 - self.live.len()
    }

    /// Puts an empty file where no record is.
    fn leave(&self, host: u8) {
        let name = format!("10.0.0.{host}");
        if fs::symlink_metadata(self.data.path().join("n").join(&name)).is_err() {
            self.data.seed(&name, "");
        }
    }

    /// What the records with content say.
    fn records(&self) -> BTreeMap<String, String> {
        self.data.records().into_iter().filter(|(_, content)| !content.is_empty()).collect()
    }

    fn wanted_records(&self) -> BTreeMap<String, String> {
        let record = |(key, address): (&Key, &String)| {
            let (id, if_name) = names(*key);
            let (address, _) = address.split_once('/').unwrap();
            (format!("n/{address}"), format!("{id}\r\n{if_name}"))
        };
        let pairs = self.live.iter().flat_map(|(key, addresses)| addresses.iter().map(move |a| (key, a)));
        pairs.map(record).collect()
    }
}

fn run(mut node: Node, steps: &[Step]) -> Result<(), TestCaseError> {
    for step in steps {
        node.step(step)?;
        prop_assert_eq!(node.records(), node.wanted_records(), "after {:?}", step);
    }
    Ok(())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn records_are_live_attachments(steps in steps(false)) {
        run(Node::new(Request::run_in_process), &steps)?;
    }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn records_are_live_attachments_even_where_writers_die(steps in steps(true)) {
        let serve = |request: &Request| {
            let answer = request.run();
            (answer.succeeded(), answer.stdout())
        };
        run(Node::new(serve), &steps)?;
    }
}
