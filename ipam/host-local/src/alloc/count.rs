//! The number of addresses in a pool. No integer of the language holds every one: `::/0` has 2^128
//! addresses.

use serde::{Serialize, Serializer};
use std::{fmt, iter::Sum, ops::Add};

/// The largest number that is written in full; a longer one cannot be read at a glance.
const MAX_IN_FULL: u128 = 999_999_999_999;

/// A number of addresses, exact for any range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count {
    /// The part above the lower 128 bits. A sum adds at most one, so this does not overflow.
    carries: u64,
    low: u128,
}

impl Count {
    /// Returns true for zero.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// The difference; zero if `other` is the larger number.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        if self < other {
            return Self::default();
        }
        let (low, borrows) = self.low.overflowing_sub(other.low);
        Self {
            carries: self.carries - other.carries - u64::from(borrows),
            low,
        }
    }

    /// The smaller one of this number and `limit`.
    #[must_use]
    pub fn at_most(self, limit: u32) -> u32 {
        match u32::try_from(self.low) {
            Ok(low) if self.carries == 0 => low.min(limit),
            _ => limit,
        }
    }

    /// The nearest floating-point number: for proportions, and for programs that read no larger
    /// integers.
    #[must_use]
    pub fn approximate(self) -> f64 {
        const TWO_TO_THE_128TH: f64 = 340_282_366_920_938_463_463_374_607_431_768_211_456.0;
        self.carries as f64 * TWO_TO_THE_128TH + self.low as f64
    }

    /// The exponent of a power of two; `None` for any other number.
    fn exponent_of_two(self) -> Option<u32> {
        match (self.carries, self.low) {
            (0, low) if low.is_power_of_two() => Some(low.trailing_zeros()),
            (carries, 0) if carries.is_power_of_two() => Some(128 + carries.trailing_zeros()),
            _ => None,
        }
    }
}

impl From<u128> for Count {
    fn from(low: u128) -> Self {
        Self { carries: 0, low }
    }
}

impl From<u64> for Count {
    fn from(number: u64) -> Self {
        u128::from(number).into()
    }
}

impl Add for Count {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (low, overflows) = self.low.overflowing_add(other.low);
        Self {
            carries: self.carries + other.carries + u64::from(overflows),
            low,
        }
    }
}

impl Sum for Count {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), Self::add)
    }
}

/// For people: in full up to twelve digits, then as `2^72` if that is exact, else rounded, as
/// `4.7e21`.
impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.carries == 0 && self.low <= MAX_IN_FULL {
            return self.low.fmt(f);
        }
        match self.exponent_of_two() {
            Some(exponent) => write!(f, "2^{exponent}"),
            None => write!(f, "{:.1e}", self.approximate()),
        }
    }
}

/// For programs: always a number, exact below 2^64, rounded to a double above.
impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match u64::try_from(self.low) {
            Ok(low) if self.carries == 0 => serializer.serialize_u64(low),
            _ => serializer.serialize_f64(self.approximate()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all_of_ipv6() -> Count {
        Count::from(u128::MAX) + Count::from(1_u64)
    }

    #[test]
    fn a_count_is_written_so_that_people_can_read_it() {
        for (count, wanted) in [
            (Count::default(), "0"),
            (Count::from(999_999_999_999_u64), "999999999999"),
            (Count::from(1_u64 << 40), "2^40"),
            (Count::from(u64::MAX), "1.8e19"),
            (Count::from(1_u128 << 72), "2^72"),
            (Count::from((1_u128 << 72) - 1), "4.7e21"),
            (all_of_ipv6(), "2^128"),
            (all_of_ipv6() + all_of_ipv6(), "2^129"),
            (all_of_ipv6() + Count::from(1_u64), "3.4e38"),
        ] {
            assert_eq!(count.to_string(), wanted);
        }
    }

    #[test]
    fn a_count_of_any_size_is_a_number_in_json() {
        for (count, wanted) in [
            (Count::from(253_u64), "253"),
            (Count::from(u64::MAX), "18446744073709551615"),
            (Count::from(1_u128 << 64), "1.8446744073709552e+19"),
            (all_of_ipv6(), "3.402823669209385e+38"),
        ] {
            assert_eq!(serde_json::to_string(&count).unwrap(), wanted);
            assert!(serde_json::to_value(count).unwrap().is_number());
        }
    }

    #[test]
    fn a_limit_holds_for_the_largest_counts_too() {
        for (count, wanted) in [
            (Count::from(7_u64), 7),
            (Count::from(9_u64), 8),
            (all_of_ipv6(), 8),
        ] {
            assert_eq!(count.at_most(8), wanted);
        }
        assert_eq!(Count::from(1_u128 << 32).at_most(u32::MAX), u32::MAX);
    }

    proptest! {
        #[test]
        fn subtraction_undoes_addition(a: u128, b: u128) {
            let a = Count::from(a);
            let b = Count::from(b);
            let sum = a + b;
            prop_assert!(sum >= a && sum >= b);
            prop_assert_eq!((sum.saturating_sub(a), sum.saturating_sub(b)), (b, a));
            prop_assert_eq!(sum.saturating_sub(sum), Count::default());
            prop_assert_eq!([a, b].into_iter().sum::<Count>(), sum);
            prop_assert_eq!(a.saturating_sub(sum).is_zero(), true);
        }
    }
}
