//! The request: the `ipam` section, and the addresses that runtimes pass beside it.
//!
//! Addresses come from four places. `ipam.addresses` and `IP` of `CNI_ARGS` add up; `args.cni.ips`
//! replaces both, and `runtimeConfig.ips` replaces all others.

use cni_types::{
    Call, Cidr, CniArgs, Code, Dns, Error, IpConfig, Key, KeyKind, Route,
    ipam::{RequestedAddress, RequestedIps, ip_of_cni_args, missing_section, optional_address},
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The keys of the section `ipam`.
pub const KEYS: &[Key] = &[
    Key::new("addresses", KeyKind::List(&KeyKind::Object(ADDRESS_KEYS))),
    Key::new("routes", KeyKind::ROUTES),
    Key::new("dns", KeyKind::DNS),
];

/// The keys of an entry of `addresses`.
const ADDRESS_KEYS: &[Key] = &[Key::text("address"), Key::text("gateway")];

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    ipam: Option<WireIpam>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireIpam {
    addresses: Vec<WireAddress>,
    routes: Vec<Route>,
    dns: Dns,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireAddress {
    address: String,
    gateway: String,
}

/// An entry of `ipam.addresses`, its address as it is written: it need not be readable while the
/// runtime replaces it.
struct Entry {
    text: String,
    gateway: Option<IpAddr>,
}

/// An address of the request, and the gateway that the request gives to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GivenAddress {
    /// The address and its network's prefix.
    pub(crate) address: Cidr,
    /// The `gateway` beside a configured address, or `GATEWAY` beside an address of `CNI_ARGS`.
    pub(crate) gateway: Option<IpAddr>,
}

/// A checked request.
#[derive(Debug)]
pub(crate) struct Config {
    /// The addresses, in the order of the result.
    pub(crate) addresses: Vec<GivenAddress>,
    /// The addresses of `CNI_ARGS` that other places replaced, but for those that are in
    /// `addresses` too: Multus sends the same in two places.
    pub(crate) replaced: Vec<Cidr>,
    /// The routes of the result.
    pub(crate) routes: Vec<Route>,
    /// The resolvers of the result.
    pub(crate) dns: Dns,
    /// The list of `GATEWAY` in `CNI_ARGS`.
    gateways: Vec<IpAddr>,
    /// The gateways that the configuration gives to subnets whose address the runtime replaced.
    subnets: SubnetGateways,
}

impl Config {
    /// Reads and checks the request.
    ///
    /// # Errors
    /// Code 6 if it cannot be decoded, 7 if it has no `ipam` section or an invalid address or
    /// gateway, 4 for an invalid address or gateway in `CNI_ARGS`.
    pub(crate) fn load(call: &Call) -> Result<Self, Error> {
        let wire: Wire = call.config()?;
        let requested = RequestedIps::of(call)?;
        let ipam = wire.ipam.ok_or_else(missing_section)?;
        let entries: Vec<Entry> = ipam
            .addresses
            .into_iter()
            .map(entry)
            .collect::<Result<_, _>>()?;
        let args = call.args(&["IP", "GATEWAY"])?;
        let gateways = gateways_of(&args)?;
        let by_cni_args = addresses_of(&args, &gateways)?;
        // Both lists must be readable, also the one that is not used: as the reference has it.
        let by_args = replacements(requested.by_args())?;
        let by_capability = replacements(requested.by_capability())?;
        let replacement = if by_capability.is_empty() {
            by_args
        } else {
            by_capability
        };
        let mut config = Self {
            addresses: replacement,
            replaced: Vec::new(),
            routes: ipam.routes,
            dns: ipam.dns,
            gateways,
            subnets: SubnetGateways::default(),
        };
        if config.addresses.is_empty() {
            config.addresses = entries.iter().map(configured).collect::<Result<_, _>>()?;
            config.addresses.extend(by_cni_args);
        } else {
            config.subnets = entries.iter().filter_map(subnet_with_gateway).collect();
            let used: BTreeSet<Cidr> = config.addresses.iter().map(|given| given.address).collect();
            config.replaced = by_cni_args
                .iter()
                .map(|given| given.address)
                .filter(|address| !used.contains(address))
                .collect();
        }
        Ok(config)
    }

    /// The addresses as the result has them, each with the gateway that was given to it, or that
    /// fits it.
    pub(crate) fn ip_configs(&self) -> Vec<IpConfig> {
        let ip_config = |given: &GivenAddress| IpConfig {
            interface: None,
            address: given.address,
            gateway: given
                .gateway
                .or_else(|| self.fitting_gateway(given.address)),
        };
        self.addresses.iter().map(ip_config).collect()
    }

    /// The entries of `GATEWAY` that are in the subnet of no address.
    pub(crate) fn gateways_without_address(&self) -> impl Iterator<Item = IpAddr> {
        let fits = |gateway: IpAddr| {
            self.addresses
                .iter()
                .any(|given| given.address.contains(gateway))
        };
        self.gateways
            .iter()
            .copied()
            .filter(move |gateway| !fits(*gateway))
    }

    /// The gateway of an address to which the request gives none: of `GATEWAY`, or, for an address
    /// that replaces configured ones, of the configured subnet that it is in.
    fn fitting_gateway(&self, address: Cidr) -> Option<IpAddr> {
        last_in(address, &self.gateways).or_else(|| {
            let gateway = self.subnets.first_around(address.address())?;
            (gateway != address.address()).then_some(gateway)
        })
    }
}

/// The gateways of subnets, each with its place in the configuration.
#[derive(Debug, Default)]
struct SubnetGateways(BTreeMap<Cidr, (usize, IpAddr)>);

impl SubnetGateways {
    /// Returns the gateway of the first subnet that contains the address. Looks up the address's
    /// network of every prefix length, since there may be many subnets for many addresses.
    fn first_around(&self, address: IpAddr) -> Option<IpAddr> {
        let networks = (0..=Cidr::host(address).prefix()).filter_map(|prefix| {
            let cidr = Cidr::new(address, prefix).ok()?;
            self.0.get(&cidr.network())
        });
        let (_, gateway) = networks.min_by_key(|(place, _)| *place)?;
        Some(*gateway)
    }
}

impl FromIterator<(Cidr, IpAddr)> for SubnetGateways {
    fn from_iter<T: IntoIterator<Item = (Cidr, IpAddr)>>(subnets: T) -> Self {
        let mut gateways = BTreeMap::new();
        for (place, (subnet, gateway)) in subnets.into_iter().enumerate() {
            gateways.entry(subnet.network()).or_insert((place, gateway));
        }
        Self(gateways)
    }
}

/// The last of `gateways` that is in the network of `address`: the one that the reference takes.
fn last_in(address: Cidr, gateways: &[IpAddr]) -> Option<IpAddr> {
    gateways
        .iter()
        .rfind(|gateway| address.contains(**gateway))
        .copied()
}

fn entry(wire: WireAddress) -> Result<Entry, Error> {
    let gateway = optional_address(&wire.gateway)?.map(|gateway| gateway.to_canonical());
    Ok(Entry {
        text: wire.address,
        gateway,
    })
}

fn configured(entry: &Entry) -> Result<GivenAddress, Error> {
    let address = cidr(
        &entry.text,
        Code::INVALID_CONFIG,
        "the 'address' field is expected to be in",
    )?;
    Ok(GivenAddress {
        address,
        gateway: entry.gateway,
    })
}

/// The network of an entry and its gateway, if it has both.
fn subnet_with_gateway(entry: &Entry) -> Option<(Cidr, IpAddr)> {
    let address: Cidr = entry.text.parse().ok()?;
    Some((address.to_canonical(), entry.gateway?))
}

/// The addresses of `args.cni.ips` or `runtimeConfig.ips`.
fn replacements(texts: &[String]) -> Result<Vec<GivenAddress>, Error> {
    let given = |text: &String| {
        let address = cidr(
            text,
            Code::INVALID_CONFIG,
            "an entry in the 'ips' field is NOT in",
        )?;
        Ok(GivenAddress {
            address,
            gateway: None,
        })
    };
    texts.iter().map(given).collect()
}

/// The addresses of `IP` in `CNI_ARGS`, each with the gateway that fits it.
fn addresses_of(args: &CniArgs, gateways: &[IpAddr]) -> Result<Vec<GivenAddress>, Error> {
    let given = |text: &str| {
        let address = cidr(
            text,
            Code::INVALID_ENVIRONMENT,
            "the 'ip' field is expected to be in",
        )?;
        Ok(GivenAddress {
            address,
            gateway: last_in(address, gateways),
        })
    };
    ip_of_cni_args(args)
        .into_iter()
        .flat_map(list)
        .map(given)
        .collect()
}

/// The list of `GATEWAY` in `CNI_ARGS`.
fn gateways_of(args: &CniArgs) -> Result<Vec<IpAddr>, Error> {
    let gateway = |text: &str| {
        let msg = format!("invalid gateway address: {text}");
        let address: Result<IpAddr, _> = text.parse();
        let invalid = |_| Error::new(Code::INVALID_ENVIRONMENT, msg);
        address
            .map(|address| address.to_canonical())
            .map_err(invalid)
    };
    let text = args.value("GATEWAY").filter(|text| !text.is_empty());
    text.into_iter().flat_map(list).map(gateway).collect()
}

/// The elements of a list with commas, without the blanks around them.
fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim)
}

