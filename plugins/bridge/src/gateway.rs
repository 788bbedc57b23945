//! What follows from the addresses: gateways for the bridge, routes for the container. Pure reckoning.

use crate::config::{Config, Gateway};
use cni_net::RouteSpec;
use cni_types::{AddResult, Cidr, Code, Error, IpConfig, Route};
use std::{
    collections::{HashSet, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The container's interface is the third in the result, after the bridge and the host's end of the pair.
const CONTAINER_INTERFACE: i64 = 2;

/// What is to be set up, on the bridge and in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Addresses and routes as the result tells them.
    pub(crate) ips: Vec<IpConfig>,
    pub(crate) routes: Vec<Route>,
    /// The gateway's addresses, for the bridge.
    pub(crate) gateways: Vec<Cidr>,
    /// The routes with their next hops, for the container.
    pub(crate) specs: Vec<RouteSpec>,
}

impl Plan {
    /// Reckons from what IPAM gave.
    pub(crate) fn of(config: &Config, ipam: &AddResult) -> Result<Self, Error> {
        let mut plan = Self {
            ips: ipam.ips.clone(),
            routes: ipam.routes.clone(),
            gateways: Vec::new(),
            specs: Vec::new(),
        };
        for ip in &mut plan.ips {
            ip.interface = Some(CONTAINER_INTERFACE);
            if config.gateway == Gateway::No {
                continue;
            }
            let gateway = ip.gateway.unwrap_or_else(|| first_address(ip.address));
            ip.gateway = Some(gateway);
            let on_bridge = Cidr::new(gateway, ip.address.prefix()).map_err(|e| {
                Error::new(
                    Code::INVALID_CONFIG,
                    format!("gateway of {}: {e}", ip.address),
                )
            })?;
            if !plan.gateways.contains(&on_bridge) {
                plan.gateways.push(on_bridge);
            }
        }
        if config.gateway == Gateway::Default {
            plan.add_default_routes();
        }
        plan.settle_routes()?;
        Ok(plan)
    }

    /// One default route for each family that has none through a gateway of its own.
    fn add_default_routes(&mut self) {
        for gateway in self.gateways.clone() {
            let default = default_route(gateway.is_ipv4());
            let there = self
                .routes
                .iter()
                .any(|route| route.dst == default && route.gw.is_some());
            if !there {
                self.routes
                    .push(Route::new(default, Some(gateway.address())));
            }
        }
    }

    /// A route without a next hop goes through the gateway of the first address of its family that has one.
    ///
    /// # Errors
    /// Fails, with the reference's words, if a next hop is of another family than its destination:
    /// the kernel says only that the network is unreachable.
    fn settle_routes(&mut self) -> Result<(), Error> {
        for route in &self.routes {
            if let Some(gw) = route.gw.filter(|gw| gw.is_ipv4() != route.dst.is_ipv4()) {
                return Err(mixed_families(route.dst, gw));
            }
            let of_family = self
                .ips
                .iter()
                .filter(|ip| ip.address.is_ipv4() == route.dst.is_ipv4());
            let gateway = route
                .gw
                .or_else(|| of_family.filter_map(|ip| ip.gateway).next());
            self.specs.push(RouteSpec {
                route: Route {
                    gw: None,
                    ..route.clone()
                },
                gateway,
            });
        }
        self.keep_first_of_equal_specs();
        Ok(())
    }

    /// By a set of hashes: to compare each with all others takes minutes for 100,000 routes.
    fn keep_first_of_equal_specs(&mut self) {
        let mut seen = HashSet::with_capacity(self.specs.len());
        let mut is_first: VecDeque<bool> =
            self.specs.iter().map(|spec| seen.insert(spec)).collect();
        drop(seen);
        self.specs.retain(|_| is_first.pop_front().unwrap_or(true));
    }

    /// Whether any address is of that family.
    pub(crate) fn has_v6(&self) -> bool {
        self.ips.iter().any(|ip| !ip.address.is_ipv4())
    }
}

fn mixed_families(dst: Cidr, gw: IpAddr) -> Error {
    let family = |v4| if v4 { "IPv4" } else { "IPv6" };
    let msg = format!(
        "failed to add route \"{dst} via {gw}\": gateway, source, and destination ip are not the same IP family"
    );
    Error::new(Code::INVALID_CONFIG, msg).with_details(format!(
        "{dst} is {} and its gateway {gw} is {}; correct the route in ipam, or leave its gateway out",
        family(dst.is_ipv4()),
        family(gw.is_ipv4())
    ))
}

fn default_route(v4: bool) -> Cidr {
    let any: IpAddr = if v4 {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    Cidr::new(any, 0).unwrap_or_else(|_| Cidr::host(any))
}

/// The first address of a network that a host can have.
fn first_address(cidr: Cidr) -> IpAddr {
    match cidr.network().address() {
        IpAddr::V4(network) => IpAddr::V4(Ipv4Addr::from(u32::from(network).saturating_add(1))),
        IpAddr::V6(network) => IpAddr::V6(Ipv6Addr::from(u128::from(network).saturating_add(1))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::{Call, Environment, Stop};

    fn try_plan(
        keys: &str,
        ips: &[(&str, Option<&str>)],
        routes: &[(&str, Option<&str>)],
    ) -> Result<Plan, Error> {
        let stdin = format!(r#"{{"name":"n"{keys}}}"#);
        let config =
            Config::of(&Call::new(Environment::default(), stdin.into(), Stop::never()).unwrap())
                .unwrap();
        let ip = |(address, gateway): &(&str, Option<&str>)| IpConfig {
            interface: None,
            address: address.parse().unwrap(),
            gateway: gateway.map(|g| g.parse().unwrap()),
        };
        let route = |(dst, gw): &(&str, Option<&str>)| {
            Route::new(dst.parse().unwrap(), gw.map(|g| g.parse().unwrap()))
        };
        let ipam = AddResult {
            ips: ips.iter().map(ip).collect(),
            routes: routes.iter().map(route).collect(),
            ..AddResult::default()
        };
        Plan::of(&config, &ipam)
    }

    fn plan(keys: &str, ips: &[(&str, Option<&str>)], routes: &[(&str, Option<&str>)]) -> Plan {
        try_plan(keys, ips, routes).unwrap()
    }

    fn hops(plan: &Plan) -> Vec<String> {
        let hop = |spec: &RouteSpec| {
            format!(
                "{} {}",
                spec.route.dst,
                spec.gateway.map(|g| g.to_string()).unwrap_or_default()
            )
        };
        plan.specs.iter().map(hop).collect()
    }

    #[test]
    fn without_a_gateway_the_result_still_carries_ipams() {
        let plan = plan(
            "",
            &[("10.0.0.2/24", Some("10.0.0.254")), ("fd00::2/64", None)],
            &[],
        );
        assert_eq!(plan.gateways, []);
        assert_eq!(plan.ips[0].gateway, Some("10.0.0.254".parse().unwrap()));
        assert_eq!(plan.ips[1].gateway, None);
        assert_eq!(plan.ips[0].interface, Some(2));
    }

    #[test]
    fn the_gateway_is_ipams_or_the_first_address() {
        let plan = plan(
            r#","isGateway":true"#,
            &[("10.0.3.2/24", None), ("fd00::2/64", Some("fd00::9"))],
            &[],
        );
        let gateways: Vec<String> = plan.gateways.iter().map(Cidr::to_string).collect();
        assert_eq!(gateways, ["10.0.3.1/24", "fd00::9/64"]);
        assert_eq!(plan.specs, []);
    }

    #[test]
    fn a_default_route_is_added_unless_ipam_gave_one_with_a_next_hop() {
        let addresses = [("10.0.3.2/24", None), ("fd00::2/64", None)];
        let both = plan(r#","isDefaultGateway":true"#, &addresses, &[]);
        assert_eq!(hops(&both), ["0.0.0.0/0 10.0.3.1", "::/0 fd00::1"]);
        let given = plan(
            r#","isDefaultGateway":true"#,
            &addresses,
            &[("0.0.0.0/0", Some("10.0.3.7"))],
        );
        assert_eq!(hops(&given), ["0.0.0.0/0 10.0.3.7", "::/0 fd00::1"]);
    }

    #[test]
    fn a_default_route_that_is_the_same_twice_is_installed_once() {
        let plan = plan(
            r#","isDefaultGateway":true"#,
            &[("10.0.3.2/24", None)],
            &[("0.0.0.0/0", None)],
        );
        assert_eq!(plan.routes.len(), 2);
        assert_eq!(hops(&plan), ["0.0.0.0/0 10.0.3.1"]);
    }

    #[test]
    fn a_route_takes_the_gateway_of_its_family() {
        let ips = [
            ("fd00::2/64", Some("fd00::1")),
            ("10.0.0.2/24", Some("10.0.0.1")),
        ];
        let routes = [
            ("192.168.0.0/16", None),
            ("fd01::/48", None),
            ("10.9.0.0/16", Some("10.0.0.9")),
        ];
        assert_eq!(
            hops(&plan("", &ips, &routes)),
            [
                "192.168.0.0/16 10.0.0.1",
                "fd01::/48 fd00::1",
                "10.9.0.0/16 10.0.0.9"
            ]
        );
        assert_eq!(
            hops(&plan(
                "",
                &[("10.0.0.2/24", None)],
                &[("10.8.0.0/16", None)]
            )),
            ["10.8.0.0/16 "]
        );
    }
    #[test]
    fn a_route_through_a_gateway_of_the_other_family_is_refused_with_the_references_words() {
        for (dst, gw) in [("10.6.0.0/16", "fd00::1"), ("fd01::/48", "10.9.0.1")] {
            let error = try_plan("", &[("10.9.0.2/24", None)], &[(dst, Some(gw))]).unwrap_err();
            let msg = format!("failed to add route \"{dst} via {gw}\": ")
                + "gateway, source, and destination ip are not the same IP family";
            assert_eq!((error.code, error.msg), (Code::INVALID_CONFIG, msg));
        }
    }

    #[test]
    fn a_hundred_thousand_routes_are_settled_in_a_moment() {
        let names: Vec<String> = (0..100_000_u32)
            .map(|n| format!("20.{}.{}.0/24", n >> 8 & 255, n & 255))
            .collect();
        let routes: Vec<(&str, Option<&str>)> =
            names.iter().map(|name| (name.as_str(), None)).collect();
        let begin = std::time::Instant::now();
        let plan = plan("", &[("10.0.0.2/24", Some("10.0.0.1"))], &routes);
        assert_eq!(
            (plan.routes.len(), plan.specs.len()),
            (100_000, 65_536),
            "each is installed once"
        );
        assert!(
            begin.elapsed() < std::time::Duration::from_secs(10),
            "{:?}",
            begin.elapsed()
        );
    }
}
