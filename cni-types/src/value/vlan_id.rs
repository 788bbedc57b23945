//! VLAN identifiers.

use std::{fmt, num::NonZeroU16};

/// The identifier of a VLAN, 1 to 4094: 0 means "none", and 4095 is reserved (IEEE 802.1Q, table
/// 9-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VlanId(NonZeroU16);

impl VlanId {
    /// The highest identifier.
    pub const MAX: u16 = 4094;

    /// Takes a number; returns `None` if it is no valid identifier.
    pub fn new(id: impl TryInto<u16>) -> Option<Self> {
        let id = id.try_into().ok().filter(|id| *id <= Self::MAX)?;
        NonZeroU16::new(id).map(Self)
    }

    /// Returns the identifier as a number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0.get()
    }

    /// Returns all identifiers from this one to `last`; empty if `last` is lower.
    pub fn through(self, last: Self) -> impl Iterator<Item = Self> {
        (self.number()..=last.number()).filter_map(Self::new)
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_is_from_1_to_4094() {
        for (number, is_id) in [
            (i64::MIN, false),
            (-100, false),
            (0, false),
            (1, true),
            (4094, true),
            (4095, false),
            (65537, false),
        ] {
            assert_eq!(VlanId::new(number).is_some(), is_id, "{number}");
        }
        assert_eq!(VlanId::new(100).unwrap().to_string(), "100");
    }

    #[test]
    fn a_range_holds_both_its_ends() {
        let range = |first: u16, last: u16| -> Vec<u16> {
            VlanId::new(first)
                .unwrap()
                .through(VlanId::new(last).unwrap())
                .map(VlanId::number)
                .collect()
        };
        assert_eq!(range(7, 9), [7, 8, 9]);
        assert_eq!(range(4094, 4094), [4094]);
        assert_eq!(range(9, 7), [0; 0]);
    }
}
