//! A range set: ranges of one family, the pool for one address of each attachment.

use super::{
    count::Count,
    range::Range,
    span::{Span, Spans, first_conflict},
};
use std::{collections::BTreeSet, fmt, net::IpAddr};

/// At least one range; one family; no overlaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// In the order of the configuration, which is the order of allocation.
    ranges: Vec<Range>,
    /// The ranges in the order of the addresses, each with its position in `ranges`.
    by_address: Vec<(Span, usize)>,
    /// The start of the first range.
    first_address: IpAddr,
    /// The gateways that lie in a range. No gateway is ever allocated, not even by another range.
    gateways: BTreeSet<IpAddr>,
    /// The addresses that can be allocated: neither a gateway nor excluded.
    allocatable: Spans,
    excluded: Count,
}

/// The reason for which ranges are no set. The texts are the reference's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidRangeSet {
    #[error("empty range set")]
    Empty,
    #[error("mixed address families")]
    MixedFamilies,
    #[error("subnets {0} and {1} overlap")]
    Overlap(String, String),
    #[error("every address is excluded")]
    NothingLeft,
}

impl RangeSet {
    /// Joins ranges into a set, of which no address in `excluded` is ever allocated.
    pub(crate) fn new(ranges: Vec<Range>, excluded: &Spans) -> Result<Self, InvalidRangeSet> {
        let first = ranges.first().ok_or(InvalidRangeSet::Empty)?;
        if ranges
            .iter()
            .any(|range| range.is_ipv4() != first.is_ipv4())
        {
            return Err(InvalidRangeSet::MixedFamilies);
        }
        require_disjoint(&ranges)?;
        let all: Spans = ranges.iter().map(Range::span).collect();
        let gateways: BTreeSet<IpAddr> = ranges
            .iter()
            .map(Range::gateway)
            .filter(|gateway| all.contains(*gateway))
            .collect();
        let usable = all.without(&gateways.iter().copied().map(Span::of).collect());
        let allocatable = usable.without(excluded);
        let excluded = usable.size().saturating_sub(allocatable.size());
        if allocatable.size().is_zero() && !excluded.is_zero() {
            return Err(InvalidRangeSet::NothingLeft);
        }
        let mut by_address: Vec<(Span, usize)> = ranges.iter().map(Range::span).zip(0..).collect();
        by_address.sort_unstable_by_key(|(span, _)| span.first);
        Ok(Self {
            first_address: first.start(),
            ranges,
            by_address,
            gateways,
            allocatable,
            excluded,
        })
    }

    /// The ranges.
    pub(crate) fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The range that `address` is in; `None` if it is in no range.
    pub(crate) fn range_of(&self, address: IpAddr) -> Option<&Range> {
        let (_, position) = self.find(address)?;
        self.ranges.get(position)
    }

    /// The span and the position of the range that `address` is in.
    fn find(&self, address: IpAddr) -> Option<(Span, usize)> {
        let later = self
            .by_address
            .partition_point(|(span, _)| span.first <= address);
        let (span, position) = *self.by_address.get(later.checked_sub(1)?)?;
        span.contains(address).then_some((span, position))
    }

    /// Returns true if `address` is in a range of the set.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.find(address).is_some()
    }

    /// Returns true if `address` is in a range, and a gateway.
    pub(crate) fn is_gateway(&self, address: IpAddr) -> bool {
        self.gateways.contains(&address)
    }

    /// Returns true if `address` can be given to an attachment.
    pub(crate) fn is_allocatable(&self, address: IpAddr) -> bool {
        self.allocatable.contains(address)
    }

    /// The addresses that can be given to attachments.
    pub(crate) fn allocatable(&self) -> &Spans {
        &self.allocatable
    }

    /// All addresses of the ranges.
    pub(crate) fn range_spans(&self) -> impl Iterator<Item = Span> {
        self.ranges.iter().map(Range::span)
    }

    /// The start of the first range.
    pub(crate) fn first_address(&self) -> IpAddr {
        self.first_address
    }

    /// The number of addresses that can be allocated.
    pub(crate) fn capacity(&self) -> Count {
        self.allocatable.size()
    }

    /// The number of addresses of the ranges that the configuration excludes.
    pub(crate) fn excluded(&self) -> Count {
        self.excluded
    }

    /// Every allocatable address once: first those after `last`, if that is in the set, and then
    /// round to it.
    pub(crate) fn candidates(&self, last: Option<IpAddr>) -> impl Iterator<Item = Span> {
        let current = last.and_then(|last| Some((self.find(last)?, last)));
        let rest = current.and_then(|((span, _), last)| span.after(last));
        let until = current.and_then(|((span, _), last)| Span::new(span.first, last));
        // The positions of the current range and of the next.
        let (current, next) = current.map_or((0, 0), |((_, position), _)| (position, position + 1));
        let later = self.ranges.iter().skip(next);
        let earlier = self.ranges.iter().take(current);
        let round = rest
            .into_iter()
            .chain(later.chain(earlier).map(Range::span))
            .chain(until);
        round.flat_map(|part| self.allocatable.within(part))
    }
}

#[expect(
    clippy::expect_used,
    reason = "a conflict is between two of the ranges"
)]
fn require_disjoint(ranges: &[Range]) -> Result<(), InvalidRangeSet> {
    let owned: Vec<(usize, Span)> = ranges.iter().map(Range::span).enumerate().collect();
    let Some((a, b)) = first_conflict(&owned) else {
        return Ok(());
    };
    let text = |position: usize| ranges.get(position).expect("a range").to_string();
    Err(InvalidRangeSet::Overlap(text(a), text(b)))
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
