//! STATUS: could an ADD succeed now? Asks, and changes nothing.
//!
//! It fails for what keeps every ADD from working, and for nothing else (spec section 4): pods of a
//! node that is not ready are moved elsewhere. What only delays packets is a line on stderr.

use crate::{
    NAME,
    config::{Config, Gateway},
    forwarding::held_back,
    host::find_bridge,
    vlan,
};
use cni_attachment::{
    interface::no_forwarding,
    ipam,
    netfilter::{mac_check, masquerade::Masquerade},
};
use cni_net::{Family, Rtnl, Sysctl, require_capabilities};
use cni_types::{Call, Cidr, Code, Error, Json, log};
use serde::Deserialize;

pub(crate) fn status(call: &Call) -> Result<(), Error> {
    let config = Config::of(call)?;
    let unavailable = |e: Error| Error {
        code: Code::UNAVAILABLE,
        ..e
    };
    require_host(call, &config).map_err(unavailable)?;
    ipam::status(call, config.ipam())
}

fn require_host(call: &Call, config: &Config) -> Result<(), Error> {
    require_capabilities()?;
    if let Some(bridge) = find_bridge(&mut Rtnl::open()?, config)? {
        vlan::require_support(&bridge, config)?;
        if let Some(note) = held_back(&bridge) {
            log::warn(NAME, note);
        }
    }
    require_forwarding(call, config)?;
    if config.spoof_check {
        mac_check::require()?;
    }
    match config.masquerade {
        Some(choice) => Masquerade::new(NAME, call).require(choice),
        None => Ok(()),
    }
}

/// Forwarding is on, or can be switched on, for every family of which IPAM is sure to give an
/// address. If the configuration names none, it may be either.
fn require_forwarding(call: &Call, config: &Config) -> Result<(), Error> {
    if config.gateway == Gateway::No {
        return Ok(());
    }
    let refused = |family: &Family| {
        let sysctl = Sysctl::forwarding(*family);
        sysctl.require("1").map_err(|e| no_forwarding(&sysctl, &e))
    };
    let named = named_families(call)?;
    if named.is_empty() {
        return refused(&Family::V4).or_else(|e| refused(&Family::V6).map_err(|_| e));
    }
    named.iter().try_for_each(refused)
}

/// The families of the networks that `ipam` names, under the keys of host-local and static.
fn named_families(call: &Call) -> Result<Vec<Family>, Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Wire {
        ipam: Option<Json>,
    }
    let mut families = Vec::new();
    let Wire { ipam } = call.config()?;
    if let Some(ipam) = ipam {
        collect_families(&ipam, &mut families);
    }
    Ok(families)
}

fn collect_families(json: &Json, families: &mut Vec<Family>) {
    match json {
        Json::Array(items) => items
            .iter()
            .for_each(|item| collect_families(item, families)),
        Json::Object(members) => {
            for (key, value) in members {
                let names_network = ["subnet", "address"]
                    .iter()
                    .any(|k| key.eq_ignore_ascii_case(k));
                match value {
                    Json::String(text) if names_network => {
                        families.extend(text.parse::<Cidr>().ok().map(Family::of));
                    }
                    _ => collect_families(value, families),
                }
            }
        }
        _ => {}
    }
}
