//! Every reader of nf_tables' answers, for the fuzzer.

use super::{expr::Expr, rule::ListedRule, ruleset, steps};
use crate::{netlink::Answer, sysctl::Family};

/// Reads a payload, and writes its expressions again.
///
/// # Panics
/// Panics if the written expressions read back differently.
pub(crate) fn read(payload: &[u8]) {
    let answer = Answer {
        payload: payload.to_vec(),
    };
    ruleset::describe_all(&answer);
    let Some(rule) = ListedRule::parse(answer) else {
        return;
    };
    let expressions = rule.expressions();
    for family in [None, Some(Family::V4), Some(Family::V6)] {
        let _ = steps(family, &expressions);
    }
    for expression in expressions {
        let written = expression.encode().into_bytes();
        assert_eq!(Expr::decode(&written), expression);
    }
}
