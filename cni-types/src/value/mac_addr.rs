//! Ethernet hardware addresses.

use std::{fmt, str::FromStr};

/// A 48-bit hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The address with all bits clear, which the kernel refuses for an Ethernet device.
    pub const ZERO: Self = Self([0; 6]);

    /// Derives a locally administered unicast address (IEEE 802 bits 1 and 0 of the first octet)
    /// from `seed`.
    #[must_use]
    pub fn local(seed: [u8; 6]) -> Self {
        let [first, rest @ ..] = seed;
        let [b, c, d, e, f] = rest;
        Self([(first | 0x02) & 0xfe, b, c, d, e, f])
    }

    /// Returns true for a multicast or broadcast address, which no interface can have.
    #[must_use]
    pub fn is_multicast(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 1
    }
}

/// Text that is not a hardware address.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidMac;

impl fmt::Display for InvalidMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid MAC address")
    }
}

impl std::error::Error for InvalidMac {}

impl FromStr for MacAddr {
    type Err = InvalidMac;

    /// Parses the three notations that Go's `net.ParseMAC` accepts for 48 bits:
    /// `01:23:45:67:89:ab`, `01-23-45-67-89-ab` and `0123.4567.89ab`.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let digits = if text.contains('.') {
            groups(text, '.', 4)?
        } else if text.contains('-') {
            groups(text, '-', 2)?
        } else {
            groups(text, ':', 2)?
        };
        let bits = u64::from_str_radix(&digits, 16).map_err(|_| InvalidMac)?;
        let [_, _, octets @ ..] = bits.to_be_bytes();
        Ok(Self(octets))
    }
}

/// Joins the hexadecimal groups of `text`, each of which must have `width` digits, 12 in all.
fn groups(text: &str, separator: char, width: usize) -> Result<String, InvalidMac> {
    let mut digits = String::with_capacity(12);
    for group in text.split(separator) {
        if group.len() != width || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidMac);
        }
        digits.push_str(group);
    }
    if digits.len() == 12 {
        Ok(digits)
    } else {
        Err(InvalidMac)
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_printed_address_reads_back(octets: [u8; 6]) {
            let mac = MacAddr(octets);
            prop_assert_eq!(mac.to_string().parse(), Ok(mac));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = text.parse::<MacAddr>();
        }
    }

    #[test]
    fn the_three_notations_are_read_and_others_refused() {
        let mac = MacAddr([0x01, 0x23, 0x45, 0x67, 0x89, 0xab]);
        for text in ["01:23:45:67:89:ab", "01-23-45-67-89-AB", "0123.4567.89ab"] {
            assert_eq!(text.parse(), Ok(mac), "{text}");
        }
        for text in [
            "",
            "01:23:45:67:89",
            "01:23:45:67:89:ab:cd:ef",
            "+1:23:45:67:89:ab",
            "0123456789ab",
            "x",
        ] {
            assert_eq!(text.parse::<MacAddr>(), Err(InvalidMac), "{text}");
        }
    }

    #[test]
    fn a_generated_address_is_local_and_unicast() {
        let mac = MacAddr::local([0xff; 6]);
        assert!(!mac.is_multicast());
        assert_eq!(mac.to_string(), "fe:ff:ff:ff:ff:ff");
    }
}
