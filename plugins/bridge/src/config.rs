//! The plugin's configuration: parsed from JSON, then checked.
//!
//! A [`Config`] is valid: everything else is refused here, before ADD changes anything. DEL and GC
//! must work with a configuration that ADD would refuse, so they read only what they need
//! ([`CleanupConfig`]).

mod vlan;

pub use vlan::{DefaultVlan, Vlan, VlanGateway};

use cni_attachment::netfilter::masquerade::{Backend, BackendChoice};
use cni_types::{Call, Code, Dns, Error, IfName, Json, Key, KeyKind, MacAddr, VlanId};
use serde::Deserialize;

/// The largest MTU of a veth and of a bridge, in bytes (ETH_MAX_MTU in
/// include/uapi/linux/if_ether.h).
const MAX_MTU: i64 = 65535;

/// The name of the bridge if the configuration gives none.
const DEFAULT_BRIDGE: &str = "cni0";

/// The keys of the configuration.
pub const KEYS: &[Key] = &[
    Key::text("bridge"),
    Key::number("mtu"),
    Key::flag("isGateway"),
    Key::flag("isDefaultGateway"),
    Key::flag("forceAddress"),
    Key::flag("ipMasq"),
    Key::text("ipMasqBackend"),
    Key::flag("hairpinMode"),
    Key::flag("promiscMode"),
    Key::flag("portIsolation"),
    Key::flag("macspoofchk"),
    Key::number("vlan"),
    Key::new(
        "vlanTrunk",
        KeyKind::List(&KeyKind::Object(vlan::TRUNK_KEYS)),
    ),
    Key::flag("preserveDefaultVlan"),
    Key::flag("enabledad"),
    Key::flag("disableContainerInterface"),
    Key::new("dns", KeyKind::DNS),
    Key::new("ipam", KeyKind::Ipam),
];

/// The keys of `CNI_ARGS` that the plugin reads.
const KNOWN_ARGS: [&str; 1] = ["MAC"];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    bridge: String,
    mtu: i64,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    ip_masq_backend: String,
    hairpin_mode: bool,
    promisc_mode: bool,
    enabledad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
    vlan: i64,
    vlan_trunk: Vec<Option<vlan::WireTrunk>>,
    preserve_default_vlan: bool,
    macspoofchk: bool,
    dns: Dns,
    ipam: WireIpam,
    runtime_config: WireMac,
    args: WireArgs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireIpam {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireMac {
    mac: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireArgs {
    cni: WireMac,
}

/// The bridge's role as the containers' gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gateway {
    /// The bridge gets no address.
    No,
    /// The bridge gets the gateway's address of each of the containers' networks.
    Yes,
    /// As [`Gateway::Yes`], and containers get a default route through it.
    Default,
}

/// The mode of the bridge port. The reference refuses hairpin and promiscuous mode together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMode {
    /// Neither of the other modes.
    Plain,
    /// Frames may leave by the port that they came by: a container reaches itself through a
    /// service's address.
    Hairpin,
    /// The bridge passes every frame to the host.
    Promiscuous,
}

/// The state of the container's interface after ADD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Container {
    /// Up, with the addresses of this IPAM plugin.
    Addressed {
        /// The IPAM plugin's `type`.
        ipam: String,
    },
    /// Up, without addresses: a layer 2 attachment.
    Up,
    /// Left down, for software in the container that sets it up itself.
    Down,
}

/// The configuration of ADD, CHECK and STATUS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The bridge's name.
    pub bridge: IfName,
    /// The MTU of a new bridge and of both ends of the pair, in bytes; `None` for the bridge's own.
    pub mtu: Option<u32>,
    /// The bridge's role as the gateway.
    pub gateway: Gateway,
    /// True if ADD replaces another address of the bridge.
    pub force_address: bool,
    /// The backend that masquerades traffic to other networks; `None` if it is not masqueraded.
    pub masquerade: Option<BackendChoice>,
    /// The port's mode.
    pub port: PortMode,
    /// True if the port exchanges no frames with other isolated ports.
    pub isolated: bool,
    /// The port's VLANs.
    pub vlan: Vlan,
    /// The interface that is the gateway in place of the bridge, once there are addresses.
    pub vlan_gateway: Option<VlanGateway>,
    /// The container's interface.
    pub container: Container,
    /// True if only frames with the container's own source address pass.
    pub spoof_check: bool,
    /// True if ADD waits for duplicate address detection of IPv6 addresses (RFC 4862 section 5.4).
    pub detect_duplicates: bool,
    /// The hardware address of the container's interface.
    pub mac: Option<MacAddr>,
    /// The resolver configuration, which takes precedence over the IPAM plugin's.
    pub dns: Option<Dns>,
}

