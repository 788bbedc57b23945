//! STATUS: reports if an ADD could succeed now, and changes nothing.
//!
//! Fails only for what keeps every ADD from working (spec section 4), since the runtime moves pods
//! away from a node that is not ready. What only delays packets is logged to stderr.

use crate::{
    NAME,
    config::{Config, Gateway},
    forwarding::spanning_tree_delay,
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

/// Checks the host and asks the IPAM plugin.
///
/// # Errors
/// Fails with code 50 if the host lacks something that every ADD needs, with [`Config::of`]'s error
/// if the configuration is invalid, or with the IPAM plugin's error.
pub(crate) fn status(call: &Call) -> Result<(), Error> {
    let config = Config::of(call)?;
    let unavailable = |e: Error| Error {
        code: Code::UNAVAILABLE,
        ..e
    };
    require_host(call, &config).map_err(unavailable)?;
    ipam::status(call, config.ipam())
}

/// Makes sure that the host has what an ADD of this configuration needs.
fn require_host(call: &Call, config: &Config) -> Result<(), Error> {
    require_capabilities()?;
    if let Some(bridge) = find_bridge(&mut Rtnl::open()?, config)? {
        vlan::require_support(&bridge, config)?;
        if let Some(warning) = spanning_tree_delay(&bridge) {
            log::warn(NAME, warning);
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

/// Makes sure that forwarding is on, or can be switched on, for every family of which the IPAM
/// plugin is sure to give an address. If the configuration names no network, one family is enough.
fn require_forwarding(call: &Call, config: &Config) -> Result<(), Error> {
    if config.gateway == Gateway::No {
        return Ok(());
    }
    let require_family = |family: &Family| {
        let sysctl = Sysctl::forwarding(*family);
        sysctl.require("1").map_err(|e| no_forwarding(&sysctl, &e))
    };
    let named = named_families(call)?;
    if named.is_empty() {
        return require_family(&Family::V4).or_else(|e| require_family(&Family::V6).map_err(|_| e));
    }
    named.iter().try_for_each(require_family)
}

/// Returns the families of the networks that `ipam` names, under the keys of host-local and static.
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

/// Adds the family of each network or address below `json`.
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
