//! The alias that says whose a link of the host is: for people, for DEL, and for GC, which knows no
//! names.
//!
//! `cni <network> <container id> <interface>` is on the host's end of a pair, which is this
//! plugin's to remove; `cni-port …` is on an interface that an earlier plugin of the chain made.
//! What would be too long for the kernel is hashed: `cni-hash <hash of the network> <hash of the
//! attachment>`. It is never cut: what is cut is nobody's.

use crate::identity::{Identity, hash32};
use cni_net::Link;

/// IFALIASZ of include/uapi/linux/if.h, less the closing NUL.
const MAX_ALIAS: usize = 255;

const HASHED: &str = "-hash";

/// What a marked link is to this plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The host's end of a pair that it made.
    Pair,
    /// An interface that an earlier plugin of the chain made, and that it made a port.
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

/// A link's alias, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark<'a> {
    pub(crate) role: Role,
    pub(crate) owner: Owner<'a>,
}

/// The attachment that an alias names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    /// Network, container id and interface.
    Words([&'a str; 3]),
    /// Their hashes, for names that are too long.
    Hashes {
        network: &'a str,
        attachment: &'a str,
    },
}

impl<'a> Mark<'a> {
    /// Reads the mark on a link, `None` if it has none.
    pub(crate) fn of(link: &'a Link) -> Option<Self> {
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
            (false, [network, container_id, if_name]) => {
                Owner::Words([network, container_id, if_name])
            }
            (true, [network, attachment]) => Owner::Hashes {
                network,
                attachment,
            },
            _ => return None,
        };
        Some(Self { role, owner })
    }

    /// Tells if the link is this attachment's.
    pub(crate) fn is_of(&self, identity: &Identity<'_>) -> bool {
        match self.owner {
            Owner::Words(words) => words == identity.words(),
            Owner::Hashes { attachment, .. } => attachment == hash32(&identity.words()),
        }
    }
}

/// Tells if a link has no alias at all.
pub(crate) fn is_silent(link: &Link) -> bool {
    link.alias.as_deref().is_none_or(str::is_empty)
}

/// Returns the alias for a link of this attachment.
pub(crate) fn alias(role: Role, identity: &Identity<'_>) -> String {
    let (tag, words) = (role.tag(), identity.words());
    let alias = format!("{tag} {}", words.join(" "));
    if alias.len() <= MAX_ALIAS {
        return alias;
    }
    format!(
        "{tag}{HASHED} {} {}",
        hash32(&[identity.network.as_str()]),
        hash32(&words)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::{ContainerId, IfName, NetworkName};

    fn with_identity<T>(
        network: &str,
        container_id: &str,
        body: impl FnOnce(&Identity<'_>) -> T,
    ) -> T {
        let network = NetworkName::parse(network).unwrap();
        let container_id = ContainerId::parse(container_id).unwrap();
        let if_name = IfName::parse("eth0").unwrap();
        body(&Identity {
            network: &network,
            container_id: &container_id,
            if_name: &if_name,
        })
    }

    #[test]
    fn a_mark_reads_back_and_is_its_attachments_only() {
        for network in ["net".to_owned(), "n".repeat(250)] {
            for role in [Role::Pair, Role::Port] {
                let text = with_identity(&network, "c1", |id| alias(role, id));
                assert!(text.len() <= MAX_ALIAS);
                let mark = Mark::parse(&text).unwrap();
                assert_eq!(mark.role, role);
                assert!(with_identity(&network, "c1", |id| mark.is_of(id)));
                assert!(!with_identity(&network, "c2", |id| mark.is_of(id)));
                assert!(!with_identity("other", "c1", |id| mark.is_of(id)));
            }
        }
    }

    #[test]
    fn names_that_fit_are_written_as_they_are() {
        assert_eq!(
            with_identity("net", "c1", |id| alias(Role::Pair, id)),
            "cni net c1 eth0"
        );
        let id = "c".repeat(MAX_ALIAS - "cni net  eth0".len());
        let longest = with_identity("net", &id, |id| alias(Role::Pair, id));
        assert_eq!(
            (longest.len(), longest.starts_with("cni net c")),
            (MAX_ALIAS, true)
        );
        let hashed = with_identity("net", &format!("{id}c"), |id| alias(Role::Pair, id));
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
