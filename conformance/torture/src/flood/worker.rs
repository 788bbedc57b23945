//! One runtime of the flood: its containers, and what it does with them next.

use super::{Maker, NETWORKS, Network, SLOTS, Shared, attachments};
use crate::request::ToolError;
use cni_types::{Code, Command};
use sandbox::Netns;
use sandbox::{Run, decode};
use serde_json::Value;
use std::{
    net::IpAddr,
    sync::PoisonError,
    time::{Duration, Instant},
};

/// The number of attempts for an operation that asks to be tried again.
const TRIES: usize = 20;

/// A container's place.
struct Slot {
    network: usize,
    number: usize,
    /// The number of containers that were here before.
    generation: usize,
    /// `None` while no container is attached.
    attached: Option<Attached>,
}

/// A container that is attached.
struct Attached {
    container: String,
    netns: Netns,
    maker: Maker,
    result: Value,
    addresses: Vec<IpAddr>,
}

/// One runtime.
pub(super) struct Worker<'s, 'f> {
    shared: &'s Shared<'f>,
    number: usize,
    random: u64,
    slots: Vec<Slot>,
}

impl<'s, 'f> Worker<'s, 'f> {
    pub(super) fn new(shared: &'s Shared<'f>, number: usize) -> Self {
        let places =
            (0..NETWORKS.len()).flat_map(|network| (0..SLOTS).map(move |slot| (network, slot)));
        let slots = places
            .map(|(network, number)| Slot {
                network,
                number,
                generation: 0,
                attached: None,
            })
            .collect();
        // Never 0, at which the generator would stay.
        let random =
            (shared.flood.seed << 8 | number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let worker = Self {
            shared,
            number,
            random,
            slots,
        };
        worker.slots.iter().for_each(|slot| worker.name(slot));
        worker
    }

    /// Works until `end`, then detaches all that is attached.
    pub(super) fn work(mut self, end: Instant) -> Result<(), ToolError> {
        while Instant::now() < end {
            let index = self.below(self.slots.len());
            let Some(mut slot) = (index < self.slots.len()).then(|| self.slots.swap_remove(index))
            else {
                continue;
            };
            let done = self.step(&mut slot);
            self.slots.push(slot);
            done?;
        }
        for mut slot in std::mem::take(&mut self.slots) {
            if let Some(attached) = slot.attached.take() {
                self.detach(slot.network, attached)?;
            }
        }
        Ok(())
    }

    /// A number below `limit`, by xorshift64 (Marsaglia, 2003).
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from((self.random >> 16) % limit.max(1) as u64).unwrap_or(0)
    }

    fn step(&mut self, slot: &mut Slot) -> Result<(), ToolError> {
        if self.below(40) == 0 {
            self.collect(slot.network)?;
        }
        match (slot.attached.take(), self.below(10)) {
            (None, _) => slot.attached = self.attach(slot)?,
            (Some(attached), 0) => self.forget(slot, attached)?,
            (Some(attached), 1..=3) => {
                self.check(slot.network, &attached)?;
                slot.attached = Some(attached);
            }
            (Some(attached), _) => self.detach(slot.network, attached)?,
        }
        Ok(())
    }

    fn container(&self, slot: &Slot) -> String {
        format!(
            "w{}n{}s{}g{}",
            self.number, slot.network, slot.number, slot.generation
        )
    }

    /// Lists the slot's container among those that GC keeps.
    fn name(&self, slot: &Slot) {
        let mut containers = self
            .shared
            .containers
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        containers.insert(
            (slot.network, self.number, slot.number),
            self.container(slot),
        );
    }

    fn attach(&mut self, slot: &Slot) -> Result<Option<Attached>, ToolError> {
        let container = self.container(slot);
        let netns = Netns::create(&container).map_err(|e| e.to_string())?;
        let maker = match self.shared.has_reference && self.below(2) == 0 {
            true => Maker::Reference,
            false => Maker::Ours,
        };
        let network = network(slot.network)?;
        let request = self
            .shared
            .flood
            .request(maker, network, Command::Add, &container)?;
        let run = self.attempt(maker, Command::Add, &|| {
            request.clone().in_namespace(netns.path()).run()
        })?;
        let Some(run) = run else {
            // As a runtime does after a failed ADD.
            let request = self
                .shared
                .flood
                .request(maker, network, Command::Del, &container)?;
            self.attempt(maker, Command::Del, &|| {
                request.clone().in_namespace(netns.path()).run()
            })?;
            netns.remove().map_err(|e| e.to_string())?;
            return Ok(None);
        };
        let result = run.document().map_err(|e| format!("{e:?}"))?;
        let addresses: Vec<IpAddr> = match decode(&result) {
            Ok(result) => result.ips.iter().map(|ip| ip.address.address()).collect(),
            Err(e) => return Err(format!("a result cannot be read: {e:?}")),
        };
        let mut living = self
            .shared
            .living
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for address in &addresses {
            if let Some(other) = living.insert((slot.network, *address), container.clone()) {
                self.shared
                    .note(|phase| phase.duplicate(&format!("{address}: {other} and {container}")));
            }
        }
        drop(living);
        Ok(Some(Attached {
            container,
            netns,
            maker,
            result,
            addresses,
        }))
    }

