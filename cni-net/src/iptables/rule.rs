//! Rules of iptables, as far as they are understood, whichever variant keeps them.

use crate::nft::Condition;
use std::collections::BTreeSet;

/// The name of a rule when it is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The number that nf_tables gave it, in its chain.
    Handle {
        /// The chain.
        chain: String,
        /// The number.
        handle: u64,
    },
    /// The text that `iptables-save` printed after `-A`.
    Text(String),
}

/// A match of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The packet is like this.
    Is(Condition),
    /// The packet is not like this.
    IsNot(Condition),
    /// Anything that is not understood.
    Other,
}

/// The fate of a packet that matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It passes.
    Accept,
    /// It is gone.
    Drop,
    /// The chain that led here goes on.
    Return,
    /// It leaves with the address of the interface by which it leaves.
    Masquerade,
    /// The rules of this chain see it.
    Jump(String),
    /// Another target, by its name, or none.
    Other(String),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The name by which it is deleted.
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

/// The rules of a table: all, or those of some chains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The names of its chains, as far as they are known.
    pub chains: BTreeSet<String>,
    /// Its rules, in order in each chain.
    pub rules: Vec<Rule>,
}

/// Rules and chains to be deleted from a table, all at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Rules.
    pub rules: Vec<Place>,
    /// Chains with all their rules, to which no other rule leads.
    pub chains: Vec<String>,
}

impl Removal {
    /// Returns true if there is nothing to be deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.chains.is_empty()
    }
}
