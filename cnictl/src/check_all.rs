//! CHECK of every attachment in the cache whose namespace still exists.
//!
//! CHECK changes nothing (spec section 2), so many run at once. Each gets the configuration that
//! the cache recorded at the ADD, even if the file has changed since: an attachment is compared
//! with what ADD left, not with what an ADD would make today.

use crate::{
    attachments::NetnsState, failure::Failure, networks, paths::Paths, plugins::QUERY_TIMEOUT,
    required_plugins, screen::Screen,
};
use cni_runtime::{Asked, CachedAttachment, Error, Network, Runtime};
use cni_types::Code;
use serde::Serialize;
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The number of CHECKs that run at once. Each mostly waits for the kernel.
const MAX_PARALLEL: usize = 8;

/// The time after which no further CHECK begins. A CHECK takes a few milliseconds: if this limit is
/// reached, plugins hang.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The outcome of a CHECK.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "reason")]
pub(crate) enum Health {
    /// The attachment is as ADD left it.
    Intact,
    /// A plugin found a difference.
    Changed(String),
    /// The attachment was not checked, for this reason.
    Unseen(String),
}

/// An attachment whose namespace exists, and the outcome of its CHECK.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CheckedAttachment {
    pub(crate) network: String,
    /// `namespace/name` of the Kubernetes pod, if the runtime passed it on in `CNI_ARGS`.
    pub(crate) pod: Option<String>,
    pub(crate) container_id: String,
    pub(crate) if_name: String,
    #[serde(flatten)]
    pub(crate) health: Health,
}

impl CheckedAttachment {
    /// Joins an attachment and its outcome.
    pub(crate) fn of(attachment: &CachedAttachment, health: Health) -> Self {
        let CachedAttachment {
            network,
            parameters,
            ..
        } = attachment;
        let argument = |wanted: &str| {
            let found = parameters.args.iter().find(|(key, _)| key == wanted);
            found
                .map(|(_, value)| value.as_str())
                .filter(|value| !value.is_empty())
        };
        let names = argument("K8S_POD_NAMESPACE").zip(argument("K8S_POD_NAME"));
        Self {
            network: network.to_string(),
            pod: names.map(|(namespace, name)| format!("{namespace}/{name}")),
            container_id: parameters.container_id.to_string(),
            if_name: parameters.if_name.to_string(),
            health,
        }
    }

    /// Returns the attachment's name for people: `pod default/web, eth0`, or the container's id if
    /// the pod's name is unknown.
    pub(crate) fn label(&self) -> String {
        let whose = match &self.pod {
            Some(pod) => format!("pod {pod}"),
            None => format!("container {}", self.container_id),
        };
        format!("{whose}, {}", self.if_name)
    }
}

/// CHECKs the living attachments of one network, or of all. The result is in the order of the
/// cache; an attachment that ends in the meantime is left out.
///
/// # Errors
/// Fails if the cache cannot be read.
pub(crate) fn check_living(
    paths: &Paths,
    network: Option<&str>,
) -> Result<Vec<CheckedAttachment>, Error> {
    let mut attachments = networks::cache(paths).attachments()?;
    attachments.retain(|attachment| {
        network.is_none_or(|wanted| attachment.network.as_str() == wanted)
            && NetnsState::of_attachment(attachment) == NetnsState::Alive
    });
    let runtime =
        Runtime::new(&paths.bin_dirs(), networks::cache(paths)).with_timeout(QUERY_TIMEOUT);
    Ok(check_in_parallel(&runtime, &attachments))
}

