//! Addresses as numbers, and spans of them.

use super::count::Count;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Consecutive addresses of one family, from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first address.
    pub(crate) first: IpAddr,
    /// The last address; not before the first.
    pub(crate) last: IpAddr,
}

impl Span {
    /// The addresses from `first` to `last`; `None` if there are none.
    pub(crate) fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    /// A single address.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self {
            first: address,
            last: address,
        }
    }

    /// The number of addresses.
    pub(crate) fn size(self) -> Count {
        Count::from(to_bits(self.last) - to_bits(self.first)) + Count::from(1_u64)
    }

    /// Returns true if `address` is one of them.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }

    /// The intersection; `None` if it is empty.
    pub(crate) fn overlap(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
            .filter(|_| self.first.is_ipv4() == other.first.is_ipv4())
    }

    /// The part before `address`; `None` if it is empty.
    pub(crate) fn before(self, address: IpAddr) -> Option<Self> {
        if address <= self.first {
            return None;
        }
        Self::new(self.first, self.last.min(previous(address)?))
    }

    /// The part after `address`; `None` if it is empty.
    pub(crate) fn after(self, address: IpAddr) -> Option<Self> {
        if address >= self.last {
            return None;
        }
        Self::new(self.first.max(next(address)?), self.last)
    }
}

/// Disjoint spans in the order of their addresses, in which everything is found by binary search.
/// Addresses of IPv4 come before those of IPv6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spans(Vec<Span>);

impl FromIterator<Span> for Spans {
    /// Joins spans that may overlap.
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut spans: Vec<Span> = spans.into_iter().collect();
        spans.sort_unstable_by_key(|span| span.first);
        spans.dedup_by(|later, earlier| {
            let overlap = earlier.overlap(*later).is_some();
            if overlap {
                earlier.last = earlier.last.max(later.last);
            }
            overlap
        });
        Self(spans)
    }
}

impl Spans {
    /// The spans.
    pub(crate) fn as_slice(&self) -> &[Span] {
        &self.0
    }

    /// Returns true if `address` is in one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        !self.overlapping(Span::of(address)).is_empty()
    }

    /// The number of addresses.
    pub(crate) fn size(&self) -> Count {
        self.0.iter().map(|span| span.size()).sum()
    }

    /// The spans that share an address with `span`.
    pub(crate) fn overlapping(&self, span: Span) -> &[Span] {
        let start = self.0.partition_point(|other| other.last < span.first);
        let (_, rest) = self.0.split_at(start);
        let end = rest.partition_point(|other| other.first <= span.last);
        let (overlapping, _) = rest.split_at(end);
        overlapping
    }

    /// The intersection with `span`.
    pub(crate) fn within(&self, span: Span) -> impl Iterator<Item = Span> + use<'_> {
        self.overlapping(span)
            .iter()
            .filter_map(move |other| other.overlap(span))
    }

    /// The difference: the addresses that are not in `holes`.
    pub(crate) fn without(&self, holes: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len());
        for span in &self.0 {
            let mut rest = Some(*span);
            for hole in holes.overlapping(*span) {
                left.extend(rest.and_then(|rest| rest.before(hole.first)));
                rest = rest.and_then(|rest| rest.after(hole.last));
            }
            left.extend(rest);
        }
        Self(left)
    }
}

/// Finds two owners that share an address, the lowest numbers of all such pairs. Spans of one owner
/// do not overlap.
///
/// Sorts instead of comparing pairs: a configuration may have tens of thousands of ranges.
pub(crate) fn first_conflict(owned: &[(usize, Span)]) -> Option<(usize, usize)> {
    let mut sorted: Vec<(usize, Span)> = owned.to_vec();
    sorted.sort_unstable_by_key(|(_, span)| span.first);
    let mut lowest: Option<usize> = None;
    let mut furthest: Option<(usize, Span)> = None;
    for (owner, span) in sorted {
        match furthest {
            Some((other, reach)) if reach.overlap(span).is_some() => {
                let lower = owner.min(other);
                lowest = Some(lowest.map_or(lower, |lowest| lowest.min(lower)));
                if span.last > reach.last {
                    furthest = Some((owner, span));
                }
            }
            _ => furthest = Some((owner, span)),
        }
    }
    let lowest = lowest?;
    let its: Spans = owned
        .iter()
        .filter(|(owner, _)| *owner == lowest)
        .map(|(_, span)| *span)
        .collect();
    let others = owned
        .iter()
        .filter(|(owner, span)| *owner != lowest && !its.overlapping(*span).is_empty());
    others.map(|(owner, _)| (lowest, *owner)).min()
}

/// The address after this one; `None` for the last of its family.
fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4
            .to_bits()
            .checked_add(1)
            .map(Ipv4Addr::from_bits)
            .map(IpAddr::V4),
        IpAddr::V6(v6) => v6
            .to_bits()
            .checked_add(1)
            .map(Ipv6Addr::from_bits)
            .map(IpAddr::V6),
    }
}

