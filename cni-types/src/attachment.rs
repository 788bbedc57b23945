//! Attachments: the one that a request is about, and those that GC must leave alone.

use crate::{
    hash::sha512_hex,
    value::{ContainerId, IfName, NetnsPath, NetworkName},
};
use std::collections::{BTreeMap, BTreeSet};

/// The identity of an attachment: the network, the container and the interface in it (spec
/// section 3).
///
/// The names are plain texts, since an identity is also read from an alias, from a record or from
/// GC's list, and compared there. Paths and interfaces are named by the checked names of
/// [`Attachment`] and [`Detachment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttachmentId<'a> {
    /// The network's name.
    pub network: &'a str,
    /// The container's id, `CNI_CONTAINERID`.
    pub container_id: &'a str,
    /// The interface's name in the container, `CNI_IFNAME`.
    pub if_name: &'a str,
}

impl<'a> AttachmentId<'a> {
    fn new(network: &'a NetworkName, container_id: &'a ContainerId, if_name: &'a IfName) -> Self {
        Self {
            network: network.as_str(),
            container_id: container_id.as_str(),
            if_name: if_name.as_str(),
        }
    }

    /// Returns the three names joined by NUL, which none of them contains.
    #[must_use]
    pub fn joined(&self) -> String {
        [self.network, self.container_id, self.if_name].join("\0")
    }

    /// Returns the hash of the attachment: 32 hexadecimal digits.
    #[must_use]
    pub fn hash(&self) -> String {
        sha512_hex(self.joined(), 32)
    }
}

/// The attachment that an ADD creates or a CHECK verifies: its identity and its namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// `CNI_IFNAME`.
    pub if_name: IfName,
    /// `CNI_NETNS`.
    pub netns: NetnsPath,
}

impl Attachment {
    /// Returns the identity, in this network.
    #[must_use]
    pub fn id<'a>(&'a self, network: &'a NetworkName) -> AttachmentId<'a> {
        AttachmentId::new(network, &self.container_id, &self.if_name)
    }
}

/// The attachment that a DEL removes. If its namespace is gone, there may be no path to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detachment {
    /// `CNI_CONTAINERID`.
    pub container_id: ContainerId,
    /// `CNI_IFNAME`.
    pub if_name: IfName,
    /// `CNI_NETNS`, unless missing or empty.
    pub netns: Option<NetnsPath>,
}

impl Detachment {
    /// Returns the identity, in this network.
    #[must_use]
    pub fn id<'a>(&'a self, network: &'a NetworkName) -> AttachmentId<'a> {
        AttachmentId::new(network, &self.container_id, &self.if_name)
    }
}

/// The attachments that GC must leave alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValidAttachments {
    /// The runtime sent no list (`cnitool gc`), so any attachment may be alive and none is stale.
    Unknown,
    /// All valid attachments of the network; every other attachment to it is stale.
    Only(AttachmentList),
}

impl ValidAttachments {
    /// Returns true if the attachment is known to be stale.
    #[must_use]
    pub fn excludes(&self, id: AttachmentId<'_>) -> bool {
        match self {
            Self::Unknown => false,
            Self::Only(valid) => id.network == valid.network() && !valid.contains(id),
        }
    }

    /// Returns true if no attachment of this container to the network is valid. For records without
    /// an interface name.
    #[must_use]
    pub fn excludes_container(&self, container_id: &str) -> bool {
        match self {
            Self::Unknown => false,
            Self::Only(valid) => !valid.containers.contains_key(container_id),
        }
    }
}

/// A list of attachments to one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachmentList {
    network: String,
    /// The interfaces of each container.
    containers: BTreeMap<String, BTreeSet<String>>,
}

impl AttachmentList {
    /// Creates a list from container ids, each with the name of an interface.
    pub fn new<C: Into<String>, I: Into<String>>(
        network: &str,
        attachments: impl IntoIterator<Item = (C, I)>,
    ) -> Self {
        let mut containers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (container_id, if_name) in attachments {
            let interfaces = containers.entry(container_id.into()).or_default();
            interfaces.insert(if_name.into());
        }
        Self {
            network: network.to_owned(),
            containers,
        }
    }

    /// Returns the network's name.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Returns true if the attachment is in the list.
    #[must_use]
    pub fn contains(&self, id: AttachmentId<'_>) -> bool {
        let interfaces = self.containers.get(id.container_id);
        id.network == self.network && interfaces.is_some_and(|some| some.contains(id.if_name))
    }

    /// Returns the attachments, sorted.
    pub fn iter(&self) -> impl Iterator<Item = AttachmentId<'_>> {
        self.containers
            .iter()
            .flat_map(|(container_id, interfaces)| {
                interfaces.iter().map(|if_name| AttachmentId {
                    network: &self.network,
                    container_id,
                    if_name,
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<'a>(network: &'a str, container_id: &'a str, if_name: &'a str) -> AttachmentId<'a> {
        AttachmentId {
            network,
            container_id,
            if_name,
        }
    }

    #[test]
    fn a_hash_is_of_all_three_names() {
        // printf 'a\0c1\0eth0' | sha512sum | cut -c-32
        let hash = id("a", "c1", "eth0").hash();
        assert!(hash.len() == 32 && hash.starts_with("162744b9"), "{hash}");
        assert_ne!(id("ac", "1", "eth0").hash(), hash);
    }

    #[test]
    fn a_list_says_nothing_of_another_network() {
        let list = AttachmentList::new("net", [("a", "eth0"), ("a", "eth1"), ("b", "eth0")]);
        assert!(list.contains(id("net", "a", "eth1")));
        assert!(!list.contains(id("other", "a", "eth1")));
        let ids: Vec<_> = list.iter().collect();
        assert_eq!(
            ids,
            [
                id("net", "a", "eth0"),
                id("net", "a", "eth1"),
                id("net", "b", "eth0")
            ]
        );
        let valid = ValidAttachments::Only(list);
        assert!(valid.excludes(id("net", "b", "eth1")));
        assert!(!valid.excludes(id("other", "b", "eth1")));
    }
}
