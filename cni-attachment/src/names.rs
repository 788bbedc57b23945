//! The names by which an attachment's links on the host are found.
//!
//! The name of a pair's host end is derived from the attachment's identity, so that DEL finds it
//! without listing all links. Its link group is derived from the network's name and is set when the
//! link is created; its alias ([`crate::mark`]), which the kernel accepts only later, names the
//! attachment.

use cni_types::{AttachmentId, IfName, MacAddr, hash::sha512};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    num::NonZeroU32,
};

/// The number of names that a host end can have: the first one, unless other links have it and the
/// names after it.
pub const NAMES: usize = 4;

/// The lowest group number, above the small numbers of /etc/iproute2/group; the highest is below
/// 2^31.
const FIRST_GROUP: u32 = 1 << 30;

/// Returns the possible names of an attachment's host end, in the order in which they are tried:
/// `veth` and eight hexadecimal digits. They are derived from the attachment, so each ADD and DEL
/// tries the same ones.
#[must_use]
pub fn host_names(id: AttachmentId<'_>) -> [IfName; NAMES] {
    let joined = id.joined();
    std::array::from_fn(|attempt| match attempt {
        0 => name_of(number(&joined)),
        _ => name_of(number(&format!("{joined}\0{attempt}"))),
    })
}

/// The link groups of the host ends of a network's attachments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// The group of a pair from its creation on.
    pub living: NonZeroU32,
    /// The group of pairs that GC is removing.
    pub condemned: NonZeroU32,
}

impl Groups {
    /// Returns the groups of a network.
    #[must_use]
    pub fn of(network: &str) -> Self {
        let group = |purpose| {
            let [a, b, c, d, ..] = number(&format!("{purpose}\0{network}")).to_be_bytes();
            let number = u32::from_be_bytes([a, b, c, d]);
            NonZeroU32::MIN.saturating_add(FIRST_GROUP - 1 + number % FIRST_GROUP)
        };
        Self {
            living: group("living"),
            condemned: group("doomed"),
        }
    }

    /// Returns true if the group is one of these.
    #[must_use]
    pub fn contains(&self, group: u32) -> bool {
        [self.living, self.condemned]
            .iter()
            .any(|own| own.get() == group)
    }
}

/// Returns true if the group belongs to any network of this suite.
#[must_use]
pub fn is_group(group: u32) -> bool {
    (FIRST_GROUP..2 * FIRST_GROUP).contains(&group)
}

/// Returns the first eight bytes of a text's hash, as a number.
fn number(text: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha512(text);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Returns a random name for an end of a pair.
#[must_use]
pub fn random_name() -> IfName {
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

/// Returns a random hardware address. Since it is set explicitly, it stays: udev changes an address
/// that the kernel chose (`MACAddressPolicy=persistent`), after the plugin reported it.
#[must_use]
pub fn random_mac() -> MacAddr {
    let [_, _, seed @ ..] = random().to_be_bytes();
    MacAddr::local(seed)
}

/// Returns random bits from the system, by the standard library.
#[must_use]
pub fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_hosts_end_are_the_same_again_and_differ_by_network() {
        let names = |network| {
            host_names(AttachmentId {
                network,
                container_id: "c1",
                if_name: "eth0",
            })
        };
        let a = names("a");
        let b = names("b");
        assert_eq!(a, names("a"));
        let all: std::collections::HashSet<_> = a.iter().chain(&b).collect();
        assert_eq!(all.len(), 8);
        // The first name is the one of earlier versions: printf 'a\0c1\0eth0' | sha512sum | cut
        // -c-8
        assert_eq!(a[0].as_str(), "veth162744b9");
    }

    #[test]
    fn groups_are_31_bits_never_the_default_and_differ_by_network_and_purpose() {
        let groups = |network: &str| Groups::of(network);
        let all = (0..1000)
            .map(|at| groups(&format!("n{at}")))
            .flat_map(|g| [g.living, g.condemned]);
        let all: std::collections::HashSet<_> = all.collect();
        assert_eq!(all.len(), 2000);
        assert!(all.iter().all(|group| is_group(group.get())));
        assert!(groups("a").contains(groups("a").condemned.get()) && !groups("a").contains(0));
    }

    #[test]
    fn random_addresses_are_local_unicast_and_differ() {
        let a = random_mac();
        let b = random_mac();
        assert_ne!(a, b);
        assert!(!a.is_multicast() && a.0[0] & 2 == 2);
    }
}
