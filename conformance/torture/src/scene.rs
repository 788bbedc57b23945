//! A host on which one attachment is tortured, beside another one that must stay as it is.

use crate::{
    request::{Request, ToolError},
    subject::{NETWORK, Network, Subject, Way},
};
use cni_types::{Call, Command, Environment, Stop};
use conformance::suite::matches;
use host_local::{HostLocal, Inspection, Owner, Reservation};
use sandbox::{self, Netns};
use sandbox::{Run, State};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The container whose attachment is tortured.
const CONTAINER: &str = "tortured";
/// The container whose attachment must stay as it is.
const NEIGHBOUR: &str = "neighbour";

/// The folder with state, and in it the default `dataDir` of host-local.
const STATE: &str = "/var/lib/cni";
const DATA: &str = "/var/lib/cni/networks";

/// The folders in which host-local keeps one file for each network, which may be deleted at any
/// time.
const DERIVED: [&str; 2] = [".index", ".origin"];

/// The files of host-local that every ADD changes and that belong to no attachment: the place at
/// which the range goes on, and the lock.
const VOLATILE: [&str; 2] = [
    "file: * /var/lib/cni/networks/*/last_reserved_ip.*",
    "file: * /var/lib/cni/networks/*/lock *",
];

/// The host that the calling thread has become.
pub(crate) struct Scene<'s> {
    plugins: &'s Path,
    subject: &'s Subject,
    pod: Netns,
    base: State,
    origins: BTreeSet<String>,
}

impl<'s> Scene<'s> {
    /// Makes the calling thread a host, with the neighbour's attachment if the network is
    /// inhabited.
    pub(crate) fn create(plugins: &'s Path, subject: &'s Subject) -> Result<Self, ToolError> {
        sandbox::become_host().map_err(|e| e.to_string())?;
        if subject.network == Network::Inhabited {
            let neighbour = Netns::create(NEIGHBOUR).map_err(|e| e.to_string())?;
            let request = Request::to_subject(plugins, subject, Command::Add, NEIGHBOUR)?;
            succeeded(
                request.in_namespace(neighbour.path()).run()?,
                "the neighbour's ADD",
            )?;
        }
        let pod = Netns::create(CONTAINER).map_err(|e| e.to_string())?;
        let base = state()?;
        Ok(Self {
            plugins,
            subject,
            pod,
            base,
            origins: origins(subject)?,
        })
    }

    /// Gives the container a new namespace.
    pub(crate) fn renew(&mut self) -> Result<(), ToolError> {
        self.pod.remove().map_err(|e| e.to_string())?;
        self.pod = Netns::create(CONTAINER).map_err(|e| e.to_string())?;
        Ok(())
    }

    /// A request about the container's attachment, with all that the operation wants.
    pub(crate) fn request(
        &self,
        command: Command,
        result: Option<&Value>,
    ) -> Result<Request, ToolError> {
        let request = Request::to_subject(self.plugins, self.subject, command, CONTAINER)?;
        Ok(match command {
            Command::Gc => self.gc(request),
            _ => request.in_namespace(self.pod.path()).after(result),
        })
    }

    fn gc(&self, request: Request) -> Request {
        match self.subject.network {
            Network::Inhabited => request.keeping(&[(NEIGHBOUR.to_owned(), self.subject.if_name)]),
            Network::New => request.keeping(&[]),
        }
    }

    /// Removes what is left of the attachment, undisturbed.
    pub(crate) fn remove(
        &self,
        way: Way,
        result: Option<&Value>,
    ) -> Result<Option<Run>, ToolError> {
        match way {
            Way::Del => self.request(Command::Del, result)?,
            Way::Gc => self.request(Command::Gc, None)?,
            Way::DelWithoutNetns => {
                Request::to_subject(self.plugins, self.subject, Command::Del, CONTAINER)?
                    .after(result)
            }
        }
        .run()
    }

    /// The lines of the state that came, with a plus sign, and those that went, with a minus sign,
    /// since the scene was made.
    pub(crate) fn changes(&self) -> Result<Vec<String>, ToolError> {
        self.changes_since(&self.base)
    }

    /// The same, since that state.
    pub(crate) fn changes_since(&self, before: &State) -> Result<Vec<String>, ToolError> {
        let mut changes = changes_since(before)?;
        let origins = origins(self.subject)?;
        changes.extend(
            self.origins
                .difference(&origins)
                .map(|line| format!("- file: {line}")),
        );
        changes.extend(
            stray_files()
                .into_iter()
                .map(|path| format!("+ file: {}", path.display())),
        );
        Ok(changes)
    }

    /// True for a line that may come or go: it is the kernel's, or belongs to the network, and that
    /// is new.
    pub(crate) fn may_change(&self, change: &str) -> bool {
        let line = change.get(2..).unwrap_or_default();
        let fits = |patterns: &[&str]| patterns.iter().any(|pattern| matches(pattern, line));
        fits(self.subject.of_kernel)
            || self.subject.network == Network::New && fits(self.subject.of_network)
    }
}

/// The state of everything, now.
pub(crate) fn state() -> Result<State, ToolError> {
    State::read(&[PathBuf::from(STATE)]).map_err(|e| format!("the state cannot be read: {e:?}"))
}

/// The lines of the state that came or went since `before`, without those that belong to nobody.
pub(crate) fn changes_since(before: &State) -> Result<Vec<String>, ToolError> {
    let mut changes = state()?.changes_since(before);
    changes.retain(|change| {
        let line = change.get(2..).unwrap_or_default();
        !VOLATILE.iter().any(|pattern| matches(pattern, line))
    });
    Ok(changes)
}

/// The result of a run that must succeed for the tool to go on.
pub(crate) fn succeeded(run: Option<Run>, what: &str) -> Result<Run, ToolError> {
    match run {
        Some(run) if run.status.success() => Ok(run),
        Some(run) => Err(format!("{what} fails undisturbed: {}", run.summary())),
        None => Err(format!("{what} does not end, undisturbed")),
    }
}

/// Reads what host-local keeps about the neighbour's reservations besides the records, by which
/// they heal after a reboot: one line for each. Empty for a plugin that has none.
fn origins(subject: &Subject) -> Result<BTreeSet<String>, ToolError> {
    let config = Value::Object(subject.network_configuration()?)
        .to_string()
        .into_bytes();
    let call = Call::new(Environment::default(), config, Stop::never());
    let Ok(inspection) = call.and_then(|call| Inspection::of(&HostLocal::default(), &call)) else {
        return Ok(BTreeSet::new());
    };
    let is_neighbours = |reservation: &&Reservation| match &reservation.owner {
        Owner::Attachment { container_id, .. } => container_id == NEIGHBOUR,
        _ => false,
    };
    let origin = |reservation: &Reservation| {
        let Reservation {
            address,
            liveness,
            netns,
            ..
        } = reservation;
        format!("origin of {address}: {liveness:?}, {netns:?}")
    };
    Ok(inspection
        .reservations
        .iter()
        .filter(is_neighbours)
        .map(origin)
        .collect())
}

/// The files beside the one of the network in which host-local keeps what it can do without: a file
/// half written.
fn stray_files() -> Vec<PathBuf> {
    let folders = DERIVED.iter().map(|folder| Path::new(DATA).join(folder));
    let entries = folders
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| !path.ends_with(NETWORK))
        .collect()
}
