//! The keys of plugins: ours as each plugin declares them, and those of the reference's other
//! plugins from its documentation (cni.dev/plugins).
//!
//! Plugins that are not here are not examined, nor are keys below `args`, which the conventions
//! leave to others.

use cni_plugins::Role;
use cni_types::{
    Key,
    KeyKind::{self, Any, Flag, Ipam, List, Map, Object, Text},
};

/// Keys of a configuration.
pub(super) type Keys = &'static [Key];

/// The keys of a configuration list (spec section 1).
pub(super) const NETWORK: Keys = &[
    Key::text("cniVersion"),
    Key::texts("cniVersions"),
    Key::text("name"),
    Key::new("disableCheck", Any),
    Key::new("disableGC", Any),
    Key::new("loadOnlyInlinedPlugins", Any),
    // Not in the spec; podman keeps labels and options there.
    Key::new("args", Map(&Any)),
    Key::new("plugins", List(&Any)),
];

/// The keys that every plugin may have (spec section 1, and the conventions).
pub(super) const EVERY_PLUGIN: Keys = &[
    Key::text("cniVersion"),
    Key::text("name"),
    Key::text("type"),
    Key::new("capabilities", Map(&Flag)),
    Key::new("runtimeConfig", Map(&Any)),
    Key::new("args", Map(&Any)),
    Key::new("dns", KeyKind::DNS),
    Key::new("ipam", Ipam),
    Key::flag("ipMasq"),
    Key::new("prevResult", Any),
    // Keys of a list, in a configuration with a single plugin.
    Key::texts("cniVersions"),
    Key::new("disableCheck", Any),
    Key::new("disableGC", Any),
];

/// The keys that every IPAM section may have.
pub(super) const EVERY_IPAM: Keys = &[Key::text("type"), Key::text("name")];

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

/// The interface and chained plugins of the reference. A plugin of ours takes precedence.
const FOREIGN_PLUGINS: &[(&str, Keys)] = &[
    ("ptp", &[Key::number("mtu"), Key::text("ipMasqBackend")]),
    (
        "macvlan",
        &[
            Key::text("master"),
            Key::text("mode"),
            Key::number("mtu"),
            Key::flag("linkInContainer"),
            Key::number("bcqueuelen"),
            Key::text("mac"),
        ],
    ),
    (
        "ipvlan",
        &[
            Key::text("master"),
            Key::text("mode"),
            Key::number("mtu"),
            Key::flag("linkInContainer"),
        ],
    ),
    (
        "vlan",
        &[
            Key::text("master"),
            Key::number("vlanId"),
            Key::number("mtu"),
            Key::flag("linkInContainer"),
        ],
    ),
    (
        "host-device",
        &[
            Key::text("device"),
            Key::text("hwaddr"),
            Key::text("kernelpath"),
            Key::text("pciBusID"),
            Key::text("deviceID"),
            Key::flag("dpdkMode"),
        ],
    ),
    ("dummy", &[]),
    (
        "tap",
        &[
            Key::flag("multiQueue"),
            Key::text("mac"),
            Key::number("mtu"),
            Key::number("owner"),
            Key::number("group"),
            Key::text("selinuxContext"),
            Key::text("bridge"),
        ],
    ),
    (
        "portmap",
        &[
            Key::text("backend"),
            Key::flag("snat"),
            Key::number("markMasqBit"),
            Key::text("externalSetMarkChain"),
            Key::texts("conditionsV4"),
            Key::texts("conditionsV6"),
            Key::flag("masqAll"),
        ],
    ),
    (
        "firewall",
        &[
            Key::text("backend"),
            Key::text("iptablesAdminChainName"),
            Key::text("firewalldZone"),
            Key::text("ingressPolicy"),
        ],
    ),
    (
        "tuning",
        &[
            Key::new("sysctl", Map(&Text)),
            Key::text("mac"),
            Key::number("mtu"),
            Key::flag("promisc"),
            Key::flag("allmulti"),
            Key::number("txQLen"),
            Key::text("dataDir"),
        ],
    ),
    (
        "bandwidth",
        &[
            Key::number("ingressRate"),
            Key::number("ingressBurst"),
            Key::number("egressRate"),
            Key::number("egressBurst"),
            Key::texts("unshapedSubnets"),
            Key::texts("shapedSubnets"),
        ],
    ),
    ("sbr", &[Key::number("table"), Key::flag("addSourceHints")]),
    ("vrf", &[Key::text("vrfname"), Key::number("table")]),
];

/// The IPAM plugins of the reference. A plugin of ours takes precedence.
const FOREIGN_IPAMS: &[(&str, Keys)] = &[(
    "dhcp",
    &[
        Key::text("daemonSocketPath"),
        Key::new(
            "request",
            List(&Object(&[Key::flag("skipDefault"), Key::text("option")])),
        ),
        Key::new(
            "provide",
            List(&Object(&[
                Key::text("option"),
                Key::text("value"),
                Key::text("fromArg"),
            ])),
        ),
        Key::number("priority"),
    ],
)];

/// Returns the interface and chained plugins with their keys.
pub(super) fn plugins() -> impl Iterator<Item = (&'static str, Keys)> {
    with_ours(Role::Interface, FOREIGN_PLUGINS)
}

/// Returns the IPAM plugins with their keys.
pub(super) fn ipams() -> impl Iterator<Item = (&'static str, Keys)> {
    with_ours(Role::Ipam, FOREIGN_IPAMS)
}

/// Returns the keys of the interface or chained plugin of this name.
pub(super) fn of_plugin(name: &str) -> Option<Keys> {
    plugins()
        .find(|(known, _)| *known == name)
        .map(|(_, keys)| keys)
}

/// Returns the keys of the IPAM plugin of this name.
pub(super) fn of_ipam(name: &str) -> Option<Keys> {
    ipams()
        .find(|(known, _)| *known == name)
        .map(|(_, keys)| keys)
}

/// Our plugins of this role, and then those of the others that are not ours.
fn with_ours(
    role: Role,
    foreign: &'static [(&'static str, Keys)],
) -> impl Iterator<Item = (&'static str, Keys)> {
    let ours = cni_plugins::PLUGINS.iter();
    let ours = ours.filter(move |plugin| plugin.role == role);
    let foreign = foreign.iter().copied();
    let foreign = foreign.filter(|(name, _)| cni_plugins::find(name).is_none());
    ours.map(|plugin| (plugin.name, plugin.keys)).chain(foreign)
}
