//! Every reader of rtnetlink's answers, for the fuzzer.

use super::{
    address::Address, link::Link, neighbour::Neighbour, policy, route::InstalledRoute,
    vlan::PortVlans,
};

/// Reads a payload. Readers of one link's answers are given the index that the payload names.
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
