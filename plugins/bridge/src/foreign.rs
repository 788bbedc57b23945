//! Foreign pairs: veth pairs without a valid mark of ours. Either the reference made them, or
//! somebody changed their alias.
//!
//! GC must handle them because their containers still use their addresses: if such an address were
//! freed, another container would get it, too. Only a masquerade rule ties such an address to an
//! attachment. If that attachment is stale, the pair is removed before its rules and its addresses
//! are; the addresses of all other foreign pairs stay reserved.

use crate::NAME;
use cni_attachment::{
    mark::{Mark, is_silent},
    names::is_group,
    netfilter::masquerade::{Masquerade, Masqueraded},
    stale::Stale,
};
use cni_net::{Link, LinkKind, Rtnl, nft::Nft};
use cni_types::{Call, Error, KeepAddresses};
use std::{collections::BTreeSet, net::IpAddr};

/// A foreign pair and the addresses behind it.
struct Foreign<'a> {
    /// The host's end.
    link: &'a Link,
    /// The addresses of the container's end.
    own: BTreeSet<IpAddr>,
    /// All addresses in the namespace of the container's end.
    all: BTreeSet<IpAddr>,
}

/// The foreign pairs, sorted into those to remove and those whose addresses must stay reserved.
#[derive(Default)]
pub(crate) struct Verdict<'a> {
    /// The pairs of stale attachments.
    pub(crate) stale: Vec<&'a Link>,
    /// The addresses behind all other foreign pairs.
    pub(crate) keep: KeepAddresses,
}

/// Classifies the foreign pairs among `links`. Makes no request if there are none.
///
/// # Errors
/// Fails if their addresses or the masquerade rules cannot be read.
pub(crate) fn classify<'a>(
    call: &Call,
    rtnl: &mut Rtnl,
    links: &'a [Link],
    stale: &Stale<'_>,
) -> Result<Verdict<'a>, Error> {
    let mut pairs = Vec::new();
    for link in links.iter().filter(|link| is_foreign(link, stale)) {
        pairs.extend(with_addresses(rtnl, link)?);
    }
    if pairs.is_empty() {
        return Ok(Verdict::default());
    }
    let mut nft = Nft::open_if_there()?;
    let masqueraded = Masquerade::new(NAME, call).masqueraded(nft.as_mut(), stale.valid())?;
    // A rule may be a leftover, its address another attachment's by now. So a pair is removed only
    // if the address of each valid attachment without a link is known.
    let is_certain = stale
        .without_link(links)
        .all(|id| masqueraded.known.contains(&id));
    let is_stale = |pair: &Foreign<'_>| is_certain && pair.is_of_stale(&masqueraded);
    let (removed, kept): (Vec<_>, Vec<_>) = pairs.into_iter().partition(is_stale);
    let removed_addresses: BTreeSet<IpAddr> = removed
        .iter()
        .flat_map(|pair| pair.own.iter().copied())
        .collect();
    let kept_addresses = kept.into_iter().flat_map(|pair| pair.all);
    Ok(Verdict {
        stale: removed.into_iter().map(|pair| pair.link).collect(),
        keep: kept_addresses
            .filter(|address| !removed_addresses.contains(address))
            .collect(),
    })
}

impl Foreign<'_> {
    /// Returns true if the pair is as the reference makes it, and its container has an address of a
    /// stale attachment and none of a valid one.
    fn is_of_stale(&self, masqueraded: &Masqueraded<'_>) -> bool {
        is_the_references(self.link)
            && !self.own.is_disjoint(&masqueraded.stale)
            && self.own.is_disjoint(&masqueraded.valid)
    }
}

/// Returns the pair with the addresses behind it, or `None` if the namespace of its other end is
/// being removed.
///
/// # Errors
/// Fails if the kernel refuses to list the addresses.
fn with_addresses<'a>(rtnl: &mut Rtnl, link: &'a Link) -> Result<Option<Foreign<'a>>, Error> {
    let Some(mut addresses) = rtnl.addresses_beside_peer(link)? else {
        return Ok(None);
    };
    addresses.retain(|address| !address.link_local && !address.cidr.address().is_loopback());
    let is_own = |index: u32| Some(index) == link.peer_index;
    let own = addresses.iter().filter(|address| is_own(address.link));
    Ok(Some(Foreign {
        link,
        own: own.map(|address| address.cidr.address()).collect(),
        all: addresses
            .iter()
            .map(|address| address.cidr.address())
            .collect(),
    }))
}

/// Returns true if the link is the host's end of a pair to a container and has no valid mark of
/// ours. A pair with both ends on the host leads to no container: it is the gateway of a VLAN.
fn is_foreign(link: &Link, stale: &Stale<'_>) -> bool {
    if link.kind != LinkKind::Veth || link.peer_netns.is_none() {
        return false;
    }
    if stale.groups().contains(link.group) {
        return !is_silent(link) && Mark::of(link).is_none_or(|mark| !stale.is_of_network(&mark));
    }
    has_references_name(link) && !is_group(link.group) && Mark::of(link).is_none()
}

/// Returns true if the link is as the reference makes it: its name, no alias, no group of ours.
fn is_the_references(link: &Link) -> bool {
    has_references_name(link) && is_silent(link) && !is_group(link.group)
}

/// Returns true for `veth` and eight hexadecimal digits, the names that the reference gives.
fn has_references_name(link: &Link) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let digits = link.name.as_str().strip_prefix("veth");
    digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(is_digit))
}
