//! Many runtimes at once on shared networks: ADD, CHECK, DEL and GC in a random order,
//! containers that are forgotten, alone and beside the reference plugins on the same data
//! directory.
//!
//! Every operation must succeed or ask to be tried again, no two living attachments may have one
//! address, and at the end nothing may be left.

mod outcome;
mod worker;

use crate::{
    request::{IF_NAME, Request, ToolError},
    scene,
};
use cni_types::Command;
use outcome::{Outcome, Phase};
use sandbox::State;
use sandbox::{self, Netns};
use serde_json::{Map, Value};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};
use worker::Worker;

/// The containers of each worker on each network.
const SLOTS: usize = 3;

/// The time in which the kernel removes the interfaces of namespaces that are gone.
const SETTLING: Duration = Duration::from_secs(10);

/// A network on which all workers are at once.
pub(crate) struct Network {
    name: &'static str,
    plugin: &'static str,
    config: &'static str,
}

/// All keep their reservations in one data directory.
const NETWORKS: [Network; 3] = [
    Network {
        name: "flood-dual",
        plugin: "bridge",
        config: r#"{ "bridge": "flood0", "isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "nftables",
            "macspoofchk": true, "ipam": { "type": "host-local",
            "ranges": [[{ "subnet": "10.78.0.0/24" }], [{ "subnet": "fd00:78::/64" }]] } }"#,
    },
    Network {
        name: "flood-plain",
        plugin: "bridge",
        config: r#"{ "bridge": "flood1", "isGateway": true, "hairpinMode": true,
            "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.79.0.0/24" }]] } }"#,
    },
    Network {
        name: "flood-ipam",
        plugin: "host-local",
        config: r#"{ "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.80.0.0/25" }]] } }"#,
    },
];

/// The request on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flood {
    /// The folder with the plugins.
    pub(crate) plugins: PathBuf,
    /// The folder with the reference plugins, for a second flood beside them.
    pub(crate) reference: Option<PathBuf>,
    /// The duration of each flood.
    pub(crate) duration: Duration,
    /// The number of runtimes that work at the same time.
    pub(crate) workers: usize,
    /// The seed of the order of the operations.
    pub(crate) seed: u64,
}

/// The one in whose hands an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// The plugins that are tortured.
    Ours,
    /// The reference.
    Reference,
}

/// The data that the workers share: the living addresses, the names of their containers, what was
/// found.
pub(crate) struct Shared<'f> {
    flood: &'f Flood,
    has_reference: bool,
    living: Mutex<BTreeMap<(usize, IpAddr), String>>,
    /// By network, worker and slot. Held for reading during a GC: what it lists as valid must stay
    /// so.
    containers: RwLock<BTreeMap<(usize, usize, usize), String>>,
    phase: Mutex<Phase>,
}

impl Flood {
    /// Floods alone and, if there is a reference, beside it.
    pub(crate) fn run(&self) -> Result<Outcome, ToolError> {
        let mut phases = vec![self.on_a_host(false)?];
        if self.reference.is_some() {
            phases.push(self.on_a_host(true)?);
        }
        Ok(Outcome {
            phases,
            seed: self.seed,
            workers: self.workers,
        })
    }

    fn on_a_host(&self, has_reference: bool) -> Result<Phase, ToolError> {
        std::thread::scope(|scope| {
            let host = scope.spawn(|| {
                sandbox::become_host().map_err(|e| e.to_string())?;
                let phase = self.phase(has_reference);
                sandbox::end_processes();
                phase
            });
            host.join()
                .unwrap_or_else(|_| Err("a worker panicked".to_owned()))
        })
    }

    /// One flood, on the host that the thread has become.
    fn phase(&self, has_reference: bool) -> Result<Phase, ToolError> {
        self.make_networks()?;
        let before = scene::state()?;
        let shared = Shared {
            flood: self,
            has_reference,
            living: Mutex::default(),
            containers: RwLock::default(),
            phase: Mutex::new(Phase::new(has_reference)),
        };
        let start = Instant::now();
        let shared_by_all = &shared;
        let end = start + self.duration;
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.workers)
                .map(|number| scope.spawn(move || Worker::new(shared_by_all, number).work(end)))
                .collect();
            workers.into_iter().try_for_each(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|_| Err("a worker panicked".to_owned()))
            })
        })?;
        let duration = start.elapsed();
        for network in &NETWORKS {
            let collected = self
                .request(Maker::Ours, network, Command::Gc, "")?
                .keeping(&[])
                .run()?;
            scene::succeeded(collected, "the last GC")?;
        }
        let mut phase = shared
            .phase
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        phase.end(duration, residue(&before)?);
        Ok(phase)
    }

    /// Makes what belongs to the networks, by an attachment on each that is removed again.
    fn make_networks(&self) -> Result<(), ToolError> {
        let netns = Netns::create("first").map_err(|e| e.to_string())?;
        for network in &NETWORKS {
            for command in [Command::Add, Command::Del] {
                let request = self.request(Maker::Ours, network, command, "first")?;
                scene::succeeded(request.in_namespace(netns.path()).run()?, command.as_str())?;
            }
        }
        netns.remove().map_err(|e| e.to_string())
    }

    fn request(
        &self,
        maker: Maker,
        network: &Network,
        command: Command,
        container: &str,
    ) -> Result<Request, ToolError> {
        let parsed = serde_json::from_str(network.config);
        let mut config: Map<String, Value> =
            parsed.map_err(|e| format!("{}: {e}", network.name))?;
        config.insert("cniVersion".to_owned(), "1.1.0".into());
        config.insert("name".to_owned(), network.name.into());
        config.insert("type".to_owned(), network.plugin.into());
        let plugins: &Path = match (maker, &self.reference) {
            (Maker::Reference, Some(reference)) => reference,
            _ => &self.plugins,
        };
        Ok(Request::new(
            plugins,
            network.plugin,
            config,
            command,
            container,
        ))
    }
}

/// Returns the lines that came and went, once the kernel has removed what it removes later.
fn residue(before: &State) -> Result<Vec<String>, ToolError> {
    let start = Instant::now();
    loop {
        let changes = scene::changes_since(before)?;
        if changes.is_empty() || start.elapsed() > SETTLING {
            return Ok(changes);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The attachments of these containers, as GC wants them.
fn attachments(containers: impl IntoIterator<Item = String>) -> Vec<(String, &'static str)> {
    containers
        .into_iter()
        .map(|container| (container, IF_NAME))
        .collect()
}
