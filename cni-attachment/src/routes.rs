//! The routes of the container, with their next hops. Pure functions, no I/O.

use cni_net::RouteSpec;
use cni_types::{Cidr, Code, Error, IpConfig, Route};
use std::{collections::HashSet, net::IpAddr};

/// Returns the routes with their next hops, without duplicates. A route without a next hop uses the
/// gateway of the first address of its family that has one.
///
/// # Errors
/// Fails, with the reference's text, if a next hop and its destination differ in family, for which
/// the kernel only reports that the network is unreachable.
pub fn settle(ips: &[IpConfig], routes: &[Route]) -> Result<Vec<RouteSpec>, Error> {
    let mut specs = Vec::with_capacity(routes.len());
    for route in routes {
        if let Some(gw) = route.gw.filter(|gw| gw.is_ipv4() != route.dst.is_ipv4()) {
            return Err(mixed_families(route.dst, gw));
        }
        let mut of_family = ips
            .iter()
            .filter(|ip| ip.address.is_ipv4() == route.dst.is_ipv4());
        let gateway = route.gw.or_else(|| of_family.find_map(|ip| ip.gateway));
        let route = Route {
            gw: None,
            ..route.clone()
        };
        specs.push(RouteSpec { route, gateway });
    }
    Ok(first_of_equal(specs))
}

/// Removes duplicates by a set of hashes: comparing each route with all others takes minutes for
/// 100,000 routes.
fn first_of_equal(specs: Vec<RouteSpec>) -> Vec<RouteSpec> {
    let mut seen = HashSet::with_capacity(specs.len());
    let is_first: Vec<bool> = specs.iter().map(|spec| seen.insert(spec)).collect();
    let pairs = specs.into_iter().zip(is_first);
    pairs
        .filter_map(|(spec, is_first)| is_first.then_some(spec))
        .collect()
}

fn mixed_families(dst: Cidr, gw: IpAddr) -> Error {
    let family = |v4| if v4 { "IPv4" } else { "IPv6" };
    let msg = format!(
        "failed to add route \"{dst} via {gw}\": gateway, source, and destination ip are not the \
         same IP family"
    );
    Error::new(Code::INVALID_CONFIG, msg).with_details(format!(
        "{dst} is {} and its gateway {gw} is {}; correct the route in ipam, or leave its gateway \
         out",
        family(dst.is_ipv4()),
        family(gw.is_ipv4())
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(address: &str, gateway: Option<&str>) -> IpConfig {
        IpConfig {
            interface: None,
            address: address.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        }
    }

    fn hops(ips: &[IpConfig], routes: &[(&str, Option<&str>)]) -> Result<Vec<String>, Error> {
        let route = |(dst, gw): &(&str, Option<&str>)| {
            Route::new(dst.parse().unwrap(), gw.map(|gw| gw.parse().unwrap()))
        };
        let routes: Vec<Route> = routes.iter().map(route).collect();
        let hop = |spec: &RouteSpec| match spec.gateway {
            Some(gateway) => format!("{} via {gateway}", spec.route.dst),
            None => spec.route.dst.to_string(),
        };
        Ok(settle(ips, &routes)?.iter().map(hop).collect())
    }

    #[test]
    fn a_route_takes_the_gateway_of_its_family() {
        let ips = [
            ip("fd00::2/64", Some("fd00::1")),
            ip("10.0.0.2/24", Some("10.0.0.1")),
        ];
        let routes = [
            ("192.168.0.0/16", None),
            ("fd01::/48", None),
            ("10.9.0.0/16", Some("10.0.0.9")),
        ];
        assert_eq!(
            hops(&ips, &routes).unwrap(),
            [
                "192.168.0.0/16 via 10.0.0.1",
                "fd01::/48 via fd00::1",
                "10.9.0.0/16 via 10.0.0.9"
            ]
        );
        assert_eq!(
            hops(&[ip("10.0.0.2/24", None)], &[("10.8.0.0/16", None)]).unwrap(),
            ["10.8.0.0/16"]
        );
    }

    #[test]
    fn a_route_through_a_gateway_of_the_other_family_is_refused_with_the_references_words() {
        for (dst, gw) in [("10.6.0.0/16", "fd00::1"), ("fd01::/48", "10.9.0.1")] {
            let error = hops(&[ip("10.9.0.2/24", None)], &[(dst, Some(gw))]).unwrap_err();
            let msg = format!("failed to add route \"{dst} via {gw}\": ")
                + "gateway, source, and destination ip are not the same IP family";
            assert_eq!((error.code, error.msg), (Code::INVALID_CONFIG, msg));
        }
    }

    #[test]
    fn a_hundred_thousand_routes_are_settled_in_a_moment() {
        let routes: Vec<Route> = (0..100_000_u32)
            .map(|n| format!("20.{}.{}.0/24", n >> 8 & 255, n & 255))
            .map(|dst| Route::new(dst.parse().unwrap(), None))
            .collect();
        let begin = std::time::Instant::now();
        let specs = settle(&[ip("10.0.0.2/24", Some("10.0.0.1"))], &routes).unwrap();
        assert_eq!(specs.len(), 65_536, "each is installed once");
        let limit = std::time::Duration::from_secs(10);
        assert!(begin.elapsed() < limit, "{:?}", begin.elapsed());
    }
}
