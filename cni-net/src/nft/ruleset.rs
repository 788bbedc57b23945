//! The whole content of nf_tables, by any program, as text that can be compared.
//!
//! Names, hooks, kinds of expressions and comments are readable; all else stands there as a hash,
//! so that a change of it shows. Handles, reference counts and counters are left out, since they
//! change by themselves.

use super::{
    Nft,
    attribute::Attributes,
    expr::Expr,
    message::{Kind, Message},
    rule::ListedRule,
    set::{ElementList, ListedSet, elements_of},
    table::{Chain, Policy, TableFamily, table_name},
};
use crate::{error::NetError, netlink::Answer};
use cni_types::hash::sha512_hex;

/// The expressions with counters.
const COUNTING: [&str; 4] = ["counter", "quota", "last", "limit"];

/// The operation that an error about a list names.
const LIST: &str = "list nftables";

impl Nft {
    /// Returns all tables, chains, rules, sets and elements of the namespace, sorted, one line
    /// each. Objects and flow tables are represented by their tables only.
    ///
    /// # Errors
    /// Fails if the kernel has no nf_tables, or refuses a list.
    pub fn ruleset(&mut self) -> Result<Vec<String>, NetError> {
        let tables = self.all(Kind::GetTable, "tables")?;
        let mut lines: Vec<String> = tables.iter().filter_map(describe_table).collect();
        if lines.is_empty() {
            return Ok(lines);
        }
        let chains = self.all(Kind::GetChain, "chains")?;
        lines.extend(
            chains
                .iter()
                .filter_map(Chain::parse)
                .map(|chain| describe_chain(&chain)),
        );
        let rules = self.all(Kind::GetRule, "rules")?;
        lines.extend(
            rules
                .into_iter()
                .filter_map(ListedRule::parse)
                .map(|rule| describe_rule(&rule)),
        );
        let sets = self.all(Kind::GetSet, "sets")?;
        for set in sets.iter().filter_map(ListedSet::parse) {
            lines.push(describe_set(&set));
            let attributes = elements_of(&set.table, &set.name);
            let message = Message::new(Kind::GetElements, set.family.number(), attributes);
            for answer in self.dump(message, LIST, "elements")? {
                lines.extend(describe_elements(&answer));
            }
        }
        lines.sort();
        Ok(lines)
    }

    fn all(&mut self, kind: Kind, object: &str) -> Result<Vec<Answer>, NetError> {
        let message = Message::new(kind, TableFamily::ANY.number(), Attributes::new());
        self.dump(message, LIST, object)
    }
}

fn describe_table(answer: &Answer) -> Option<String> {
    let (family, name) = table_name(answer)?;
    Some(format!("table {} {name}", family.name()))
}

fn describe_chain(chain: &Chain) -> String {
    let base = chain.base.as_ref().map(|base| {
        let policy = match base.policy {
            Policy::Accept => "accept",
            Policy::Drop => "drop",
        };
        format!(
            " type {} hook {} priority {} policy {policy}",
            base.kind, base.hook, base.priority
        )
    });
    format!(
        "chain {} {} {}{}",
        chain.family.name(),
        chain.table,
        chain.name,
        base.unwrap_or_default()
    )
}

fn describe_rule(rule: &ListedRule) -> String {
    let expressions = rule.expressions();
    let names: Vec<&str> = expressions.iter().map(Expr::name).collect();
    let is_content = |expression: &&Expr| !COUNTING.contains(&expression.name());
    let contents: Vec<Vec<u8>> = expressions
        .iter()
        .filter(is_content)
        .map(|expression| expression.encode().into_bytes())
        .collect();
    let comment = match rule.comment() {
        none if none.is_empty() => String::new(),
        text => format!(" comment {text:?}"),
    };
    format!(
        "rule {} {} {}: {} #{}{comment}",
        rule.family.name(),
        rule.table(),
        rule.chain(),
        names.join(" "),
        hash(contents.iter().map(Vec::as_slice))
    )
}

fn describe_set(set: &ListedSet) -> String {
    let family = set.family.name();
    let table = &set.table;
    let name = &set.name;
    format!("set {family} {table} {name} #{}", hash(set.shape()))
}

fn describe_elements(answer: &Answer) -> Vec<String> {
    let Some(list) = ElementList::parse(answer) else {
        return Vec::new();
    };
    let family = list.family.name();
    let table = &list.table;
    let set = &list.set;
    list.contents()
        .map(|content| format!("element {family} {table} {set} #{}", hash(content)))
        .collect()
}

/// Describes an answer with every describer, for the fuzzer.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn describe_all(answer: &Answer) {
    let _ = describe_table(answer);
    let _ = Chain::parse(answer).map(|chain| describe_chain(&chain));
    let _ = ListedRule::parse(answer.clone()).map(|rule| describe_rule(&rule));
    let _ = ListedSet::parse(answer).map(|set| describe_set(&set));
    let _ = describe_elements(answer);
}

/// Returns eight hexadecimal digits for bytes without a readable form. Each piece is hashed with
/// its length, so that bytes cannot move from one piece to the next unnoticed.
fn hash<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut bytes = Vec::new();
    for piece in pieces {
        bytes.extend(piece.len().to_be_bytes());
        bytes.extend(piece);
    }
    sha512_hex(bytes, 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_answer_is_described_or_passed_over(payload: Vec<u8>) {
            describe_all(&Answer { payload });
        }
    }

    #[test]
    fn bytes_that_move_to_the_next_piece_change_the_hash() {
        let split_elsewhere = hash([&b"a"[..], b"bc"]);
        assert_ne!(hash([&b"ab"[..], b"c"]), split_elsewhere);
        assert_eq!(split_elsewhere.len(), 8);
    }
}
