//! Conditions on a packet: written in the form that nft(8) itself writes, so that `nft list
//! ruleset` shows them as conditions, and read from any rule of that form.

use super::expr::{CmpOp, Expr, MetaKey, PayloadBase, Register};
use crate::{netlink::c_string, sysctl::Family};
use cni_types::{Cidr, MacAddr};
use std::net::IpAddr;

// include/uapi/linux/netfilter.h
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// include/uapi/linux/if.h
const IFNAMSIZ: usize = 16;

/// `struct ethhdr` of include/uapi/linux/if_ether.h: the destination, then the source. A VLAN tag
/// stands behind both.
const ETHER_SOURCE: (u32, u32) = (6, 6);

// The same in TCP, UDP, SCTP, DCCP.
const SOURCE_PORT: (u32, u32) = (0, 2);
const DESTINATION_PORT: (u32, u32) = (2, 2);

/// A condition on a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The address family.
    Family(Family),
    /// The name of the interface by which the packet came.
    InputInterface(String),
    /// The name of the interface by which the packet leaves.
    OutputInterface(String),
    /// The source address of the frame.
    EtherSource(MacAddr),
    /// The network of the source address.
    Source(Cidr),
    /// The network of the destination address.
    Destination(Cidr),
    /// The transport protocol: IPPROTO_* of include/uapi/linux/in.h.
    Protocol(u8),
    /// The source port. Meaningful only behind a condition on the protocol.
    SourcePort(u16),
    /// The destination port. Meaningful only behind a condition on the protocol.
    DestinationPort(u16),
}

/// A part of a rule, as far as it is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The rule goes on if the condition holds.
    Is(Condition),
    /// The rule goes on if the condition does not hold.
    IsNot(Condition),
    /// Any other expression.
    Other(Expr),
}

/// An end of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// Returns the offset of an address in the IP header.
const fn address_offset(family: Family, side: Side) -> u32 {
    match (family, side) {
        (Family::V4, Side::Source) => 12,
        (Family::V4, Side::Destination) => 16,
        (Family::V6, Side::Source) => 8,
        (Family::V6, Side::Destination) => 24,
    }
}

impl Condition {
    /// Returns the condition that an address is of this address's family.
    #[must_use]
    pub fn family_of(address: IpAddr) -> Self {
        Self::Family(if address.is_ipv4() {
            Family::V4
        } else {
            Family::V6
        })
    }

    /// Returns the expressions that let a rule go on if the condition holds.
    #[must_use]
    pub fn holds(&self) -> Vec<Expr> {
        self.expressions(CmpOp::Equal)
    }

    /// Returns the expressions that let a rule go on if the condition does not hold.
    #[must_use]
    pub fn fails(&self) -> Vec<Expr> {
        self.expressions(CmpOp::NotEqual)
    }

    fn expressions(&self, op: CmpOp) -> Vec<Expr> {
        let with = |load: Expr, value: &[u8]| vec![load, compare(op, value)];
        match self {
            Self::Family(Family::V4) => with(meta(MetaKey::NFPROTO), &[NFPROTO_IPV4]),
            Self::Family(Family::V6) => with(meta(MetaKey::NFPROTO), &[NFPROTO_IPV6]),
            Self::InputInterface(name) => with(meta(MetaKey::IIFNAME), &interface_name(name)),
            Self::OutputInterface(name) => with(meta(MetaKey::OIFNAME), &interface_name(name)),
            Self::EtherSource(mac) => with(payload(PayloadBase::LINK, ETHER_SOURCE), &mac.0),
            Self::Source(network) => address(Side::Source, op, *network),
            Self::Destination(network) => address(Side::Destination, op, *network),
            Self::Protocol(protocol) => with(meta(MetaKey::L4PROTO), &[*protocol]),
            Self::SourcePort(port) => with(
                payload(PayloadBase::TRANSPORT, SOURCE_PORT),
                &port.to_be_bytes(),
            ),
            Self::DestinationPort(port) => with(
                payload(PayloadBase::TRANSPORT, DESTINATION_PORT),
                &port.to_be_bytes(),
            ),
        }
    }

