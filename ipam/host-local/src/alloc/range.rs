//! One range: a contiguous part of a subnet that addresses are taken from, and the subnet's
//! gateway.

use super::span::{Span, with_last_bit, without_last_bit};
use cni_types::Cidr;
use std::{fmt, net::IpAddr};

/// A range as it is configured; a missing part has a default.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RangeSpec {
    /// The subnet, without host bits.
    pub(crate) subnet: Cidr,
    /// The first address; the subnet's first by default.
    pub(crate) start: Option<IpAddr>,
    /// The last address; the subnet's last usable one by default.
    pub(crate) end: Option<IpAddr>,
    /// The gateway; the subnet's first address by default.
    pub(crate) gateway: Option<IpAddr>,
}

/// A range that can be allocated from: one family, `start` ≤ `end`, both in `subnet`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    subnet: Cidr,
    start: IpAddr,
    end: IpAddr,
    gateway: IpAddr,
}

/// The reason for which a range cannot be used. The texts are the reference's, letter by letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRange {
    #[error("IPNet IP and Mask version mismatch")]
    Mapped(Cidr),
    #[error("Network {0} too small to allocate from")]
    TooSmall(Cidr),
    #[error(
        "Network has host bits set. For a subnet mask of length {} the network address is {}",
        .0.prefix(),
        .0.network().address()
    )]
    HostBits(Cidr),
    #[error("RangeStart {start} not in network {subnet}")]
    StartOutside { start: IpAddr, subnet: Cidr },
    #[error("RangeStart {start} not in network {subnet}")]
    StartAfterEnd {
        start: IpAddr,
        end: IpAddr,
        subnet: Cidr,
    },
    #[error("RangeEnd {end} not in network {subnet}")]
    EndOutside { end: IpAddr, subnet: Cidr },
    #[error("RangeEnd {end} not in network {subnet}")]
    EndBeforeStart {
        start: IpAddr,
        end: IpAddr,
        subnet: Cidr,
    },
}

impl InvalidRange {
    /// The part of the explanation that the reference's text leaves out.
    pub(crate) fn details(&self) -> Option<String> {
        match self {
            Self::Mapped(subnet) => Some(format!("{subnet} is IPv4 written as IPv6")),
            Self::StartAfterEnd { end, .. } => Some(format!("it is after the range's end {end}")),
            Self::EndBeforeStart { start, .. } => {
                Some(format!("it is before the range's start {start}"))
            }
            Self::TooSmall(_)
            | Self::HostBits(_)
            | Self::StartOutside { .. }
            | Self::EndOutside { .. } => None,
        }
    }
}

impl Range {
    /// Checks a range and fills in the defaults. Like the reference, it takes a network or
    /// broadcast address that is given as start or end, and a gateway outside the subnet.
    pub(crate) fn new(spec: RangeSpec) -> Result<Self, InvalidRange> {
        let subnet = allocatable(spec.subnet)?;
        let first = with_last_bit(subnet.address());
        let start = spec.start.map_or(first, canonical);
        let end = spec.end.map_or_else(|| last_usable(subnet), canonical);
        if !subnet.contains(start) {
            return Err(InvalidRange::StartOutside { start, subnet });
        }
        if !subnet.contains(end) {
            return Err(InvalidRange::EndOutside { end, subnet });
        }
        if start > end {
            return Err(match spec.start {
                Some(_) => InvalidRange::StartAfterEnd { start, end, subnet },
                None => InvalidRange::EndBeforeStart { start, end, subnet },
            });
        }
        Ok(Self {
            subnet,
            start,
            end,
            gateway: spec.gateway.map_or(first, canonical),
        })
    }

