//! CHECK of every attachment that the cache knows and whose namespace lives.
//!
//! CHECK changes nothing (spec section 2), so many run at once. Each gets the configuration that
//! its ADD got, also if the file has been changed since: the question is what became of the
//! attachment.

use crate::{
    attachments::Life,
    failure::Failure,
    networks,
    places::Places,
    plugins::{self, PATIENCE},
    screen::Screen,
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

/// How many CHECKs run at once: each is mostly a wait for the kernel.
const AT_ONCE: usize = 8;

/// After this time no further CHECK begins. One takes a few milliseconds, so this is a node that
/// hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// What is known of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "state", content = "reason")]
pub(crate) enum Health {
    /// It is as ADD left it.
    Intact,
    /// A plugin found a difference.
    Changed(String),
    /// Nobody looked, or nobody could.
    Unseen(String),
}

/// One attachment whose namespace lives.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Surveyed {
    pub(crate) network: String,
    /// `namespace/name` of the Kubernetes pod, if the runtime passed it on in `CNI_ARGS`.
    pub(crate) pod: Option<String>,
    pub(crate) container_id: String,
    pub(crate) if_name: String,
    #[serde(flatten)]
    pub(crate) health: Health,
}

impl Surveyed {
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

    /// The attachment for people: `pod default/web, eth0`, or the container without a pod's name.
    pub(crate) fn label(&self) -> String {
        let whose = match &self.pod {
            Some(pod) => format!("pod {pod}"),
            None => format!("container {}", self.container_id),
        };
        format!("{whose}, {}", self.if_name)
    }
}

/// CHECKs the living attachments of one network, or of all; in the order of the cache. Those that
/// are not there any more when it is their turn are left out.
///
/// # Errors
/// Fails if the cache cannot be read.
pub(crate) fn survey(places: &Places, network: Option<&str>) -> Result<Vec<Surveyed>, Error> {
    let known = networks::cache(places).attachments()?;
    let is_wanted = |known: &CachedAttachment| {
        network.is_none_or(|wanted| known.network.as_str() == wanted)
            && Life::of_attachment(known) == Life::Alive
    };
    let living: Vec<_> = known.into_iter().filter(is_wanted).collect();
    let runtime = Runtime::new(&places.bin_dirs(), networks::cache(places)).with_patience(PATIENCE);
    let end = Instant::now() + LIMIT;
    let next = AtomicUsize::new(0);
    let seen = Mutex::new(Vec::new());
    let work = || {
        while let Some((number, attachment)) = take(&next, &living) {
            let health = if Instant::now() < end {
                health(&runtime, attachment)
            } else {
                Health::Unseen(format!("the time was up, {} seconds", LIMIT.as_secs()))
            };
            // A pod that ended meanwhile is no news.
            if Life::of_attachment(attachment) == Life::Alive {
                let surveyed = Surveyed::of(attachment, health);
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((number, surveyed));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(living.len()) {
            scope.spawn(work);
        }
    });
    let mut seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    seen.sort_by_key(|(number, _)| *number);
    Ok(seen.into_iter().map(|(_, surveyed)| surveyed).collect())
}

fn take<'a>(
    next: &AtomicUsize,
    living: &'a [CachedAttachment],
) -> Option<(usize, &'a CachedAttachment)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    living.get(number).map(|attachment| (number, attachment))
}

fn health(runtime: &Runtime, attachment: &CachedAttachment) -> Health {
    let network = match Network::parse(&attachment.config) {
        Ok(network) => network,
        Err(e) => return Health::Unseen(format!("its cached configuration: {e}")),
    };
    if let Some(kind) = plugins::own_delegate(&network) {
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

/// `cnictl check --all`: shows what became of each living attachment. Returns false if one is not
/// as ADD left it.
///
/// # Errors
/// Fails if the cache cannot be read, or if neither an attachment nor a file has the network.
pub(crate) fn check_all(
    places: &Places,
    network: Option<&str>,
    screen: &Screen,
) -> Result<bool, Failure> {
    let surveyed = survey(places, network)?;
    if let Some(name) = network.filter(|_| surveyed.is_empty()) {
        networks::find(places, name, screen)?;
    }
    let is_changed = |surveyed: &Surveyed| matches!(surveyed.health, Health::Changed(_));
    let changed = surveyed
        .iter()
        .filter(|surveyed| is_changed(surveyed))
        .count();
    if screen.is_json() {
        screen.json(&surveyed);
        return Ok(changed == 0);
    }
    for one in &surveyed {
        let what = match &one.health {
            Health::Intact => "as ADD left it".to_owned(),
            Health::Changed(why) => why.clone(),
            Health::Unseen(why) => format!("not seen: {why}"),
        };
        screen.print(&format!("{}: {}: {}\n", one.network, one.label(), what));
    }
    let intact = surveyed
        .iter()
        .filter(|one| one.health == Health::Intact)
        .count();
    let unseen = surveyed.len() - intact - changed;
    screen.complain(&format!(
        "{intact} as ADD left them, {changed} changed, {unseen} not seen"
    ));
    Ok(changed == 0)
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
        let label = |parameters| Surveyed::of(&attachment(parameters), Health::Intact).label();
        assert_eq!(label(plain.clone()), "container c1, eth0");
        let named = plain
            .with_arg("K8S_POD_NAMESPACE", "default")
            .with_arg("K8S_POD_NAME", "web");
        assert_eq!(label(named), "pod default/web, eth0");
    }
}
