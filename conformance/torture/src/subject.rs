//! The subjects: the one list in which a plugin joins by an entry.

use cni_types::Command;
use serde_json::{Map, Value};
use std::fmt;

/// A plugin in one configuration.
pub(crate) struct Subject {
    /// Its name in points and tables.
    pub(crate) name: &'static str,
    /// The name of the program.
    pub(crate) plugin: &'static str,
    /// The network configuration, without `cniVersion`, `name` and `type`.
    pub(crate) config: &'static str,
    /// `CNI_IFNAME`.
    pub(crate) if_name: &'static str,
    /// The operations that are disturbed.
    pub(crate) operations: &'static [Command],
    /// The ways in which the rest of an attachment can be removed.
    pub(crate) ways: &'static [Way],
    /// The network that the attachment is on before.
    pub(crate) network: Network,
    /// Patterns of the lines of the state that belong to the network and not to an attachment,
    /// which a failed ADD may leave if the network is new.
    pub(crate) of_network: &'static [&'static str],
    /// Patterns of the lines of the state that may come by any run.
    pub(crate) of_kernel: &'static [&'static str],
    /// A part of the text by which an ADD fails if the kernel lacks what the configuration needs.
    pub(crate) refusal: Option<&'static str>,
}

/// The network before the attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Another attachment, which must stay as it is.
    Inhabited,
    /// Nothing: the operation makes the network.
    New,
}

/// A way to remove what is left of an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// DEL.
    Del,
    /// GC that names all other attachments as valid.
    Gc,
    /// DEL without `CNI_NETNS`, while the namespace still exists.
    DelWithoutNetns,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Del => "del",
            Self::Gc => "gc",
            Self::DelWithoutNetns => "del-without-netns",
        })
    }
}

/// The name of every network.
pub(crate) const NETWORK: &str = "torture";

const EVERY_OPERATION: &[Command] = &[Command::Add, Command::Del, Command::Check, Command::Gc];
const EVERY_WAY: &[Way] = &[Way::Del, Way::Gc, Way::DelWithoutNetns];

/// Dual stack, nf_tables for masquerade and for the check of MAC addresses.
const BRIDGE: &str = r#"{ "bridge": "tort0", "isDefaultGateway": true, "ipMasq": true, "hairpinMode": true,
    "macspoofchk": true, "ipam": { "type": "host-local",
        "ranges": [[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "fd00:77::/64" }]] } }"#;
const BRIDGE_IPTABLES: &str = r#"{ "bridge": "tort0", "isDefaultGateway": true, "ipMasq": true,
    "ipMasqBackend": "iptables", "ipam": { "type": "host-local",
        "ranges": [[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "fd00:77::/64" }]] } }"#;
const BRIDGE_VLAN: &str = r#"{ "bridge": "tort0", "isGateway": true, "vlan": 7, "ipam": { "type": "host-local",
    "ranges": [[{ "subnet": "10.77.0.0/24" }]] } }"#;
const HOST_LOCAL: &str = r#"{ "ipam": { "type": "host-local",
    "ranges": [[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "fd00:77::/64" }]],
    "routes": [{ "dst": "0.0.0.0/0" }] } }"#;

/// The bridge with all that is named by it, forwarding, and what every attachment's rules are in.
const OF_BRIDGE: &[&str] = &[
    "host: link tort0 *",
    "host: * dev tort0",
    "host: * dev tort0 *",
    "host: sysctl net.*.tort0.*",
    "host: sysctl net.ipv4.ip_forward = *",
    "host: sysctl net.ipv4.conf.*.forwarding = *",
    // With forwarding the kernel stops to accept redirects (inet_forward_change in
    // net/ipv4/devinet.c).
    "host: sysctl net.ipv4.conf.*.accept_redirects = *",
    "host: sysctl net.ipv6.conf.*.forwarding = *",
    "host: nft table *",
    "host: nft chain inet cni_plugins_masquerade *",
    "host: nft chain bridge nat PREROUTING*",
    "host: nft rule inet cni_plugins_masquerade postrouting: *",
    "file: * /var/lib/cni/networks/",
    "file: * /var/lib/cni/networks/torture/",
];