    /// The subnet's gateway.
    pub(crate) fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// An address of the range, with the prefix of its subnet.
    #[expect(
        clippy::expect_used,
        reason = "an address of the range has the family of its subnet"
    )]
    pub(crate) fn with_prefix(&self, address: IpAddr) -> Cidr {
        Cidr::new(address, self.subnet.prefix()).expect("a prefix of the same family")
    }

    /// Returns true for a range of IPv4 addresses.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.start.is_ipv4()
    }

    /// The first address.
    pub(crate) fn start(&self) -> IpAddr {
        self.start
    }

    /// The addresses from start to end.
    pub(crate) fn span(&self) -> Span {
        Span {
            first: self.start,
            last: self.end,
        }
    }

    /// The subnet that the range is a part of.
    pub(crate) fn subnet(&self) -> Cidr {
        self.subnet
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

/// Fails unless the subnet is a network that has addresses for hosts.
fn allocatable(subnet: Cidr) -> Result<Cidr, InvalidRange> {
    if canonical(subnet.address()) != subnet.address() {
        return Err(InvalidRange::Mapped(subnet));
    }
    let family_bits = if subnet.is_ipv4() { 32 } else { 128 };
    if subnet.prefix() > family_bits - 2 {
        return Err(InvalidRange::TooSmall(subnet));
    }
    if subnet != subnet.network() {
        return Err(InvalidRange::HostBits(subnet));
    }
    Ok(subnet)
}

/// The last address, but for the broadcast address of IPv4.
fn last_usable(subnet: Cidr) -> IpAddr {
    let last = subnet.last();
    if subnet.is_ipv4() {
        without_last_bit(last)
    } else {
        last
    }
}

/// Reads IPv4 written as IPv6 (`::ffff:10.0.0.1`) as IPv4, as the reference does.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alloc::to_bits;
    use proptest::prelude::*;

    fn range(subnet: &str, start: &str, end: &str) -> Result<String, String> {
        let address = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
        let spec = RangeSpec {
            subnet: subnet.parse().unwrap(),
            start: address(start),
            end: address(end),
            gateway: None,
        };
        let refused = |e: InvalidRange| match e.details() {
            Some(details) => format!("{e}; {details}"),
            None => e.to_string(),
        };
        Range::new(spec)
            .map(|r| format!("{r} {}", r.gateway))
            .map_err(refused)
    }

    #[test]
    fn the_defaults_are_first_to_last_usable_with_the_first_as_gateway() {
        for (subnet, wanted) in [
            ("10.0.0.0/24", "10.0.0.1-10.0.0.254 10.0.0.1"),
            ("10.0.0.0/30", "10.0.0.1-10.0.0.2 10.0.0.1"),
            ("0.0.0.0/0", "0.0.0.1-255.255.255.254 0.0.0.1"),
            (
                "255.255.255.252/30",
                "255.255.255.253-255.255.255.254 255.255.255.253",
            ),
            ("fd00::/126", "fd00::1-fd00::3 fd00::1"),
            ("::/0", "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ::1"),
        ] {
            assert_eq!(range(subnet, "", ""), Ok(wanted.to_owned()), "{subnet}");
        }
    }

    #[test]
    fn given_bounds_are_kept_even_if_they_are_network_and_broadcast() {
        assert_eq!(
            range("10.0.0.0/24", "10.0.0.0", "10.0.0.255"),
            Ok("10.0.0.0-10.0.0.255 10.0.0.1".into())
        );
        assert_eq!(
            range("10.0.0.0/24", "::ffff:10.0.0.9", ""),
            Ok("10.0.0.9-10.0.0.254 10.0.0.1".into())
        );
    }

    #[test]
    fn an_invalid_range_is_refused_with_the_reference_s_text() {
        for (subnet, start, end, wanted) in [
            (
                "10.0.0.0/31",
                "",
                "",
                "Network 10.0.0.0/31 too small to allocate from",
            ),
            (
                "10.0.0.1/31",
                "",
                "",
                "Network 10.0.0.1/31 too small to allocate from",
            ),
            (
                "10.0.0.1/32",
                "",
                "",
                "Network 10.0.0.1/32 too small to allocate from",
            ),
            (
                "fd00::/127",
                "",
                "",
                "Network fd00::/127 too small to allocate from",
            ),
            (
                "10.0.0.5/24",
                "",
                "",
                "Network has host bits set. For a subnet mask of length 24 the network address is 10.0.0.0",
            ),
            (
                "fd00::1/64",
                "",
                "",
                "Network has host bits set. For a subnet mask of length 64 the network address is fd00::",
            ),
            (
                "10.0.0.0/24",
                "10.1.0.1",
                "",
                "RangeStart 10.1.0.1 not in network 10.0.0.0/24",
            ),
            (
                "10.0.0.0/24",
                "fd00::1",
                "",
                "RangeStart fd00::1 not in network 10.0.0.0/24",
            ),
            (
                "10.0.0.0/24",
                "",
                "10.1.0.1",
                "RangeEnd 10.1.0.1 not in network 10.0.0.0/24",
            ),
            (
                "10.0.0.0/24",
                "10.0.0.20",
                "10.0.0.10",
                "RangeStart 10.0.0.20 not in network 10.0.0.0/24; it is after the range's end 10.0.0.10",
            ),
            (
                "10.0.0.0/24",
                "10.0.0.255",
                "",
                "RangeStart 10.0.0.255 not in network 10.0.0.0/24; it is after the range's end 10.0.0.254",
            ),
            (
                "10.0.0.0/24",
                "",
                "10.0.0.0",
                "RangeEnd 10.0.0.0 not in network 10.0.0.0/24; it is before the range's start 10.0.0.1",
            ),
            (
                "::ffff:10.0.0.0/120",
                "",
                "",
                "IPNet IP and Mask version mismatch; ::ffff:10.0.0.0/120 is IPv4 written as IPv6",
            ),
        ] {
            assert_eq!(
                range(subnet, start, end),
                Err(wanted.to_owned()),
                "{subnet} {start} {end}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_range_is_refused_or_lies_within_its_subnet(
            bits: u128, prefix in 0u8..=128, v4: bool, start: Option<u128>, end: Option<u128>,
        ) {
            let address = |bits: u128| -> IpAddr {
                if v4 { std::net::Ipv4Addr::from_bits(bits as u32).into() } else { std::net::Ipv6Addr::from_bits(bits).into() }
            };
            let subnet = Cidr::new(address(bits), if v4 { prefix % 33 } else { prefix }).unwrap().network();
            let inside = |host: u128| {
                let mask = to_bits(subnet.last()) ^ to_bits(subnet.address());
                address(to_bits(subnet.address()) | (host & mask))
            };
            let spec = RangeSpec { subnet, start: start.map(inside), end: end.map(inside), gateway: None };
            if let Ok(range) = Range::new(spec) {
                prop_assert!(range.start <= range.end);
                prop_assert!(subnet.contains(range.start) && subnet.contains(range.end));
                prop_assert!(range.span().contains(range.start) && range.span().contains(range.end));
            }
        }
    }
}
