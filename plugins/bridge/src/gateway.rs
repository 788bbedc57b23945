//! Gateways for the bridge and routes for the container, derived from the addresses. Pure
//! functions, no I/O.

use crate::config::{Config, Gateway};
use cni_attachment::{interface, routes};
use cni_net::{Link, RouteSpec};
use cni_types::{AddResult, Cidr, Code, Error, IpConfig, Route};
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The index of the container's interface in the result, after the bridge and the host's end of the
/// pair.
const CONTAINER_INTERFACE: i64 = 2;

/// The addresses and routes to be set up, on the bridge and in the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The addresses as the result reports them.
    pub(crate) ips: Vec<IpConfig>,
    /// The routes as the result reports them.
    pub(crate) routes: Vec<Route>,
    /// The gateway's addresses, for the bridge; each one once.
    pub(crate) gateways: Vec<Cidr>,
    /// The routes with their next hops, for the container.
    pub(crate) specs: Vec<RouteSpec>,
}

impl Plan {
    /// Derives the plan from the result of the IPAM plugin.
    ///
    /// # Errors
    /// Fails with code 7 if a gateway is not of its address's family, or a route cannot be
    /// installed.
    pub(crate) fn of(config: &Config, ipam: &AddResult) -> Result<Self, Error> {
        let mut plan = Self {
            ips: ipam.ips.clone(),
            routes: ipam.routes.clone(),
            gateways: Vec::new(),
            specs: Vec::new(),
        };
        // A set: comparing each with all others takes seconds for 50,000 addresses.
        let mut known = HashSet::new();
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
            if known.insert(on_bridge) {
                plan.gateways.push(on_bridge);
            }
        }
        if config.gateway == Gateway::Default {
            plan.add_default_routes();
        }
        plan.specs = routes::settle(&plan.ips, &plan.routes)?;
        Ok(plan)
    }

    /// Adds one default route for each family that has no default route with a next hop, in the
    /// order of the addresses.
    fn add_default_routes(&mut self) {
        let first_of = |is_v4| self.gateways.iter().find(move |g| g.is_ipv4() == is_v4);
        let mut gateways: Vec<Cidr> = [true, false]
            .into_iter()
            .filter_map(first_of)
            .copied()
            .collect();
        // In the order of the addresses.
        if self.gateways.first().is_some_and(|first| !first.is_ipv4()) {
            gateways.reverse();
        }
        for gateway in gateways {
            let default = if gateway.is_ipv4() {
                Cidr::V4_ANY
            } else {
                Cidr::V6_ANY
            };
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

    /// Returns true if one of the addresses is IPv6.
    pub(crate) fn has_v6(&self) -> bool {
        self.ips.iter().any(|ip| !ip.address.is_ipv4())
    }
}

/// Makes sure, if there are IPv6 addresses, that the MTU of a new interface, and of the bridge as
/// their gateway, is not too small for IPv6 (1280, RFC 8200 section 5).
///
/// # Errors
/// Fails with code 7 if it is.
pub(crate) fn require_v6_mtu(
    config: &Config,
    bridge: &Link,
    plan: &Plan,
    is_new: bool,
) -> Result<(), Error> {
    let of_key = || "the key \"mtu\"".to_owned();
    let of_bridge = || format!("the MTU of bridge {}", config.bridge);
    if let Some(mtu) = config.mtu {
        interface::require_v6_mtu(of_key, mtu, &plan.ips)?;
    }
    // Without the key a new interface has the bridge's MTU.
    let has_v6_gateway = plan.gateways.iter().any(|gateway| !gateway.is_ipv4());
    if (is_new && config.mtu.is_none()) || has_v6_gateway {
        interface::require_v6_mtu(of_bridge, bridge.mtu, &plan.ips)?;
    }
    Ok(())
}

/// Returns the first address of the network that a host can have.
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

    fn plan(keys: &str, ips: &[(&str, Option<&str>)], routes: &[(&str, Option<&str>)]) -> Plan {
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
        Plan::of(&config, &ipam).unwrap()
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
    fn fifty_thousand_gateways_are_settled_in_a_moment() {
        let names: Vec<String> = (0..50_000_u32)
            .map(|n| format!("20.{}.{}.2/24", n >> 8 & 255, n & 255))
            .collect();
        let ips: Vec<(&str, Option<&str>)> =
            names.iter().map(|name| (name.as_str(), None)).collect();
        let begin = std::time::Instant::now();
        let plan = plan(r#","isDefaultGateway":true"#, &ips, &[]);
        assert_eq!((plan.gateways.len(), plan.specs.len()), (50_000, 1));
        assert!(
            begin.elapsed() < std::time::Duration::from_secs(4),
            "{:?}",
            begin.elapsed()
        );
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
}
