//! The rules of iptables-nft: read over netlink, and deleted by their handles.

use super::{
    HostTable,
    rule::{Action, Contents, Match, Place, Removal, Rule},
};
use crate::{
    error::NetError,
    nft::{Expr, ListedRule, Nft, Step, Table, Transaction, Verdict, steps},
    sysctl::Family,
};
use std::collections::BTreeSet;

fn table(host: HostTable) -> Table {
    Table {
        family: host.family.into(),
        name: host.table.name(),
    }
}

/// Reads a chain, and those `from` whose rules jump to it; empty if there is no such chain. The
/// chain is looked up first, in one small request, which is cheap on a host without iptables and on
/// one with many foreign rules.
pub(super) fn read_around(
    nft: &mut Nft,
    host: HostTable,
    chain: &str,
    from: &[&str],
) -> Result<Contents, NetError> {
    if nft.chain(table(host), chain)?.is_none() {
        return Ok(Contents::default());
    }
    let mut rules = Vec::new();
    for chain in from.iter().copied().chain([chain]) {
        rules.extend(nft.rules(table(host), chain)?);
    }
    Ok(Contents {
        chains: BTreeSet::from([chain.to_owned()]),
        rules: rules.iter().map(|rule| read(host.family, rule)).collect(),
    })
}

/// Reads all rules of the table, and the names of the chains that have any.
pub(super) fn read_all(nft: &mut Nft, host: HostTable) -> Result<Contents, NetError> {
    let rules = nft.table_rules(table(host))?;
    let rules: Vec<Rule> = rules.iter().map(|rule| read(host.family, rule)).collect();
    Ok(Contents {
        chains: rules.iter().map(|rule| rule.chain.clone()).collect(),
        rules,
    })
}

enum Change<'a> {
    DeleteRule(&'a str, u64),
    DeleteChain(&'a str),
}

/// Deletes rules and chains, in one transaction if the kernel can answer that at once.
pub(super) fn remove(nft: &mut Nft, host: HostTable, removal: &Removal) -> Result<(), NetError> {
    let rules = removal.rules.iter().filter_map(|place| match place {
        Place::Handle { chain, handle } => Some(Change::DeleteRule(chain, *handle)),
        Place::Text(_) => None,
    });
    let chains = removal.chains.iter();
    let chains = chains.map(|chain| Change::DeleteChain(chain));
    let changes: Vec<Change<'_>> = rules.chain(chains).collect();
    for some in changes.chunks(Transaction::MAX) {
        let mut transaction = Transaction::new();
        for change in some {
            match change {
                Change::DeleteRule(chain, handle) => {
                    transaction.delete_rule(table(host), chain, *handle)
                }
                Change::DeleteChain(chain) => transaction.delete_chain(table(host), chain),
            }
        }
        nft.commit(transaction)?;
    }
    Ok(())
}

fn read(family: Family, listed: &ListedRule) -> Rule {
    let chain = listed.chain();
    let mut rule = Rule {
        place: Place::Handle {
            chain: chain.clone(),
            handle: listed.handle,
        },
        chain,
        matches: Vec::new(),
        // The first versions of iptables-nft kept the comment here.
        comment: listed.comment(),
        action: Action::Other(String::new()),
    };
    for step in steps(Some(family), &listed.expressions()) {
        match step {
            Step::Is(condition) => rule.matches.push(Match::Is(condition)),
            Step::IsNot(condition) => rule.matches.push(Match::IsNot(condition)),
            Step::Other(expression) => read_expression(&expression, &mut rule),
        }
    }
    rule
}

fn read_expression(expression: &Expr, rule: &mut Rule) {
    match expression {
        Expr::Match(extension) => match extension.text() {
            Some(comment) => rule.comment = comment,
            None => rule.matches.push(Match::Other),
        },
        Expr::Masquerade { .. } => rule.action = Action::Masquerade,
        Expr::Target(target) if target.name == "MASQUERADE" => rule.action = Action::Masquerade,
        Expr::Target(target) => rule.action = Action::Other(target.name.clone()),
        Expr::Nat(_) | Expr::Redirect { .. } => {
            rule.action = Action::Other(expression.name().to_owned());
        }
        Expr::Verdict(verdict) => rule.action = action(verdict),
        _ => rule.matches.push(Match::Other),
    }
}

fn action(verdict: &Verdict) -> Action {
    match verdict {
        Verdict::Accept => Action::Accept,
        Verdict::Drop => Action::Drop,
        Verdict::Return => Action::Return,
        Verdict::Jump(chain) | Verdict::Goto(chain) => Action::Jump(chain.clone()),
        Verdict::Continue | Verdict::Other(_) => Action::Other(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{Condition, Extension, Rule as Written};

    fn sample(rule: &Written) -> Rule {
        read(Family::V4, &ListedRule::sample("POSTROUTING", 7, rule))
    }

    #[test]
    fn a_jump_with_its_address_and_its_comment_is_read() {
        let source = Condition::Source("10.1.0.2/32".parse().unwrap());
        let counter = Expr::Counter {
            packets: 1,
            bytes: 60,
        };
        let rest = [
            Expr::Match(Extension::comment("hi")),
            counter,
            Expr::Verdict(Verdict::Jump("X".to_owned())),
        ];
        let rule = sample(&Written::from([source.holds(), rest.to_vec()].concat()));
        let wanted = Rule {
            place: Place::Handle {
                chain: "POSTROUTING".to_owned(),
                handle: 7,
            },
            chain: "POSTROUTING".to_owned(),
            matches: vec![Match::Is(source)],
            comment: "hi".to_owned(),
            action: Action::Jump("X".to_owned()),
        };
        assert_eq!(rule, wanted);
    }

    #[test]
    fn what_is_not_understood_is_said_to_be_there() {
        let conntrack = Extension {
            name: "conntrack".to_owned(),
            revision: 3,
            info: vec![0; 168],
        };
        let target = |name: &str| Extension {
            name: name.to_owned(),
            revision: 0,
            info: vec![0; 24],
        };
        let rule = sample(&Written::from(vec![
            Expr::Match(conntrack),
            Expr::Target(target("MASQUERADE")),
        ]));
        assert_eq!(
            (rule.matches, rule.action),
            (vec![Match::Other], Action::Masquerade)
        );
        let rule = sample(&Written::from(vec![Expr::Target(target("DNAT"))]));
        assert_eq!(rule.action, Action::Other("DNAT".to_owned()));
    }

    /// The first versions of iptables-nft had no match `comment`.
    #[test]
    fn a_comment_beside_the_rule_is_read() {
        let accept = vec![Expr::Verdict(Verdict::Accept)];
        let rule = sample(&Written::with_comment(accept, "why"));
        assert_eq!(
            (rule.comment.as_str(), rule.action),
            ("why", Action::Accept)
        );
    }
}
