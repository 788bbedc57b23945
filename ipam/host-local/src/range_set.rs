//! A range set: ranges of one family that together are the pool for one address of each attachment.

use crate::{
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
    /// The positions in `ranges`, in the order of the addresses.
    by_address: Vec<usize>,
    /// The gateways that lie in a range. None of them is ever allocated, whichever range it lies in.
    gateways: BTreeSet<IpAddr>,
    /// The addresses that can be allocated: neither a gateway nor excluded.
    allocatable: Spans,
    excluded: Count,
}

/// Why ranges do not make a set. The texts are the reference's.
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
        let mut by_address: Vec<(IpAddr, usize)> =
            ranges.iter().map(Range::start).zip(0..).collect();
        by_address.sort_unstable();
        let by_address = by_address
            .into_iter()
            .map(|(_, position)| position)
            .collect();
        Ok(Self {
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

    /// The range that `address` is in.
    pub(crate) fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.ranges.get(self.position_of(address)?)
    }

    /// The position of the range that `address` is in.
    fn position_of(&self, address: IpAddr) -> Option<usize> {
        let starts_before = |position: &usize| {
            self.ranges
                .get(*position)
                .is_some_and(|range| range.start() <= address)
        };
        let later = self.by_address.partition_point(starts_before);
        let position = *self.by_address.get(later.checked_sub(1)?)?;
        self.ranges
            .get(position)
            .filter(|range| range.contains(address))
            .map(|_| position)
    }

    /// Returns true if `address` is in a range of the set.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.position_of(address).is_some()
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

    /// An address of the set, for its family.
    pub(crate) fn first_address(&self) -> Option<IpAddr> {
        self.ranges.first().map(Range::start)
    }

    /// The number of addresses that can be allocated.
    pub(crate) fn capacity(&self) -> Count {
        self.allocatable.size()
    }

    /// The number of addresses of the ranges that the configuration excludes.
    pub(crate) fn excluded(&self) -> Count {
        self.excluded
    }

    /// Every allocatable address once: first those after `last`, if that is in the set, and then round to it.
    pub(crate) fn candidates(&self, last: Option<IpAddr>) -> impl Iterator<Item = Span> {
        let current = last.and_then(|last| Some((self.position_of(last)?, last)));
        let span_at = |position: usize| self.ranges.get(position).map(Range::span);
        let rest = current.and_then(|(position, last)| span_at(position)?.after(last));
        let until = current.and_then(|(position, last)| Span::new(span_at(position)?.first, last));
        let later = self
            .ranges
            .iter()
            .skip(current.map_or(0, |(position, _)| position + 1));
        let earlier = self
            .ranges
            .iter()
            .take(current.map_or(0, |(position, _)| position));
        let round = rest
            .into_iter()
            .chain(later.chain(earlier).map(Range::span))
            .chain(until);
        round.flat_map(|part| self.allocatable.within(part))
    }
}

fn require_disjoint(ranges: &[Range]) -> Result<(), InvalidRangeSet> {
    let owned: Vec<(usize, Span)> = ranges.iter().map(Range::span).enumerate().collect();
    let conflict = first_conflict(&owned).and_then(|(a, b)| ranges.get(a).zip(ranges.get(b)));
    conflict.map_or(Ok(()), |(a, b)| {
        Err(InvalidRangeSet::Overlap(a.to_string(), b.to_string()))
    })
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
