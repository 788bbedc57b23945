//! The names by which an attachment's traces on the host are told from all others.
//!
//! An attachment is (network, container id, interface). The host's end of its pair has a name made
//! from that, so that DEL finds it without a list of all links. It is in a group of links made from
//! the network's name, which is there from the link's first moment; its alias (`mark`), which the
//! kernel takes only afterwards, says whose it is.

use cni_net::nft::Owner;
use cni_types::{ContainerId, IfName, MacAddr, NetworkName};
use sha2::{Digest, Sha512};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    num::NonZeroU32,
};

/// The names that a host end can have: the first one unless other links have that and those after
/// it.
pub(crate) const NAMES: usize = 4;

/// Groups are numbered from here, away from the small numbers of /etc/iproute2/group, and below
/// 2^31.
const FIRST_GROUP: u32 = 1 << 30;

/// An attachment's identity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) network: &'a NetworkName,
    pub(crate) container_id: &'a ContainerId,
    pub(crate) if_name: &'a IfName,
}

impl<'a> Identity<'a> {
    /// Returns the owner of nf_tables rules.
    pub(crate) fn owner(&self) -> Owner<'a> {
        let [network, container_id, if_name] = self.words();
        Owner {
            network,
            container_id,
            if_name,
        }
    }

    /// Returns what identifies the attachment, in the order of the alias.
    pub(crate) fn words(&self) -> [&'a str; 3] {
        [
            self.network.as_str(),
            self.container_id.as_str(),
            self.if_name.as_str(),
        ]
    }

    /// Returns the names that the host's end can have, in the order in which they are tried.
    pub(crate) fn host_names(&self) -> [IfName; NAMES] {
        host_names(self.words())
    }

    /// Returns the name of the claim that an ADD holds, so that an attachment has one ADD at a
    /// time.
    pub(crate) fn claim(&self) -> String {
        format!("cni-add-{}", hash32(&self.words()))
    }
}

/// Returns the names that the host's end of an attachment can have: `veth` and eight hexadecimal
/// digits. They follow from the attachment, so that each ADD and DEL tries the same ones.
pub(crate) fn host_names(words: [&str; 3]) -> [IfName; NAMES] {
    let [network, container_id, if_name] = words;
    std::array::from_fn(|attempt| match attempt {
        0 => name_of(digest(&words)),
        _ => name_of(digest(&[
            network,
            container_id,
            if_name,
            &attempt.to_string(),
        ])),
    })
}

/// The groups of links that the host ends of a network's attachments are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Groups {
    /// From the link's first moment.
    pub(crate) living: NonZeroU32,
    /// While GC removes it, together with others.
    pub(crate) doomed: NonZeroU32,
}

impl Groups {
    pub(crate) fn of(network: &NetworkName) -> Self {
        let group = |purpose| {
            let [a, b, c, d, ..] = digest(&[purpose, network.as_str()]).to_be_bytes();
            let number = u32::from_be_bytes([a, b, c, d]);
            NonZeroU32::MIN.saturating_add(FIRST_GROUP - 1 + number % FIRST_GROUP)
        };
        Self {
            living: group("living"),
            doomed: group("doomed"),
        }
    }

    pub(crate) fn contains(&self, group: u32) -> bool {
        [self.living, self.doomed]
            .iter()
            .any(|own| own.get() == group)
    }
}

/// Tells if a group is one of those that networks of this plugin have.
pub(crate) fn is_group(group: u32) -> bool {
    (FIRST_GROUP..2 * FIRST_GROUP).contains(&group)
}

fn digest(words: &[&str]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..]: [u8; 64] = Sha512::digest(words.join("\0").as_bytes()).into();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Returns 32 hexadecimal digits that stand for these words, of which none may hold a NUL.
pub(crate) fn hash32(words: &[&str]) -> String {
    let digest = Sha512::digest(words.join("\0").as_bytes());
    digest
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Returns a name for an end of a pair that nobody else has, as far as chance goes.
pub(crate) fn random_name() -> IfName {
    name_of(random())
}

#[expect(
    clippy::expect_used,
    reason = "twelve letters and digits are an interface name"
)]
fn name_of(number: u64) -> IfName {
    let [a, b, c, d, ..] = number.to_be_bytes();
    IfName::parse(&format!("veth{a:02x}{b:02x}{c:02x}{d:02x}")).expect("an interface name")
}

/// A hardware address that nobody else has, as far as chance goes. Given explicitly it stays: an address that the kernel
/// chose is changed by udev (`MACAddressPolicy=persistent`) while the plugin reports the one before.
pub(crate) fn random_mac() -> MacAddr {
    let [_, _, seed @ ..] = random().to_be_bytes();
    MacAddr::local(seed)
}

/// Random bits from the system's source, by way of the standard library.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_identity<T>(network: &str, body: impl FnOnce(&Identity<'_>) -> T) -> T {
        let network = NetworkName::parse(network).unwrap();
        let container_id = ContainerId::parse("c1").unwrap();
        let if_name = IfName::parse("eth0").unwrap();
        body(&Identity {
            network: &network,
            container_id: &container_id,
            if_name: &if_name,
        })
    }

    #[test]
    fn the_names_of_the_hosts_end_are_the_same_again_and_differ_by_network() {
        let names = |network| with_identity(network, |id| id.host_names());
        let (a, b) = (names("a"), names("b"));
        assert_eq!(a, names("a"));
        let all: std::collections::HashSet<_> = a.iter().chain(&b).collect();
        assert_eq!(all.len(), 8);
        // The first is what earlier versions made: printf 'a\0c1\0eth0' | sha512sum | cut -c-8
        assert_eq!(a[0].as_str(), "veth162744b9");
    }

    #[test]
    fn groups_are_31_bits_never_the_default_and_differ_by_network_and_purpose() {
        let groups = |network: &str| Groups::of(&NetworkName::parse(network).unwrap());
        let all = (0..1000)
            .map(|at| groups(&format!("n{at}")))
            .flat_map(|g| [g.living, g.doomed]);
        let all: std::collections::HashSet<_> = all.collect();
        assert_eq!(all.len(), 2000);
        assert!(all.iter().all(|group| is_group(group.get())));
        assert!(groups("a").contains(groups("a").doomed.get()) && !groups("a").contains(0));
    }

    #[test]
    fn random_addresses_are_local_unicast_and_differ() {
        let (a, b) = (random_mac(), random_mac());
        assert_ne!(a, b);
        assert!(!a.is_multicast() && a.0[0] & 2 == 2);
    }
}