/// CHECKs the attachments and returns the outcomes in their order, without those of attachments
/// that have ended in the meantime.
fn check_in_parallel(runtime: &Runtime, living: &[CachedAttachment]) -> Vec<CheckedAttachment> {
    let end = Instant::now() + TIME_LIMIT;
    let next = AtomicUsize::new(0);
    let checked = Mutex::new(Vec::new());
    let work = || {
        while let Some((number, attachment)) = take_next(&next, living) {
            let health = if Instant::now() < end {
                health(runtime, attachment)
            } else {
                Health::Unseen(format!("not started within {} s", TIME_LIMIT.as_secs()))
            };
            // A pod that ended during its CHECK makes the CHECK fail, which is not a finding.
            if NetnsState::of_attachment(attachment) == NetnsState::Alive {
                let outcome = CheckedAttachment::of(attachment, health);
                checked
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((number, outcome));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..MAX_PARALLEL.min(living.len()) {
            scope.spawn(work);
        }
    });
    let mut checked = checked.into_inner().unwrap_or_else(PoisonError::into_inner);
    checked.sort_by_key(|(number, _)| *number);
    checked.into_iter().map(|(_, outcome)| outcome).collect()
}

/// Returns the attachment that no thread has taken yet, with its number; `None` after the last.
fn take_next<'a>(
    next: &AtomicUsize,
    living: &'a [CachedAttachment],
) -> Option<(usize, &'a CachedAttachment)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    living.get(number).map(|attachment| (number, attachment))
}

/// Runs the CHECK of one attachment. Only the error of a plugin that ran it is a difference: with
/// `TRY_AGAIN` and `DELEGATE` the plugin, or its delegate, did not come to an answer.
fn health(runtime: &Runtime, attachment: &CachedAttachment) -> Health {
    let network = match Network::parse(&attachment.config) {
        Ok(network) => network,
        Err(e) => return Health::Unseen(format!("cached configuration: {e}")),
    };
    if let Some(kind) = required_plugins::self_delegating(&network) {
        return Health::Unseen(format!("ipam.type of {kind} is {kind} itself"));
    }
    match runtime.check(&network, &attachment.parameters) {
        Ok(Asked::All) => Health::Intact,
        Ok(Asked::None(why)) => Health::Unseen(why.to_owned()),
        Err(e) => match e.plugin_error().map(|error| error.code) {
            None | Some(Code::TRY_AGAIN | Code::DELEGATE) => Health::Unseen(e.to_string()),
            Some(_) => Health::Changed(e.to_string()),
        },
    }
}

/// Carries out `cnictl check --all`: shows the outcome for each living attachment. Returns false if
/// a plugin found a difference; an attachment that could not be checked does not count.
///
/// # Errors
/// Fails if the cache cannot be read, or if neither a living attachment nor a file has the network.
pub(crate) fn check_all(
    paths: &Paths,
    network: Option<&str>,
    screen: &Screen,
) -> Result<bool, Failure> {
    let checked = check_living(paths, network)?;
    if let Some(name) = network.filter(|_| checked.is_empty()) {
        networks::find(paths, name, screen)?;
    }
    if screen.is_json() {
        screen.json(&checked);
    } else {
        show(&checked, screen);
    }
    let is_changed = |one: &CheckedAttachment| matches!(one.health, Health::Changed(_));
    Ok(!checked.iter().any(is_changed))
}

/// Shows a line for each outcome, and the number of each kind.
fn show(checked: &[CheckedAttachment], screen: &Screen) {
    let mut intact = 0;
    let mut changed = 0;
    let mut unseen = 0;
    for one in checked {
        let (count, outcome) = match &one.health {
            Health::Intact => (&mut intact, "as ADD left it".to_owned()),
            Health::Changed(why) => (&mut changed, why.clone()),
            Health::Unseen(why) => (&mut unseen, format!("not checked: {why}")),
        };
        *count += 1;
        screen.print(&format!("{}: {}: {outcome}\n", one.network, one.label()));
    }
    screen.message(&format!(
        "{intact} as ADD left them, {changed} changed, {unseen} not checked"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_runtime::Parameters;
    use cni_types::{Json, NetworkName};

    #[test]
    fn a_pod_is_called_by_its_name_if_the_runtime_passed_it_on() {
        let attachment = |parameters| CachedAttachment {
            network: NetworkName::parse("n").unwrap(),
            config: Vec::new(),
            parameters,
            result: Json::Null,
        };
        let plain = Parameters::new("c1", "eth0", "/run/netns/a").unwrap();
        let label =
            |parameters| CheckedAttachment::of(&attachment(parameters), Health::Intact).label();
        assert_eq!(label(plain.clone()), "container c1, eth0");
        let named = plain
            .with_arg("K8S_POD_NAMESPACE", "default")
            .with_arg("K8S_POD_NAME", "web");
        assert_eq!(label(named), "pod default/web, eth0");
    }
}
