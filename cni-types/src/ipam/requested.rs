//! The addresses that a runtime requests, in all three places.

use crate::{args::CniArgs, call::Call, error::Error, value::Cidr};
use serde::Deserialize;
use std::{fmt, net::IpAddr, str::FromStr};

/// A requested address. Runtimes and people write it with and without a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestedAddress {
    /// An address alone, `10.1.2.3`.
    Bare(IpAddr),
    /// An address with the length of its network's prefix, `10.1.2.3/24`.
    WithPrefix(Cidr),
}

/// Text that is neither an address nor an address with a prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidAddress;

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither an IP address nor one in CIDR notation")
    }
}

impl std::error::Error for InvalidAddress {}

impl RequestedAddress {
    /// Returns the address; an IPv4-mapped IPv6 address as the IPv4 address that it represents.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self {
            Self::Bare(address) => address.to_canonical(),
            Self::WithPrefix(cidr) => cidr.address().to_canonical(),
        }
    }
}

impl FromStr for RequestedAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        if let Ok(cidr) = text.parse() {
            return Ok(Self::WithPrefix(cidr));
        }
        text.parse().map(Self::Bare).map_err(|_| InvalidAddress)
    }
}

/// The addresses that a configuration requests outside its `ipam` section, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RequestedIps {
    args: Args,
    runtime_config: Ips,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Args {
    cni: Ips,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Ips {
    ips: Vec<String>,
}

impl RequestedIps {
    /// Reads both lists.
    ///
    /// # Errors
    /// Fails with code 6 if one of them is not a list of strings.
    pub fn of(call: &Call) -> Result<Self, Error> {
        call.config()
    }

    /// Returns the list of `args.cni.ips`.
    #[must_use]
    pub fn by_args(&self) -> &[String] {
        &self.args.cni.ips
    }

    /// Returns the list of `runtimeConfig.ips`, the capability `ips`.
    #[must_use]
    pub fn by_capability(&self) -> &[String] {
        &self.runtime_config.ips
    }
}

/// Returns the value of `IP`, or `None` if it is missing or empty: Multus sends `IP=` for a pod
/// without a request.
#[must_use]
pub fn ip_of_cni_args(args: &CniArgs) -> Option<&str> {
    args.value("IP").filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Environment, Stop};

    #[test]
    fn an_address_is_read_with_and_without_a_prefix_length() {
        let bare = RequestedAddress::Bare("10.0.0.1".parse().unwrap());
        let with_prefix = RequestedAddress::WithPrefix("10.0.0.1/8".parse().unwrap());
        assert_eq!("10.0.0.1".parse(), Ok(bare));
        assert_eq!("10.0.0.1/8".parse(), Ok(with_prefix));
        for text in ["", "here", "10.0.0.1/33", "10.0.0.1/255.0.0.0", " 10.0.0.1"] {
            assert_eq!(
                text.parse::<RequestedAddress>(),
                Err(InvalidAddress),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_mapped_address_stands_for_its_ipv4_address() {
        for text in ["::ffff:10.0.0.1", "::ffff:10.0.0.1/120"] {
            let requested: RequestedAddress = text.parse().unwrap();
            assert_eq!(requested.address().to_string(), "10.0.0.1");
        }
    }

    #[test]
    fn both_lists_of_a_configuration_are_read_and_null_is_empty() {
        let requested = |rest: &str| {
            let stdin = format!(r#"{{"name":"n"{rest}}}"#).into_bytes();
            RequestedIps::of(&Call::new(Environment::default(), stdin, Stop::never()).unwrap())
        };
        let both = r#","args":{"cni":{"ips":["a"]}},"RuntimeConfig":{"ips":["b"]}"#;
        let both = requested(both).unwrap();
        assert_eq!(
            (both.by_args(), both.by_capability()),
            (&["a".into()][..], &["b".into()][..])
        );
        let nothing = requested(r#","args":null,"runtimeConfig":{"ips":null}"#);
        assert_eq!(nothing, Ok(RequestedIps::default()));
        assert_eq!(
            requested(r#","args":{"cni":{"ips":7}}"#)
                .unwrap_err()
                .code
                .0,
            6
        );
    }

    #[test]
    fn an_empty_ip_in_cni_args_asks_for_nothing() {
        let ip = |text: &str| {
            let args = CniArgs::parse(text).unwrap();
            ip_of_cni_args(&args).map(str::to_owned)
        };
        assert_eq!(ip("IP=;IgnoreUnknown=1"), None);
        assert_eq!(ip("ip=10.0.0.1"), None);
        assert_eq!(ip("IP=10.0.0.1"), Some("10.0.0.1".to_owned()));
    }
}
