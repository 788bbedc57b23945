//! The alias that names a link's attachment: for people, for DEL, and for GC, which knows no
//! interface names.
//!
//! `cni <network> <container id> <interface>` is on the host's end of a pair, which this suite
//! removes; `cni-port …` is on an interface that an earlier plugin of the chain created. Names that
//! are too long for the kernel are hashed: `cni-hash <hash of the network> <hash of the
//! attachment>`. They are never cut, since a cut name identifies no attachment.

use cni_net::Link;
use cni_types::{AttachmentId, hash::sha512_hex};

/// The longest alias, in bytes: IFALIASZ of include/uapi/linux/if.h, minus the terminating NUL.
const MAX_ALIAS: usize = 255;

const HASHED: &str = "-hash";

/// The relation of a marked link to its attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The host's end of a pair that this suite created.
    Pair,
    /// An interface of an earlier plugin of the chain that was made a port.
    Port,
}

impl Role {
    const ALL: [Self; 2] = [Self::Pair, Self::Port];

    fn tag(self) -> &'static str {
        match self {
            Self::Pair => "cni",
            Self::Port => "cni-port",
        }
    }
}

/// The content of a link's alias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// The relation of the link to the attachment.
    pub role: Role,
    /// The attachment.
    pub owner: Owner<'a>,
}

/// The attachment that an alias names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner<'a> {
    /// Identified by its names.
    Named(AttachmentId<'a>),
    /// Identified by hashes, since the names are too long.
    Hashed {
        /// The network's hash.
        network: &'a str,
        /// The attachment's hash ([`AttachmentId::hash`]).
        attachment: &'a str,
    },
}

impl Owner<'_> {
    /// Returns the attachment's hash ([`AttachmentId::hash`]).
    #[must_use]
    pub fn hash(&self) -> String {
        match self {
            Self::Named(id) => id.hash(),
            Self::Hashed { attachment, .. } => (*attachment).to_owned(),
        }
    }

    /// Returns true if the attachment belongs to this network.
    #[must_use]
    pub fn is_of_network(&self, name: &str) -> bool {
        match self {
            Self::Named(id) => id.network == name,
            Self::Hashed { network, .. } => *network == hash_of_network(name),
        }
    }
}

impl<'a> Mark<'a> {
    /// Reads the mark of a link; returns `None` if it has none.
    #[must_use]
    pub fn of(link: &'a Link) -> Option<Self> {
        Self::parse(link.alias.as_deref()?)
    }

    fn parse(alias: &'a str) -> Option<Self> {
        let words: Vec<&str> = alias.split(' ').collect();
        let (tag, names) = words.split_first()?;
        let plain = |role: &Role| *tag == role.tag();
        let hashed = |role: &Role| tag.strip_suffix(HASHED) == Some(role.tag());
        let role = Role::ALL
            .into_iter()
            .find(|role| plain(role) || hashed(role))?;
        let owner = match (hashed(&role), names) {
            (false, [network, container_id, if_name]) => Owner::Named(AttachmentId {
                network,
                container_id,
                if_name,
            }),
            (true, [network, attachment]) => Owner::Hashed {
                network,
                attachment,
            },
            _ => return None,
        };
        Some(Self { role, owner })
    }

    /// Returns true if the link belongs to this attachment.
    #[must_use]
    pub fn is_of(&self, id: AttachmentId<'_>) -> bool {
        match self.owner {
            Owner::Named(own) => own == id,
            Owner::Hashed { attachment, .. } => attachment == id.hash(),
        }
    }
}

/// Returns true if the link has no alias at all.
#[must_use]
pub fn is_silent(link: &Link) -> bool {
    link.alias.as_deref().is_none_or(str::is_empty)
}

/// Returns the alias for a link of this attachment.
#[must_use]
pub fn alias(role: Role, id: AttachmentId<'_>) -> String {
    let tag = role.tag();
    let alias = format!("{tag} {} {} {}", id.network, id.container_id, id.if_name);
    if alias.len() <= MAX_ALIAS {
        return alias;
    }
    let network = hash_of_network(id.network);
    format!("{tag}{HASHED} {network} {}", id.hash())
}

fn hash_of_network(name: &str) -> String {
    sha512_hex(name, 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id<'a>(network: &'a str, container_id: &'a str) -> AttachmentId<'a> {
        AttachmentId {
            network,
            container_id,
            if_name: "eth0",
        }
    }

    #[test]
    fn a_mark_reads_back_and_is_its_attachments_only() {
        for network in ["net".to_owned(), "n".repeat(250)] {
            for role in [Role::Pair, Role::Port] {
                let text = alias(role, id(&network, "c1"));
                assert!(text.len() <= MAX_ALIAS);
                let mark = Mark::parse(&text).unwrap();
                assert_eq!(mark.role, role);
                assert!(mark.is_of(id(&network, "c1")));
                assert!(!mark.is_of(id(&network, "c2")));
                assert!(!mark.is_of(id("other", "c1")));
            }
        }
    }

    #[test]
    fn names_that_fit_are_written_as_they_are() {
        assert_eq!(alias(Role::Pair, id("net", "c1")), "cni net c1 eth0");
        let long = "c".repeat(MAX_ALIAS - "cni net  eth0".len());
        let longest = alias(Role::Pair, id("net", &long));
        assert_eq!(
            (longest.len(), longest.starts_with("cni net c")),
            (MAX_ALIAS, true)
        );
        let hashed = alias(Role::Pair, id("net", &format!("{long}c")));
        assert!(hashed.starts_with("cni-hash "), "{hashed}");
    }

    #[test]
    fn other_texts_are_no_marks() {
        for other in [
            "",
            "cni",
            "cni a b",
            "cni a b c d",
            "uplink to rack 7",
            "CNI a b c",
            "cni-x a b c",
            "cni-hash a",
        ] {
            assert_eq!(Mark::parse(other), None, "{other}");
        }
    }
}
