//! The attachments that GC removes: those of its network that are not in the list of valid ones.

use crate::{
    identity::{Groups, hash32, host_names},
    mark::{Mark, Owner, is_silent},
};
use cni_net::{Link, LinkKind};
use cni_types::{AttachmentKey, Call, NetworkName, ValidAttachments};
use std::{cell::OnceCell, collections::BTreeSet};

/// A judge of links, for one network and its list.
pub(crate) struct Stale<'a> {
    network: &'a NetworkName,
    valid: &'a BTreeSet<AttachmentKey>,
    groups: Groups,
    /// The hashes of the valid attachments, reckoned if there are names that are too long for an
    /// alias.
    hashes: OnceCell<BTreeSet<String>>,
    /// The names of their host ends, reckoned if a link has no alias yet.
    names: OnceCell<BTreeSet<String>>,
}

impl<'a> Stale<'a> {
    /// Returns `None` without a list: then nothing is known to be stale.
    pub(crate) fn of(call: &'a Call, valid: &'a ValidAttachments) -> Option<Self> {
        let ValidAttachments::Only(valid) = valid else {
            return None;
        };
        let (network, groups) = (&call.network, Groups::of(&call.network));
        Some(Self {
            network,
            valid,
            groups,
            hashes: OnceCell::new(),
            names: OnceCell::new(),
        })
    }

    /// Tells if the mark is that of a stale attachment.
    pub(crate) fn has(&self, mark: &Mark<'_>) -> bool {
        self.is_of_network(mark)
            && match mark.owner {
                Owner::Words([_, container_id, if_name]) => !self
                    .valid
                    .contains(&(container_id.to_owned(), if_name.to_owned())),
                Owner::Hashes { attachment, .. } => !self.hashes().contains(attachment),
            }
    }

    /// Tells if the mark is that of an attachment of this network.
    pub(crate) fn is_of_network(&self, mark: &Mark<'_>) -> bool {
        match mark.owner {
            Owner::Words([network, ..]) => network == self.network.as_str(),
            Owner::Hashes { network, .. } => network == hash32(&[self.network.as_str()]),
        }
    }

    /// Returns the valid attachments for which none of the links is marked.
    pub(crate) fn without_link(&self, links: &[Link]) -> impl Iterator<Item = &'a AttachmentKey> {
        let hash = |mark: Mark<'_>| match mark.owner {
            Owner::Words(words) => hash32(&words),
            Owner::Hashes { attachment, .. } => attachment.to_owned(),
        };
        let marked: BTreeSet<String> = links.iter().filter_map(Mark::of).map(hash).collect();
        let network = self.network.as_str();
        let is_marked = move |(container_id, if_name): &AttachmentKey| {
            marked.contains(&hash32(&[network, container_id, if_name]))
        };
        self.valid.iter().filter(move |key| !is_marked(key))
    }

    /// Returns the valid attachments.
    pub(crate) fn valid(&self) -> &'a BTreeSet<AttachmentKey> {
        self.valid
    }

    /// Tells if the link is the host's end of a pair whose ADD was killed before it could write the
    /// alias, or whose GC was killed in the middle.
    pub(crate) fn has_unmarked(&self, link: &Link) -> bool {
        is_unmarked_pair(link, &self.groups) && !self.names().contains(&link.name)
    }

    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    fn words(&self) -> impl Iterator<Item = [&str; 3]> {
        self.valid
            .iter()
            .map(|(container_id, if_name)| [self.network.as_str(), container_id, if_name])
    }

    fn hashes(&self) -> &BTreeSet<String> {
        self.hashes
            .get_or_init(|| self.words().map(|words| hash32(&words)).collect())
    }

    fn names(&self) -> &BTreeSet<String> {
        let names = || self.words().flat_map(host_names);
        self.names
            .get_or_init(|| names().map(|name| name.to_string()).collect())
    }
}

/// Tells if the link is a pair of a network with these groups that does not say yet whose it is.
pub(crate) fn is_unmarked_pair(link: &Link, groups: &Groups) -> bool {
    link.kind == LinkKind::Veth && groups.contains(link.group) && is_silent(link)
}
