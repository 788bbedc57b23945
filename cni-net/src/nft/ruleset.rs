//! Everything that is in nf_tables, whoever made it, as text that can be compared.
//!
//! Names, hooks, kinds of expressions and comments are there to be read; what cannot be read is there as a hash, so that
//! a change of it shows. Handles, numbers of users and counted packets are left out: they change by themselves.

use super::{
    Nft,
    batch::{comment_of_userdata, message},
};
use crate::{
    error::NetError,
    netlink::{Answer, Request, c_string},
};
use cni_types::hash::sha512_hex;
use netlink_packet_core::NlasIterator;
use netlink_packet_netfilter::{
    NetfilterProtoFamily,
    nftables::{
        ChainMessage, NfTablesMessage, RuleMessage, SetElementList, SetElementMessage, SetMessage,
        TableMessage,
    },
};

// include/uapi/linux/netfilter/nf_tables.h
const NAME_OF_TABLE: u16 = 1;
const TABLE_OF_CHILD: u16 = 1;
const NAME_OF_SET: u16 = 2;
const NAME_OF_CHAIN: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const CHAIN_OF_RULE: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
const ELEMENTS_OF_SET: u16 = 3;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_DATA_TYPE: u16 = 6;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_DATA: u16 = 2;
const NFTA_SET_ELEM_FLAGS: u16 = 3;
const NFTA_SET_ELEM_KEY_END: u16 = 10;

/// The expressions that carry what was counted so far.
const COUNTING: [&str; 4] = ["counter", "quota", "last", "limit"];

/// An object of the kernel's answer: its family, and its attributes.
struct Object<'a> {
    family: u8,
    attributes: &'a [u8],
}

impl<'a> Object<'a> {
    fn of(answer: &'a Answer) -> Option<Self> {
        let (header, attributes) = answer.payload.split_first_chunk::<4>()?;
        let [family, ..] = *header;
        Some(Self { family, attributes })
    }

    fn value(&self, kind: u16) -> Option<Vec<u8>> {
        value(self.attributes, kind)
    }

    fn text(&self, kind: u16) -> String {
        self.value(kind)
            .map(|bytes| c_string(&bytes))
            .unwrap_or_default()
    }

    fn table(&self) -> String {
        format!("{} {}", family_name(self.family), self.text(TABLE_OF_CHILD))
    }

    fn chain(&self) -> String {
        let base = match self.text(NFTA_CHAIN_TYPE) {
            kind if kind.is_empty() => String::new(),
            kind => {
                let hook = self.value(NFTA_CHAIN_HOOK).unwrap_or_default();
                let [hook, priority] = [NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY].map(|kind| {
                    value(&hook, kind)
                        .and_then(|bytes| number(&bytes))
                        .unwrap_or_default()
                });
                let policy = self
                    .value(NFTA_CHAIN_POLICY)
                    .and_then(|bytes| number(&bytes));
                let policy = if policy == Some(0) { "drop" } else { "accept" };
                format!(" type {kind} hook {hook} priority {priority} policy {policy}")
            }
        };
        format!("chain {} {}{base}", self.table(), self.text(NAME_OF_CHAIN))
    }

    fn rule(&self) -> String {
        let (mut names, mut contents) = (Vec::new(), Vec::new());
        let list = self.value(NFTA_RULE_EXPRESSIONS).unwrap_or_default();
        for expression in NlasIterator::new(list.as_slice()).flatten() {
            let name = value(expression.value(), NFTA_EXPR_NAME).map(|bytes| c_string(&bytes));
            let name = name.unwrap_or_default();
            if !COUNTING.contains(&name.as_str()) {
                contents.push(expression.value().to_vec());
            }
            names.push(name);
        }
        let comment = self
            .value(NFTA_RULE_USERDATA)
            .and_then(|bytes| comment_of_userdata(&bytes));
        let comment = comment
            .map(|text| format!(" comment {text:?}"))
            .unwrap_or_default();
        let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let (table, chain) = (self.table(), self.text(CHAIN_OF_RULE));
        format!(
            "rule {table} {chain}: {} #{}{comment}",
            names.join(" "),
            hash(&contents)
        )
    }

    fn set(&self) -> String {
        let kinds = [
            NFTA_SET_FLAGS,
            NFTA_SET_KEY_TYPE,
            NFTA_SET_KEY_LEN,
            NFTA_SET_DATA_TYPE,
        ];
        let values = kinds.map(|kind| self.value(kind).unwrap_or_default());
        let shape = hash(&values.each_ref().map(Vec::as_slice));
        format!("set {} {} #{shape}", self.table(), self.text(NAME_OF_SET))
    }

    fn elements(&self) -> Vec<String> {
        let list = self.value(ELEMENTS_OF_SET).unwrap_or_default();
        let kinds = [
            NFTA_SET_ELEM_KEY,
            NFTA_SET_ELEM_KEY_END,
            NFTA_SET_ELEM_DATA,
            NFTA_SET_ELEM_FLAGS,
        ];
        let describe = |element: &[u8]| {
            let values = kinds.map(|kind| value(element, kind).unwrap_or_default());
            let content = hash(&values.each_ref().map(Vec::as_slice));
            format!(
                "element {} {} #{content}",
                self.table(),
                self.text(NAME_OF_SET)
            )
        };
        NlasIterator::new(list.as_slice())
            .flatten()
            .map(|element| describe(element.value()))
            .collect()
    }
}