impl Config {
    /// Parses and checks the configuration of `call`.
    ///
    /// # Errors
    /// Fails with code 6 for a value of a wrong type, with code 7 for an invalid value, and with
    /// code 4 for invalid `CNI_ARGS`.
    pub fn of(call: &Call) -> Result<Self, Error> {
        let wire: Wire = call.config()?;
        let args = call.args(&KNOWN_ARGS)?;
        let mac = [
            wire.runtime_config.mac.as_str(),
            &wire.args.cni.mac,
            args.value("MAC").unwrap_or_default(),
        ]
        .into_iter()
        .find(|mac| !mac.is_empty());
        let bridge = bridge_name(&wire.bridge)?;
        let container = container(&wire)?;
        let vlan = Vlan::of(wire.vlan, &wire.vlan_trunk, wire.preserve_default_vlan)?;
        let gateway = gateway(&wire);
        Ok(Self {
            vlan_gateway: if gateway == Gateway::No {
                None
            } else {
                VlanGateway::of(&bridge, &vlan, &container)?
            },
            vlan,
            mac: mac.map(parse_mac).transpose()?,
            bridge,
            mtu: mtu(wire.mtu)?,
            port: port_mode(&wire)?,
            container,
            gateway,
            force_address: wire.force_address,
            masquerade: Some(backend(&wire.ip_masq_backend)?).filter(|_| wire.ip_masq),
            isolated: wire.port_isolation,
            spoof_check: wire.macspoofchk,
            detect_duplicates: wire.enabledad,
            dns: (!wire.dns.is_empty()).then_some(wire.dns),
        })
    }

    /// Returns the name of the interface that gets the gateway's addresses: the VLAN's interface or
    /// the bridge.
    #[must_use]
    pub fn gateway_interface(&self) -> &IfName {
        self.vlan_gateway
            .as_ref()
            .map_or(&self.bridge, |gateway| &gateway.name)
    }

    /// Returns the type of the IPAM plugin, or `None` without IPAM.
    #[must_use]
    pub fn ipam(&self) -> Option<&str> {
        match &self.container {
            Container::Addressed { ipam } => Some(ipam),
            Container::Up | Container::Down => None,
        }
    }
}

/// The part of the configuration that DEL and GC need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanupConfig {
    /// The type of the IPAM plugin that frees the addresses; `None` without IPAM.
    pub ipam: Option<String>,
    /// The interface that has the gateway's addresses; `None` if the configuration has no valid
    /// name for it.
    pub gateway_interface: Option<IfName>,
    /// The backend of the masquerade rules; `None` if traffic is not masqueraded.
    pub masquerade: Option<Backend>,
}

impl CleanupConfig {
    /// Parses the configuration of `call`. Invalid values count as missing.
    ///
    /// # Errors
    /// Fails with code 6 if `ipam` is of a wrong type: its addresses could not be freed.
    pub fn of(call: &Call) -> Result<Self, Error> {
        #[derive(Default, Deserialize)]
        #[serde(default, rename_all = "camelCase")]
        struct Wire {
            ipam: WireIpam,
            bridge: Option<Json>,
            vlan: Option<Json>,
            ip_masq: Option<Json>,
            ip_masq_backend: Option<Json>,
        }
        let Wire {
            ipam,
            bridge,
            vlan,
            ip_masq,
            ip_masq_backend,
        } = call.config()?;
        let bridge = match &bridge {
            None => Some(""),
            Some(Json::String(name)) => Some(name.as_str()),
            Some(_) => None,
        };
        let bridge = bridge.and_then(|name| bridge_name(name).ok());
        let vlan = match vlan {
            Some(Json::Number(id)) => id.as_i64().and_then(VlanId::new),
            _ => None,
        };
        Ok(Self {
            ipam: Some(ipam.kind).filter(|kind| !kind.is_empty()),
            gateway_interface: bridge.and_then(|bridge| match vlan {
                Some(id) => vlan::gateway_name(&bridge, id).ok(),
                None => Some(bridge),
            }),
            masquerade: (ip_masq == Some(Json::Bool(true))).then_some(match ip_masq_backend {
                Some(Json::String(name)) => {
                    backend(&name).map_or(Backend::Nftables, BackendChoice::first)
                }
                _ => Backend::Nftables,
            }),
        })
    }
}

/// Returns an error with code 7.
fn invalid(msg: impl Into<String>) -> Error {
    Error::new(Code::INVALID_CONFIG, msg)
}

/// Parses `ipMasqBackend`; an empty name is no choice.
fn backend(name: &str) -> Result<BackendChoice, Error> {
    match name {
        "" => Ok(BackendChoice::Automatic),
        "nftables" => Ok(BackendChoice::Only(Backend::Nftables)),
        "iptables" => Ok(BackendChoice::Only(Backend::Iptables)),
        other => Err(invalid(format!("unknown ipmasq backend {other:?}")).with_details(
            "ipMasqBackend is nftables or iptables; left out, it is nftables if the kernel has that",
        )),
    }
}

