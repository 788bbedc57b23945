//! The container's side: all addresses and routes of a new interface, and those of an earlier
//! plugin's interface that are new.

use super::{Adding, Ends, port::Connected};
use crate::{
    config::{Container, Gateway},
    forwarding,
    gateway::{self, Plan},
};
use cni_attachment::{
    Rollback,
    interface::{Setup, require_v6_mtu},
    prev_result::{own_part, with_addresses_of},
};
use cni_net::{Address, Batch, InstalledRoute, Link, LinkRef, NetError, RouteSpec, Rtnl};
use cni_types::{AddResult, Cidr, Error};
use std::{collections::HashSet, net::IpAddr};

impl<'a> Adding<'a> {
    /// Returns the plan for the IPAM plugin's result. Without IPAM, a port that an earlier plugin
    /// made gets the plan for the addresses that the earlier plugins report, without the routes
    /// that they installed.
    ///
    /// # Errors
    /// Fails if a gateway or a route is invalid.
    pub(super) fn plan(
        &self,
        connected: &Connected,
        from_ipam: Option<&AddResult>,
    ) -> Result<Plan, Error> {
        let (port, prev) = match (from_ipam, &connected.taken, &self.prev_result) {
            (None, Some(port), Some(prev)) => (port, prev),
            (None, ..) => return Plan::of(self.config, &AddResult::default()),
            (Some(result), ..) => return Plan::of(self.config, result),
        };
        let reported = with_addresses_of(&port.name, prev.clone());
        let mut plan = Plan::of(self.config, &own_part(reported, &self.attachment.if_name))?;
        // The earlier plugins have installed what they report.
        let reported: HashSet<Cidr> = prev.routes.iter().map(|route| route.dst).collect();
        plan.specs
            .retain(|spec| !reported.contains(&spec.route.dst));
        Ok(plan)
    }

    /// Makes sure that the MTU of each interface that gets IPv6 addresses is large enough for them.
    ///
    /// # Errors
    /// Fails with code 7 if it is not.
    pub(super) fn require_v6_mtu(
        &self,
        bridge: &Link,
        connected: &Connected,
        plan: &Plan,
    ) -> Result<(), Error> {
        gateway::require_v6_mtu(self.config, bridge, plan, connected.taken.is_none())?;
        let of_taken = connected.taken.as_ref().and(connected.inside.as_ref());
        match of_taken.filter(|_| self.config.ipam().is_some()) {
            Some(inside) => {
                let what = || format!("the MTU of {}", inside.name);
                require_v6_mtu(what, inside.mtu, &plan.ips)
            }
            None => Ok(()),
        }
    }

    /// Adds the plan's addresses and routes to the container's interface. An earlier plugin's
    /// interface gets them only from this plugin's IPAM; without IPAM, it gets only the default
    /// routes.
    ///
    /// # Errors
    /// Fails if the kernel refuses.
    pub(super) fn configure(
        &self,
        ends: &mut Ends,
        connected: &Connected,
        plan: &Plan,
        rollback: &mut Rollback<'a>,
    ) -> Result<(), Error> {
        let Some(inside) = &connected.inside else {
            return Ok(());
        };
        let is_new = connected.taken.is_none();
        if is_new || self.config.ipam().is_some() {
            if !is_new {
                self.remove_new_on_failure(&mut ends.container, inside, plan, rollback)?;
            }
            return self.configure_all(&mut ends.container, inside, plan, is_new, rollback);
        }
        let mut batch = Batch::new();
        if self.config.gateway == Gateway::Default {
            let routes = Plan {
                ips: Vec::new(),
                ..plan.clone()
            };
            self.remove_new_on_failure(&mut ends.container, inside, &routes, rollback)?;
            plan.specs
                .iter()
                .for_each(|spec| batch.create_route(inside, spec));
        }
        Ok(ends.container.run(batch)?)
    }

    /// Enables IPv6 if needed, adds all addresses and routes, and sets the interface up, unless the
    /// configuration leaves it down.
    fn configure_all(
        &self,
        container: &mut Rtnl,
        inside: &Link,
        plan: &Plan,
        is_new: bool,
        rollback: &mut Rollback<'a>,
    ) -> Result<(), Error> {
        let interface = self.interface();
        if plan.has_v6() {
            interface.enable_ipv6(is_new, rollback)?;
        }
        if self.config.container == Container::Down {
            return Ok(());
        }
        let setup = Setup {
            ips: &plan.ips,
            routes: &plan.specs,
        };
        interface.configure(container, inside, setup)
    }

    /// Makes the rollback remove the addresses and routes of the plan that the earlier plugin's
    /// interface does not have yet, and set it down again if it was down.
    fn remove_new_on_failure(
        &self,
        container: &mut Rtnl,
        inside: &Link,
        plan: &Plan,
        rollback: &mut Rollback<'a>,
    ) -> Result<(), Error> {
        let netns = self.netns;
        let index = inside.index;
        let is_up = inside.up;
        let link = LinkRef::new(index, &self.attachment.if_name);
        let addresses = new_addresses(plan, &container.addresses(index)?);
        let routes = new_routes(plan, &container.routes()?, index);
        rollback.on_failure("removing addresses and routes", move || {
            let mut rtnl = Rtnl::open_in(netns)?;
            let mut remove = |fill: &dyn Fn(&mut Batch)| {
                let mut batch = Batch::new();
                fill(&mut batch);
                NetError::absent_is_ok(rtnl.run(batch))
            };
            let mut outcomes = Vec::new();
            for spec in &routes {
                outcomes.push(remove(&|batch| batch.delete_route(link, spec)));
            }
            for address in &addresses {
                outcomes.push(remove(&|batch| batch.delete_address(link, *address)));
            }
            if !is_up {
                outcomes.push(remove(&|batch| batch.set_down(link)));
            }
            Error::join(outcomes)
        });
        Ok(())
    }

