//! The names by which an attachment's traces on the host are told from all others.
//!
//! An attachment is (network, container id, interface). The host's end of its pair has a name made from that, so that DEL
//! finds it without a list of all links, and an alias that says it in words, for people and for GC.

use cni_net::nft::Owner;
use cni_types::{ContainerId, Error, IfName, MacAddr, NetworkName};
use sha2::{Digest, Sha512};
use std::hash::{BuildHasher, Hasher, RandomState};

/// IFALIASZ of include/uapi/linux/if.h, less the closing NUL.
const MAX_ALIAS: usize = 255;

/// What the aliases of all our interfaces begin with.
const ALIAS_TAG: &str = "cni";

/// An attachment's identity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    pub(crate) network: &'a NetworkName,
    pub(crate) container_id: &'a ContainerId,
    pub(crate) if_name: &'a IfName,
}

impl<'a> Identity<'a> {
    /// The owner of nf_tables rules.
    pub(crate) fn owner(&self) -> Owner<'a> {
        Owner {
            network: self.network.as_str(),
            container_id: self.container_id.as_str(),
            if_name: self.if_name.as_str(),
        }
    }

    /// What identifies the attachment, in the order of the alias.
    pub(crate) fn words(&self) -> [&'a str; 3] {
        [self.network.as_str(), self.container_id.as_str(), self.if_name.as_str()]
    }

    /// The text on the host's end of the pair; empty where it would be too long for the kernel.
    pub(crate) fn alias(&self) -> String {
        let alias = format!("{ALIAS_TAG} {} {} {}", self.network, self.container_id, self.if_name);
        if alias.len() <= MAX_ALIAS { alias } else { String::new() }
    }

    /// The name of the host's end: `veth` and eight hexadecimal digits. The first attempt is made from the identity, and
    /// found again by DEL; later ones, for the case that another interface has that name, are random.
    pub(crate) fn host_name(&self, attempt: u32) -> Result<IfName, Error> {
        if attempt == 0 { name_of(self.digest()) } else { random_name() }
    }

    fn digest(&self) -> u64 {
        let text = format!("{}\0{}\0{}", self.network, self.container_id, self.if_name);
        let digest = Sha512::digest(text.as_bytes());
        digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes))
    }
}

/// Network, container id and interface of an alias that [`Identity::alias`] made.
pub(crate) fn parse_alias(alias: &str) -> Option<[&str; 3]> {
    let mut words = alias.split(' ');
    if words.next() != Some(ALIAS_TAG) {
        return None;
    }
    let parts = [words.next()?, words.next()?, words.next()?];
    words.next().is_none().then_some(parts)
}

/// A name for an end of a pair that nobody else has, as far as chance goes.
pub(crate) fn random_name() -> Result<IfName, Error> {
    name_of(random())
}

fn name_of(number: u64) -> Result<IfName, Error> {
    let [a, b, c, d, ..] = number.to_be_bytes();
    IfName::parse(&format!("veth{a:02x}{b:02x}{c:02x}{d:02x}"))
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
        body(&Identity { network: &network, container_id: &container_id, if_name: &if_name })
    }

    #[test]
    fn the_name_of_the_hosts_end_is_the_same_again_and_differs_by_network() {
        let name = |network, attempt| with_identity(network, |id| id.host_name(attempt).unwrap().to_string());
        assert_eq!(name("a", 0), name("a", 0));
        assert_ne!(name("a", 0), name("b", 0));
        assert_ne!(name("a", 1), name("a", 1));
        assert!(name("a", 0).starts_with("veth") && name("a", 0).len() == 12);
    }

    #[test]
    fn an_alias_reads_back() {
        assert_eq!(parse_alias(&with_identity("net", |id| id.alias())), Some(["net", "c1", "eth0"]));
        for other in ["", "cni", "cni a b", "cni a b c d", "uplink to rack 7", "CNI a b c"] {
            assert_eq!(parse_alias(other), None, "{other}");
        }
        assert_eq!(with_identity(&"n".repeat(250), |id| id.alias()), "");
    }

    #[test]
    fn random_addresses_are_local_unicast_and_differ() {
        let (a, b) = (random_mac(), random_mac());
        assert_ne!(a, b);
        assert!(!a.is_multicast() && a.0[0] & 2 == 2);
    }
}
