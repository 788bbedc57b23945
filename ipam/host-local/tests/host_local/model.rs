//! After any requests in any order, the records are those of the live attachments, and of nobody
//! else.

use crate::{
    healing::Machine,
    program::{DataDir, Request},
};
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
    /// The index is deleted, or its byte at this place (in 256th parts of the whole) is changed.
    Lose(Option<u8>),
    /// A person removes the record of an IPv4 address, or writes one for another container.
    Meddle(u8, bool),
    /// The machine reboots: every attachment is over.
    Reboot,
}

fn steps(mishaps: bool, reboots: bool) -> impl Strategy<Value = Vec<Step>> {
    let key = || (0u8..6, 0u8..2);
    let step = prop_oneof![
        6 => (key(), prop::option::weighted(0.3, 0u8..16)).prop_map(|(key, ip)| Step::Add(key, ip)),
        4 => key().prop_map(Step::Del),
        2 => key().prop_map(Step::Check),
        1 => prop::collection::btree_set(key(), 0..8).prop_map(Step::Gc),
        1 => Just(Step::Status),
        u32::from(mishaps) => (2u8..14).prop_map(Step::Leave),
        1 => any::<Option<u8>>().prop_map(Step::Lose),
        1 => (2u8..=6, any::<bool>()).prop_map(|(host, write)| Step::Meddle(host, write)),
        u32::from(reboots) => Just(Step::Reboot),
    ];
    prop::collection::vec(step, 1..40)
}

/// The outcome of a request: true for success, and its output.
type Reply = (bool, String);

/// Serves a request on a machine.
type Serve = Box<dyn Fn(&Machine, &Request) -> Reply>;

struct Node {
    data: DataDir,
    serve: Serve,
    machine: Machine,
    boots: u128,
    /// The addresses of each live attachment, as its ADD answered.
    live: BTreeMap<Key, Vec<String>>,
    /// The addresses of attachments of earlier boots, each with its attachment.
    over: BTreeMap<String, Key>,
}

/// The container of a record that a person wrote.
const STRANGER: Key = (9, 9);

fn is_v4(address: &str) -> bool {
    address.starts_with("10.")
}

fn names((container, interface): Key) -> (String, String) {
    (format!("c{container}"), format!("eth{interface}"))
}

impl Node {
    fn new(serve: impl Fn(&Machine, &Request) -> Reply + 'static) -> Self {
        Self {
            data: DataDir::new(),
            serve: Box::new(serve),
            machine: Machine::new(),
            boots: 1,
            live: BTreeMap::new(),
            over: BTreeMap::new(),
        }
    }

    /// Runs everything on a machine that can reboot.
    fn on_a_machine() -> Self {
        Self::new(|machine, request| request.run_in(&machine.plugin()))
    }