/// Parses `bridge`; an empty name is the default.
fn bridge_name(name: &str) -> Result<IfName, Error> {
    let name = if name.is_empty() {
        DEFAULT_BRIDGE
    } else {
        name
    };
    if name.contains('%') {
        return Err(invalid(format!(
            "invalid bridge name {name:?}: interface name contains %"
        ))
        .with_details(
            "the kernel replaces % by a number, and would create another bridge each time",
        ));
    }
    IfName::parse(name).map_err(|e| {
        invalid(format!("invalid bridge name {name:?}: {}", e.msg)).with_details(e.details)
    })
}

/// Parses `mtu`; `None` if it is 0 or below.
fn mtu(mtu: i64) -> Result<Option<u32>, Error> {
    if mtu > MAX_MTU {
        return Err(
            invalid(format!("invalid MTU {mtu}: it is too large")).with_details(format!(
                "the key \"mtu\" is {mtu}, a bridge and a veth can have at most {MAX_MTU}"
            )),
        );
    }
    // The reference sets only what is above 0.
    match u32::try_from(mtu.max(0)) {
        Ok(0) => Ok(None),
        // RFC 791: no link carries IPv4 with less; also the limit of the kernel (ETH_MIN_MTU).
        Ok(mtu) if mtu >= 68 => Ok(Some(mtu)),
        _ => Err(invalid(format!("invalid MTU {mtu}"))
            .with_details("the MTU is at least 68 bytes, or 0 for that of the bridge")),
    }
}

/// Returns the mode of the port; fails if two modes are set.
fn port_mode(wire: &Wire) -> Result<PortMode, Error> {
    match (wire.hairpin_mode, wire.promisc_mode) {
        (true, true) => Err(invalid(
            "cannot set hairpin mode and promiscuous mode at the same time",
        )),
        (true, false) => Ok(PortMode::Hairpin),
        (false, true) => Ok(PortMode::Promiscuous),
        (false, false) => Ok(PortMode::Plain),
    }
}

/// Returns the bridge's role; `isDefaultGateway` implies `isGateway`.
fn gateway(wire: &Wire) -> Gateway {
    match (wire.is_default_gateway, wire.is_gateway) {
        (true, _) => Gateway::Default,
        (false, true) => Gateway::Yes,
        (false, false) => Gateway::No,
    }
}

/// Returns the state of the container's interface; fails if it is to be left down and to get
/// addresses.
fn container(wire: &Wire) -> Result<Container, Error> {
    match (wire.ipam.kind.as_str(), wire.disable_container_interface) {
        ("", true) => Ok(Container::Down),
        ("", false) => Ok(Container::Up),
        (ipam, false) => Ok(Container::Addressed {
            ipam: ipam.to_owned(),
        }),
        (_, true) => Err(invalid(
            "cannot use IPAM when DisableContainerInterface flag is set",
        )),
    }
}

