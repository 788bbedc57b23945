//! A network with the plugin under test, a double after it, and for a chained plugin one before it.

use super::watch::limited;
use crate::suite::{
    Attachment, Context, Double, Entry, Failure, Run, RunEntry,
    double::{Call, Reply},
};
use cni_runtime::{Cache, Error, Event, Network, Parameters, Runtime};
use cni_types::Command;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// A network of several plugins, and a container.
pub(super) struct Chain<'c> {
    context: &'c Context<'c>,
    attachment: Attachment<'c>,
    runtime: Runtime,
    network: Network,
    parameters: Parameters,
    next: Double,
    events: Arc<Mutex<Vec<Event>>>,
}

impl<'c> Chain<'c> {
    /// `add` is the next plugin's answer to ADD.
    pub(super) fn new(context: &'c Context<'c>, add: Reply) -> Result<Self, Failure> {
        let profile = context.profile();
        if !context.bin_dir().join(&profile.name).is_file() {
            return Err(Failure::skip(
                "the plugin's file is not called as its type, so no runtime finds it",
            ));
        }
        let attachment = context.attachment("c1")?;
        let before = attachment
            .fixture()
            .map(|result| (Command::Add, Reply::success(result)));
        let first = context.double("double-first", before.as_slice())?;
        let next = context.double("double-next", &[(Command::Add, add)])?;
        let mut plugins = vec![context.config(), json!({"type": next.name()})];
        if before.is_some() {
            plugins.insert(0, json!({"type": first.name()}));
        }
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&events);
        let cache = Cache::new(
            &context
                .file("cache", "")?
                .with_file_name("results-of-chains"),
        );
        let runtime = Runtime::new(&[first.folder(), next.folder(), context.bin_dir()], cache)
            .on_exit(move |event| {
                log.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(event.clone());
            });
        let netns = attachment.netns().path().display().to_string();
        let parameters = Parameters::new(attachment.container(), &profile.ifname, &netns)
            .map_err(|e| Failure::suite("prepare an attachment", e))?;
        let network = network(context, &plugins)?;
        Ok(Self {
            context,
            attachment,
            runtime,
            network,
            parameters,
            next,
            events,
        })
    }

    pub(super) fn attachment(&self) -> &Attachment<'c> {
        &self.attachment
    }

    /// Returns the request that the next plugin got.
    pub(super) fn next_call(&self, command: Command) -> Result<Call, Failure> {
        let found = self
            .next
            .calls()?
            .into_iter()
            .find(|call| call.command() == command.as_str());
        found.ok_or_else(|| Failure::suite("find a run of the next plugin", command.as_str()))
    }

    /// Runs ADD of the chain: what the plugin under test printed.
    pub(super) fn add(&self) -> Result<Value, Failure> {
        let added = self.limited(|| self.runtime.add(&self.network, &self.parameters))?;
        let printed = self.entered(Command::Add);
        added.map_err(failure)?;
        serde_json::from_str(&printed).map_err(|e| Failure::suite("read a result again", e))
    }

    /// Runs ADD of a chain whose last plugin fails.
    pub(super) fn add_failing(&self) -> Result<(), Failure> {
        let added = self.limited(|| self.runtime.add(&self.network, &self.parameters))?;
        self.entered(Command::Add);
        match added {
            Err(Error::Plugin { plugin, .. }) if plugin == self.next.name() => Ok(()),
            Err(e) => Err(failure(e)),
            Ok(_) => Err(Failure::suite("make the last plugin fail", "it did not")),
        }
    }

    pub(super) fn del(&self) -> Result<(), Failure> {
        let ended = self.limited(|| self.runtime.del(&self.network, &self.parameters))?;
        self.done(Command::Del, ended)
    }

    pub(super) fn check(&self) -> Result<(), Failure> {
        let ended = self.limited(|| self.runtime.check(&self.network, &self.parameters))?;
        self.done(Command::Check, ended.map(drop))
    }

    pub(super) fn status(&self) -> Result<(), Failure> {
        let ended = self.limited(|| self.runtime.status(&self.network))?;
        self.done(Command::Status, ended.map(drop))
    }

    /// GC with the container as the only valid attachment.
    pub(super) fn gc(&self) -> Result<(), Failure> {
        let valid = (
            self.attachment.container().to_owned(),
            self.context.profile().ifname.clone(),
        );
        let ended = self.limited(|| self.runtime.gc(&self.network, &[valid]))?;
        self.done(
            Command::Gc,
            ended.map(drop).map_err(|errors| {
                let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
                Error::Refused(texts.join("; "))
            }),
        )
    }

    /// No plugin may take longer than the suite allows one.
    fn limited<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Failure> {
        let ended = limited(self.context.limit(), work);
        ended.ok_or_else(|| Failure::suite("run a chain", "its thread panicked"))
    }

    fn done(&self, command: Command, ended: Result<(), Error>) -> Result<(), Failure> {
        self.entered(command);
        ended.map_err(failure)
    }

    /// Puts what was run into the journal: what the plugin under test printed.
    fn entered(&self, command: Command) -> String {
        let events =
            std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner));
        let name = &self.context.profile().name;
        let tested = events
            .iter()
            .find(|event| event.plugin == *name && event.command == command);
        let printed = tested.map(|event| event.stdout.clone()).unwrap_or_default();
        for event in events {
            self.context.enter(Entry::Run(Box::new(entry(event))));
        }
        printed
    }
}

fn network(context: &Context<'_>, plugins: &[Value]) -> Result<Network, Failure> {
    let list = json!({"cniVersion": context.version().as_str(), "name": "conformance", "plugins": plugins});
    Network::parse(list.to_string().as_bytes()).map_err(|e| Failure::suite("read a network", e))
}

/// The doubles do as they should and the lists are good, so a failure is the plugin's doing.
fn failure(e: Error) -> Failure {
    match e {
        Error::Config(_) | Error::Cache { .. } => Failure::suite("run a chain", e),
        Error::Plugin { .. } | Error::Refused(_) => Failure::mismatch("a chain that works", e),
    }
}

fn entry(event: Event) -> RunEntry {
    let is_ours = |name: &str| name.starts_with("CNI_");
    let environment = event.environment.iter().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    });
    RunEntry {
        program: event.program,
        environment: environment.filter(|(name, _)| is_ours(name)).collect(),
        stdin: event.stdin,
        run: Run {
            stdout: event.stdout.into_bytes(),
            stderr: event.stderr.into_bytes(),
            status: event.status,
            duration: event.duration,
        },
        changes: None,
    }
}
