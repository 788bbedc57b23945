//! The rules that iptables keeps in nf_tables (iptables-nft): read as far as masquerading goes, and deleted by their handles, for
//! which nothing needs to be known of what they say.

use super::{
    Nft,
    attribute::{
        self, NFT_CMP_EQ, NFTA_CMP_DATA, NFTA_CMP_OP, NFTA_DATA_VALUE, NFTA_DATA_VERDICT,
        NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_IMMEDIATE_DATA, NFTA_PAYLOAD_OFFSET, NFTA_RULE_CHAIN,
        NFTA_VERDICT_CHAIN, NFTA_VERDICT_CODE, number, value,
    },
    batch::{Table, Transaction, chain_request, rules_request, table_rules_request},
    listed::{expressions, handle_and_comment},
};
use crate::{
    error::NetError,
    iptables::{Action, Nat, POSTROUTING, Place, Removal, Rule},
    netlink::{Answer, REQUESTS_AT_ONCE, c_string},
    sysctl::Family,
};
use cni_types::Cidr;
use netlink_packet_netfilter::NetfilterProtoFamily;
use nix::errno::Errno;
use std::{collections::BTreeSet, net::IpAddr};

/// include/uapi/linux/netfilter/nf_tables.h
const NFTA_BITWISE_MASK: u16 = 4;
/// `struct xt_match` and `struct xt_target` of include/uapi/linux/netfilter/nf_tables_compat.h: name, revision, data.
const NFTA_COMPAT_NAME: u16 = 1;
const NFTA_COMPAT_INFO: u16 = 3;

/// NF_ACCEPT of include/uapi/linux/netfilter.h
const NF_ACCEPT: u32 = 1;

fn table(family: Family) -> Table {
    let family = match family {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    };
    Table {
        family,
        name: "nat",
    }
}

impl Nft {
    /// The chain with its rules and those of POSTROUTING; nothing where there is no such chain. That is one small request, so
    /// it costs next to nothing on a host without iptables, and with many rules of others.
    pub(crate) fn nat_around(&mut self, family: Family, chain: &str) -> Result<Nat, NetError> {
        let table = table(family);
        match self.socket.read(chain_request(table, chain)) {
            Err(e) if e.errno() == Some(Errno::ENOENT) => return Ok(Nat::default()),
            answer => answer?,
        };
        let mut rules = Vec::new();
        for chain in [POSTROUTING, chain] {
            let answers = self.socket.dump(&rules_request(table, chain))?;
            rules.extend(answers.iter().filter_map(|answer| parse(family, answer)));
        }
        Ok(Nat {
            chains: BTreeSet::from([chain.to_owned()]),
            rules,
        })
    }

    /// All rules of the table.
    pub(crate) fn nat(&mut self, family: Family) -> Result<Nat, NetError> {
        match self.socket.dump(&table_rules_request(table(family))) {
            Err(e) if e.errno() == Some(Errno::ENOENT) => Ok(Nat::default()),
            answers => {
                let rules: Vec<Rule> = answers?
                    .iter()
                    .filter_map(|answer| parse(family, answer))
                    .collect();
                Ok(Nat {
                    chains: rules.iter().map(|rule| rule.chain.clone()).collect(),
                    rules,
                })
            }
        }
    }

    /// Deletes rules and chains, in one transaction where it can be answered at once.
    pub(crate) fn remove_from_nat(
        &mut self,
        family: Family,
        removal: &Removal,
    ) -> Result<(), NetError> {
        let jumps = removal.jumps.iter().filter_map(|place| match place {
            Place::Handle(handle) => Some(Change::DeleteJump(*handle)),
            Place::Text(_) => None,
        });
        let chains = removal
            .chains
            .iter()
            .map(|chain| Change::DeleteChain(chain));
        let changes: Vec<Change<'_>> = jumps.chain(chains).collect();
        for some in changes.chunks(REQUESTS_AT_ONCE) {
            let mut transaction = Transaction::on(table(family));
            for change in some {
                match change {
                    Change::DeleteJump(handle) => transaction.delete_rule(POSTROUTING, *handle),
                    Change::DeleteChain(chain) => transaction.delete_chain(chain),
                }
            }
            transaction.commit(self)?;
        }
        Ok(())
    }
}

