//! The expressions that rules are made of, in the form in which nft(8) itself writes them, so that
//! `nft list ruleset` shows what was meant.

use cni_types::Cidr;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Meta,
    MetaKey, Operator, Payload, Register, Verdict, VerdictAttribute,
};
use std::net::IpAddr;

/// include/uapi/linux/netfilter.h
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// include/uapi/linux/netfilter/nf_tables.h
const NFT_PAYLOAD_LL_HEADER: u32 = 0;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;

/// include/uapi/linux/if.h
const IFNAMSIZ: usize = 16;

/// `struct ethhdr` of include/uapi/linux/if_ether.h: the destination, then the source. A VLAN tag stands behind both.
const ETHER_SOURCE_OFFSET: u32 = 6;
const ETHER_ADDRESS_LENGTH: u32 = 6;

/// Which address of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Source,
    Destination,
}

type Expression = ListAttribute<ExpressionAttribute>;

/// The packet is of this address's family.
pub(super) fn is_family(address: IpAddr) -> Vec<Expression> {
    let family = if address.is_ipv4() {
        NFPROTO_IPV4
    } else {
        NFPROTO_IPV6
    };
    let load = Expressions::Meta(vec![
        Meta::Key(MetaKey::Nfproto),
        Meta::DestinationRegister(Register::Reg1),
    ]);
    vec![load.into(), compare(Operator::Equal, vec![family])]
}

/// The packet came by the interface of this name.
pub(super) fn came_by(interface: &str) -> Vec<Expression> {
    let mut name = interface.as_bytes().to_vec();
    name.resize(IFNAMSIZ, 0);
    let load = Expressions::Meta(vec![
        Meta::Key(MetaKey::Iifname),
        Meta::DestinationRegister(Register::Reg1),
    ]);
    vec![load.into(), compare(Operator::Equal, name)]
}

/// The frame's source address is this one.
pub(super) fn sent_by(mac: [u8; 6]) -> Vec<Expression> {
    let load = Expressions::Payload(vec![
        Payload::DestinationRegister(Register::Reg1),
        Payload::Base(NFT_PAYLOAD_LL_HEADER),
        Payload::Offset(ETHER_SOURCE_OFFSET),
        Payload::Len(ETHER_ADDRESS_LENGTH),
    ]);
    vec![load.into(), compare(Operator::Equal, mac.to_vec())]
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

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::Emitable;

    /// What the expressions of a prefix are, as numbers: bytes loaded, mask, bytes compared.
    #[derive(Debug, PartialEq, Eq)]
    struct Shape {
        offset: u32,
        length: u32,
        mask: Option<Vec<u8>>,
        wanted: Vec<u8>,
    }

    fn shape(field: Field, network: &str) -> Shape {
        let mut shape = Shape {
            offset: 0,
            length: 0,
            mask: None,
            wanted: Vec::new(),
        };
        for expression in matches(field, Operator::NotEqual, network.parse().unwrap()) {
            let ListAttribute::Element(attributes) = expression else {
                panic!("{expression:?}")
            };
            match attributes.as_slice() {
                [_, ExpressionAttribute::Data(Expressions::Payload(payload))] => {
                    for attribute in payload {
                        match attribute {
                            Payload::Offset(offset) => shape.offset = *offset,
                            Payload::Len(length) => shape.length = *length,
                            _ => {}
                        }
                    }
                }
                [_, ExpressionAttribute::Data(Expressions::Bitwise(bitwise))] => {
                    assert!(bitwise.contains(&Bitwise::Length(shape.length)));
                    let zero = vec![0; usize::try_from(shape.length).unwrap()];
                    assert!(bitwise.contains(&Bitwise::Xor(DataAttribute::Value(zero))));
                    shape.mask = bitwise.iter().find_map(|attribute| match attribute {
                        Bitwise::Mask(DataAttribute::Value(mask)) => Some(mask.clone()),
                        _ => None,
                    });
                }
                [_, ExpressionAttribute::Data(Expressions::Cmp(cmp))] => {
                    assert!(cmp.contains(&Cmp::Op(Operator::NotEqual)));
                    shape.wanted = cmp
                        .iter()
                        .find_map(|attribute| match attribute {
                            Cmp::Data(DataAttribute::Value(value)) => Some(value.clone()),
                            _ => None,
                        })
                        .unwrap();
                }
                other => panic!("{other:?}"),
            }
        }
        shape
    }

    #[test]
    fn a_prefix_of_whole_bytes_loads_only_these() {
        for (network, wanted) in [
            ("10.255.255.255/8", vec![10]),
            ("10.255.255.255/16", vec![10, 255]),
            ("10.255.255.255/24", vec![10, 255, 255]),
            ("10.255.255.255/32", vec![10, 255, 255, 255]),
            ("fd00:1:2:3ff::5/56", vec![0xfd, 0, 0, 1, 0, 2, 3]),
            ("fd00:1:2:3ff::5/64", vec![0xfd, 0, 0, 1, 0, 2, 3, 0xff]),
        ] {
            let offset = if network.contains(':') { 24 } else { 16 };
            let length = u32::try_from(wanted.len()).unwrap();
            assert_eq!(
                shape(Field::Destination, network),
                Shape {
                    offset,
                    length,
                    mask: None,
                    wanted
                },
                "{network}"
            );
        }
    }

    #[test]
    fn a_prefix_that_ends_inside_a_byte_is_masked() {
        for (network, mask, wanted) in [
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
            let (mask, wanted) = (Some(mask.to_vec()), wanted.to_vec());
            assert_eq!(
                shape(Field::Source, network),
                Shape {
                    offset: 12,
                    length: 4,
                    mask,
                    wanted
                },
                "{network}"
            );
        }
        let v6 = shape(Field::Source, "fd00:1:2:3ff::5/61");
        let mut mask = [0; 16];
        mask[..8].copy_from_slice(&[255, 255, 255, 255, 255, 255, 255, 0xf8]);
        let mut wanted = [0; 16];
        wanted[..8].copy_from_slice(&[0xfd, 0, 0, 1, 0, 2, 3, 0xf8]);
        let (mask, wanted) = (Some(mask.to_vec()), wanted.to_vec());
        assert_eq!(
            v6,
            Shape {
                offset: 8,
                length: 16,
                mask,
                wanted
            }
        );
    }

    /// As `nft --debug=mnl` shows it for `masquerade`: a name and no data.
    #[test]
    fn masquerade_is_a_name_without_data() {
        let expression = masquerade();
        let mut bytes = vec![0; expression.buffer_len()];
        expression.emit(&mut bytes);
        // NFTA_LIST_ELEM (1), nested, holding NFTA_EXPR_NAME (1).
        let list_element = 1_u16 | 0x8000;
        let wanted = [
            &16_u16.to_ne_bytes()[..],
            &list_element.to_ne_bytes(),
            &9_u16.to_ne_bytes(),
            &1_u16.to_ne_bytes(),
        ];
        assert_eq!(bytes, [&wanted.concat(), &b"masq\0\0\0\0"[..]].concat());
    }
}