    /// The addresses are free from the moment at which DEL may free them.
    fn release(&self, network: usize, attached: &Attached) {
        let mut living = self
            .shared
            .living
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for address in &attached.addresses {
            living.remove(&(network, *address));
        }
    }

    fn check(&mut self, index: usize, attached: &Attached) -> Result<(), ToolError> {
        self.ask(index, attached, Command::Check)
    }

    fn detach(&mut self, index: usize, attached: Attached) -> Result<(), ToolError> {
        self.release(index, &attached);
        self.ask(index, &attached, Command::Del)?;
        attached.netns.remove().map_err(|e| e.to_string())
    }

    fn ask(&self, index: usize, attached: &Attached, command: Command) -> Result<(), ToolError> {
        let Attached {
            container,
            netns,
            maker,
            result,
            ..
        } = attached;
        let request = self
            .shared
            .flood
            .request(*maker, network(index)?, command, container)?;
        let request = request.in_namespace(netns.path()).after(Some(result));
        self.attempt(*maker, command, &|| request.run()).map(|_| ())
    }

    /// The container is gone, and nobody detached it: GC's work. The next one here has another
    /// name.
    fn forget(&mut self, slot: &mut Slot, attached: Attached) -> Result<(), ToolError> {
        self.release(slot.network, &attached);
        attached.netns.remove().map_err(|e| e.to_string())?;
        slot.generation += 1;
        self.name(slot);
        self.shared.note(|phase| phase.forgotten += 1);
        Ok(())
    }

    /// GC of the network, by ours: the newest reference has it, but the older one does not.
    fn collect(&mut self, index: usize) -> Result<(), ToolError> {
        let containers = self
            .shared
            .containers
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let valid = containers
            .iter()
            .filter(|((network, ..), _)| *network == index)
            .map(|(_, name)| name.clone());
        let request = self
            .shared
            .flood
            .request(Maker::Ours, network(index)?, Command::Gc, "")?;
        let request = request.keeping(&attachments(valid));
        self.attempt(Maker::Ours, Command::Gc, &|| request.run())
            .map(|_| ())
    }

    /// Runs an operation until it no longer asks to be tried again. Returns `None`, and notes the
    /// error, if it fails.
    fn attempt(
        &self,
        maker: Maker,
        command: Command,
        run: &dyn Fn() -> Result<Option<Run>, ToolError>,
    ) -> Result<Option<Run>, ToolError> {
        for _ in 0..TRIES {
            let start = Instant::now();
            let run = run()?;
            self.shared
                .note(|phase| phase.count(command, start.elapsed()));
            let text = match run {
                Some(run) if run.status.success() => return Ok(Some(run)),
                Some(run) if asks_again(&run) => {
                    self.shared.note(|phase| phase.again += 1);
                    std::thread::sleep(Duration::from_millis(5));
                    continue;
                }
                Some(run) => run.summary(),
                None => "does not end".to_owned(),
            };
            self.shared
                .note(|phase| phase.error(maker, &format!("{}: {text}", command.as_str())));
            return Ok(None);
        }
        let text = format!(
            "{}: asks to be tried again for the {TRIES}th time",
            command.as_str()
        );
        self.shared.note(|phase| phase.error(maker, &text));
        Ok(None)
    }
}

fn network(index: usize) -> Result<&'static Network, ToolError> {
    NETWORKS
        .get(index)
        .ok_or_else(|| format!("there is no network {index}"))
}

/// True for the error that says "try again later" (spec section 5, code 11).
fn asks_again(run: &Run) -> bool {
    let code = run
        .error()
        .ok()
        .and_then(|error| error.get("code").and_then(Value::as_u64));
    code == Some(Code::TRY_AGAIN.0.into())
}