    /// Waits until packets can pass, and updates both ends in `connected` to their state then. On a
    /// port that an earlier plugin made, waits only for what this ADD configured.
    ///
    /// # Errors
    /// Fails if it takes too long, if an interface vanishes, or if the kernel refuses.
    pub(super) fn wait(&self, ends: &mut Ends, connected: &mut Connected) -> Result<(), Error> {
        let config = self.config;
        let stop = &self.call.stop;
        let is_new = connected.taken.is_none();
        let is_left_down = config.container == Container::Down;
        let Some(inside) = &mut connected.inside else {
            return Ok(());
        };
        if is_new && !is_left_down {
            connected.host =
                forwarding::wait_forwarding(&mut ends.host, &connected.host.name, stop)?;
        }
        if (is_new && !is_left_down) || config.ipam().is_some() {
            let interface = self.interface();
            *inside = interface.wait_ready(&mut ends.container, inside.index, stop)?;
        } else if let Some(now) = ends.container.link(inside.index)? {
            *inside = now;
        }
        Ok(())
    }
}

/// Returns the addresses of the plan that the interface does not have yet. Compares by sets, as
/// [`new_routes`] does: a plan may have tens of thousands.
fn new_addresses(plan: &Plan, existing: &[Address]) -> Vec<Cidr> {
    let existing: HashSet<Cidr> = existing.iter().map(|address| address.cidr).collect();
    let planned = plan.ips.iter().map(|ip| ip.address);
    planned
        .filter(|address| !existing.contains(address))
        .collect()
}

/// Returns the routes of the plan that do not exist yet, as [`InstalledRoute::is`] defines it.
fn new_routes(plan: &Plan, existing: &[InstalledRoute], link: u32) -> Vec<RouteSpec> {
    let mut destinations: HashSet<(Cidr, u32)> = HashSet::new();
    let mut hops: HashSet<(Cidr, u32, IpAddr)> = HashSet::new();
    for route in existing.iter().filter(|route| route.link == Some(link)) {
        destinations.insert((route.dst, route.table));
        hops.extend(route.gateway.map(|hop| (route.dst, route.table, hop)));
    }
    let exists = |spec: &RouteSpec| {
        let dst = spec.route.dst.network();
        match spec.gateway {
            None => destinations.contains(&(dst, spec.table())),
            Some(hop) => hops.contains(&(dst, spec.table(), hop)),
        }
    };
    let planned = plan.specs.iter().filter(|spec| !exists(spec));
    planned.cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::{IpConfig, Route};
    use std::time::{Duration, Instant};

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn spec(dst: &str, gateway: Option<&str>) -> RouteSpec {
        RouteSpec {
            route: Route::new(cidr(dst), None),
            gateway: gateway.map(|text| text.parse().unwrap()),
        }
    }

    fn installed(spec: &RouteSpec, link: u32) -> InstalledRoute {
        InstalledRoute {
            dst: spec.route.dst.network(),
            gateway: spec.gateway,
            link: Some(link),
            table: spec.table(),
            priority: 0,
            source: None,
        }
    }

    fn plan(ips: &[Cidr], specs: Vec<RouteSpec>) -> Plan {
        let ip = |address: &Cidr| IpConfig {
            interface: None,
            address: *address,
            gateway: None,
        };
        Plan {
            ips: ips.iter().map(ip).collect(),
            routes: Vec::new(),
            gateways: Vec::new(),
            specs,
        }
    }

    #[test]
    fn a_route_is_new_unless_the_link_has_one_that_is_the_same() {
        let here = installed(&spec("10.1.0.0/16", Some("10.0.0.1")), 7);
        let elsewhere = installed(&spec("10.2.0.0/16", None), 8);
        let existing = [here, elsewhere];
        let specs = vec![
            spec("10.1.0.0/16", Some("10.0.0.1")),
            spec("10.1.0.0/16", None),
            spec("10.1.0.0/16", Some("10.0.0.2")),
            spec("10.2.0.0/16", None),
        ];
        let plan = plan(&[], specs);
        let by_pairs = plan.specs.iter().filter(|spec| {
            let mut existing = existing.iter();
            existing.all(|route| !route.is(spec, 7))
        });
        let new = new_routes(&plan, &existing, 7);
        assert_eq!(new.iter().collect::<Vec<_>>(), by_pairs.collect::<Vec<_>>());
        assert_eq!(new, plan.specs[2..]);
    }

    #[test]
    fn fifty_thousand_addresses_and_routes_are_compared_in_a_moment() {
        let names: Vec<String> = (0..50_000_u32)
            .map(|n| format!("10.{}.{}.{}/32", n >> 16, n >> 8 & 255, n & 255))
            .collect();
        let ips: Vec<Cidr> = names.iter().map(|name| cidr(name)).collect();
        let specs: Vec<RouteSpec> = names.iter().map(|name| spec(name, None)).collect();
        // All but the first one of each.
        let address = |cidr: &Cidr| Address {
            link: 7,
            cidr: *cidr,
            link_local: false,
            tentative: false,
            failed: false,
        };
        let addresses: Vec<Address> = ips.iter().skip(1).map(address).collect();
        let routes: Vec<InstalledRoute> = specs.iter().skip(1).map(|s| installed(s, 7)).collect();
        let plan = plan(&ips, specs);
        let begin = Instant::now();
        assert_eq!(new_addresses(&plan, &addresses), ips[..1]);
        assert_eq!(new_routes(&plan, &routes, 7), plan.specs[..1]);
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "{:?}",
            begin.elapsed()
        );
    }
}
