//! Everything that reads an answer of rtnetlink, for the fuzzer.

use super::{
    address::Address, link::Link, neighbour::Neighbour, policy, route::InstalledRoute,
    vlan::PortVlans,
};

/// Reads a payload. A payload that is about one link is read as about the link that it names.
pub(crate) fn read(payload: &[u8]) {
    let named = payload.get(4..).and_then(super::number).unwrap_or_default();
    let _ = (
        Link::parse(payload),
        Neighbour::parse(payload),
        InstalledRoute::parse_all(payload),
    );
    let _ = Address::parse(payload, None);
    if let Some(vlans) = PortVlans::parse(payload, named) {
        let _ = vlans.to_string();
    }
    policy::read_all(payload, named);
}
