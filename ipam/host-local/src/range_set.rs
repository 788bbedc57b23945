//! A range set: ranges of one family that together are the pool for one address of each attachment.

use crate::range::{InvalidRange, Range};
use std::{collections::BTreeSet, fmt, net::IpAddr};

/// At least one range; one family; no overlaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeSet {
    ranges: Vec<Range>,
    /// The gateways that lie in a range. None of them is ever allocated, whichever range it lies in.
    gateways: BTreeSet<IpAddr>,
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
    #[error(transparent)]
    Range(#[from] InvalidRange),
}

impl RangeSet {
    /// Joins ranges into a set.
    pub(crate) fn new(ranges: Vec<Range>) -> Result<Self, InvalidRangeSet> {
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
        let gateways = ranges.iter().map(Range::gateway).filter(in_a_range).collect();
        Ok(Self { ranges, gateways })
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
        self.contains(address) && !self.is_gateway(address)
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
        let all = self.ranges.iter().map(Range::size).fold(0, u128::saturating_add);
        all.saturating_sub(self.gateways.len() as u128)
    }

    /// Every allocatable address once, starting after `last` where that is in the set, and going round. The
    /// ranges are chained in advance, so this ends, whatever they are.
    pub(crate) fn candidates(&self, last: Option<IpAddr>) -> impl Iterator<Item = IpAddr> {
        let position = |last| self.ranges.iter().position(|range| range.contains(last));
        let (index, last) = last.and_then(|last| Some((position(last)?, last))).unzip();
        let current = index.and_then(|index| self.ranges.get(index)).zip(last);
        let after = current.map(|(range, last)| range.addresses_after(last));
        let until = current.map(|(range, last)| range.addresses_until(last));
        let later = self.ranges.iter().skip(index.map_or(0, |index| index + 1));
        let earlier = self.ranges.iter().take(index.unwrap_or(0));
        let others = later.chain(earlier).flat_map(Range::addresses);
        let all = after.into_iter().flatten().chain(others).chain(until.into_iter().flatten());
        all.filter(|address| !self.is_gateway(*address))
    }
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
