//! Writing a result in the shape of each version.

use super::{AddResult, Dns, Interface, IpConfig, Route};
use crate::{
    error::{Code, Error},
    json::pretty,
    value::Cidr,
    version::SpecVersion,
};
use serde::Serialize;
use std::{fmt, net::IpAddr};

/// A result as the JSON document for the runtime. ADD returns this type, so a result that the
/// requested version cannot express is detected while everything can still be rolled back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded(String);

impl fmt::Display for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AddResult {
    /// Writes the result in the shape of `version`.
    ///
    /// # Errors
    /// Fails for 0.1.0 and 0.2.0, if there is not exactly one address in one or both families.
    pub fn encode(&self, version: SpecVersion) -> Result<Encoded, Error> {
        if version.has_one_address_per_family() {
            return Ok(Encoded(pretty(&FamilyResult::new(self, version)?)));
        }
        Ok(Encoded(pretty(&ListResult::new(self, version))))
    }

    /// Checks that `version` can express this many addresses.
    ///
    /// # Errors
    /// Fails for 0.1.0 and 0.2.0, if a family has more than one address.
    pub fn require_one_address_per_family(
        version: SpecVersion,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), Error> {
        let mut counts = [0_u32; 2];
        for address in addresses {
            let [v4, v6] = &mut counts;
            *(if address.is_ipv4() { v4 } else { v6 }) += 1;
        }
        if version.has_one_address_per_family() && counts.iter().any(|count| *count > 1) {
            return Err(Error::new(
                Code::INVALID_CONFIG,
                format!("CNI version {version} does not support more than 1 address per family"),
            ));
        }
        Ok(())
    }
}

/// 0.3.0 and later.
#[derive(Serialize)]
struct ListResult<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    interfaces: Vec<ListInterface<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ips: Vec<ListIp<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns: Option<&'a Dns>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListInterface<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    mac: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    sandbox: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    socket_path: &'a str,
    #[serde(rename = "pciID", skip_serializing_if = "str::is_empty")]
    pci_id: &'a str,
}

#[derive(Serialize)]
struct ListIp<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<i64>,
    address: Cidr,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

impl<'a> ListResult<'a> {
    fn new(result: &'a AddResult, version: SpecVersion) -> Self {
        let newest = version >= SpecVersion::V1_1_0;
        let before_1_0_0 = version < SpecVersion::V1_0_0;
        Self {
            cni_version: version.as_str(),
            interfaces: result
                .interfaces
                .iter()
                .map(|i| ListInterface::new(i, newest))
                .collect(),
            ips: result
                .ips
                .iter()
                .map(|ip| ListIp::new(ip, before_1_0_0))
                .collect(),
            routes: result
                .routes
                .iter()
                .map(|r| expressible_route(r, newest))
                .collect(),
            dns: (before_1_0_0 || !result.dns.is_empty()).then_some(&result.dns),
        }
    }
}

impl<'a> ListInterface<'a> {
    fn new(interface: &'a Interface, newest: bool) -> Self {
        Self {
            name: &interface.name,
            mac: &interface.mac,
            mtu: interface.mtu.filter(|_| newest),
            sandbox: &interface.sandbox,
            socket_path: if newest { &interface.socket_path } else { "" },
            pci_id: if newest { &interface.pci_id } else { "" },
        }
    }
}

impl ListIp<'_> {
    fn new(ip: &IpConfig, with_version: bool) -> Self {
        let version = if ip.address.is_ipv4() { "4" } else { "6" };
        Self {
            version: with_version.then_some(version),
            interface: ip.interface,
            address: ip.address,
            gateway: ip.gateway,
        }
    }
}

fn expressible_route(route: &Route, newest: bool) -> Route {
    if newest {
        route.clone()
    } else {
        Route::new(route.dst, route.gw)
    }
}

/// 0.1.0 and 0.2.0.
#[derive(Serialize)]
struct FamilyResult<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<FamilyIp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<FamilyIp>,
    dns: &'a Dns,
}

#[derive(Serialize)]
struct FamilyIp {
    ip: Cidr,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    routes: Vec<Route>,
}

impl<'a> FamilyResult<'a> {
    fn new(result: &'a AddResult, version: SpecVersion) -> Result<Self, Error> {
        AddResult::require_one_address_per_family(
            version,
            result.ips.iter().map(|ip| ip.address.address()),
        )?;
        let family = |v4: bool| {
            let ip = result.ips.iter().find(|ip| ip.address.is_ipv4() == v4)?;
            let of_family = result
                .routes
                .iter()
                .filter(|route| route.dst.is_ipv4() == v4);
            let routes = of_family
                .map(|route| expressible_route(route, false))
                .collect();
            Some(FamilyIp {
                ip: ip.address,
                gateway: ip.gateway,
                routes,
            })
        };
        let ip4 = family(true);
        let ip6 = family(false);
        if ip4.is_none() && ip6.is_none() {
            return Err(Error::new(
                Code::INVALID_CONFIG,
                "cannot convert: no valid IP addresses",
            ));
        }
        Ok(Self {
            cni_version: version.as_str(),
            ip4,
            ip6,
            dns: &result.dns,
        })
    }
}
