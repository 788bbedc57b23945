//! The result of an ADD (spec section 5) and its wire shapes.
//!
//! In memory there is one shape, that of the newest version. A result is written in the shape of
//! the requested version, and read from any: the shapes differ in their keys, so a `prevResult` may
//! be of another version than the configuration around it.

mod read;
mod write;

use crate::value::Cidr;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

pub use write::Encoded;

/// An interface that an attachment created or uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address; empty if it has none. Text, since other plugins' interfaces need not
    /// be Ethernet.
    pub mac: String,
    /// Its MTU in bytes (1.1.0).
    pub mtu: Option<u32>,
    /// `CNI_NETNS` as given by the runtime, or empty for an interface of the host.
    pub sandbox: String,
    /// The path of a socket that stands for the interface (1.1.0).
    pub socket_path: String,
    /// The PCI address of the device behind the interface (1.1.0).
    pub pci_id: String,
}

/// An address of an attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpConfig {
    /// The index into the result's interfaces; IPAM plugins omit it.
    pub interface: Option<i64>,
    /// The address and its network's prefix.
    pub address: Cidr,
    /// The gateway of that network.
    pub gateway: Option<IpAddr>,
}

/// A route of an attachment. All optional keys except `gw` came with 1.1.0.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The destination.
    pub dst: Cidr,
    /// The next hop. If omitted, it is the gateway of the first address of that family with one.
    #[serde(
        default,
        deserialize_with = "read::lenient_ip",
        skip_serializing_if = "Option::is_none"
    )]
    pub gw: Option<IpAddr>,
    /// The MTU along the path, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The TCP segment size to advertise, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// The metric; lower is preferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u32>,
    /// The routing table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// The scope: 0 global, 253 link, 254 host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
}

impl Route {
    /// Returns a route to `dst`, through `gw` if given, without further attributes.
    #[must_use]
    pub fn new(dst: Cidr, gw: Option<IpAddr>) -> Self {
        Self {
            dst,
            gw,
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        }
    }
}

/// The configuration of a resolver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Name servers, preferred first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nameservers: Vec<String>,
    /// The local domain.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub domain: String,
    /// Search domains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Resolver options.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

impl Dns {
    /// Returns true if no key is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The result of an ADD.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddResult {
    /// The interfaces, the host's and the container's.
    pub interfaces: Vec<Interface>,
    /// The addresses.
    pub ips: Vec<IpConfig>,
    /// The routes.
    pub routes: Vec<Route>,
    /// The configuration of a resolver.
    pub dns: Dns,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{json::Json, version::SpecVersion};
    use proptest::prelude::*;

    fn read(text: &str) -> AddResult {
        AddResult::from_json(&Json::parse(text.as_bytes()).unwrap()).unwrap()
    }

    fn full() -> AddResult {
        AddResult {
            interfaces: vec![
                Interface {
                    name: "cni0".into(),
                    mac: "00:11:22:33:44:55".into(),
                    mtu: Some(1450),
                    ..Interface::default()
                },
                Interface {
                    name: "eth0".into(),
                    mac: "99:88:77:66:55:44".into(),
                    mtu: Some(1450),
                    sandbox: "/var/run/netns/blue".into(),
                    socket_path: "/run/s".into(),
                    pci_id: "0000:04:00.5".into(),
                },
            ],
            ips: vec![
                IpConfig {
                    interface: Some(1),
                    address: "10.1.0.5/16".parse().unwrap(),
                    gateway: Some("10.1.0.1".parse().unwrap()),
                },
                IpConfig {
                    interface: Some(1),
                    address: "fd00::5/64".parse().unwrap(),
                    gateway: None,
                },
            ],
            routes: vec![
                Route {
                    dst: "0.0.0.0/0".parse().unwrap(),
                    gw: Some("10.1.0.1".parse().unwrap()),
                    mtu: Some(1400),
                    advmss: Some(1360),
                    priority: Some(100),
                    table: Some(1000),
                    scope: Some(0),
                },
                Route::new("::/0".parse().unwrap(), None),
            ],
            dns: Dns {
                nameservers: vec!["10.1.0.1".into()],
                domain: "example.org".into(),
                search: vec!["a.example.org".into()],
                options: vec!["ndots:2".into()],
            },
        }
    }