enum Change<'a> {
    DeleteJump(u64),
    DeleteChain(&'a str),
}

pub(super) fn parse(family: Family, answer: &Answer) -> Option<Rule> {
    let (handle, comment) = handle_and_comment(answer)?;
    let mut rule = Rule {
        place: Place::Handle(handle),
        chain: attribute::text(attribute::of_answer(&answer.payload), NFTA_RULE_CHAIN),
        source: None,
        destination: None,
        // Where the first versions of iptables-nft keep it.
        comment,
        action: Action::Other,
    };
    let mut reader = Reader {
        family,
        offset: None,
        mask: None,
    };
    for (_, expression) in attribute::each(expressions(answer)?) {
        reader.read(expression, &mut rule);
    }
    Some(rule)
}

/// Reads expressions one after the other, and remembers what the next one is about.
struct Reader {
    family: Family,
    /// Where in the network header the bytes were loaded from.
    offset: Option<u32>,
    mask: Option<Vec<u8>>,
}

impl Reader {
    fn read(&mut self, expression: &[u8], rule: &mut Rule) {
        let data = value(expression, NFTA_EXPR_DATA).unwrap_or_default();
        match attribute::text(expression, NFTA_EXPR_NAME).as_str() {
            "payload" => (self.offset, self.mask) = (number(data, NFTA_PAYLOAD_OFFSET), None),
            "bitwise" => self.mask = nested_value(data, NFTA_BITWISE_MASK).map(<[u8]>::to_vec),
            "cmp" if number(data, NFTA_CMP_OP) == Some(NFT_CMP_EQ) => self.compare(data, rule),
            "match" if attribute::text(data, NFTA_COMPAT_NAME) == "comment" => {
                rule.comment = attribute::text(data, NFTA_COMPAT_INFO);
            }
            "masq" => rule.action = Action::Masquerade,
            "target" if attribute::text(data, NFTA_COMPAT_NAME) == "MASQUERADE" => {
                rule.action = Action::Masquerade
            }
            "immediate" => rule.action = verdict(data),
            _ => {}
        }
    }

    /// The loaded bytes are an address, or the bytes of one that a prefix covers.
    fn compare(&self, data: &[u8], rule: &mut Rule) {
        let network = nested_value(data, NFTA_CMP_DATA).and_then(|bytes| self.network(bytes));
        match (self.family, self.offset) {
            (Family::V4, Some(12)) | (Family::V6, Some(8)) => rule.source = network,
            (Family::V4, Some(16)) | (Family::V6, Some(24)) => rule.destination = network,
            _ => {}
        }
    }

    fn network(&self, bytes: &[u8]) -> Option<Cidr> {
        let prefix = match &self.mask {
            Some(mask) => mask.iter().map(|byte| byte.leading_ones()).sum(),
            None => u32::try_from(bytes.len()).ok()? * 8,
        };
        let address = match self.family {
            Family::V4 => IpAddr::from(filled::<4>(bytes)?),
            Family::V6 => IpAddr::from(filled::<16>(bytes)?),
        };
        Cidr::new(address, u8::try_from(prefix).ok()?).ok()
    }
}

/// The bytes, and zeros behind them.
fn filled<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut filled = [0; N];
    filled.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(filled)
}

fn nested_value(data: &[u8], kind: u16) -> Option<&[u8]> {
    value(value(data, kind)?, NFTA_DATA_VALUE)
}