impl Nft {
    /// All tables, chains, rules, sets and their elements of the namespace, one line each, in order. Objects and
    /// flow tables are named by their table only.
    ///
    /// # Errors
    /// Where the kernel has no nf_tables, or refuses a list.
    pub fn ruleset(&mut self) -> Result<Vec<String>, NetError> {
        let mut lines = Vec::new();
        let tables = NfTablesMessage::GetTable(TableMessage {
            attributes: Vec::new(),
        });
        for answer in self.list(NetfilterProtoFamily::Unspec, tables, "tables")? {
            let Some(table) = Object::of(&answer) else {
                continue;
            };
            lines.push(format!(
                "table {} {}",
                family_name(table.family),
                table.text(NAME_OF_TABLE)
            ));
        }
        if lines.is_empty() {
            return Ok(lines);
        }
        let chains = NfTablesMessage::GetChain(ChainMessage {
            attributes: Vec::new(),
        });
        let chains = self.list(NetfilterProtoFamily::Unspec, chains, "chains")?;
        lines.extend(
            chains
                .iter()
                .filter_map(Object::of)
                .map(|chain| chain.chain()),
        );
        let rules = NfTablesMessage::GetRule(RuleMessage {
            attributes: Vec::new(),
        });
        let rules = self.list(NetfilterProtoFamily::Unspec, rules, "rules")?;
        lines.extend(rules.iter().filter_map(Object::of).map(|rule| rule.rule()));
        self.append_sets(&mut lines)?;
        lines.sort();
        Ok(lines)
    }

    fn append_sets(&mut self, lines: &mut Vec<String>) -> Result<(), NetError> {
        let sets = NfTablesMessage::GetSet(SetMessage {
            attributes: Vec::new(),
        });
        for answer in self.list(NetfilterProtoFamily::Unspec, sets, "sets")? {
            let Some(set) = Object::of(&answer) else {
                continue;
            };
            lines.push(set.set());
            let attributes = vec![
                SetElementList::Table(set.text(TABLE_OF_CHILD)),
                SetElementList::Set(set.text(NAME_OF_SET)),
            ];
            let elements = NfTablesMessage::GetSetElement(SetElementMessage { attributes });
            let elements =
                self.list(NetfilterProtoFamily::from(set.family), elements, "elements")?;
            lines.extend(
                elements
                    .iter()
                    .filter_map(Object::of)
                    .flat_map(|list| list.elements()),
            );
        }
        Ok(())
    }

    fn list(
        &mut self,
        family: NetfilterProtoFamily,
        ask: NfTablesMessage,
        object: &'static str,
    ) -> Result<Vec<Answer>, NetError> {
        let message = message(family, ask);
        self.socket.dump(&Request {
            message,
            flags: 0,
            operation: "list nftables",
            object: object.to_owned(),
        })
    }
}

/// Describes an answer as everything that it can be, for the fuzzer.
#[cfg(feature = "fuzzing")]
pub(super) fn describe_all(answer: &Answer) {
    if let Some(object) = Object::of(answer) {
        let _ = (
            object.chain(),
            object.rule(),
            object.set(),
            object.elements(),
        );
    }
}

fn value(attributes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let attribute = NlasIterator::new(attributes)
        .flatten()
        .find(|attribute| attribute.kind() == kind)?;
    Some(attribute.value().to_vec())
}

/// Signed, as priorities are; a policy is 0 for drop and 1 for accept.
fn number(bytes: &[u8]) -> Option<i32> {
    bytes
        .first_chunk::<4>()
        .map(|bytes| i32::from_be_bytes(*bytes))
}

/// As nft(8) calls it.
fn family_name(family: u8) -> String {
    match NetfilterProtoFamily::from(family) {
        NetfilterProtoFamily::Inet => "inet".to_owned(),
        NetfilterProtoFamily::IPv4 => "ip".to_owned(),
        NetfilterProtoFamily::ARP => "arp".to_owned(),
        NetfilterProtoFamily::NetDev => "netdev".to_owned(),
        NetfilterProtoFamily::Bridge => "bridge".to_owned(),
        NetfilterProtoFamily::IPv6 => "ip6".to_owned(),
        _ => family.to_string(),
    }
}

/// Eight hexadecimal digits that stand for bytes which cannot be read. Each piece counts with its length, so that none
/// can take over what belongs to its neighbour.
fn hash(pieces: &[&[u8]]) -> String {
    let mut text = Vec::new();
    for piece in pieces {
        text.extend(piece.len().to_be_bytes());
        text.extend(*piece);
    }
    sha512_hex(text, 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_answer_is_described_or_passed_over(payload: Vec<u8>) {
            let answer = Answer { payload };
            if let Some(object) = Object::of(&answer) {
                let _ = (object.chain(), object.rule(), object.set(), object.elements());
            }
        }
    }

    #[test]
    fn bytes_that_move_to_the_next_piece_change_the_hash() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_eq!(hash(&[b"ab"]).len(), 8);
    }
}
