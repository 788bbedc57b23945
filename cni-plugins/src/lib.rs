//! The list of plugins, the only one in the repository: the program, the tools, the tests and the
//! scripts take their plugins from it.

pub mod install;

use cni_types::Key;
use std::process::ExitCode;

/// A plugin of the list.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The plugin's name: its `type` in configurations, and the name of its file.
    pub name: &'static str,
    /// Its place in a configuration.
    pub role: Role,
    /// The configuration keys that the plugin reads. The keys of the protocol, which every plugin
    /// may have, can be left out.
    pub keys: &'static [Key],
    /// Serves the CNI request of this process and returns its exit code, as the plugin's own
    /// program does.
    pub main: fn() -> ExitCode,
}

/// The place of a plugin in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// In the list `plugins`: it makes or changes an interface.
    Interface,
    /// In the section `ipam` of another plugin.
    Ipam,
}

/// The plugins whose Cargo features are enabled, sorted by name. The list is a constant, so that a
/// request is served without building it first.
pub const PLUGINS: &[Entry] = &[
    #[cfg(feature = "bridge")]
    Entry {
        name: "bridge",
        role: Role::Interface,
        keys: bridge::KEYS,
        main: || cni_types::main(&bridge::Bridge),
    },
    #[cfg(feature = "host-local")]
    Entry {
        name: "host-local",
        role: Role::Ipam,
        keys: host_local::KEYS,
        main: || cni_types::main(&host_local::HostLocal::default()),
    },
    #[cfg(feature = "loopback")]
    Entry {
        name: "loopback",
        role: Role::Interface,
        keys: loopback::KEYS,
        main: || cni_types::main(&loopback::Loopback),
    },
    #[cfg(feature = "static")]
    Entry {
        name: "static",
        role: Role::Ipam,
        keys: static_ipam::KEYS,
        main: || cni_types::main(&static_ipam::Static),
    },
];

/// Returns the plugin called `name`, or `None` if the list has no such plugin.
#[must_use]
pub fn find(name: &str) -> Option<&'static Entry> {
    PLUGINS.iter().find(|entry| entry.name == name)
}

/// Returns the names of all plugins of the list, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    PLUGINS.iter().map(|entry| entry.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_names_each_plugin_once() {
        assert!(names().is_sorted_by(|a, b| a < b));
    }
}
