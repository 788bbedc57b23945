//! Pairs of which nothing says whose they are: those that the reference made, and those whose alias
//! somebody changed.
//!
//! They matter to GC, for their containers answer for their addresses: an address that is freed
//! under them is given out twice. Only a masquerade rule ties such an address to an attachment. If
//! that is stale, the pair goes, before rule and address; the addresses of all other such pairs
//! stay reserved.

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

/// A pair, and what answers behind it.
struct Foreign<'a> {
    link: &'a Link,
    /// The addresses of its other end.
    own: BTreeSet<IpAddr>,
    /// All addresses of the namespace that its other end is in.
    all: BTreeSet<IpAddr>,
}

/// What GC has to do about foreign pairs.
#[derive(Default)]
pub(crate) struct Verdict<'a> {
    /// The pairs of stale attachments.
    pub(crate) stale: Vec<&'a Link>,
    /// The addresses of all others.
    pub(crate) keep: KeepAddresses,
}

/// Looks at the foreign pairs. If there is none, no request is made.
///
/// # Errors
/// Fails if their addresses or the masquerade rules cannot be read.
pub(crate) fn judge<'a>(
    call: &Call,
    rtnl: &mut Rtnl,
    links: &'a [Link],
    stale: &Stale<'_>,
) -> Result<Verdict<'a>, Error> {
    let mut pairs = Vec::new();
    for link in links.iter().filter(|link| is_foreign(link, stale)) {
        pairs.extend(look_behind(rtnl, link)?);
    }
    if pairs.is_empty() {
        return Ok(Verdict::default());
    }
    let mut nft = Nft::open_if_there()?;
    let masqueraded = Masquerade::new(NAME, call).masqueraded(nft.as_mut(), stale.valid())?;
    // The owner of a rule may have left it behind, and its address be another attachment's by now.
    // So each valid attachment must be known to be elsewhere.
    let is_certain = stale
        .without_link(links)
        .all(|id| masqueraded.known.contains(&id));
    let is_stale = |pair: &Foreign<'_>| is_certain && pair.is_of_stale(&masqueraded);
    let (doomed, kept): (Vec<_>, Vec<_>) = pairs.into_iter().partition(is_stale);
    let going: BTreeSet<IpAddr> = doomed
        .iter()
        .flat_map(|pair| pair.own.iter().copied())
        .collect();
    let staying = kept.into_iter().flat_map(|pair| pair.all);
    Ok(Verdict {
        stale: doomed.into_iter().map(|pair| pair.link).collect(),
        keep: staying.filter(|address| !going.contains(address)).collect(),
    })
}

impl Foreign<'_> {
    fn is_of_stale(&self, masqueraded: &Masqueraded<'_>) -> bool {
        is_the_references(self.link)
            && !self.own.is_disjoint(&masqueraded.stale)
            && self.own.is_disjoint(&masqueraded.valid)
    }
}

/// Returns `None` if the namespace at the other end is being taken down.
fn look_behind<'a>(rtnl: &mut Rtnl, link: &'a Link) -> Result<Option<Foreign<'a>>, Error> {
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

/// Tells if the link is the host's end of a pair to a container, of which nothing says whose it is.
/// A pair with both ends on the host leads to no container: it is the gateway of a VLAN.
fn is_foreign(link: &Link, stale: &Stale<'_>) -> bool {
    if link.kind != LinkKind::Veth || link.peer_netns.is_none() {
        return false;
    }
    if stale.groups().contains(link.group) {
        return !is_silent(link) && Mark::of(link).is_none_or(|mark| !stale.is_of_network(&mark));
    }
    has_references_name(link) && !is_group(link.group) && Mark::of(link).is_none()
}

/// Tells if the link is as the reference makes it.
fn is_the_references(link: &Link) -> bool {
    has_references_name(link) && is_silent(link) && !is_group(link.group)
}

fn has_references_name(link: &Link) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let digits = link.name.as_str().strip_prefix("veth");
    digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(is_digit))
}