/// The address before this one; `None` for the first of its family.
fn previous(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4
            .to_bits()
            .checked_sub(1)
            .map(Ipv4Addr::from_bits)
            .map(IpAddr::V4),
        IpAddr::V6(v6) => v6
            .to_bits()
            .checked_sub(1)
            .map(Ipv6Addr::from_bits)
            .map(IpAddr::V6),
    }
}

/// The address with its last bit set: of a network's address the one that follows.
pub(crate) fn with_last_bit(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() | 1)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() | 1)),
    }
}

/// The address with its last bit cleared: of a broadcast address the one before.
pub(crate) fn without_last_bit(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & !1)),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !1)),
    }
}

/// The address as a number.
pub(crate) fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address with these bits, of the family of `like`; `None` if they are too many for IPv4.
pub(crate) fn from_bits(like: IpAddr, bits: u128) -> Option<IpAddr> {
    match like {
        IpAddr::V4(_) => u32::try_from(bits).ok().map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(_) => Some(IpAddr::V6(bits.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v6(bits: u128) -> IpAddr {
        IpAddr::V6(bits.into())
    }

    fn span((a, b): (u128, u128)) -> Span {
        Span {
            first: v6(a.min(b)),
            last: v6(a.max(b)),
        }
    }

    fn few_spans() -> impl Strategy<Value = Vec<Span>> {
        prop::collection::vec((0u128..60, 0u128..60).prop_map(span), 0..8)
    }

    /// The first pair that a comparison of all pairs finds.
    fn first_pair(spans: &[Span]) -> Option<(usize, usize)> {
        let pairs = (0..spans.len()).flat_map(|a| (a + 1..spans.len()).map(move |b| (a, b)));
        pairs
            .into_iter()
            .find(|(a, b)| spans[*a].overlap(spans[*b]).is_some())
    }

    proptest! {
        #[test]
        fn spans_have_the_addresses_that_they_are_made_of(given in few_spans(), holes in few_spans(), part in few_spans()) {
            let spans = Spans::from_iter(given.clone());
            let gaps = Spans::from_iter(holes.clone());
            let left = spans.without(&gaps);
            for address in (0..60).map(v6) {
                let is_in = |list: &[Span]| list.iter().filter(|span| span.contains(address)).count();
                prop_assert_eq!(is_in(spans.as_slice()), usize::from(is_in(&given) > 0), "none twice");
                prop_assert_eq!(is_in(left.as_slice()), usize::from(is_in(&given) > 0 && is_in(&holes) == 0));
                prop_assert_eq!(spans.contains(address), is_in(&given) > 0);
                for part in &part {
                    let within: Vec<Span> = spans.within(*part).collect();
                    prop_assert_eq!(is_in(&within) > 0, part.contains(address) && is_in(&given) > 0);
                }
            }
            let count = (0..60).map(v6).filter(|address| left.contains(*address)).count() as u64;
            prop_assert_eq!(left.size(), Count::from(count));
        }

        #[test]
        fn the_first_conflict_is_the_one_that_comparing_all_pairs_finds(spans in few_spans()) {
            let owned: Vec<(usize, Span)> = spans.iter().copied().enumerate().collect();
            prop_assert_eq!(first_conflict(&owned), first_pair(&spans));
        }

        #[test]
        fn owners_of_several_spans_conflict_as_pairs_do(owners in prop::collection::vec(few_spans(), 0..5)) {
            let owners: Vec<Spans> = owners.into_iter().map(Spans::from_iter).collect();
            let owned: Vec<(usize, Span)> = owners
                .iter()
                .enumerate()
                .flat_map(|(owner, spans)| spans.as_slice().iter().map(move |span| (owner, *span)))
                .collect();
            let conflict = |a: usize, b: usize| {
                owners[a].as_slice().iter().any(|span| !owners[b].overlapping(*span).is_empty())
            };
            let mut pairs = (0..owners.len()).flat_map(|a| (a + 1..owners.len()).map(move |b| (a, b)));
            prop_assert_eq!(first_conflict(&owned), pairs.find(|(a, b)| conflict(*a, *b)));
        }
    }

    #[test]
    fn the_first_and_last_addresses_are_no_special_case() {
        let all = Span {
            first: v6(0),
            last: v6(u128::MAX),
        };
        assert_eq!(all.size(), Count::from(u128::MAX) + Count::from(1_u64));
        assert_eq!((all.before(v6(0)), all.after(v6(u128::MAX))), (None, None));
        let v4 = Span::new([255, 255, 255, 254].into(), [255, 255, 255, 255].into()).unwrap();
        assert_eq!(v4.after([255, 255, 255, 255].into()), None);
        assert_eq!(
            next([255, 255, 255, 255].into()),
            None,
            "IPv4 does not go on in IPv6"
        );
        assert_eq!(v4.overlap(all), None);
    }

    #[test]
    fn families_do_not_mix() {
        let v4 = Span::of([255, 255, 255, 255].into());
        let spans = Spans::from_iter([span((0, 9)), v4]);
        assert_eq!(spans.as_slice(), [v4, span((0, 9))]);
        assert_eq!(spans.overlapping(span((9, 12))), [span((0, 9))]);
        assert_eq!(first_conflict(&[(0, v4), (1, span((0, 9)))]), None);
    }
}
