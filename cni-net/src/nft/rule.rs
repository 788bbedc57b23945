//! Rules.

use super::{
    attribute::{self, Attributes},
    expr::{self, Expr},
    message::HEADER_LEN,
    table::{Table, TableFamily, split},
    text::cut,
};
use crate::netlink::{Answer, c_string};

// include/uapi/linux/netfilter/nf_tables.h
const TABLE: u16 = 1;
const CHAIN: u16 = 2;
const HANDLE: u16 = 3;
const EXPRESSIONS: u16 = 4;
const COMPAT: u16 = 5;
const USERDATA: u16 = 7;
const COMPAT_PROTOCOL: u16 = 1;
const COMPAT_FLAGS: u16 = 2;

/// The longest comment, in bytes: NFT_USERDATA_MAXLEN is 256, minus tag, length and NUL. nft(8)
/// lists all of it, although its own grammar ends at 128.
const MAX_COMMENT: usize = 253;

/// The tag of a comment, as nft(8) reads it (`enum nftnl_udata_rule_types` of libnftnl's udata.h).
const COMMENT: u8 = 0;

/// Bytes that the kernel stores with a rule: values of up to 255 bytes, each with a tag. Programs
/// skip unknown tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserData {
    bytes: Vec<u8>,
}

impl UserData {
    /// Returns user data with a comment, cut if it is too long.
    #[must_use]
    pub fn comment(text: &str) -> Self {
        Self::default().with(COMMENT, &[cut(text, MAX_COMMENT).as_bytes(), &[0]].concat())
    }

    /// Adds a value. The kernel refuses more than 256 bytes in total.
    ///
    /// # Panics
    /// Panics if the value is longer than 255 bytes.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "with a length that is cut, the rest would be read as further values"
    )]
    pub fn with(mut self, tag: u8, value: &[u8]) -> Self {
        let length = u8::try_from(value.len()).expect("a value of at most 255 bytes");
        self.bytes.extend([tag, length]);
        self.bytes.extend(value);
        self
    }
}

/// Returns the first value with this tag, or `None`.
fn find(user_data: &[u8], tag: u8) -> Option<&[u8]> {
    let mut rest = user_data;
    while let [found, length, behind @ ..] = rest {
        let (value, behind) = behind.split_at_checked(usize::from(*length))?;
        if *found == tag {
            return Some(value);
        }
        rest = behind;
    }
    None
}

/// The content of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The expressions, in order.
    pub expressions: Vec<Expr>,
    /// The bytes that the kernel stores with it.
    pub user_data: UserData,
    /// The transport protocol that iptables matches may rely on, IPPROTO_* of
    /// include/uapi/linux/in.h. Some matches, such as `multiport`, are refused without it.
    pub compat_protocol: Option<u8>,
}

impl Rule {
    /// Returns a rule with a comment.
    #[must_use]
    pub fn with_comment(expressions: Vec<Expr>, comment: &str) -> Self {
        Self {
            expressions,
            user_data: UserData::comment(comment),
            compat_protocol: None,
        }
    }

    pub(super) fn attributes(&self, table: Table, chain: &str) -> Attributes {
        let elements = self.expressions.iter().map(Expr::encode);
        let mut attributes = of_chain(table, chain).list(EXPRESSIONS, elements);
        if let Some(protocol) = self.compat_protocol {
            let compat = Attributes::new()
                .u32(COMPAT_PROTOCOL, protocol.into())
                .u32(COMPAT_FLAGS, 0);
            attributes = attributes.nested(COMPAT, compat);
        }
        if self.user_data != UserData::default() {
            attributes = attributes.bytes(USERDATA, &self.user_data.bytes);
        }
        attributes
    }
}

impl From<Vec<Expr>> for Rule {
    fn from(expressions: Vec<Expr>) -> Self {
        Self {
            expressions,
            ..Self::default()
        }
    }
}

pub(super) fn of_chain(table: Table, chain: &str) -> Attributes {
    Attributes::new().text(TABLE, table.name).text(CHAIN, chain)
}

pub(super) fn of_table(table: Table) -> Attributes {
    Attributes::new().text(TABLE, table.name)
}

pub(super) fn with_handle(table: Table, chain: &str, handle: u64) -> Attributes {
    of_chain(table, chain).u64(HANDLE, handle)
}

/// A rule, as the kernel lists it. Its parts are decoded on demand: most rules of other attachments
/// are recognized by their comment alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedRule {
    /// The family of its table.
    pub family: TableFamily,
    /// The handle, the kernel's number by which it is deleted.
    pub handle: u64,
    payload: Vec<u8>,
}