/// Reads an address that must have a prefix length. The error begins with the reference's text,
/// which differs between the places; its details are the remedy.
fn cidr(text: &str, code: Code, expectation: &str) -> Result<Cidr, Error> {
    let error = || Error::new(code, format!("{expectation} CIDR notation, got: '{text}'"));
    match text.parse() {
        Ok(RequestedAddress::WithPrefix(cidr)) => Ok(cidr.to_canonical()),
        Ok(RequestedAddress::Bare(address)) => {
            let prefix = if address.is_ipv4() { 24 } else { 64 };
            Err(error().with_details(format!(
                "{address} has no prefix length: write {address}/{prefix}"
            )))
        }
        Err(_) => Err(error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::fields_of;

    #[test]
    fn the_declared_keys_are_those_that_are_read() {
        let names = |keys: &[Key]| keys.iter().map(|key| key.name).collect();
        assert_eq!(fields_of::<WireIpam>(), names(KEYS));
        assert_eq!(fields_of::<WireAddress>(), names(ADDRESS_KEYS));
    }

    #[test]
    fn an_address_gets_the_gateway_of_the_first_subnet_that_contains_it() {
        let subnets: SubnetGateways = [
            ("10.0.0.9/24", "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.2"),
            ("10.0.0.0/24", "10.0.0.3"),
            ("10.1.0.0/24", "10.1.0.1"),
            ("fd00::/64", "fd00::1"),
        ]
        .map(|(subnet, gateway)| (subnet.parse().unwrap(), gateway.parse().unwrap()))
        .into_iter()
        .collect();
        for (address, gateway) in [
            ("10.0.0.5", Some("10.0.0.1")),
            ("10.1.0.5", Some("10.0.0.2")),
            ("fd00::5", Some("fd00::1")),
            ("fd01::5", None),
            ("192.0.2.1", None),
        ] {
            let gateway = gateway.map(|text| text.parse().unwrap());
            assert_eq!(
                subnets.first_around(address.parse().unwrap()),
                gateway,
                "{address}"
            );
        }
    }
}
