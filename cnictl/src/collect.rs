//! `cnictl gc`: a DEL for attachments whose namespace is gone, then a GC with those that are left.
//!
//! cnitool's gc ends every attachment that its cache knows, the living too; `--all` does that.
//! Without it nothing goes that may live: a GC frees what is *not* in its list, so whatever holds
//! an address and is not known to be dead is put into the list, also what another runtime made
//! whose cache is elsewhere.

use crate::{
    arguments::{Arguments, Extent},
    attachments::Life,
    failure::Failure,
    networks, reservations,
    screen::Screen,
    trace,
};
use cni_runtime::{Asked, CacheEntry, CachedAttachment, Error, Network, Runtime};

/// Container id and interface.
type Key = (String, String);

/// Who is to be ended, and who is to stay.
struct Plan {
    stale: Vec<CachedAttachment>,
    valid: Vec<Key>,
}

/// What the cache knows of one network.
#[derive(Default)]
struct Known {
    attachments: Vec<CachedAttachment>,
    /// Whose files cannot be understood. They may live.
    damaged: Vec<Key>,
}

impl Known {
    fn of(arguments: &Arguments, network: &str) -> Result<Self, Failure> {
        let mut known = Self::default();
        for CacheEntry {
            path, attachment, ..
        } in networks::cache(&arguments.places).entries()?
        {
            match attachment {
                Ok(attachment) if attachment.network.as_str() == network => {
                    known.attachments.push(attachment)
                }
                Ok(_) => {}
                Err(_) => known.damaged.extend(
                    path.file_name()
                        .and_then(|name| owner(name.to_str()?, network)),
                ),
            }
        }
        Ok(known)
    }
}

/// The attachment that a file of the cache is named after: `<network>-<container id>-<interface>`.
fn owner(file: &str, network: &str) -> Option<Key> {
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
        let is_stale =
            |attachment: &CachedAttachment| Life::of_attachment(attachment) == Life::Stale;
        let (stale, living): (Vec<_>, Vec<_>) = known.attachments.into_iter().partition(is_stale);
        let ended: Vec<_> = stale.iter().map(key).collect();
        let holders = reservations::possible_holders(network, &arguments.places.root)?;
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

/// Cleans up one network. Goes on after an error. Where no file has the network any more, as after
/// a change of the network plugin, its attachments know it.
///
/// # Errors
/// Every plugin's that fails.
pub(crate) fn gc(
    arguments: &Arguments,
    name: &str,
    extent: Extent,
    dry_run: bool,
    screen: &Screen,
) -> Result<(), Failure> {
    let known = Known::of(arguments, name)?;
    let network =
        networks::find_or_remember(&arguments.places, name, known.attachments.first(), screen)?;
    networks::refuse_own_delegate(&network)?;
    let plan = Plan::of(arguments, &network, known, extent)?;
    if !screen.is_json() && (dry_run || screen.is_for_a_person()) {
        screen.print(&plan.describe());
    }
    let outcome = if dry_run {
        Ok(())
    } else {
        carry_out(arguments, &network, &plan, screen)
    };
    // One document: where something fails it is the one with the errors.
    if screen.is_json() && outcome.is_ok() {
        screen.json(&plan.as_json(dry_run));
    }
    outcome
}

fn carry_out(
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
        Ok(Asked::None(why)) => screen.complain(&format!("no plugin was asked for GC: {why}")),
        Err(more) => errors.extend(more),
    }
    Failure::join(errors)
}

/// DEL with the configuration that the attachment was made with.
fn end(runtime: &Runtime, network: &Network, stale: &CachedAttachment) -> Result<(), Error> {
    let made_with = Network::parse(&stale.config);
    runtime.del(made_with.as_ref().unwrap_or(network), &stale.parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_of_the_cache_tells_its_owner_by_its_name() {
        let owner = |file| owner(file, "n").map(|(id, if_name)| format!("{id} {if_name}"));
        assert_eq!(owner("n-c-1-eth0").as_deref(), Some("c-1 eth0"));
        assert_eq!(owner("nn-c1-eth0"), None);
        assert_eq!(owner("n"), None);
    }
}
