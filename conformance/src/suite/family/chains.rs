//! Chains: the plugin as one of several in a network, run by the runtime library (spec section 3).
//! Doubles stand in for its neighbours.

mod add;
mod later;
mod list;
mod scene;
mod watch;

use crate::suite::{case::Case, kind::Kind};

/// The plugins that can be in a chain.
const CHAINABLE: &[Kind] = &[Kind::Interface, Kind::Chained];

pub(super) fn cases() -> Vec<Case> {
    [add::CASES, later::CASES, list::CASES].concat()
}
