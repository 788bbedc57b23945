//! Addresses as numbers, and spans of them.

use std::net::IpAddr;

/// Consecutive addresses of one family, from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first address.
    pub(crate) first: IpAddr,
    /// The last address; not before the first.
    pub(crate) last: IpAddr,
}

impl Span {
    /// The addresses from `first` to `last`, if there are any.
    pub(crate) fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    /// How many addresses there are.
    pub(crate) fn size(self) -> u128 {
        (to_bits(self.last) - to_bits(self.first)).saturating_add(1)
    }

    /// Whether `address` is one of them.
    pub(crate) fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4() && self.first <= address && address <= self.last
    }

    /// What both have.
    pub(crate) fn overlap(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
            .filter(|_| self.first.is_ipv4() == other.first.is_ipv4())
    }

    /// The part before `address`.
    pub(crate) fn before(self, address: IpAddr) -> Option<Self> {
        if address <= self.first {
            return None;
        }
        Self::new(self.first, self.last.min(previous(address)?))
    }

    /// The part after `address`.
    pub(crate) fn after(self, address: IpAddr) -> Option<Self> {
        if address >= self.last {
            return None;
        }
        Self::new(self.first.max(next(address)?), self.last)
    }

    /// What is left without the addresses of `other`.
    pub(crate) fn without(self, other: Self) -> impl Iterator<Item = Self> + use<> {
        let parts = match self.overlap(other) {
            Some(hole) => [self.before(hole.first), self.after(hole.last)],
            None => [Some(self), None],
        };
        parts.into_iter().flatten()
    }
}

fn next(address: IpAddr) -> Option<IpAddr> {
    Some(from_bits(address, to_bits(address).checked_add(1)?))
}

fn previous(address: IpAddr) -> Option<IpAddr> {
    Some(from_bits(address, to_bits(address).checked_sub(1)?))
}

/// The address as a number.
pub(crate) fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address with these bits, of the family of `like`.
pub(crate) fn from_bits(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(bits).unwrap_or(u32::MAX).into()),
        IpAddr::V6(_) => IpAddr::V6(bits.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v6(bits: u128) -> IpAddr {
        IpAddr::V6(bits.into())
    }

    proptest! {
        #[test]
        fn what_is_taken_away_and_what_is_left_make_the_whole(a in 0u128..40, b in 0u128..40, c in 0u128..40, d in 0u128..40) {
            let span = Span { first: v6(a.min(b)), last: v6(a.max(b)) };
            let hole = Span { first: v6(c.min(d)), last: v6(c.max(d)) };
            let left: Vec<Span> = span.without(hole).collect();
            for bits in 0..40 {
                let wanted = span.contains(v6(bits)) && !hole.contains(v6(bits));
                prop_assert_eq!(left.iter().filter(|part| part.contains(v6(bits))).count(), usize::from(wanted));
            }
        }
    }

    #[test]
    fn the_ends_of_the_numbers_are_no_trouble() {
        let all = Span { first: v6(0), last: v6(u128::MAX) };
        assert_eq!((all.size(), all.before(v6(0)), all.after(v6(u128::MAX))), (u128::MAX, None, None));
        let v4 = Span::new([255, 255, 255, 254].into(), [255, 255, 255, 255].into()).unwrap();
        assert_eq!(v4.after([255, 255, 255, 255].into()), None);
        assert_eq!(v4.overlap(all), None);
    }
}
