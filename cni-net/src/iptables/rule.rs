//! Rules of iptables as far as they are understood, of either variant.

use crate::nft::Condition;
use std::collections::BTreeSet;

/// The reference by which a rule is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The handle that nf_tables gave it, within its chain.
    Handle {
        /// The chain.
        chain: String,
        /// The handle.
        handle: u64,
    },
    /// The text that `iptables-save` printed behind `-A`.
    Text(String),
}

/// A match of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The condition holds for the packet.
    Is(Condition),
    /// The condition does not hold for the packet.
    IsNot(Condition),
    /// Any match that is not understood.
    Other,
}

/// The fate of a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The packet passes.
    Accept,
    /// The packet is dropped.
    Drop,
    /// The packet goes on in the chain that jumped here.
    Return,
    /// The packet gets the source address of the interface by which it leaves.
    Masquerade,
    /// The packet goes through the rules of this chain.
    Jump(String),
    /// Another target, by its name; empty if the rule has none.
    Other(String),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The reference by which it is deleted.
    pub place: Place,
    /// The chain that it is in.
    pub chain: String,
    /// All matches but its comment.
    pub matches: Vec<Match>,
    /// Its comment; empty if it has none.
    pub comment: String,
    /// The fate of a packet that matches.
    pub action: Action,
}

/// The rules of a table, or of some of its chains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The names of its chains, as far as they were read.
    pub chains: BTreeSet<String>,
    /// Its rules, in order within each chain.
    pub rules: Vec<Rule>,
}

/// Rules and chains to delete from a table, all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// The rules.
    pub rules: Vec<Place>,
    /// The chains to delete with their rules. No other rule may jump to them.
    pub chains: Vec<String>,
}

impl Removal {
    /// Returns true if there is nothing to delete.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.chains.is_empty()
    }
}