    /// Returns the part of `result` that a version can express.
    fn expressible(mut result: AddResult, version: SpecVersion) -> AddResult {
        if version < SpecVersion::V1_1_0 {
            for interface in &mut result.interfaces {
                (interface.mtu, interface.socket_path, interface.pci_id) =
                    (None, String::new(), String::new());
            }
            for route in &mut result.routes {
                *route = Route::new(route.dst, route.gw);
            }
        }
        if version.has_one_address_per_family() {
            result.interfaces.clear();
            result.ips.iter_mut().for_each(|ip| ip.interface = None);
        }
        result
    }

    #[test]
    fn a_result_reads_back_from_the_shape_of_every_version() {
        for version in SpecVersion::ALL {
            let text = full().encode(version).unwrap().to_string();
            assert!(
                text.contains(&format!(r#""cniVersion": "{version}""#)),
                "{text}"
            );
            assert_eq!(
                read(&text),
                expressible(full(), version),
                "{version}: {text}"
            );
        }
    }

    #[test]
    fn before_1_0_0_dns_is_always_there_and_later_only_where_it_says_something() {
        for version in SpecVersion::ALL {
            let mut result = full();
            result.dns = Dns::default();
            let text = result.encode(version).unwrap().to_string();
            assert_eq!(
                text.contains("\"dns\": {}"),
                version < SpecVersion::V1_0_0,
                "{version}: {text}"
            );
        }
    }

    #[test]
    fn an_old_version_refuses_a_second_address_of_a_family_and_none_at_all() {
        let mut result = full();
        result.ips.push(result.ips[0].clone());
        for version in [SpecVersion::V0_1_0, SpecVersion::V0_2_0] {
            assert_eq!(
                result.encode(version).unwrap_err().msg,
                format!("CNI version {version} does not support more than 1 address per family")
            );
            let none = AddResult::default().encode(version).unwrap_err();
            assert_eq!(none.msg, "cannot convert: no valid IP addresses");
        }
        assert!(result.encode(SpecVersion::V0_3_0).is_ok());
    }

    #[test]
    fn a_result_of_another_version_than_its_configuration_is_read() {
        let old = read(
            r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.0.0.2/24","gateway":"10.0.0.1","routes":[{"dst":"0.0.0.0/0"}]}}"#,
        );
        assert_eq!(old.ips[0].address.to_string(), "10.0.0.2/24");
        assert_eq!(old.routes.len(), 1);
        let new =
            read(r#"{"ips":[{"version":"6","address":"fd00::2/64"}],"routes":null,"dns":null}"#);
        assert_eq!(new.ips.len(), 1);
        assert_eq!(read("{}"), AddResult::default());
    }

    #[test]
    fn an_empty_gateway_is_no_gateway() {
        let result = read(
            r#"{"ips":[{"address":"10.0.0.2/24","gateway":""}],"routes":[{"dst":"0.0.0.0/0","gw":""}]}"#,
        );
        assert_eq!((result.ips[0].gateway, result.routes[0].gw), (None, None));
    }

    proptest! {
        #[test]
        fn any_addresses_read_back_from_every_shape_that_can_hold_them(
            v4: u32, v4_prefix in 0u8..=32, v6: u128, v6_prefix in 0u8..=128, version in 0usize..7,
        ) {
            let ip = |address: IpAddr, prefix| IpConfig {
                interface: None,
                address: Cidr::new(address, prefix).unwrap(),
                gateway: Some(address),
            };
            let ips = vec![ip(IpAddr::V4(v4.into()), v4_prefix), ip(IpAddr::V6(v6.into()), v6_prefix)];
            let result = AddResult { ips, ..AddResult::default() };
            let text = result.encode(SpecVersion::ALL[version]).unwrap().to_string();
            prop_assert_eq!(read(&text), result);
        }
    }
}
