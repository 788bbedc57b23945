//! Waiting for a change, on the kernel's own notifications.
//!
//! The order matters: subscribe, look, and only then wait for an event and look again. So no change
//! in between is missed, and lost events (ENOBUFS) do no harm.

use super::Rtnl;
use crate::{error::NetError, netlink::NetlinkSocket};
use cni_types::{Stop, WaitOutcome};
use netlink_sys::protocols::NETLINK_ROUTE;
use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

/// include/uapi/linux/rtnetlink.h
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
const RTNLGRP_IPV6_ROUTE: u32 = 11;

/// A subscription to the changes of links and addresses in the thread's namespace.
pub struct LinkEvents {
    socket: NetlinkSocket,
}

impl LinkEvents {
    /// Subscribes to the changes of links and addresses.
    ///
    /// # Errors
    /// Fails if the socket cannot be opened.
    pub fn subscribe() -> Result<Self, NetError> {
        let mut socket = NetlinkSocket::open(NETLINK_ROUTE)?;
        for group in [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR] {
            socket.join(group)?;
        }
        Ok(Self { socket })
    }

    /// Subscribes to the changes of IPv6 routes too.
    ///
    /// # Errors
    /// Fails if the socket cannot be opened.
    pub fn subscribe_with_routes() -> Result<Self, NetError> {
        let mut events = Self::subscribe()?;
        events.socket.join(RTNLGRP_IPV6_ROUTE)?;
        Ok(events)
    }

    /// Calls `look` at once, and again after every event, until it returns a value.
    ///
    /// # Errors
    /// Fails if `look` does, if it returns no value within `limit`, or if the process is to stop.
    /// The last two errors name `what`.
    pub fn wait_until<T>(
        mut self,
        rtnl: &mut Rtnl,
        what: &str,
        limit: Duration,
        stop: &Stop,
        mut look: impl FnMut(&mut Rtnl) -> Result<Option<T>, NetError>,
    ) -> Result<T, NetError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = look(rtnl)? {
                return Ok(found);
            }
            // If events never cease, no wait for the next one is long enough to time out.
            if Instant::now() >= deadline {
                return Err(NetError::TimedOut(what.to_owned()));
            }
            match stop.wait_readable(self.socket.as_fd(), Some(deadline)) {
                Ok(WaitOutcome::Ready) => drop(self.socket.events()?),
                Ok(WaitOutcome::Stopped) => return Err(NetError::Stopped(what.to_owned())),
                Ok(WaitOutcome::TimedOut) => return Err(NetError::TimedOut(what.to_owned())),
                Err(errno) => return Err(NetError::io("wait for", what, errno)),
            }
        }
    }
}
