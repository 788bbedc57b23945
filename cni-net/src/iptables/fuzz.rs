//! Every reader of `iptables-save`, for the fuzzer.

use super::{
    Table,
    rule::{Place, Removal},
    text,
};
use std::collections::HashSet;

/// Reads a text and plans the removal of everything in it: only printed rules may be deleted.
///
/// # Panics
/// Panics if a rule differs from its printed text, or if a name breaks its line.
pub(crate) fn read(saved: &str) {
    let contents = text::parse(saved);
    let printed: HashSet<&str> = saved
        .lines()
        .filter_map(|line| line.strip_prefix("-A "))
        .collect();
    let rules: Vec<Place> = contents.rules.into_iter().map(|rule| rule.place).collect();
    for place in &rules {
        let is_printed = matches!(place, Place::Text(rule) if printed.contains(rule.as_str()));
        assert!(is_printed, "{place:?} was not printed");
    }
    let removal = Removal {
        rules,
        chains: contents.chains.into_iter().collect(),
    };
    let lines = 2 + removal.rules.len() + 2 * removal.chains.len();
    let script = text::deletion(Table::Nat, &removal);
    let count = script.lines().count();
    assert_eq!(count, lines, "a name has broken its line: {script:?}");
}
