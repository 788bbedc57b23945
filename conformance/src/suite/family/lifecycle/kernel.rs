//! The kernel's view of a namespace, to be compared with a result.

use crate::suite::{Attachment, Failure};
use cni_net::{InstalledRoute, Link, NetError, Rtnl};
use cni_types::{AddResult, Cidr, IfName};
use std::net::IpAddr;

/// The table of routes that are in no other (`RT_TABLE_MAIN`).
const MAIN: u32 = 254;

/// Links, addresses and routes of a namespace.
pub(super) struct Kernel {
    pub(super) links: Vec<Link>,
    /// With the name of the link.
    pub(super) addresses: Vec<(String, Cidr)>,
    pub(super) routes: Vec<InstalledRoute>,
}

impl Kernel {
    /// That of the thread's namespace: the host's.
    pub(super) fn of_host() -> Result<Self, Failure> {
        Ok(Self::look()?)
    }

    /// That of the container.
    pub(super) fn inside(attachment: &Attachment<'_>) -> Result<Self, Failure> {
        Ok(attachment.netns().run(Self::look)??)
    }

    fn look() -> Result<Self, NetError> {
        let mut rtnl = Rtnl::open()?;
        let links = rtnl.links()?;
        let mut addresses = Vec::new();
        for link in &links {
            let of_link = rtnl.addresses(link.index)?.into_iter();
            addresses.extend(of_link.map(|address| (link.name.to_string(), address.cidr)));
        }
        Ok(Self {
            links,
            addresses,
            routes: rtnl.routes()?,
        })
    }

    pub(super) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Returns true if there is such a route, without a table in the main one.
    pub(super) fn has_route(&self, dst: Cidr, gateway: Option<IpAddr>, table: Option<u32>) -> bool {
        self.routes.iter().any(|route| {
            route.table == table.unwrap_or(MAIN)
                && route.dst == dst.network()
                && (gateway.is_none() || route.gateway == gateway)
        })
    }

    /// In words, for what was found.
    pub(super) fn names(&self) -> String {
        self.links
            .iter()
            .map(|link| link.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// A route in words.
pub(super) fn route(dst: Cidr, gateway: Option<IpAddr>) -> String {
    gateway.map_or_else(
        || format!("a route to {dst}"),
        |gateway| format!("a route to {dst} via {gateway}"),
    )
}

/// The routes that somebody made: not those that come with an address.
pub(super) fn made_routes(kernel: &Kernel) -> Vec<&InstalledRoute> {
    let comes_with_address = |route: &InstalledRoute| {
        let own = |cidr: &Cidr| cidr.network() == route.dst;
        route.gateway.is_none() && kernel.addresses.iter().any(|(_, cidr)| own(cidr))
    };
    let is_link_local = |route: &InstalledRoute| matches!(route.dst.address(), IpAddr::V6(ip) if ip.is_unicast_link_local() || ip.is_multicast());
    kernel
        .routes
        .iter()
        .filter(|route| route.table == MAIN && !comes_with_address(route) && !is_link_local(route))
        .collect()
}

/// The interface that an address of the result is for.
pub(super) fn interface_of(result: &AddResult, index: Option<i64>, ifname: &str) -> String {
    let index = index.and_then(|index| usize::try_from(index).ok());
    let interface = index.and_then(|index| result.interfaces.get(index));
    interface
        .map_or(ifname, |interface| &interface.name)
        .to_owned()
}

/// A name that the profile or the result gives.
pub(super) fn name(text: &str) -> Result<IfName, Failure> {
    IfName::parse(text).map_err(|e| {
        Failure::mismatch(
            "a name that an interface can have",
            format!("{text:?}: {e}"),
        )
    })
}