    /// Seven IPv4 addresses in two ranges, so that they run out; IPv6 without end.
    fn request(
        &self,
        command: &'static str,
        (id, if_name): (String, String),
        key: &str,
        value: Value,
    ) -> Reply {
        let ranges = json!([
            [{"subnet": "10.0.0.0/29"}, {"subnet": "10.0.0.8/29", "rangeEnd": "10.0.0.11"}],
            [{"subnet": "fd00::/64"}],
        ]);
        let ipam = json!({"ranges": ranges, "statusWhenFull": "error"});
        let request = Request::new(command, &self.data, ipam)
            .of(&id)
            .variable("CNI_IFNAME", &if_name);
        (self.serve)(&self.machine, &request.key(key, value))
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Add(key, host) => self.add(*key, *host)?,
            Step::Del(key) => {
                let (success, said) = self.request("DEL", names(*key), "prevResult", Value::Null);
                prop_assert!(success, "{}", said);
                self.live.remove(key);
                self.over.retain(|_, owner| owner != key);
            }
            Step::Check(key) => {
                let addresses = self.live.get(key).cloned().unwrap_or_default();
                let ips: Vec<Value> = addresses
                    .iter()
                    .map(|address| json!({"address": address}))
                    .collect();
                let (success, said) =
                    self.request("CHECK", names(*key), "prevResult", json!({"ips": ips}));
                let is_known = self
                    .live
                    .get(key)
                    .is_some_and(|addresses| !addresses.is_empty())
                    || self.over.values().any(|owner| owner == key);
                prop_assert_eq!(success, is_known, "{}", said);
            }
            Step::Gc(valid) => {
                let entry = |(id, if_name)| json!({"containerID": id, "ifname": if_name});
                let list: Vec<Value> = valid.iter().map(|key| entry(names(*key))).collect();
                let (success, said) = self.request(
                    "GC",
                    names((0, 0)),
                    "cni.dev/valid-attachments",
                    list.into(),
                );
                prop_assert!(success, "{}", said);
                self.live.retain(|key, _| valid.contains(key));
                self.over.retain(|_, key| valid.contains(key));
            }
            Step::Status => {
                let (success, said) =
                    self.request("STATUS", names((0, 0)), "prevResult", Value::Null);
                prop_assert_eq!(success, self.free() > 0, "{}", said);
            }
            Step::Leave(host) => self.leave(*host),
            Step::Lose(place) => self.lose(*place),
            Step::Meddle(host, write) => self.meddle(*host, *write),
            Step::Reboot => {
                self.boots += 1;
                self.machine.boots(self.boots);
                for (key, addresses) in std::mem::take(&mut self.live) {
                    if key == STRANGER {
                        self.live.insert(key, addresses);
                    } else {
                        self.over
                            .extend(addresses.into_iter().map(|address| (address, key)));
                    }
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, key: Key, host: Option<u8>) -> Result<(), TestCaseError> {
        if self
            .live
            .get(&key)
            .is_some_and(|addresses| addresses.len() == 1)
        {
            // A person removed one of its records; what is half there is not attached again.
            return Ok(());
        }
        let wanted = host.map(|host| format!("10.0.0.{host}/29"));
        let ips = json!({"ips": wanted.as_slice()});
        let (success, said) = self.request("ADD", names(key), "runtimeConfig", ips);
        let holds_v4 = self.live.contains_key(&key);
        let can = match host {
            _ if holds_v4 => false,
            Some(2..=6 | 10..=11) => !self
                .live
                .values()
                .flatten()
                .any(|ip| Some(ip) == wanted.as_ref()),
            Some(_) => false,
            None => self.free() > 0,
        };
        prop_assert_eq!(success, can, "{}", said);
        let in_ranges = matches!(host, Some(1..=6 | 9..=11));
        if in_ranges && !holds_v4 {
            // It asks for another address, so the one of an earlier boot is of no use to it.
            self.over.retain(|address, owner| {
                *owner != key || !is_v4(address) || Some(address) == wanted.as_ref()
            });
        }
        if success {
            let result: Value = serde_json::from_str(&said).unwrap();
            let address =
                |index: usize| result["ips"][index]["address"].as_str().unwrap().to_owned();
            prop_assert_eq!(wanted.clone().unwrap_or_else(|| address(0)), address(0));
            for address in [address(0), address(1)] {
                self.answered(key, &address, wanted.is_some())?;
            }
            self.live.insert(key, vec![address(0), address(1)]);
        }
        Ok(())
    }

    /// An ADD got this address: what it had in an earlier boot, or a free one, or, where none is
    /// free, what another one had then.
    fn answered(
        &mut self,
        key: Key,
        address: &str,
        was_requested: bool,
    ) -> Result<(), TestCaseError> {
        let of_earlier = self
            .over
            .iter()
            .find(|(a, owner)| **owner == key && is_v4(a) == is_v4(address));
        if let Some((earlier, _)) = of_earlier {
            prop_assert_eq!(earlier, address, "it gets the same again");
        } else if self.over.contains_key(address) && !was_requested {
            let used = self.live.values().flatten().chain(self.over.keys());
            prop_assert_eq!(
                used.filter(|address| is_v4(address)).count(),
                7,
                "one was free"
            );
        }
        self.over.remove(address);
        Ok(())
    }

    fn free(&self) -> usize {
        7 - self
            .live
            .values()
            .flatten()
            .filter(|address| is_v4(address))
            .count()
    }

    fn lose(&self, place: Option<u8>) {
        let path = self.data.path().join(".index/n");
        let Ok(mut bytes) = fs::read(&path) else {
            return;
        };
        match place {
            None => fs::remove_file(&path).unwrap(),
            Some(place) => {
                let at = bytes.len() * usize::from(place) / 256;
                bytes[at] ^= 0x55;
                fs::write(&path, bytes).unwrap();
            }
        }
    }

    fn meddle(&mut self, host: u8, write: bool) {
        let address = format!("10.0.0.{host}/29");
        let name = format!("10.0.0.{host}");
        let path = self.data.path().join("n").join(&name);
        let is_taken = self
            .live
            .values()
            .flatten()
            .chain(self.over.keys())
            .any(|taken| *taken == address);
        if write && !is_taken && fs::symlink_metadata(&path).is_err() {
            let (id, if_name) = names(STRANGER);
            self.data.seed(&name, &format!("{id}\r\n{if_name}"));
            self.live.entry(STRANGER).or_default().push(address);
        } else if !write {
            let _ = fs::remove_file(path);
            self.live
                .values_mut()
                .for_each(|addresses| addresses.retain(|other| *other != address));
            self.over.remove(&address);
        }
    }

    /// Puts an empty file where no record is.
    fn leave(&self, host: u8) {
        let name = format!("10.0.0.{host}");
        if fs::symlink_metadata(self.data.path().join("n").join(&name)).is_err() {
            self.data.seed(&name, "");
        }
    }

    /// The content of the records that are not empty.
    fn records(&self) -> BTreeMap<String, String> {
        self.data
            .records()
            .into_iter()
            .filter(|(_, content)| !content.is_empty())
            .collect()
    }

    fn wanted_records(&self) -> BTreeMap<String, String> {
        let record = |(key, address): (&Key, &String)| {
            let (id, if_name) = names(*key);
            let (address, _) = address.split_once('/').unwrap();
            (format!("n/{address}"), format!("{id}\r\n{if_name}"))
        };
        let pairs = self
            .live
            .iter()
            .flat_map(|(key, addresses)| addresses.iter().map(move |a| (key, a)));
        pairs
            .chain(self.over.iter().map(|(address, key)| (key, address)))
            .map(record)
            .collect()
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
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn records_are_live_attachments(steps in steps(false, false)) {
        run(Node::new(|_, request| request.run_in_process()), &steps)?;
    }

    #[test]
    fn records_are_live_attachments_and_what_earlier_boots_left(steps in steps(false, true)) {
        run(Node::on_a_machine(), &steps)?;
    }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn records_are_live_attachments_even_where_writers_die(steps in steps(true, false)) {
        let serve = |_: &Machine, request: &Request| {
            let answer = request.run();
            (answer.succeeded(), answer.stdout())
        };
        run(Node::new(serve), &steps)?;
    }
}