impl ListedRule {
    /// Reads the payload of an NFT_MSG_NEWRULE.
    pub(super) fn parse(answer: Answer) -> Option<Self> {
        let (family, attributes) = split(&answer)?;
        let handle = attribute::u64(attributes, HANDLE)?;
        Some(Self {
            family,
            handle,
            payload: answer.payload,
        })
    }

    fn attributes(&self) -> &[u8] {
        self.payload.get(HEADER_LEN..).unwrap_or_default()
    }

    /// Returns the name of its table.
    #[must_use]
    pub fn table(&self) -> String {
        attribute::text(self.attributes(), TABLE).unwrap_or_default()
    }

    /// Returns the name of its chain.
    #[must_use]
    pub fn chain(&self) -> String {
        attribute::text(self.attributes(), CHAIN).unwrap_or_default()
    }

    /// Returns the first value with this tag of its user data, or `None`.
    #[must_use]
    pub fn user_data(&self, tag: u8) -> Option<&[u8]> {
        find(attribute::value(self.attributes(), USERDATA)?, tag)
    }

    /// Returns its comment; empty if it has none.
    #[must_use]
    pub fn comment(&self) -> String {
        c_string(self.user_data(COMMENT).unwrap_or_default())
    }

    /// Returns its expressions, in order.
    #[must_use]
    pub fn expressions(&self) -> Vec<Expr> {
        attribute::value(self.attributes(), EXPRESSIONS)
            .map(expr::expressions)
            .unwrap_or_default()
    }

    /// Returns its expressions, in order, without counters, which have no effect on a packet.
    #[must_use]
    pub fn effect(&self) -> Vec<Expr> {
        let mut expressions = self.expressions();
        expressions.retain(|expression| !matches!(expression, Expr::Counter { .. }));
        expressions
    }
}

#[cfg(test)]
impl ListedRule {
    /// Returns a rule of the family IPv4 as the kernel would list it.
    pub(crate) fn sample(chain: &str, handle: u64, rule: &Rule) -> Self {
        let table = Table {
            family: TableFamily::IP,
            name: "nat",
        };
        let attributes = rule.attributes(table, chain).u64(HANDLE, handle);
        Self {
            family: table.family,
            handle,
            payload: [vec![0; HEADER_LEN], attributes.into_bytes()].concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn comment(data: &UserData) -> String {
        c_string(find(&data.bytes, COMMENT).unwrap_or_default())
    }

    #[test]
    fn a_comment_reads_back_beside_other_values() {
        let plain = UserData::comment("masquerade of me");
        assert_eq!(plain.bytes[..2], [0, 17]);
        assert_eq!(comment(&plain), "masquerade of me");
        let both = UserData::default()
            .with(7, &[1, 1])
            .with(0, b"why\0")
            .with(0xC0, b"owner");
        let rule = Rule {
            user_data: both,
            ..Rule::default()
        };
        let listed = ListedRule::sample("c", 7, &rule);
        assert_eq!(listed.comment(), "why");
        assert_eq!(listed.user_data(0xC0), Some(&b"owner"[..]));
        assert_eq!(listed.user_data(1), None);
    }

    #[test]
    fn a_rule_reads_back_as_it_was_written() {
        let expressions = vec![
            Expr::Counter {
                packets: 0,
                bytes: 0,
            },
            Expr::Verdict(expr::Verdict::Accept),
        ];
        let listed = ListedRule::sample("c", 7, &Rule::with_comment(expressions.clone(), "why"));
        assert_eq!((listed.chain().as_str(), listed.handle), ("c", 7));
        assert_eq!(listed.comment(), "why");
        assert_eq!(listed.expressions(), expressions);
        assert_eq!(listed.effect(), expressions[1..]);
    }

    #[test]
    fn malformed_user_data_holds_no_comment() {
        for bytes in [&[][..], &[0], &[0, 5, b'a'], &[3, 200, 1]] {
            assert_eq!(find(bytes, COMMENT), None);
        }
    }

    proptest! {
        #[test]
        fn any_user_data_is_read_or_holds_nothing(bytes: Vec<u8>, tag: u8) {
            let _ = find(&bytes, tag);
        }

        #[test]
        fn any_comment_reads_back_as_far_as_it_fits(text in "[^\0]{0,300}") {
            let data = UserData::comment(&text);
            prop_assert!(data.bytes.len() <= 256);
            prop_assert_eq!(comment(&data), cut(&text, MAX_COMMENT));
            prop_assert!(text.len() > MAX_COMMENT || comment(&data) == text);
        }

        #[test]
        fn any_answer_is_a_rule_or_passed_over(payload: Vec<u8>) {
            if let Some(rule) = ListedRule::parse(Answer { payload }) {
                let _ = (rule.table(), rule.chain(), rule.comment(), rule.effect());
            }
        }
    }
}
