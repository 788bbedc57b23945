//! The hardware address of a bridge port, chosen so that it brings to light whether the bridge has one of its own.
//!
//! A bridge whose address nobody chose has the lowest of its ports', and changes it when that port leaves: all neighbours then
//! send to nobody (flannel#1381). The kernel does not tell such a bridge from another over netlink. But it changes its address at once
//! when a port with a lower one is attached. So every port gets a lower one than the bridge has, as far as there is one; where
//! the bridge's address changes, ADD gives it back as a chosen one.

use cni_attachment::names::random;
use cni_types::MacAddr;

/// The first and the last locally administered address that begin with 02.
const FIRST: u64 = 0x0200_0000_0000;
const LAST: u64 = 0x02ff_ffff_ffff;

/// Fewer addresses than these are not enough to choose one by chance that no other port has.
const ENOUGH: u64 = 1 << 24;

/// An address for a port of a bridge that has the address `bridge`.
pub(crate) fn of_port(bridge: Option<MacAddr>) -> MacAddr {
    let below = bridge.map_or(0, number);
    let count = below.min(LAST + 1).saturating_sub(FIRST);
    // A physical device's address may be lower than any of these: such a bridge has that device as a port that stays.
    let count = if count < ENOUGH { LAST - FIRST } else { count };
    let [_, _, octets @ ..] = (FIRST + random() % count).to_be_bytes();
    MacAddr(octets)
}

fn number(mac: MacAddr) -> u64 {
    mac.0
        .iter()
        .fold(0, |number, octet| number << 8 | u64::from(*octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ports_address_is_lower_than_its_bridges() {
        for octets in [
            [0x02, 0, 1, 0, 0, 0],
            [0x02, 0x42, 7, 7, 7, 7],
            [0x52, 0, 0, 0, 0, 1],
            [0xfe; 6],
        ] {
            for _ in 0..1000 {
                let mac = of_port(Some(MacAddr(octets)));
                assert!(number(mac) < number(MacAddr(octets)), "{mac}");
                assert_eq!(mac.0[0], 2);
            }
        }
    }

    #[test]
    fn below_a_physical_devices_or_no_address_any_will_do() {
        for bridge in [
            None,
            Some(MacAddr::ZERO),
            Some(MacAddr([0, 0x16, 0x3e, 1, 2, 3])),
            Some(MacAddr([2, 0, 0, 0, 0, 1])),
        ] {
            let (one, other) = (of_port(bridge), of_port(bridge));
            assert_ne!(one, other);
            assert_eq!((one.0[0], other.0[0]), (2, 2));
        }
    }
}
