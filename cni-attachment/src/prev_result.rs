//! prevResult: the result of the previous plugins, and its merge with this plugin's result.

use cni_types::{AddResult, IfName, Interface, IpConfig, Route};
use std::collections::HashSet;

/// Returns the interface of this name in the container.
#[must_use]
pub fn interface<'a>(result: &'a AddResult, name: &IfName) -> Option<&'a Interface> {
    let mut inside = result.interfaces.iter().filter(|i| !i.sandbox.is_empty());
    inside.find(|interface| interface.name == name.as_str())
}

/// Returns the index of the interface of this name in the container, as `ips` hold it.
#[must_use]
pub fn interface_index(result: &AddResult, name: &IfName) -> Option<i64> {
    let is_it = |i: &Interface| i.name == name.as_str() && !i.sandbox.is_empty();
    result.interfaces.iter().position(is_it).map(index)
}

/// Returns the interfaces on the host.
pub fn on_host(result: &AddResult) -> impl Iterator<Item = &Interface> {
    result.interfaces.iter().filter(|i| i.sandbox.is_empty())
}

/// Returns the interface that an address is on, if the result has it.
#[must_use]
pub fn interface_of<'a>(result: &'a AddResult, ip: &IpConfig) -> Option<&'a Interface> {
    result.interfaces.get(usize::try_from(ip.interface?).ok()?)
}

/// Returns the part of a result that belongs to this attachment: a later plugin of the chain may
/// have added interfaces with addresses and routes of their own.
#[must_use]
pub fn own_part(mut result: AddResult, name: &IfName) -> AddResult {
    let interfaces = &result.interfaces;
    let is_own = |index: usize| {
        interfaces
            .get(index)
            .is_some_and(|i| i.name == name.as_str() && !i.sandbox.is_empty())
    };
    result.ips.retain(|ip| {
        ip.interface
            .is_none_or(|index| usize::try_from(index).is_ok_and(is_own))
    });
    let ips = &result.ips;
    result.routes.retain(|route| {
        route
            .gw
            .is_none_or(|gw| ips.iter().any(|ip| ip.address.contains(gw)))
    });
    result
}

/// Returns the result with the addresses of an interface on the host taken for the attachment's
/// own: a guest behind a tap device has no interface in the container.
#[must_use]
pub fn with_addresses_of(port: &IfName, mut result: AddResult) -> AddResult {
    let interfaces = &result.interfaces;
    let is_port = |index: i64| {
        let interface = usize::try_from(index)
            .ok()
            .and_then(|index| interfaces.get(index));
        interface.is_some_and(|i| i.name == port.as_str() && i.sandbox.is_empty())
    };
    for ip in &mut result.ips {
        ip.interface = ip.interface.filter(|index| !is_port(*index));
    }
    result
}

/// Merges this plugin's result into prevResult: "plugins provided a prevResult must output it as
/// their result, with any possible modifications" (spec section 5).
///
/// The additions come first, since runtimes and plugins take the first of `ips` for the pod's own,
/// so its interfaces have the same indices as without a chain. Addresses that are valid inside the
/// pod only, those of `lo`, are omitted, as by the reference: readers of `ips` take each for an
/// address at which the pod is reached. CRI-O reports them, and the firewall plugin would accept
/// packets from 127.0.0.1 for one pod, and revoke that for all at its DEL.
#[must_use]
pub fn merged(prev_result: Option<AddResult>, mut added: AddResult) -> AddResult {
    let Some(prev) = prev_result else {
        return added;
    };
    let offset = index(added.interfaces.len());
    added.interfaces.extend(prev.interfaces);
    let reachable = prev
        .ips
        .into_iter()
        .filter(|ip| !ip.address.address().is_loopback());
    added.ips.extend(reachable.map(|ip| IpConfig {
        interface: ip.interface.map(|index| index.saturating_add(offset)),
        ..ip
    }));
    let mut seen: HashSet<Route> = added.routes.iter().cloned().collect();
    added.routes.extend(
        prev.routes
            .into_iter()
            .filter(|route| seen.insert(route.clone())),
    );
    if added.dns.is_empty() {
        added.dns = prev.dns;
    }
    added
}

/// Converts a position in the list of interfaces to the type of `ips`.
#[expect(clippy::expect_used, reason = "no list in memory has 2^63 entries")]
fn index(position: usize) -> i64 {
    i64::try_from(position).expect("fewer than 2^63 interfaces")
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::Json;

    fn read(text: &str) -> AddResult {
        AddResult::from_json(&Json::parse(text.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn the_pods_own_addresses_come_first_and_those_of_lo_are_left_out() {
        let lo = r#"{"interfaces": [{"name": "lo", "sandbox": "/ns"}, {"name": "macvlan0", "sandbox": "/ns"}],
            "ips": [{"address": "127.0.0.1/8", "interface": 0}, {"address": "::1/128", "interface": 0},
                    {"address": "192.0.2.9/24", "interface": 1}],
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24"}], "dns": {"domain": "earlier"}}"#;
        let own = r#"{"interfaces": [{"name": "cni0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": "/ns"}],
            "ips": [{"address": "10.1.0.2/24", "interface": 2}], "routes": [{"dst": "0.0.0.0/0"}]}"#;
        let result = merged(Some(read(lo)), read(own));
        let names: Vec<&str> = result.interfaces.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["cni0", "veth1", "eth0", "lo", "macvlan0"]);
        let ips: Vec<_> = result
            .ips
            .iter()
            .map(|ip| (ip.address.to_string(), ip.interface))
            .collect();
        assert_eq!(
            ips,
            [
                ("10.1.0.2/24".to_owned(), Some(2)),
                ("192.0.2.9/24".to_owned(), Some(4))
            ]
        );
        let routes: Vec<_> = result
            .routes
            .iter()
            .map(|route| route.dst.to_string())
            .collect();
        assert_eq!(
            (routes, result.dns.domain.as_str()),
            (vec!["0.0.0.0/0".into(), "192.0.2.0/24".into()], "earlier")
        );
    }

    #[test]
    fn without_an_earlier_result_nothing_changes() {
        let own =
            read(r#"{"interfaces": [{"name": "cni0"}], "ips": [{"address": "10.1.0.2/24"}]}"#);
        assert_eq!(merged(None, own.clone()), own);
    }
}
