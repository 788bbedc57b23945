//! The container's side: addresses and routes, all of a new interface's, and of a taken one's what
//! is new.

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
use cni_net::{Batch, Link, LinkRef, NetError, Rtnl};
use cni_types::{AddResult, Cidr, Error};
use std::collections::HashSet;

impl<'a> Adding<'a> {
    /// Reckons what is to be set up: from what IPAM gave, else, for a taken port, from what the
    /// earlier plugins report.
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
        // The earlier plugins have set up what they report.
        let reported: HashSet<Cidr> = prev.routes.iter().map(|route| route.dst).collect();
        plan.specs
            .retain(|spec| !reported.contains(&spec.route.dst));
        Ok(plan)
    }

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
                self.take_back_on_failure(&mut ends.container, inside, plan, rollback)?;
            }
            return self.configure_all(&mut ends.container, inside, plan, is_new, rollback);
        }
        let mut batch = Batch::new();
        if self.config.gateway == Gateway::Default {
            let routes = Plan {
                ips: Vec::new(),
                ..plan.clone()
            };
            self.take_back_on_failure(&mut ends.container, inside, &routes, rollback)?;
            plan.specs
                .iter()
                .for_each(|spec| batch.create_route(inside, spec));
        }
        Ok(ends.container.run(batch)?)
    }

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

    /// Sees to it that a failed ADD removes addresses and routes that are new on an earlier
    /// plugin's interface, and sets it down if it was.
    fn take_back_on_failure(
        &self,
        container: &mut Rtnl,
        inside: &Link,
        plan: &Plan,
        rollback: &mut Rollback<'a>,
    ) -> Result<(), Error> {
        let (netns, index, is_up) = (self.netns, inside.index, inside.up);
        let link = LinkRef::new(index, &self.attachment.if_name);
        let there = container.addresses(index)?;
        let mut addresses: Vec<Cidr> = plan.ips.iter().map(|ip| ip.address).collect();
        addresses.retain(|address| there.iter().all(|other| other.cidr != *address));
        let there = container.routes()?;
        let mut routes = plan.specs.clone();
        routes.retain(|spec| there.iter().all(|route| !route.is(spec, index)));
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

    /// Waits until packets can pass, and reads both ends as they are then. Of a taken port, only
    /// what this ADD configured is waited for.
    pub(super) fn wait(&self, ends: &mut Ends, connected: &mut Connected) -> Result<(), Error> {
        let (config, stop) = (self.config, &self.call.stop);
        let (is_new, is_left_down) = (
            connected.taken.is_none(),
            config.container == Container::Down,
        );
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
