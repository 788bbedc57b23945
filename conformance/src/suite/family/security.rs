//! Security: one case for each advisory and each hardening that can be seen from outside.
//!
//! If the specification has a rule, the clause is that rule. If an advisory asks for more, the
//! clause is the advisory, and the level is SHOULD: a plugin that does otherwise keeps the
//! specification, and has that hole.

mod files;
mod input;
mod network;

use crate::suite::case::Case;

pub(super) fn cases() -> Vec<Case> {
    [input::CASES, files::CASES, network::CASES].concat()
}
