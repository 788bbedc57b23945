//! The names by which an attachment's traces on the host are found again.
//!
//! The host's end of a pair has a name made from the attachment's identity, so that DEL finds it
//! without a list of all links. It is in a group of links made from the network's name, which is
//! there from the link's first moment; its alias ([`crate::mark`]), which the kernel takes only
//! afterwards, says whose it is.

use cni_types::{AttachmentId, IfName, MacAddr, hash::sha512};
use std::{
    hash::{BuildHasher, Hasher, RandomState},
    num::NonZeroU32,
};

/// The names that a host end can have: the first one unless other links have that and those after
/// it.
pub const NAMES: usize = 4;

/// Groups are numbered from here, away from the small numbers of /etc/iproute2/group, and below
/// 2^31.
const FIRST_GROUP: u32 = 1 << 30;

/// Returns the names that the host's end of an attachment can have, in the order in which they are
/// tried: `veth` and eight hexadecimal digits. They follow from the attachment, so that each ADD
/// and DEL tries the same ones.
#[must_use]
pub fn host_names(id: AttachmentId<'_>) -> [IfName; NAMES] {
    let joined = id.joined();
    std::array::from_fn(|attempt| match attempt {
        0 => name_of(number(&joined)),
        _ => name_of(number(&format!("{joined}\0{attempt}"))),
    })
}

/// The groups of links that the host ends of a network's attachments are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    /// From the link's first moment.
    pub living: NonZeroU32,
    /// While GC removes it, together with others.
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

    /// Returns true if a group is one of these.
    #[must_use]
    pub fn contains(&self, group: u32) -> bool {
        [self.living, self.condemned]
            .iter()
            .any(|own| own.get() == group)
    }
}

/// Returns true if a group is one of those that networks of this plugin have.
#[must_use]
pub fn is_group(group: u32) -> bool {
    (FIRST_GROUP..2 * FIRST_GROUP).contains(&group)
}

/// Returns the first eight bytes of a text's hash.
fn number(text: &str) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = sha512(text);
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Returns a name for an end of a pair that nobody else has, as far as chance goes.
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

/// Returns a hardware address that nobody else has, as far as chance goes. Given explicitly it
/// stays: an address that the kernel chose is changed by udev (`MACAddressPolicy=persistent`) while
/// the plugin reports the one before.
#[must_use]
pub fn random_mac() -> MacAddr {
    let [_, _, seed @ ..] = random().to_be_bytes();
    MacAddr::local(seed)
}

/// Returns random bits from the system's source, by way of the standard library.
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
        // The first is what earlier versions made: printf 'a\0c1\0eth0' | sha512sum | cut -c-8
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
