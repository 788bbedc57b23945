//! `cnictl gc`: a DEL for each attachment whose namespace is gone, then a GC with the others as the
//! valid attachments.
//!
//! cnitool's gc ends every attachment in its cache, also living ones; `--all` does that. Without
//! it, nothing that may be alive is freed: a GC frees what is *not* in its list, so the list has
//! all holders of addresses that are not known to be dead, including the attachments of runtimes
//! with another cache.

use crate::{
    arguments::{Arguments, Extent},
    attachments::NetnsState,
    failure::Failure,
    networks, reservations,
    screen::Screen,
    trace,
};
use cni_runtime::{Asked, CacheEntry, CachedAttachment, Error, Network, Runtime};

/// Container id and interface.
type Key = (String, String);

/// The attachments to end, and those to keep.
struct Plan {
    stale: Vec<CachedAttachment>,
    valid: Vec<Key>,
}

/// The entries of the cache for one network.
#[derive(Default)]
struct Known {
    attachments: Vec<CachedAttachment>,
    /// The attachments whose files cannot be parsed. They may be alive.
    damaged: Vec<Key>,
}

impl Known {
    fn of(arguments: &Arguments, network: &str) -> Result<Self, Failure> {
        let mut known = Self::default();
        for CacheEntry {
            path, attachment, ..
        } in networks::cache(&arguments.paths).entries()?
        {
            match attachment {
                Ok(attachment) if attachment.network.as_str() == network => {
                    known.attachments.push(attachment)
                }
                Ok(_) => {}
                Err(_) => known.damaged.extend(
                    path.file_name()
                        .and_then(|name| key_of_file(name.to_str()?, network)),
                ),
            }
        }
        Ok(known)
    }
}

/// Returns the attachment in the name of a cached file: `<network>-<container id>-<interface>`.
fn key_of_file(file: &str, network: &str) -> Option<Key> {
    let (id, if_name) = file
        .strip_prefix(network)?
        .strip_prefix('-')?
        .rsplit_once('-')?;
    Some((id.to_owned(), if_name.to_owned()))
}

impl Plan {
    fn of(
        arguments: &Arguments,
        network: &Network,
        known: Known,
        extent: Extent,
    ) -> Result<Self, Failure> {
        if extent == Extent::All {
            return Ok(Self {
                stale: known.attachments,
                valid: Vec::new(),
            });
        }
        let is_stale = |attachment: &CachedAttachment| {
            NetnsState::of_attachment(attachment) == NetnsState::Stale
        };
        let (stale, living): (Vec<_>, Vec<_>) = known.attachments.into_iter().partition(is_stale);
        let ended: Vec<_> = stale.iter().map(key).collect();
        let holders = reservations::possible_holders(network, &arguments.paths.root)?;
        let mut valid: Vec<_> = living.iter().map(key).chain(known.damaged).collect();
        valid.extend(holders.into_iter().filter(|holder| !ended.contains(holder)));
        valid.sort();
        valid.dedup();
        Ok(Self { stale, valid })
    }

    fn describe(&self) -> String {
        let line = |verb, (id, name): Key| format!("{verb}  {id} {name}\n");
        let ended = self.stale.iter().map(|stale| line("end ", key(stale)));
        ended
            .chain(self.valid.iter().map(|kept| line("keep", kept.clone())))
            .collect()
    }

    fn as_json(&self, dry_run: bool) -> serde_json::Value {
        let name = |(id, if_name): Key| serde_json::json!({ "containerId": id, "ifName": if_name });
        serde_json::json!({
            "dryRun": dry_run,
            "stale": self.stale.iter().map(key).map(name).collect::<Vec<_>>(),
            "valid": self.valid.iter().cloned().map(name).collect::<Vec<_>>(),
        })
    }
}

fn key(attachment: &CachedAttachment) -> Key {
    let parameters = &attachment.parameters;
    (
        parameters.container_id.to_string(),
        parameters.if_name.to_string(),
    )
}

/// Cleans up one network. Goes on after an error. If no file has the network any more, as after a
/// change of the network plugin, the cached configuration of an attachment is used.
///
/// # Errors
/// Fails with the errors of all plugins that fail.
pub(crate) fn gc(
    arguments: &Arguments,
    name: &str,
    extent: Extent,
    dry_run: bool,
    screen: &Screen,
) -> Result<(), Failure> {
    let known = Known::of(arguments, name)?;
    let network =
        networks::find_or_cached(&arguments.paths, name, known.attachments.first(), screen)?;
    networks::refuse_self_delegation(&network)?;
    let plan = Plan::of(arguments, &network, known, extent)?;
    if !screen.is_json() && (dry_run || screen.is_interactive()) {
        screen.print(&plan.describe());
    }
    let outcome = if dry_run {
        Ok(())
    } else {
        run_plan(arguments, &network, &plan, screen)
    };
    // Only one document is printed: after a failure, that with the errors.
    if screen.is_json() && outcome.is_ok() {
        screen.json(&plan.as_json(dry_run));
    }
    outcome
}

fn run_plan(
    arguments: &Arguments,
    network: &Network,
    plan: &Plan,
    screen: &Screen,
) -> Result<(), Failure> {
    let runtime = trace::runtime(arguments);
    let mut errors: Vec<Error> = plan
        .stale
        .iter()
        .filter_map(|stale| end(&runtime, network, stale).err())
        .collect();
    match runtime.gc(network, &plan.valid) {
        Ok(Asked::All) => {}
        Ok(Asked::None(why)) => screen.message(&format!("GC was not sent: {why}")),
        Err(more) => errors.extend(more),
    }
    Failure::join(errors)
}

/// Sends DEL with the cached configuration of the attachment.
fn end(runtime: &Runtime, network: &Network, stale: &CachedAttachment) -> Result<(), Error> {
    let cached = Network::parse(&stale.config);
    runtime.del(cached.as_ref().unwrap_or(network), &stale.parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_damaged_file_names_its_attachment() {
        let key = |file| key_of_file(file, "n").map(|(id, if_name)| format!("{id} {if_name}"));
        assert_eq!(key("n-c-1-eth0").as_deref(), Some("c-1 eth0"));
        assert_eq!(key("nn-c1-eth0"), None);
        assert_eq!(key("n"), None);
    }
}
