//! The keys that plugins know: ours, and the reference's by its documentation (cni.dev/plugins).
//!
//! A plugin that is not here is not judged; so is a key below `args`, which belongs to others by the conventions.

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Flag,
    Number,
    Text,
    /// Anything.
    Any,
    /// A list, each of whose entries is of this kind.
    List(&'static Kind),
    /// An object with these keys.
    Object(Keys),
    /// An object whose keys are names that somebody chose, with values of this kind.
    Map(&'static Kind),
    /// The `ipam` section: its `type` says which keys it has.
    Ipam,
}

/// Keys and what their values must be.
pub(super) type Keys = &'static [(&'static str, Kind)];

use Kind::{Any, Flag, Ipam, List, Map, Number, Object, Text};

const TEXTS: Kind = List(&Text);
const DNS: Kind = Object(&[
    ("nameservers", TEXTS),
    ("domain", Text),
    ("search", TEXTS),
    ("options", TEXTS),
]);
const ROUTES: Kind = List(&Object(&[
    ("dst", Text),
    ("gw", Text),
    ("mtu", Number),
    ("advmss", Number),
    ("priority", Number),
    ("table", Number),
    ("scope", Number),
]));
const RANGE: Kind = Object(&[
    ("subnet", Text),
    ("rangeStart", Text),
    ("rangeEnd", Text),
    ("gateway", Text),
    ("exclude", TEXTS),
]);

/// The keys of a configuration list (spec section 1).
pub(super) const NETWORK: Keys = &[
    ("cniVersion", Text),
    ("cniVersions", TEXTS),
    ("name", Text),
    ("disableCheck", Any),
    ("disableGC", Any),
    ("loadOnlyInlinedPlugins", Any),
    // Not in the spec; podman keeps labels and options there.
    ("args", Map(&Any)),
    ("plugins", List(&Any)),
];

/// The keys that every plugin may have (spec section 1, and the conventions).
pub(super) const EVERY_PLUGIN: Keys = &[
    ("cniVersion", Text),
    ("name", Text),
    ("type", Text),
    ("capabilities", Map(&Flag)),
    ("runtimeConfig", Map(&Any)),
    ("args", Map(&Any)),
    ("dns", DNS),
    ("ipam", Ipam),
    ("ipMasq", Flag),
    ("prevResult", Any),
    // A list's, where the configuration is a list of one.
    ("cniVersions", TEXTS),
    ("disableCheck", Any),
    ("disableGC", Any),
];

/// The keys that every IPAM section may have.
pub(super) const EVERY_IPAM: Keys = &[("type", Text), ("name", Text)];

/// The capabilities that the conventions name.
pub(super) const CAPABILITIES: [&str; 10] = [
    "portMappings",
    "ipRanges",
    "bandwidth",
    "dns",
    "ips",
    "mac",
    "infinibandGUID",
    "deviceID",
    "aliases",
    "cgroupPath",
];

