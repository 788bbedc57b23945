//! The addresses that leave with an attachment.
//!
//! The rules of iptables name container and address, not the interface, and another interface of
//! the container may be in the same network. prevResult shows the interface of an address, or else
//! the container's namespace does. Without both, the container is gone, and all of its addresses
//! leave.

use crate::{prev_result::own_part, remaining_netns};
use cni_net::Rtnl;
use cni_types::{Call, Detachment, Error};
use std::{cell::OnceCell, net::IpAddr};

/// The addresses that leave with an attachment, determined at the first request for them.
pub(super) struct LeavingAddresses<'a> {
    call: &'a Call,
    detachment: &'a Detachment,
    found: OnceCell<Scope>,
}

/// Addresses that leave.
enum Scope {
    Only(Vec<IpAddr>),
    AllBut(Vec<IpAddr>),
}

impl<'a> LeavingAddresses<'a> {
    pub(super) fn of(call: &'a Call, detachment: &'a Detachment) -> Self {
        Self {
            call,
            detachment,
            found: OnceCell::new(),
        }
    }

    /// Returns true if this address leaves.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        match self.found.get_or_init(|| self.find()) {
            Scope::Only(leaving) => leaving.contains(&address),
            Scope::AllBut(staying) => !staying.contains(&address),
        }
    }

    fn find(&self) -> Scope {
        let reported = self.call.prev_result().ok().flatten().unwrap_or_default();
        let mut ips = own_part(reported.clone(), &self.detachment.if_name).ips;
        if ips.is_empty() {
            // The addresses of an interface of an earlier plugin of the chain that was made a port.
            ips = reported.ips;
        }
        if ips.is_empty() {
            // A namespace that cannot be read protects no address: DEL reports the error when it
            // searches the interface there.
            return Scope::AllBut(self.held_by_others().unwrap_or_default());
        }
        Scope::Only(ips.iter().map(|ip| ip.address.address()).collect())
    }

    /// Returns the addresses of the container's other interfaces.
    fn held_by_others(&self) -> Result<Vec<IpAddr>, Error> {
        let path = self.detachment.netns.as_ref();
        let Some(netns) = remaining_netns(self.call, path)? else {
            return Ok(Vec::new());
        };
        let mut rtnl = Rtnl::open_in(&netns)?;
        let mut held = Vec::new();
        for link in rtnl.links()? {
            if link.name == self.detachment.if_name {
                continue;
            }
            let addresses = rtnl.addresses(link.index)?;
            held.extend(addresses.iter().map(|address| address.cidr.address()));
        }
        Ok(held)
    }
}
