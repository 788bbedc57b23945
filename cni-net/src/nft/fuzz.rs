//! Everything that reads an answer of nf_tables, for the fuzzer.

use super::{listed::ListedRule, macspoof::MacCheckJump, masquerade, nat, ruleset};
use crate::{netlink::Answer, sysctl::Family};

/// Reads a payload.
pub(crate) fn read(payload: &[u8]) {
    let answer = Answer {
        payload: payload.to_vec(),
    };
    let _ = ListedRule::parse(&answer).and_then(MacCheckJump::of);
    for family in [Family::V4, Family::V6] {
        let _ = nat::parse(family, &answer);
    }
    let _ = (
        masquerade::parse_entry(&answer),
        masquerade::leads_to_checks(&answer),
    );
    ruleset::describe_all(&answer);
}