/// The neighbour that a router remembers of a container that comes up and asks for a router: its
/// link-local address (`ndisc_recv_rs` in net/ipv6/ndisc.c). The kernel forgets it by itself.
const OF_SOLICITATION: &[&str] = &["host: neighbour fe80::* dev tort0 *"];

/// The folders of the data directory.
const OF_HOST_LOCAL: &[&str] = &[
    "file: * /var/lib/cni/networks/",
    "file: * /var/lib/cni/networks/torture/",
];

/// The list.
pub(crate) const SUBJECTS: &[Subject] = &[
    Subject {
        name: "loopback",
        plugin: "loopback",
        config: "{}",
        if_name: "lo",
        operations: &[Command::Add, Command::Del, Command::Check],
        // The loopback interface goes with its namespace: GC and DEL without a namespace have
        // nothing to do.
        ways: &[Way::Del],
        network: Network::Inhabited,
        of_network: &[],
        // The kernel gives it the address when it comes up, and leaves it when it goes down.
        of_kernel: &["pod tortured: address 127.0.0.1/8 dev lo"],
        refusal: None,
    },
    Subject {
        name: "host-local",
        plugin: "host-local",
        config: HOST_LOCAL,
        if_name: "eth0",
        operations: EVERY_OPERATION,
        ways: EVERY_WAY,
        network: Network::Inhabited,
        of_network: OF_HOST_LOCAL,
        of_kernel: &[],
        refusal: None,
    },
    Subject {
        name: "host-local-new",
        plugin: "host-local",
        config: HOST_LOCAL,
        if_name: "eth0",
        operations: &[Command::Add],
        ways: EVERY_WAY,
        network: Network::New,
        of_network: OF_HOST_LOCAL,
        of_kernel: &[],
        refusal: None,
    },
    Subject {
        name: "bridge",
        plugin: "bridge",
        config: BRIDGE,
        if_name: "eth0",
        operations: EVERY_OPERATION,
        ways: EVERY_WAY,
        network: Network::Inhabited,
        of_network: OF_BRIDGE,
        of_kernel: OF_SOLICITATION,
        refusal: None,
    },
    Subject {
        name: "bridge-new",
        plugin: "bridge",
        config: BRIDGE,
        if_name: "eth0",
        operations: &[Command::Add],
        ways: EVERY_WAY,
        network: Network::New,
        of_network: OF_BRIDGE,
        of_kernel: OF_SOLICITATION,
        refusal: None,
    },
    Subject {
        name: "bridge-iptables",
        plugin: "bridge",
        config: BRIDGE_IPTABLES,
        if_name: "eth0",
        operations: EVERY_OPERATION,
        ways: EVERY_WAY,
        network: Network::Inhabited,
        of_network: OF_BRIDGE,
        of_kernel: OF_SOLICITATION,
        refusal: Some("iptables"),
    },
    Subject {
        name: "bridge-vlan",
        plugin: "bridge",
        config: BRIDGE_VLAN,
        if_name: "eth0",
        operations: EVERY_OPERATION,
        ways: EVERY_WAY,
        network: Network::Inhabited,
        of_network: OF_BRIDGE,
        of_kernel: OF_SOLICITATION,
        refusal: Some("VLAN"),
    },
];

impl Subject {
    /// The whole network configuration.
    pub(crate) fn network_configuration(&self) -> Result<Map<String, Value>, String> {
        let parsed = serde_json::from_str(self.config);
        let mut config: Map<String, Value> = parsed
            .map_err(|e| format!("the configuration of {} is no JSON object: {e}", self.name))?;
        config.insert("cniVersion".to_owned(), "1.1.0".into());
        config.insert("name".to_owned(), NETWORK.into());
        config.insert("type".to_owned(), self.plugin.into());
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_entry_has_a_name_of_its_own_and_a_configuration() {
        let names: BTreeSet<&str> = SUBJECTS.iter().map(|subject| subject.name).collect();
        assert_eq!(names.len(), SUBJECTS.len());
        for subject in SUBJECTS {
            let config = subject.network_configuration().unwrap();
            assert_eq!(config["type"], subject.plugin);
            assert!(subject.ways.contains(&Way::Del), "{}", subject.name);
        }
    }
}
