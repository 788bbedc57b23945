//! The family `chains`: the plugin is one of several in a network, run by the runtime library (spec
//! section 3). Doubles take the places of the other plugins.

mod add;
mod later;
mod list;
mod scene;
mod watch;

use crate::suite::{case::Case, kind::Kind};

/// The kinds of plugins that can be in a chain.
const CHAINABLE: &[Kind] = &[Kind::Interface, Kind::Chained];

pub(super) fn cases() -> Vec<Case> {
    [add::CASES, later::CASES, list::CASES].concat()
}
