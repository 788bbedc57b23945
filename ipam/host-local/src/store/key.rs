//! An address as the key of an entry in a file.

use crate::alloc::{from_bits, to_bits};
use std::net::IpAddr;

/// The length of a key in a file, in bytes.
pub(super) const LENGTH: usize = 17;

/// A number of a family: an address, or a block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The number.
    pub(super) number: u128,
    /// True for IPv4.
    pub(super) is_ipv4: bool,
}

impl Key {
    /// The key of an address.
    pub(super) fn of(address: IpAddr) -> Self {
        Self {
            number: to_bits(address),
            is_ipv4: address.is_ipv4(),
        }
    }

    /// The address of this number; `None` if the number is too large for the family.
    pub(super) fn address(self) -> Option<IpAddr> {
        let like = if self.is_ipv4 {
            IpAddr::from([0; 4])
        } else {
            IpAddr::from([0; 16])
        };
        from_bits(like, self.number)
    }

    /// The key as it is in a file: the number, the least significant byte first, and the family.
    pub(super) fn to_bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16] = u8::from(self.is_ipv4);
        bytes
    }

    /// Reads a key from a file.
    pub(super) fn from_bytes(bytes: [u8; LENGTH]) -> Self {
        let mut number = [0; 16];
        number.copy_from_slice(&bytes[..16]);
        Self {
            number: u128::from_le_bytes(number),
            is_ipv4: bytes[16] == 1,
        }
    }
}
