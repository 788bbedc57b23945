//! What is read of `iptables-save`, and what is made of it, for the fuzzer.

use super::{rule::Place, text};
use cni_types::{AttachmentList, ValidAttachments};
use std::collections::HashSet;

/// Reads a text and plans the removal of every chain in it: only what was printed may be deleted.
pub(crate) fn read(saved: &str) {
    let nat = text::parse(saved);
    let printed: HashSet<&str> = saved
        .lines()
        .filter_map(|line| line.strip_prefix("-A "))
        .collect();
    let nobody = AttachmentList::new("net", [("", ""); 0]);
    let mut removals = vec![nat.stale(&ValidAttachments::Only(nobody))];
    removals.extend(nat.chains.iter().map(|chain| nat.removal(chain, &|_| true)));
    for removal in &removals {
        for place in &removal.jumps {
            let is_printed = matches!(place, Place::Text(rule) if printed.contains(rule.as_str()));
            assert!(is_printed, "{place:?} was not printed");
        }
        let lines = 2 + removal.jumps.len() + 2 * removal.chains.len();
        let script = text::deletion(removal);
        assert_eq!(
            script.lines().count(),
            lines,
            "a name has broken its line: {script:?}"
        );
    }
}
