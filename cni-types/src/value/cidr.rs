//! An IP address with the length of its network's prefix, `10.1.2.3/24`.
//!
//! Wraps `ipnetwork`, which also reads `10.1.2.3` (as /32), `10.1.2.3/255.255.255.0` and
//! `10.1.2.3/+8`; none of these is CIDR notation in CNI.

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// An address and a prefix length. The address may have host bits set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr(IpNetwork);

/// Text that is not in CIDR notation.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidCidr(String);

impl fmt::Display for InvalidCidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid CIDR address: {}", self.0)
    }
}

impl std::error::Error for InvalidCidr {}

impl Cidr {
    /// All IPv4 addresses, the destination of a default route: `0.0.0.0/0`.
    pub const V4_ANY: Self = Self(IpNetwork::V4(
        Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0).expect("no prefix is too long"),
    ));

    /// All IPv6 addresses, the destination of a default route: `::/0`.
    pub const V6_ANY: Self = Self(IpNetwork::V6(
        Ipv6Network::new_checked(Ipv6Addr::UNSPECIFIED, 0).expect("no prefix is too long"),
    ));

    /// Combines an address and a prefix length.
    ///
    /// # Errors
    /// Fails if `prefix` is longer than an address of that family.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self, InvalidCidr> {
        IpNetwork::new(address, prefix)
            .map(Self)
            .map_err(|_| InvalidCidr(format!("{address}/{prefix}")))
    }

    /// Returns the address with the full prefix of its family: /32 or /128.
    #[must_use]
    pub fn host(address: IpAddr) -> Self {
        Self(IpNetwork::from(address))
    }

    /// Returns the address, including host bits.
    #[must_use]
    pub fn address(self) -> IpAddr {
        self.0.ip()
    }

    /// Returns the length of the prefix, in bits.
    #[must_use]
    pub fn prefix(self) -> u8 {
        self.0.prefix()
    }

    /// Returns the network of the address: the same prefix, with host bits clear.
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "the network's address is of the address's own family"
    )]
    pub fn network(self) -> Self {
        Self::new(self.0.network(), self.prefix()).expect("a prefix of the address's own")
    }

    /// Converts an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2) to the IPv4 address that it
    /// represents: `::ffff:10.0.0.1/120` to `10.0.0.1/24`. Returns any other unchanged, also a
    /// mapped one whose network reaches beyond the mapped addresses (a prefix below 96).
    #[must_use]
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "an IPv6 prefix of at most 128 bits less 96 is one of IPv4"
    )]
    pub fn to_canonical(self) -> Self {
        let mapped = !self.is_ipv4() && self.address().to_canonical().is_ipv4();
        match self.prefix().checked_sub(96).filter(|_| mapped) {
            Some(prefix) => {
                Self::new(self.address().to_canonical(), prefix).expect("an IPv4 prefix")
            }
            None => self,
        }
    }

    /// Returns the network's last address: the broadcast address of an IPv4 network.
    #[must_use]
    pub fn last(self) -> IpAddr {
        self.0.broadcast()
    }

    /// Returns true if `address` is inside the network; never for the other family.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// Returns true if the two networks share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.network().address()) || other.contains(self.network().address())
    }

    /// Returns true for an IPv4 address.
    #[must_use]
    pub fn is_ipv4(self) -> bool {
        self.0.is_ipv4()
    }

    /// Returns true for the default route's destination, `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn is_default(self) -> bool {
        self.prefix() == 0 && self.address().is_unspecified()
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, InvalidCidr> {
        let invalid = || InvalidCidr(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let plain =
            !prefix.is_empty() && prefix.len() <= 3 && prefix.bytes().all(|b| b.is_ascii_digit());
        let prefix = if plain {
            prefix.parse().map_err(|_| invalid())?
        } else {
            return Err(invalid());
        };
        let address = address.parse().map_err(|_| invalid())?;
        Self::new(address, prefix).map_err(|_| invalid())
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.prefix())
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_printed_v4_reads_back(bits: u32, prefix in 0u8..=32) {
            let cidr = Cidr::new(IpAddr::V4(bits.into()), prefix).unwrap();
            prop_assert_eq!(cidr.to_string().parse(), Ok(cidr));
            prop_assert!(cidr.contains(cidr.address()));
            prop_assert!(cidr.network().contains(cidr.last()));
        }

        #[test]
        fn a_printed_v6_reads_back(bits: u128, prefix in 0u8..=128) {
            let cidr = Cidr::new(IpAddr::V6(bits.into()), prefix).unwrap();
            prop_assert_eq!(cidr.to_string().parse(), Ok(cidr));
            prop_assert!(cidr.overlaps(cidr.network()));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = text.parse::<Cidr>();
        }
    }

    #[test]
    fn notations_that_are_not_cidr_are_refused() {
        for text in [
            "10.1.2.3",
            "10.1.2.3/255.255.255.0",
            "10.1.2.3/+8",
            "10.1.2.3/",
            "/8",
            "10.1.2.3/33",
            "::1/129",
            "a/8",
            "",
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(InvalidCidr(text.to_owned())));
        }
    }

    #[test]
    fn a_mapped_address_becomes_the_ipv4_address_that_it_stands_for() {
        for (text, canonical) in [
            ("::ffff:10.0.0.1/120", "10.0.0.1/24"),
            ("::ffff:10.0.0.1/96", "10.0.0.1/0"),
            ("::ffff:10.0.0.1/90", "::ffff:10.0.0.1/90"),
            ("10.0.0.1/24", "10.0.0.1/24"),
            ("fd00::1/120", "fd00::1/120"),
        ] {
            let cidr: Cidr = text.parse().unwrap();
            assert_eq!(cidr.to_canonical().to_string(), canonical);
        }
    }

    #[test]
    fn networks_of_two_families_never_overlap() {
        let v4: Cidr = "0.0.0.0/0".parse().unwrap();
        let v6: Cidr = "::/0".parse().unwrap();
        assert!(!v4.overlaps(v6) && !v6.overlaps(v4));
        assert!(v4.is_default() && v6.is_default());
    }
}
