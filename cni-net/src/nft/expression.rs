//! The expressions that rules are made of, in the form in which nft(8) itself writes them, so that
//! `nft list ruleset` shows what was meant.

use cni_types::Cidr;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Meta, MetaKey,
    Operator, Payload, Register, Verdict, VerdictAttribute,
};
use std::net::IpAddr;

/// include/uapi/linux/netfilter.h
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// include/uapi/linux/netfilter/nf_tables.h
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Source,
    Destination,
}

type Expression = ListAttribute<ExpressionAttribute>;

/// The packet is of this address's family.
pub(super) fn is_family(address: IpAddr) -> Vec<Expression> {
    let family = if address.is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
    let load =
        Expressions::Meta(vec![Meta::Key(MetaKey::Nfproto), Meta::DestinationRegister(Register::Reg1)]);
    vec![load.into(), compare(Operator::Equal, vec![family])]
}

/// The packet's address is in the network, or is not. nft loads only the bytes that the prefix touches, and masks the
/// last where the prefix ends inside it.
pub(super) fn matches(field: Field, operator: Operator, network: Cidr) -> Vec<Expression> {
    let network = network.network();
    let bytes = match network.address() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let offset = match (network.is_ipv4(), field) {
        (true, Field::Source) => 12,
        (true, Field::Destination) => 16,
        (false, Field::Source) => 8,
        (false, Field::Destination) => 24,
    };
    let prefix = usize::from(network.prefix());
    let aligned = prefix % 8 == 0;
    let length = if aligned { prefix / 8 } else { bytes.len() };
    let wanted: Vec<u8> = bytes.into_iter().take(length).collect();
    let length = u32::try_from(length).unwrap_or(0);
    let load = Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(NFT_PAYLOAD_NETWORK_HEADER),
        Payload::Offset(offset),
        Payload::Len(length),
    ]);
    let mut expressions: Vec<Expression> = vec![load.into()];
    if !aligned {
        expressions.push(mask(prefix, wanted.len()));
    }
    expressions.push(compare(operator, wanted));
    expressions
}

fn mask(prefix: usize, length: usize) -> Expression {
    let byte = |index: usize| match prefix.saturating_sub(index * 8) {
        0 => 0,
        bits @ 1..=7 => u8::MAX << (8 - bits),
        _ => u8::MAX,
    };
    let mask: Vec<u8> = (0..length).map(byte).collect();
    let zero = vec![0; length];
    Expressions::Bitwise(vec![
        Bitwise::SourceRegister(Register::Reg1),
        Bitwise::DestinationRegister(Register::Reg1),
        Bitwise::Length(u32::try_from(length).unwrap_or(0)),
        Bitwise::Mask(DataAttribute::Value(mask)),
        Bitwise::Xor(DataAttribute::Value(zero)),
    ])
    .into()
}

fn compare(operator: Operator, value: Vec<u8>) -> Expression {
    Expressions::Cmp(vec![
        Cmp::SourceRegister(Register::Reg1),
        Cmp::Op(operator),
        Cmp::Data(DataAttribute::Value(value)),
    ])
    .into()
}

/// What happens to a packet that matched so far.
pub(super) fn verdict(verdict: Verdict, chain: Option<&str>) -> Expression {
    let mut attributes = vec![VerdictAttribute::Code(verdict)];
    attributes.extend(chain.map(|chain| VerdictAttribute::Chain(chain.to_owned())));
    Expressions::Immediate(vec![
        Immediate::DestinationRegister(Register::Verdict),
        Immediate::Data(DataAttribute::Verdict(attributes)),
    ])
    .into()
}

/// The packet leaves with the address of the interface that it leaves by.
pub(super) fn masquerade() -> Expression {
    ListAttribute::Element(vec![ExpressionAttribute::Name("masq".to_owned())])
}