fn verdict(data: &[u8]) -> Action {
    let verdict = value(data, NFTA_IMMEDIATE_DATA).and_then(|data| value(data, NFTA_DATA_VERDICT));
    let verdict = verdict.unwrap_or_default();
    match (
        value(verdict, NFTA_VERDICT_CHAIN),
        number(verdict, NFTA_VERDICT_CODE),
    ) {
        (Some(chain), _) => Action::Jump(c_string(chain)),
        (None, Some(NF_ACCEPT)) => Action::Accept,
        _ => Action::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::attribute::{NFTA_RULE_EXPRESSIONS, NFTA_RULE_HANDLE};
    use proptest::prelude::*;

    /// `struct nlattr` with its padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn expression(name: &[u8], data: &[Vec<u8>]) -> Vec<u8> {
        attribute(
            1,
            &[
                attribute(NFTA_EXPR_NAME, name),
                attribute(NFTA_EXPR_DATA, &data.concat()),
            ]
            .concat(),
        )
    }

    fn compared(offset: u32, mask: Option<&[u8]>, bytes: &[u8]) -> Vec<u8> {
        let data = |bytes: &[u8]| attribute(NFTA_DATA_VALUE, bytes);
        let mask =
            mask.map(|mask| expression(b"bitwise\0", &[attribute(NFTA_BITWISE_MASK, &data(mask))]));
        [
            expression(
                b"payload\0",
                &[attribute(NFTA_PAYLOAD_OFFSET, &offset.to_be_bytes())],
            ),
            mask.unwrap_or_default(),
            expression(
                b"cmp\0",
                &[
                    attribute(NFTA_CMP_OP, &[0; 4]),
                    attribute(NFTA_CMP_DATA, &data(bytes)),
                ],
            ),
        ]
        .concat()
    }

    fn rule(family: Family, expressions: &[u8]) -> Rule {
        let attributes = [
            attribute(NFTA_RULE_CHAIN, b"POSTROUTING\0"),
            attribute(NFTA_RULE_HANDLE, &7_u64.to_be_bytes()),
            attribute(NFTA_RULE_EXPRESSIONS, expressions),
        ];
        parse(
            family,
            &Answer {
                payload: [vec![0; 4], attributes.concat()].concat(),
            },
        )
        .unwrap()
    }

    #[test]
    fn addresses_are_read_whole_by_bytes_and_by_masks() {
        let v4 = |bytes: &[u8], mask: Option<&[u8]>| {
            rule(Family::V4, &compared(12, mask, bytes))
                .source
                .map(|source| source.to_string())
        };
        assert_eq!(v4(&[10, 1, 0, 2], None).as_deref(), Some("10.1.0.2/32"));
        assert_eq!(v4(&[10, 1, 0], None).as_deref(), Some("10.1.0.0/24"));
        assert_eq!(
            v4(&[10, 1, 16, 0], Some(&[255, 255, 240, 0])).as_deref(),
            Some("10.1.16.0/20")
        );
        assert_eq!(v4(&[0; 5], None), None);
        let v6 = rule(
            Family::V6,
            &compared(24, None, &[0xfd, 1, 0, 0, 0, 0, 0, 0]),
        )
        .destination;
        assert_eq!(v6, "fd01::/64".parse().ok());
    }

    #[test]
    fn a_jump_and_its_comment_are_read() {
        let verdict = [
            attribute(NFTA_VERDICT_CODE, &(-3_i32).to_be_bytes()),
            attribute(NFTA_VERDICT_CHAIN, b"X\0"),
        ];
        let jump = attribute(
            NFTA_IMMEDIATE_DATA,
            &attribute(NFTA_DATA_VERDICT, &verdict.concat()),
        );
        let mut info = [0; 256];
        info[..2].copy_from_slice(b"hi");
        let comment = [
            attribute(NFTA_COMPAT_NAME, b"comment\0"),
            attribute(NFTA_COMPAT_INFO, &info),
        ];
        let expressions = [
            expression(b"match\0", &comment),
            expression(b"immediate\0", &[jump]),
        ]
        .concat();
        let rule = rule(Family::V4, &expressions);
        assert_eq!(
            (rule.comment.as_str(), rule.action),
            ("hi", Action::Jump("X".into()))
        );
        assert_eq!(
            (rule.chain.as_str(), rule.place),
            (POSTROUTING, Place::Handle(7))
        );
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_passed_over(payload: Vec<u8>, v4: bool) {
            let family = if v4 { Family::V4 } else { Family::V6 };
            let _ = parse(family, &Answer { payload: payload.clone() });
            let _ = rule(family, &payload);
        }
    }
}
