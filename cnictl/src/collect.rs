//! `cnictl gc`: a DEL for attachments whose namespace is gone, then a GC with those that are left.
//!
//! cnitool's gc ends every attachment that its cache knows, the living too; `--all` does that. Without it nothing goes
//! that may live: a GC frees what is *not* in its list, so whatever holds an address and is not known to be dead is put
//! into the list, also what another runtime made whose cache is elsewhere.

use crate::{
    arguments::{Arguments, Extent},
    attachments::Life,
    failure::Failure,
    networks, reservations,
    screen::Screen,
    trace,
};
use conformance::runtime::{Asked, CachedAttachment, Error, Network, Runtime};

/// Who is to be ended, and who is to stay.
struct Plan {
    stale: Vec<CachedAttachment>,
    valid: Vec<(String, String)>,
}

impl Plan {
    fn of(arguments: &Arguments, network: &Network, extent: Extent) -> Result<Self, Failure> {
        let known = networks::cache(&arguments.places).attachments()?;
        let (stale, living): (Vec<_>, Vec<_>) = known
            .into_iter()
            .filter(|attachment| attachment.network == network.name)
            .partition(|attachment| extent == Extent::All || Life::of_attachment(attachment) == Life::Stale);
        let mut valid: Vec<_> = living.iter().map(key).collect();
        if extent != Extent::All {
            let ended: Vec<_> = stale.iter().map(key).collect();
            let holders = reservations::possible_holders(network, &arguments.places.root)?;
            valid.extend(holders.into_iter().filter(|holder| !ended.contains(holder)));
        }
        valid.sort();
        valid.dedup();
        Ok(Self { stale, valid })
    }

    fn show(&self, extent: Extent, screen: &Screen) {
        let names = |keys: &mut dyn Iterator<Item = (String, String)>| -> Vec<serde_json::Value> {
            keys.map(|(id, if_name)| serde_json::json!({ "containerID": id, "ifname": if_name })).collect()
        };
        if screen.is_json() {
            screen.json(&serde_json::json!({
                "dryRun": extent == Extent::DryRun,
                "stale": names(&mut self.stale.iter().map(key)),
                "valid": names(&mut self.valid.iter().cloned()),
            }));
        } else if extent == Extent::DryRun || screen.is_for_a_person() {
            let mut text = String::new();
            self.stale.iter().map(key).for_each(|(id, name)| text += &format!("end   {id} {name}\n"));
            self.valid.iter().for_each(|(id, name)| text += &format!("keep  {id} {name}\n"));
            screen.print(&text);
        }
    }
}

fn key(attachment: &CachedAttachment) -> (String, String) {
    let parameters = &attachment.parameters;
    (parameters.container_id.to_string(), parameters.if_name.to_string())
}

/// Cleans up one network. Goes on after an error.
///
/// # Errors
/// Every plugin's that fails.
pub(crate) fn gc(arguments: &Arguments, name: &str, extent: Extent, screen: &Screen) -> Result<(), Failure> {
    let network = networks::find(&arguments.places, name, screen)?;
    let plan = Plan::of(arguments, &network, extent)?;
    plan.show(extent, screen);
    if extent == Extent::DryRun {
        return Ok(());
    }
    let runtime = trace::runtime(arguments);
    let mut errors: Vec<Error> =
        plan.stale.iter().filter_map(|stale| end(&runtime, &network, stale).err()).collect();
    match runtime.gc(&network, &plan.valid) {
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
