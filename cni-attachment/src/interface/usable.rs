//! The moment between the addition of an IPv6 address and its usability.
//!
//! The kernel acknowledges the request for an address, and adds the local route for it a moment
//! later from a work queue (addrconf_dad_start and addrconf_dad_completed in net/ipv6/addrconf.c),
//! even without duplicate address detection. On a busy node that takes so long that the first
//! packet is lost. Waiting uses the events of routes.

use cni_net::{LinkEvents, NetError, Rtnl};
use cni_types::{Cidr, Error, Stop};
use std::{net::IpAddr, time::Duration};

/// The time limit; enough for a node that starts hundreds of pods.
const LIMIT: Duration = Duration::from_secs(1);

/// Waits until packets to the given IPv6 addresses are delivered locally; `subscribe` is called
/// only if they are not yet. If that does not happen in time (routing rules in front of the local
/// table can prevent it), the addresses stay, and this succeeds.
///
/// # Errors
/// Fails if the kernel refuses a look-up, and on a request to stop.
pub fn wait_usable(
    rtnl: &mut Rtnl,
    addresses: impl Iterator<Item = Cidr>,
    stop: &Stop,
    subscribe: impl FnOnce() -> Result<LinkEvents, NetError>,
) -> Result<(), Error> {
    let wanted: Vec<IpAddr> = addresses
        .filter(|cidr| !cidr.is_ipv4())
        .map(|cidr| cidr.address())
        .collect();
    let look = |rtnl: &mut Rtnl| {
        for address in &wanted {
            if !rtnl.is_local(*address)? {
                return Ok(None);
            }
        }
        Ok(Some(()))
    };
    if look(rtnl)?.is_some() {
        return Ok(());
    }
    match subscribe()?.wait_until(rtnl, "the addresses to be in use", LIMIT, stop, look) {
        Err(NetError::TimedOut(_)) => Ok(()),
        outcome => Ok(outcome?),
    }
}
