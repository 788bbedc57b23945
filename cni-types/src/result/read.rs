//! Reading a result of any version.

use super::{AddResult, Dns, Interface, IpConfig, Route};
use crate::{
    error::{Code, Error},
    json::{Document, Json},
    value::Cidr,
};
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;

/// Every key of every version. `ip4` and `ip6` belong to 0.1.0 and 0.2.0, all others came with
/// 0.3.0.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    interfaces: Vec<WireInterface>,
    ips: Vec<WireIp>,
    routes: Vec<Route>,
    dns: Dns,
    ip4: Option<FamilyIp>,
    ip6: Option<FamilyIp>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireInterface {
    name: String,
    mac: String,
    mtu: Option<u32>,
    sandbox: String,
    socket_path: String,
    #[serde(rename = "pciID")]
    pci_id: String,
}

#[derive(Deserialize)]
struct WireIp {
    interface: Option<i64>,
    address: Cidr,
    #[serde(default, deserialize_with = "lenient_ip")]
    gateway: Option<IpAddr>,
}

#[derive(Deserialize)]
struct FamilyIp {
    ip: Cidr,
    #[serde(default, deserialize_with = "lenient_ip")]
    gateway: Option<IpAddr>,
    #[serde(default)]
    routes: Vec<Route>,
}

/// Reads an address; `null` and empty text are `None`, as in the reference.
pub(super) fn lenient_ip<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<IpAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse()
        .map(Some)
        .map_err(|_| serde::de::Error::custom(format!("invalid IP address: {text}")))
}

impl AddResult {
    /// Reads a result; its keys show its version.
    ///
    /// # Errors
    /// Fails with code 6 and the path to a value that does not fit.
    pub fn from_json(json: &Json) -> Result<Self, Error> {
        json.decode()
            .map_err(|e| Error::new(Code::DECODE, e.to_string()))
    }

    /// Reads the result that a plugin printed, as [`Self::from_json`] does, but keeps no more of
    /// the text in memory than the result needs.
    ///
    /// # Errors
    /// Fails with code 6, also if the text is not one JSON document.
    pub fn parse(document: &[u8]) -> Result<Self, Error> {
        let decoded = Document::parse(document).and_then(|document| document.decode());
        decoded.map_err(|e| Error::new(Code::DECODE, e.to_string()))
    }
}

impl<'de> Deserialize<'de> for AddResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Wire::deserialize(deserializer).map(Self::from)
    }
}

impl From<Wire> for AddResult {
    fn from(wire: Wire) -> Self {
        let mut result = Self {
            interfaces: wire.interfaces.into_iter().map(Interface::from).collect(),
            ips: wire.ips.into_iter().map(IpConfig::from).collect(),
            routes: wire.routes,
            dns: wire.dns,
        };
        for family in [wire.ip4, wire.ip6].into_iter().flatten() {
            result.ips.push(IpConfig {
                interface: None,
                address: family.ip,
                gateway: family.gateway,
            });
            result.routes.extend(family.routes);
        }
        result
    }
}

impl From<WireInterface> for Interface {
    fn from(wire: WireInterface) -> Self {
        let WireInterface {
            name,
            mac,
            mtu,
            sandbox,
            socket_path,
            pci_id,
        } = wire;
        Self {
            name,
            mac,
            mtu: mtu.filter(|mtu| *mtu != 0),
            sandbox,
            socket_path,
            pci_id,
        }
    }
}

impl From<WireIp> for IpConfig {
    fn from(wire: WireIp) -> Self {
        Self {
            interface: wire.interface,
            address: wire.address,
            gateway: wire.gateway,
        }
    }
}
