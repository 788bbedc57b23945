//! An attachment of a container to the network under test, and the requests that concern it.

use super::{
    context::Context, failure::Failure, fixture, ids::CHECK_AFTER_ADD, kind::Kind, request::Request,
};
use cni_net::{Link, LinkKind, Rtnl};
use cni_types::{AddResult, Command};
use sandbox::{Netns, Run, decode};
use serde_json::Value;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The time that the kernel may take to remove a namespace. One that a process holds open stays.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A container with a network namespace, to be added and deleted. Requests are as a runtime makes
/// them: once ADD has succeeded, its result goes as prevResult with CHECK and DEL, in the versions
/// that want it.
#[derive(Debug)]
pub struct Attachment<'c> {
    context: &'c Context<'c>,
    container: String,
    netns: Netns,
    /// The result of the plugin before a chained one, whose interface is in the container.
    fixture: Option<Value>,
    result: Mutex<Option<Value>>,
}

impl Context<'_> {
    /// A container with a namespace, and for a chained plugin with an interface; not yet added.
    ///
    /// # Errors
    /// Fails if the namespace or the interface cannot be made.
    pub fn attachment(&self, container: &str) -> Result<Attachment<'_>, Failure> {
        let netns = self.netns(container)?;
        let ifname = &self.profile().ifname;
        let fixture = match self.profile().kind {
            Kind::Chained => Some(fixture::attach(&netns, container, ifname, self.version())?),
            Kind::Interface | Kind::Ipam => None,
        };
        Ok(Attachment {
            context: self,
            container: container.to_owned(),
            netns,
            fixture,
            result: Mutex::default(),
        })
    }
}

impl<'c> Attachment<'c> {
    /// `CNI_CONTAINERID`.
    #[must_use]
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The container's namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// The prevResult that a chained plugin gets with ADD.
    #[must_use]
    pub fn fixture(&self) -> Option<&Value> {
        self.fixture.as_ref()
    }

    /// The result of the last successful ADD made with [`Attachment::add`].
    #[must_use]
    pub fn last_result(&self) -> Option<Value> {
        self.result
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A request as a runtime makes it, to be sent as it is or made wrong first.
    pub fn request(&self, command: Command) -> Request<'c> {
        let request = self.context.request(command);
        if matches!(command, Command::Gc | Command::Status | Command::Version) {
            return request;
        }
        let request = request
            .env("CNI_CONTAINERID", &self.container)
            .env("CNI_NETNS", self.netns.path())
            .env("CNI_IFNAME", &self.context.profile().ifname);
        let prev_result = match command {
            Command::Add => self.fixture.clone(),
            // Up to 0.3.1 there was no prevResult with DEL.
            _ => self
                .last_result()
                .filter(|_| self.context.version().has_check()),
        };
        match prev_result {
            Some(result) => request.key("prevResult", result),
            None => request,
        }
    }

    /// Runs ADD, which must succeed, and remembers its result.
    ///
    /// # Errors
    /// Fails if ADD fails, or prints something else than one JSON object.
    pub fn add(&self) -> Result<Value, Failure> {
        let result = self.request(Command::Add).run()?.result()?;
        self.remember(result.clone());
        Ok(result)
    }

    /// Remembers the result of an ADD that was made in another way than with [`Attachment::add`].
    pub fn remember(&self, result: Value) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    /// As [`Attachment::add`], with the result as values.
    ///
    /// # Errors
    /// Fails as [`Attachment::add`] does, or if the result cannot be decoded.
    pub fn add_decoded(&self) -> Result<AddResult, Failure> {
        Ok(decode(&self.add()?)?)
    }

    /// Runs DEL, which must succeed.
    ///
    /// # Errors
    /// Fails if it fails.
    pub fn del(&self) -> Result<Run, Failure> {
        let run = self.request(Command::Del).run()?;
        run.succeeded()?;
        Ok(run)
    }

    /// Runs CHECK, whatever it says.
    ///
    /// # Errors
    /// Fails if it cannot be run.
    pub fn check(&self) -> Result<Run, Failure> {
        self.request(Command::Check).run()
    }

    /// Runs CHECK for a case about what CHECK says later: it must succeed for that.
    ///
    /// # Errors
    /// Skips the case if it fails: another case is about that.
    pub fn check_succeeds(&self) -> Result<(), Failure> {
        let run = self.check()?;
        if run.status.success() {
            return Ok(());
        }
        Err(Failure::skip(format!(
            "CHECK fails right after ADD: {CHECK_AFTER_ADD} tells"
        )))
    }

    /// Takes the namespace away, as a runtime does which is in a hurry, and waits until the kernel
    /// has removed the pairs that had one end in it: it does so at its leisure.
    ///
    /// # Errors
    /// Fails if the kernel refuses.
    pub fn remove_netns(&self) -> Result<(), Failure> {
        self.context.step(format!(
            "the namespace {} is taken away",
            self.netns.path().display()
        ));
        let inside = self.netns.run(|| Rtnl::open()?.links())??;
        let mut host = Rtnl::open()?;
        let is_peer = |link: &Link| {
            link.kind == LinkKind::Veth
                && inside.iter().any(|end| {
                    end.peer_index == Some(link.index) && link.peer_index == Some(end.index)
                })
        };
        let peers: Vec<u32> = host
            .links()?
            .iter()
            .filter(|link| is_peer(link))
            .map(|link| link.index)
            .collect();
        self.netns.remove()?;
        let deadline = Instant::now() + TIMEOUT;
        while Instant::now() < deadline
            && host.links()?.iter().any(|link| peers.contains(&link.index))
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}