/// The interface and chained plugins.
pub(super) const PLUGINS: &[(&str, Keys)] = &[
    (
        "bridge",
        &[
            ("bridge", Text),
            ("isGateway", Flag),
            ("isDefaultGateway", Flag),
            ("forceAddress", Flag),
            ("ipMasqBackend", Text),
            ("mtu", Number),
            ("hairpinMode", Flag),
            ("promiscMode", Flag),
            ("vlan", Number),
            ("preserveDefaultVlan", Flag),
            (
                "vlanTrunk",
                List(&Object(&[
                    ("minID", Number),
                    ("maxID", Number),
                    ("id", Number),
                ])),
            ),
            ("macspoofchk", Flag),
            ("enabledad", Flag),
            ("disableContainerInterface", Flag),
            ("portIsolation", Flag),
        ],
    ),
    ("loopback", &[]),
    ("ptp", &[("mtu", Number), ("ipMasqBackend", Text)]),
    (
        "macvlan",
        &[
            ("master", Text),
            ("mode", Text),
            ("mtu", Number),
            ("linkInContainer", Flag),
            ("bcqueuelen", Number),
            ("mac", Text),
        ],
    ),
    (
        "ipvlan",
        &[
            ("master", Text),
            ("mode", Text),
            ("mtu", Number),
            ("linkInContainer", Flag),
        ],
    ),
    (
        "vlan",
        &[
            ("master", Text),
            ("vlanId", Number),
            ("mtu", Number),
            ("linkInContainer", Flag),
        ],
    ),
    (
        "host-device",
        &[
            ("device", Text),
            ("hwaddr", Text),
            ("kernelpath", Text),
            ("pciBusID", Text),
            ("deviceID", Text),
            ("dpdkMode", Flag),
        ],
    ),
    ("dummy", &[]),
    (
        "tap",
        &[
            ("multiQueue", Flag),
            ("mac", Text),
            ("mtu", Number),
            ("owner", Number),
            ("group", Number),
            ("selinuxContext", Text),
            ("bridge", Text),
        ],
    ),
    (
        "portmap",
        &[
            ("backend", Text),
            ("snat", Flag),
            ("markMasqBit", Number),
            ("externalSetMarkChain", Text),
            ("conditionsV4", TEXTS),
            ("conditionsV6", TEXTS),
            ("masqAll", Flag),
        ],
    ),
    (
        "firewall",
        &[
            ("backend", Text),
            ("iptablesAdminChainName", Text),
            ("firewalldZone", Text),
            ("ingressPolicy", Text),
        ],
    ),
    (
        "tuning",
        &[
            ("sysctl", Map(&Text)),
            ("mac", Text),
            ("mtu", Number),
            ("promisc", Flag),
            ("allmulti", Flag),
            ("txQLen", Number),
            ("dataDir", Text),
        ],
    ),
    (
        "bandwidth",
        &[
            ("ingressRate", Number),
            ("ingressBurst", Number),
            ("egressRate", Number),
            ("egressBurst", Number),
            ("unshapedSubnets", TEXTS),
            ("shapedSubnets", TEXTS),
        ],
    ),
    ("sbr", &[("table", Number), ("addSourceHints", Flag)]),
    ("vrf", &[("vrfname", Text), ("table", Number)]),
];

/// The IPAM plugins.
pub(super) const IPAMS: &[(&str, Keys)] = &[
    (
        "host-local",
        &[
            ("ranges", List(&List(&RANGE))),
            ("subnet", Text),
            ("rangeStart", Text),
            ("rangeEnd", Text),
            ("gateway", Text),
            ("routes", ROUTES),
            ("resolvConf", Text),
            ("dataDir", Text),
            ("exclude", TEXTS),
            ("statusWhenFull", Text),
        ],
    ),
    (
        "static",
        &[
            (
                "addresses",
                List(&Object(&[("address", Text), ("gateway", Text)])),
            ),
            ("routes", ROUTES),
            ("dns", DNS),
        ],
    ),
    (
        "dhcp",
        &[
            ("daemonSocketPath", Text),
            (
                "request",
                List(&Object(&[("skipDefault", Flag), ("option", Text)])),
            ),
            (
                "provide",
                List(&Object(&[
                    ("option", Text),
                    ("value", Text),
                    ("fromArg", Text),
                ])),
            ),
            ("priority", Number),
        ],
    ),
];

/// The keys of a plugin of this name.
pub(super) fn of(table: &[(&str, Keys)], name: &str) -> Option<Keys> {
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, keys)| *keys)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// The keys in the tables of a page between two texts: what stands between backticks in a first column.
    fn keys_on(page: &str, begin: &str, end: &str) -> BTreeSet<String> {
        let file = format!("{}/../docs/{page}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file).unwrap();
        let part = text.split_once(begin).unwrap().1.split_once(end).unwrap().0;
        let cells = part
            .lines()
            .filter(|line| line.starts_with("| `"))
            .filter_map(|line| line.split(" | ").next());
        cells
            .flat_map(|cell| cell.split('`').skip(1).step_by(2))
            .map(str::to_owned)
            .collect()
    }

    fn names(keys: Keys, more: &[&str]) -> BTreeSet<String> {
        keys.iter()
            .map(|(name, _)| *name)
            .chain(more.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_pages_have_the_same_keys() {
        let bridge = of(PLUGINS, "bridge").unwrap();
        assert_eq!(
            keys_on("bridge.md", "## Keys", "From the runtime"),
            names(bridge, &["ipMasq", "dns", "ipam"])
        );
        let host_local = of(IPAMS, "host-local").unwrap();
        assert_eq!(
            keys_on("host-local.md", "## Keys", "Keys of a range"),
            names(host_local, &[])
        );
        let Object(range) = RANGE else {
            panic!("{RANGE:?}")
        };
        assert_eq!(
            keys_on("host-local.md", "Keys of a range", "From the runtime"),
            names(range, &[])
        );
    }
}
