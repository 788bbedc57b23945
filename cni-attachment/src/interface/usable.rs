//! The moment between an IPv6 address's being there and its being usable.
//!
//! The kernel answers the request for an address, and makes the route by which packets to it are
//! taken in a moment later, from a work queue (addrconf_dad_start and addrconf_dad_completed in
//! net/ipv6/addrconf.c), also without duplicate address detection. On a busy machine that takes so
//! long that the first packet is lost. The events are those of routes.

use cni_net::{LinkEvents, NetError, Rtnl};
use cni_types::{Cidr, Error, Stop};
use std::{net::IpAddr, time::Duration};

/// Long enough for a machine that starts hundreds of pods.
const LIMIT: Duration = Duration::from_secs(1);

/// Waits until packets to the IPv6 addresses among these are taken in; `subscribe` is called if
/// that is not so yet. If it never is (somebody has rules of his own in front of the table), the
/// address is there nevertheless.
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