    /// Reads the comparison of a value that was loaded and, if there is a mask, masked. The family
    /// decides which field of the IP header an offset means.
    fn read(
        family: Option<Family>,
        load: &Expr,
        mask: Option<&[u8]>,
        value: &[u8],
    ) -> Option<Self> {
        match (load, mask) {
            (Expr::Meta { key, .. }, None) => Self::of_meta(*key, value),
            (
                Expr::Payload {
                    base,
                    offset,
                    length,
                    ..
                },
                mask,
            ) => {
                let is_whole = usize::try_from(*length).is_ok_and(|length| length == value.len());
                let place = (*offset, *length);
                match (*base, mask) {
                    _ if !is_whole => None,
                    (PayloadBase::NETWORK, mask) => Self::of_address(family?, *offset, mask, value),
                    (PayloadBase::LINK, None) if place == ETHER_SOURCE => {
                        value.try_into().ok().map(MacAddr).map(Self::EtherSource)
                    }
                    (PayloadBase::TRANSPORT, None) => {
                        let port = value.try_into().ok().map(u16::from_be_bytes)?;
                        match place {
                            SOURCE_PORT => Some(Self::SourcePort(port)),
                            DESTINATION_PORT => Some(Self::DestinationPort(port)),
                            _ => None,
                        }
                    }
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn of_meta(key: MetaKey, value: &[u8]) -> Option<Self> {
        match (key, value) {
            (MetaKey::NFPROTO, [NFPROTO_IPV4]) => Some(Self::Family(Family::V4)),
            (MetaKey::NFPROTO, [NFPROTO_IPV6]) => Some(Self::Family(Family::V6)),
            (MetaKey::L4PROTO, [protocol]) => Some(Self::Protocol(*protocol)),
            // A name without its NUL matches all names that begin with it.
            (MetaKey::IIFNAME, name) if name.contains(&0) => {
                Some(Self::InputInterface(c_string(name)))
            }
            (MetaKey::OIFNAME, name) if name.contains(&0) => {
                Some(Self::OutputInterface(c_string(name)))
            }
            _ => None,
        }
    }

    /// Reads an address, or those of its bytes that a prefix covers.
    fn of_address(family: Family, offset: u32, mask: Option<&[u8]>, value: &[u8]) -> Option<Self> {
        let address = match family {
            Family::V4 => IpAddr::from(filled::<4>(value)?),
            Family::V6 => IpAddr::from(filled::<16>(value)?),
        };
        let prefix = match mask {
            Some(mask) => prefix_of(mask)?,
            None => u32::try_from(value.len()).ok()? * 8,
        };
        let network = Cidr::new(address, u8::try_from(prefix).ok()?).ok()?;
        match offset {
            at if at == address_offset(family, Side::Source) => Some(Self::Source(network)),
            at if at == address_offset(family, Side::Destination) => {
                Some(Self::Destination(network))
            }
            _ => None,
        }
    }
}

/// Reads the conditions of a rule. Counters are left out, since they have no effect on the packet.
/// `family` is that of the table; in tables of several families, a rule names the family itself.
#[must_use]
pub fn steps(mut family: Option<Family>, expressions: &[Expr]) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = expressions;
    while let Some((first, behind)) = rest.split_first() {
        let (step, left) = match condition(family, rest) {
            Some((step, left)) => (step, left),
            None => (Step::Other(first.clone()), behind),
        };
        rest = left;
        if let Step::Is(Condition::Family(own)) = &step {
            family = Some(*own);
        }
        if !matches!(step, Step::Other(Expr::Counter { .. })) {
            steps.push(step);
        }
    }
    steps
}

/// Reads a condition at the start of the expressions, and returns it with the expressions behind
/// it.
fn condition(family: Option<Family>, expressions: &[Expr]) -> Option<(Step, &[Expr])> {
    let (load, behind) = expressions.split_first()?;
    let loaded = match load {
        Expr::Meta { to, .. } | Expr::Payload { to, .. } => *to,
        _ => return None,
    };
    let (mask, behind) = match behind {
        [
            Expr::Bitwise {
                from,
                to,
                mask,
                xor,
            },
            behind @ ..,
        ] if [*from, *to] == [loaded; 2] && xor.iter().all(|byte| *byte == 0) => {
            (Some(mask.as_slice()), behind)
        }
        behind => (None, behind),
    };
    let [Expr::Cmp { from, op, value }, behind @ ..] = behind else {
        return None;
    };
    if *from != loaded {
        return None;
    }
    let condition = Condition::read(family, load, mask, value)?;
    match op {
        CmpOp::Equal => Some((Step::Is(condition), behind)),
        CmpOp::NotEqual => Some((Step::IsNot(condition), behind)),
        _ => None,
    }
}

fn meta(key: MetaKey) -> Expr {
    Expr::Meta {
        key,
        to: Register::R1,
    }
}

fn payload(base: PayloadBase, (offset, length): (u32, u32)) -> Expr {
    Expr::Payload {
        base,
        offset,
        length,
        to: Register::R1,
    }
}

fn compare(op: CmpOp, value: &[u8]) -> Expr {
    Expr::Cmp {
        from: Register::R1,
        op,
        value: value.to_vec(),
    }
}

fn interface_name(name: &str) -> Vec<u8> {
    let mut name = name.as_bytes().to_vec();
    name.resize(IFNAMSIZ, 0);
    name
}

/// Compares an address with a network. nft loads only the bytes that the prefix touches, and masks
/// the whole address if the prefix ends inside a byte.
fn address(side: Side, op: CmpOp, network: Cidr) -> Vec<Expr> {
    let network = network.network();
    let bytes = match network.address() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let offset = address_offset(Family::of(network), side);
    let prefix = usize::from(network.prefix());
    if prefix % 8 == 0 {
        let (covered, _) = bytes.split_at(prefix / 8);
        let load = payload(PayloadBase::NETWORK, (offset, length_of(covered)));
        return vec![load, compare(op, covered)];
    }
    let load = payload(PayloadBase::NETWORK, (offset, length_of(&bytes)));
    vec![load, mask(prefix, bytes.len()), compare(op, &bytes)]
}

#[expect(
    clippy::expect_used,
    reason = "an address has at most 16 bytes, and a length that is cut would match more"
)]
fn length_of(address: &[u8]) -> u32 {
    u32::try_from(address.len()).expect("at most 16 bytes")
}

fn mask(prefix: usize, length: usize) -> Expr {
    let byte = |index: usize| match prefix.saturating_sub(index * 8) {
        0 => 0,
        bits @ 1..=7 => u8::MAX << (8 - bits),
        _ => u8::MAX,
    };
    Expr::Bitwise {
        from: Register::R1,
        to: Register::R1,
        mask: (0..length).map(byte).collect(),
        xor: vec![0; length],
    }
}

/// Returns the length of the prefix that a mask selects, or `None` if the mask is no prefix.
fn prefix_of(mask: &[u8]) -> Option<u32> {
    let prefix: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
    let bits: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let is_prefix = mask.is_sorted_by(|a, b| a >= b) && prefix == bits;
    is_prefix.then_some(prefix)
}

/// Returns the bytes, padded with zeros.
fn filled<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut filled = [0; N];
    filled.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn network(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_of_whole_bytes_loads_only_these() {
        for (text, wanted) in [
            ("10.255.255.255/8", vec![10]),
            ("10.255.255.255/16", vec![10, 255]),
            ("10.255.255.255/24", vec![10, 255, 255]),
            ("10.255.255.255/32", vec![10, 255, 255, 255]),
            ("fd00:1:2:3ff::5/56", vec![0xfd, 0, 0, 1, 0, 2, 3]),
            ("fd00:1:2:3ff::5/64", vec![0xfd, 0, 0, 1, 0, 2, 3, 0xff]),
        ] {
            let offset = if text.contains(':') { 24 } else { 16 };
            let load = payload(PayloadBase::NETWORK, (offset, length_of(&wanted)));
            let expressions = Condition::Destination(network(text)).fails();
            assert_eq!(expressions, [load, compare(CmpOp::NotEqual, &wanted)]);
        }
    }

    #[test]
    fn a_prefix_that_ends_inside_a_byte_is_masked() {
        for (text, wanted_mask, wanted) in [
            ("10.255.255.255/9", [255, 128, 0, 0], [10, 128, 0, 0]),
            ("10.255.255.255/12", [255, 240, 0, 0], [10, 240, 0, 0]),
            ("10.255.255.255/20", [255, 255, 240, 0], [10, 255, 240, 0]),
            (
                "10.255.255.255/31",
                [255, 255, 255, 254],
                [10, 255, 255, 254],
            ),
            ("10.255.255.255/4", [240, 0, 0, 0], [0, 0, 0, 0]),
        ] {
            let masked = Expr::Bitwise {
                from: Register::R1,
                to: Register::R1,
                mask: wanted_mask.to_vec(),
                xor: vec![0; 4],
            };
            let load = payload(PayloadBase::NETWORK, (12, 4));
            let expressions = Condition::Source(network(text)).holds();
            assert_eq!(expressions, [load, masked, compare(CmpOp::Equal, &wanted)]);
        }
    }

    #[test]
    fn another_field_is_not_taken_for_an_address_or_a_port() {
        let other = |expressions: &[Expr]| {
            let steps = steps(Some(Family::V4), expressions);
            steps.iter().all(|step| matches!(step, Step::Other(_)))
        };
        for place in [(13, 4), (8, 4), (12, 5)] {
            let load = payload(PayloadBase::NETWORK, place);
            assert!(
                other(&[load, compare(CmpOp::Equal, &[10, 0, 0, 1])]),
                "{place:?}"
            );
        }
        let ports = payload(PayloadBase::TRANSPORT, (2, 2));
        assert!(other(&[ports.clone(), compare(CmpOp::Less, &[0, 80])]));
        let elsewhere = Expr::Cmp {
            from: Register::R2,
            op: CmpOp::Equal,
            value: vec![0, 80],
        };
        assert!(other(&[ports, elsewhere]));
        let begins = compare(CmpOp::Equal, b"veth");
        assert!(other(&[meta(MetaKey::IIFNAME), begins]));
    }

    /// The mask of `0.0.0.1/0.0.0.255`, which nft(8) supports.
    #[test]
    fn a_mask_that_is_no_prefix_is_no_network() {
        for mask in [[0, 0, 0, 255], [255, 0, 255, 0], [255, 0b0101_0000, 0, 0]] {
            let expressions = [
                payload(PayloadBase::NETWORK, (12, 4)),
                Expr::Bitwise {
                    from: Register::R1,
                    to: Register::R1,
                    mask: mask.to_vec(),
                    xor: vec![0; 4],
                },
                compare(CmpOp::Equal, &[0, 0, 0, 1]),
            ];
            assert_eq!(steps(Some(Family::V4), &expressions).len(), 3);
        }
    }

    #[test]
    fn without_a_family_an_offset_is_no_address_until_the_rule_names_one() {
        let source = Condition::Source(network("fd00::/64"));
        assert_eq!(steps(None, &source.holds()).len(), 2);
        let family = Condition::Family(Family::V6);
        let rule = [family.holds(), source.holds()].concat();
        assert_eq!(steps(None, &rule), [Step::Is(family), Step::Is(source)]);
    }

    #[test]
    fn counters_are_no_steps() {
        let counter = Expr::Counter {
            packets: 1,
            bytes: 60,
        };
        let rule = [Condition::Protocol(6).holds(), vec![counter]].concat();
        assert_eq!(steps(None, &rule), [Step::Is(Condition::Protocol(6))]);
    }

    fn condition() -> impl Strategy<Value = Condition> {
        let name = || "[a-zA-Z0-9_.-]{1,15}";
        let v4 = (any::<[u8; 4]>(), 1..=32_u8).prop_map(|(a, n)| Cidr::new(IpAddr::from(a), n));
        let v6 = (any::<[u8; 16]>(), 1..=128_u8).prop_map(|(a, n)| Cidr::new(IpAddr::from(a), n));
        let network = prop_oneof![v4, v6].prop_map(|network| network.unwrap().network());
        prop_oneof![
            name().prop_map(Condition::InputInterface),
            name().prop_map(Condition::OutputInterface),
            any::<[u8; 6]>().prop_map(|mac| Condition::EtherSource(MacAddr(mac))),
            network.clone().prop_map(Condition::Source),
            network.prop_map(Condition::Destination),
            any::<u8>().prop_map(Condition::Protocol),
            any::<u16>().prop_map(Condition::SourcePort),
            any::<u16>().prop_map(Condition::DestinationPort),
        ]
    }

    proptest! {
        #[test]
        fn a_condition_reads_back_as_it_was_written(condition in condition()) {
            let family = match &condition {
                Condition::Source(network) | Condition::Destination(network) => Family::of(*network),
                _ => Family::V4,
            };
            prop_assert_eq!(
                steps(Some(family), &condition.holds()),
                [Step::Is(condition.clone())]
            );
            prop_assert_eq!(steps(Some(family), &condition.fails()), [Step::IsNot(condition)]);
        }
    }
}
