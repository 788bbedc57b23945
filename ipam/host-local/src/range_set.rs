//! A range set: ranges of one family that together are the pool for one address of each attachment.

use crate::{
    range::{InvalidRange, Range},
    span::Span,
};
use std::{collections::BTreeSet, fmt, net::IpAddr};

/// At least one range; one family; no overlaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeSet {
    ranges: Vec<Range>,
    /// The gateways that lie in a range. None of them is ever allocated, whichever range it lies in.
    gateways: BTreeSet<IpAddr>,
    /// What can be allocated, range by range: neither a gateway nor excluded.
    spans: Vec<Span>,
    excluded: u128,
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
    #[error(transparent)]
    Range(#[from] InvalidRange),
}

impl RangeSet {
    /// Joins ranges into a set, of which nothing that is excluded is ever allocated.
    pub(crate) fn new(ranges: Vec<Range>, excluded: &[Span]) -> Result<Self, InvalidRangeSet> {
        let first = ranges.first().ok_or(InvalidRangeSet::Empty)?;
        if ranges.iter().any(|range| range.is_ipv4() != first.is_ipv4()) {
            return Err(InvalidRangeSet::MixedFamilies);
        }
        for (index, range) in ranges.iter().enumerate() {
            if let Some(other) = ranges.iter().skip(index + 1).find(|other| range.overlaps(other)) {
                return Err(InvalidRangeSet::Overlap(range.to_string(), other.to_string()));
            }
        }
        let in_a_range = |gateway: &IpAddr| ranges.iter().any(|range| range.contains(*gateway));
        let gateways: BTreeSet<IpAddr> = ranges.iter().map(Range::gateway).filter(in_a_range).collect();
        let all: Vec<Span> = ranges.iter().map(Range::span).collect();
        let one = |address: &IpAddr| Span { first: *address, last: *address };
        let usable = without(all, &gateways.iter().map(one).collect::<Vec<_>>());
        let spans = without(usable.clone(), excluded);
        let excluded = size(&usable).saturating_sub(size(&spans));
        if spans.is_empty() && excluded > 0 {
            return Err(InvalidRangeSet::NothingLeft);
        }
        Ok(Self { ranges, gateways, spans, excluded })
    }

    /// The ranges.
    pub(crate) fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// The range that `address` is in.
    pub(crate) fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.ranges.iter().find(|range| range.contains(address))
    }

    /// Whether `address` is in a range of the set.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.range_of(address).is_some()
    }

    /// Whether `address` is in a range, and a gateway.
    pub(crate) fn is_gateway(&self, address: IpAddr) -> bool {
        self.gateways.contains(&address)
    }

    /// Whether `address` can be given to an attachment.
    pub(crate) fn is_allocatable(&self, address: IpAddr) -> bool {
        self.spans.iter().any(|span| span.contains(address))
    }

    /// The addresses that can be given to attachments.
    pub(crate) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// All addresses of the ranges.
    pub(crate) fn range_spans(&self) -> impl Iterator<Item = Span> {
        self.ranges.iter().map(Range::span)
    }

    /// An address of the set, to tell its family.
    pub(crate) fn first_address(&self) -> Option<IpAddr> {
        self.ranges.first().map(Range::start)
    }

    /// Whether the two sets share an address.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.ranges.iter().any(|a| other.ranges.iter().any(|b| a.overlaps(b)))
    }

    /// How many addresses can be allocated.
    pub(crate) fn capacity(&self) -> u128 {
        size(&self.spans)
    }

    /// How many addresses of the ranges are kept from being allocated by the configuration.
    pub(crate) fn excluded(&self) -> u128 {
        self.excluded
    }

    /// Every allocatable address once, starting after `last` where that is in the set, and going round.
    pub(crate) fn candidates(&self, last: Option<IpAddr>) -> Vec<Span> {
        let position = |last| self.ranges.iter().position(|range| range.contains(last));
        let (index, last) = last.and_then(|last| Some((position(last)?, last))).unzip();
        let current = index.and_then(|index: usize| self.ranges.get(index)).map(Range::span).zip(last);
        let after = current.and_then(|(span, last)| span.after(last));
        let until = current.and_then(|(span, last)| Span::new(span.first, last));
        let later = self.ranges.iter().skip(index.map_or(0, |index| index + 1));
        let earlier = self.ranges.iter().take(index.unwrap_or(0));
        let round = after.into_iter().chain(later.chain(earlier).map(Range::span)).chain(until);
        round.flat_map(|part| self.spans.iter().filter_map(move |span| span.overlap(part))).collect()
    }
}

fn size(spans: &[Span]) -> u128 {
    spans.iter().fold(0, |size, span| size.saturating_add(span.size()))
}

fn without(spans: Vec<Span>, holes: &[Span]) -> Vec<Span> {
    holes.iter().fold(spans, |spans, hole| spans.into_iter().flat_map(|span| span.without(*hole)).collect())
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
