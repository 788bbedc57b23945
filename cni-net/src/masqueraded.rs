//! The addresses that the rules of a network masquerade, and for whom: what ties an address to an
//! attachment where nothing else does.

use cni_types::AttachmentId;
use std::{collections::BTreeSet, net::IpAddr};

/// The masqueraded addresses of a network, against a list of its valid attachments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masqueraded<'a> {
    /// Addresses whose rules are for attachments that are not valid any more.
    pub stale: BTreeSet<IpAddr>,
    /// Addresses whose rules are for valid attachments.
    pub valid: BTreeSet<IpAddr>,
    /// The valid attachments whose addresses are known for certain, by their rules.
    pub known: BTreeSet<AttachmentId<'a>>,
}

impl Masqueraded<'_> {
    /// Returns what both say together.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        self.stale.extend(other.stale);
        self.valid.extend(other.valid);
        self.known.extend(other.known);
        self
    }
}
