//! The plugins that a network needs, and the search for a plugin that delegates to itself.

use cni_runtime::{Network, PluginConfig};
use cni_types::Json;

/// Returns the names of a network's plugins and of the IPAM plugins that they delegate to, each
/// once.
pub(crate) fn names(network: &Network) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for plugin in &network.plugins {
        for name in std::iter::once(plugin.kind().to_owned()).chain(ipam_type(plugin)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// Returns the `type` in a plugin's `ipam` section; `None` if it is missing or empty.
pub(crate) fn ipam_type(plugin: &PluginConfig) -> Option<String> {
    match plugin.json().lookup("ipam")?.lookup("type")? {
        Json::String(kind) if !kind.is_empty() => Some(kind.clone()),
        _ => None,
    }
}

/// Returns the first plugin that names itself as its IPAM plugin. Unless the plugin limits
/// delegation, it would start itself without end, so nothing but VERSION may be called.
pub(crate) fn self_delegating(network: &Network) -> Option<&str> {
    let names_itself = |plugin: &&PluginConfig| ipam_type(plugin).as_deref() == Some(plugin.kind());
    network
        .plugins
        .iter()
        .find(names_itself)
        .map(PluginConfig::kind)
}
