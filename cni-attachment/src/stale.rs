//! The attachments that GC removes: those of its network that are not in the list of valid ones.

use crate::{
    mark::{Mark, Owner, is_silent},
    names::{Groups, host_names},
};
use cni_net::{Link, LinkKind};
use cni_types::{AttachmentId, AttachmentList, IfName, ValidAttachments};
use std::{cell::OnceCell, collections::BTreeSet};

/// The attachments of one network that are not in its list of valid ones.
pub struct Stale<'a> {
    valid: &'a AttachmentList,
    groups: Groups,
    /// The hashes of the valid attachments, computed if an alias holds hashes.
    hashes: OnceCell<BTreeSet<String>>,
    /// The names of the valid attachments' host ends, computed if a link has no alias yet.
    names: OnceCell<BTreeSet<IfName>>,
}

impl<'a> Stale<'a> {
    /// Returns `None` without a list, since no attachment is known to be stale then.
    #[must_use]
    pub fn of(valid: &'a ValidAttachments) -> Option<Self> {
        let ValidAttachments::Only(valid) = valid else {
            return None;
        };
        Some(Self {
            valid,
            groups: Groups::of(valid.network()),
            hashes: OnceCell::new(),
            names: OnceCell::new(),
        })
    }

    /// Returns true if the mark names a stale attachment.
    #[must_use]
    pub fn has(&self, mark: &Mark<'_>) -> bool {
        self.is_of_network(mark)
            && match mark.owner {
                Owner::Named(id) => !self.valid.contains(id),
                Owner::Hashed { attachment, .. } => !self.hashes().contains(attachment),
            }
    }

    /// Returns true if the mark names an attachment of this network.
    #[must_use]
    pub fn is_of_network(&self, mark: &Mark<'_>) -> bool {
        mark.owner.is_of_network(self.valid.network())
    }

    /// Returns the valid attachments of which no link bears a mark.
    pub fn without_link(&self, links: &[Link]) -> impl Iterator<Item = AttachmentId<'a>> {
        let marks = links.iter().filter_map(Mark::of);
        let marked: BTreeSet<String> = marks.map(|mark| mark.owner.hash()).collect();
        self.valid
            .iter()
            .filter(move |id| !marked.contains(&id.hash()))
    }

    /// Returns the valid attachments.
    #[must_use]
    pub fn valid(&self) -> &'a AttachmentList {
        self.valid
    }

    /// Returns true if the link is the host's end of a pair whose ADD was killed before it wrote
    /// the alias, or whose GC was killed midway.
    #[must_use]
    pub fn has_unmarked(&self, link: &Link) -> bool {
        is_unmarked_pair(link, &self.groups) && !self.names().contains(&link.name)
    }

    /// Returns the network's link groups.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    fn hashes(&self) -> &BTreeSet<String> {
        self.hashes
            .get_or_init(|| self.valid.iter().map(|id| id.hash()).collect())
    }

    fn names(&self) -> &BTreeSet<IfName> {
        self.names
            .get_or_init(|| self.valid.iter().flat_map(host_names).collect())
    }
}

/// Returns true if the link is a pair in one of these groups that has no alias yet.
#[must_use]
pub fn is_unmarked_pair(link: &Link, groups: &Groups) -> bool {
    link.kind == LinkKind::Veth && groups.contains(link.group) && is_silent(link)
}
