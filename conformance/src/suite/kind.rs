//! The kinds of plugins, which decide how a plugin is called and which cases apply to it.

use serde::{Deserialize, Serialize};

/// The role of a plugin in a network (spec sections 2 and 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It makes the container's interface, and comes first in a chain.
    Interface,
    /// It changes what an interface plugin made.
    Chained,
    /// It gives out addresses, and is called by another plugin.
    Ipam,
}

impl Kind {
    /// As a profile writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Chained => "chained",
            Self::Ipam => "ipam",
        }
    }
}

/// For rules that hold for all plugins.
pub const EVERY_KIND: &[Kind] = &[Kind::Interface, Kind::Chained, Kind::Ipam];