/// Parses a unicast hardware address.
fn parse_mac(text: &str) -> Result<MacAddr, Error> {
    let mac: Result<MacAddr, _> = text.parse();
    let usable = mac
        .ok()
        .filter(|mac| *mac != MacAddr::ZERO && !mac.is_multicast());
    usable.ok_or_else(|| {
        invalid(format!("address {text}: invalid MAC address"))
            .with_details("expected a unicast address of six octets")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::{Environment, Stop};

    fn config_with(args: &str, keys: &str) -> Result<Config, Error> {
        let stdin = format!(r#"{{"cniVersion":"1.0.0","name":"n"{keys}}}"#);
        let environment = Environment::default().with("CNI_ARGS", args);
        Config::of(&Call::new(environment, stdin.into(), Stop::never())?)
    }

    pub(super) fn config(keys: &str) -> Result<Config, Error> {
        config_with("", keys)
    }

    #[test]
    fn the_declared_keys_are_those_that_are_read() {
        let read = testkit::fields_of::<Wire>();
        let declared = KEYS.iter().map(|key| key.name);
        // These are every plugin's.
        assert_eq!(read, declared.chain(["args", "runtimeConfig"]).collect());
        let trunk = vlan::TRUNK_KEYS.iter().map(|key| key.name);
        assert_eq!(testkit::fields_of::<vlan::WireTrunk>(), trunk.collect());
    }

    #[test]
    fn without_any_key_it_is_a_layer_2_attachment_to_cni0() {
        let config = config("").unwrap();
        assert_eq!(config.bridge.as_str(), "cni0");
        assert_eq!(
            (config.gateway, config.port, config.container),
            (Gateway::No, PortMode::Plain, Container::Up)
        );
        assert_eq!((config.mtu, config.mac, config.dns), (None, None, None));
    }

    #[test]
    fn an_mtu_below_1_is_none_as_for_the_reference() {
        for mtu in ["0", "-1", "-1500"] {
            assert_eq!(
                config(&format!(r#","mtu":{mtu}"#)).unwrap().mtu,
                None,
                "{mtu}"
            );
        }
    }

    #[test]
    fn a_backend_that_is_left_out_may_be_either() {
        let choice = |keys| config(keys).unwrap().masquerade;
        assert_eq!(choice(r#","ipMasq":true"#), Some(BackendChoice::Automatic));
        let only = |name: &str| config(&format!(r#","ipMasq":true,"ipMasqBackend":"{name}""#));
        assert_eq!(
            only("nftables").unwrap().masquerade,
            Some(BackendChoice::Only(Backend::Nftables))
        );
        assert_eq!(
            only("iptables").unwrap().masquerade,
            Some(BackendChoice::Only(Backend::Iptables))
        );
    }

    #[test]
    fn default_gateway_implies_gateway() {
        assert_eq!(
            config(r#","isDefaultGateway":true"#).unwrap().gateway,
            Gateway::Default
        );
        assert_eq!(
            config(r#","isgateway":true"#).unwrap().gateway,
            Gateway::Yes
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_references_text() {
        for (keys, msg) in [
            (
                r#","hairpinMode":true,"promiscMode":true"#,
                "cannot set hairpin mode and promiscuous mode at the same time",
            ),
            (
                r#","ipMasqBackend":"foo""#,
                "unknown ipmasq backend \"foo\"",
            ),
            (
                r#","disableContainerInterface":true,"ipam":{"type":"x"}"#,
                "cannot use IPAM when DisableContainerInterface flag is set",
            ),
            (
                r#","runtimeConfig":{"mac":"c2:11"}"#,
                "address c2:11: invalid MAC address",
            ),
            (
                r#","args":{"cni":{"mac":"01:00:5e:00:00:01"}}"#,
                "address 01:00:5e:00:00:01: invalid MAC address",
            ),
            (r#","mtu":67"#, "invalid MTU 67"),
            (
                r#","bridge":"br%d""#,
                "invalid bridge name \"br%d\": interface name contains %",
            ),
            (
                r#","bridge":"a/b""#,
                "invalid bridge name \"a/b\": interface name contains / or : or whitespace characters",
            ),
        ] {
            let error = config(keys).unwrap_err();
            assert_eq!(
                (error.code, error.msg.as_str()),
                (Code::INVALID_CONFIG, msg)
            );
        }
    }

    #[test]
    fn the_mac_is_taken_from_runtime_config_then_args_then_cni_args() {
        let runtime = r#","runtimeConfig":{"mac":"c2:00:00:00:00:01"}"#;
        let args = r#","args":{"cni":{"mac":"c2:00:00:00:00:02"}}"#;
        let mac = |env, keys: &str| config_with(env, keys).unwrap().mac.unwrap().to_string();
        assert_eq!(
            mac("MAC=c2:00:00:00:00:03", &format!("{runtime}{args}")),
            "c2:00:00:00:00:01"
        );
        assert_eq!(mac("MAC=c2:00:00:00:00:03", args), "c2:00:00:00:00:02");
        assert_eq!(mac("MAC=c2:00:00:00:00:03", ""), "c2:00:00:00:00:03");
        assert_eq!(
            config_with("FOO=bar", "").unwrap_err().msg,
            "ARGS: unknown args [\"FOO=bar\"]"
        );
    }

    #[test]
    fn del_reads_the_ipam_type_of_a_configuration_that_add_refuses() {
        let stdin = r#"{"cniVersion":"1.0.0","name":"n","mtu":7,"vlan":"x","bridge":"a/b","ipam":{"Type":"host-local"}}"#;
        let call = Call::new(Environment::default(), stdin.into(), Stop::never()).unwrap();
        assert_eq!(
            CleanupConfig::of(&call).unwrap().ipam.as_deref(),
            Some("host-local")
        );
        assert!(Config::of(&call).is_err());
    }

    #[test]
    fn del_knows_the_interface_that_had_the_gateways_addresses() {
        for (keys, interface) in [
            ("", Some("cni0")),
            (r#","vlan":100"#, Some("cni0.100")),
            (r#","vlan":0,"bridge":"br1""#, Some("br1")),
            (r#","vlan":"100""#, Some("cni0")),
            (r#","vlan":100,"bridge":"a/b""#, None),
            (r#","vlan":100,"bridge":"bridge123456""#, None),
        ] {
            let stdin = format!(r#"{{"name":"n"{keys}}}"#);
            let call = Call::new(Environment::default(), stdin.into(), Stop::never()).unwrap();
            let found = CleanupConfig::of(&call).unwrap().gateway_interface;
            assert_eq!(found.as_ref().map(IfName::as_str), interface, "{keys}");
        }
    }
}
