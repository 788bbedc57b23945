//! The hardware address of a bridge port, chosen so that ADD can detect if the bridge's address is
//! fixed or inherited from a port.
//!
//! A bridge without a fixed address has the lowest of its ports' addresses, and changes it when
//! that port leaves: the neighbours' entries are stale then, and their packets are lost
//! (flannel#1381). Netlink does not show if the address is fixed (br_stp_recalculate_bridge_id in
//! net/bridge/br_stp_if.c). But a bridge without a fixed one changes its address at once when a
//! port with a lower address is attached. So every port gets a lower address than the bridge's, if
//! there is one; if the bridge's address changes, ADD sets the previous one, which is fixed from
//! then on.

use cni_attachment::names::random;
use cni_types::MacAddr;

/// The first locally administered address that begins with 02.
const FIRST: u64 = 0x0200_0000_0000;
/// The last locally administered address that begins with 02.
const LAST: u64 = 0x02ff_ffff_ffff;

/// The least number of addresses of which a random one is unlikely to be another port's.
const MIN_CHOICES: u64 = 1 << 24;

/// Returns a random address for a port of a bridge that has the address `bridge`: lower than that,
/// if enough of the addresses that begin with 02 are.
pub(crate) fn of_port(bridge: Option<MacAddr>) -> MacAddr {
    let below = bridge.map_or(0, number);
    let count = below.min(LAST + 1).saturating_sub(FIRST);
    // A physical device's address may be lower than any of these. A bridge with such an address
    // inherited it from that device, a port that stays.
    let count = if count < MIN_CHOICES {
        LAST - FIRST
    } else {
        count
    };
    let [_, _, octets @ ..] = (FIRST + random() % count).to_be_bytes();
    MacAddr(octets)
}

/// Returns the address as a number, its first octet the most significant.
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
            let one = of_port(bridge);
            let other = of_port(bridge);
            assert_ne!(one, other);
            assert_eq!((one.0[0], other.0[0]), (2, 2));
        }
    }
}
