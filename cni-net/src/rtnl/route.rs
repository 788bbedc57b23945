//! Routes.

use super::{Batch, LinkRef, Rtnl};
use crate::{error::NetError, netlink::Request};
use cni_types::{Cidr, Route};
use netlink_packet_core::{NLM_F_CREATE, Parseable};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
        RouteProtocol, RouteScope, RouteType,
    },
};
use nix::errno::Errno;
use std::net::IpAddr;

/// include/uapi/linux/rtnetlink.h: the offset of the type in `struct rtmsg`, and the type of a
/// local address's route.
const RTM_TYPE: usize = 7;
const RTN_LOCAL: u8 = 2;
const MAIN_TABLE: u32 = 254;

/// A route of a result with its next hop resolved.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RouteSpec {
    /// The requested route; its `gw` is ignored.
    pub route: Route,
    /// The next hop; `None` if the destination is on the link itself.
    pub gateway: Option<IpAddr>,
}

impl RouteSpec {
    /// Returns the number of the table that the route belongs to.
    #[must_use]
    pub fn table(&self) -> u32 {
        self.route
            .table
            .filter(|table| *table != 0)
            .unwrap_or(MAIN_TABLE)
    }
}

/// A route in the kernel. A route with several next hops becomes several of these: the kernel
/// merges IPv6 routes that differ in nothing else (fib6_add_rt2node in net/ipv6/ip6_fib.c), such as
/// the default routes of two interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledRoute {
    /// The destination; /0 for the default route.
    pub dst: Cidr,
    /// The next hop.
    pub gateway: Option<IpAddr>,
    /// The index of the link that packets leave by.
    pub link: Option<u32>,
    /// The number of the table.
    pub table: u32,
    /// The metric.
    pub priority: u32,
    /// The preferred source address.
    pub source: Option<IpAddr>,
}

impl InstalledRoute {
    /// Returns true if the route is the requested one, through this link.
    #[must_use]
    pub fn is(&self, spec: &RouteSpec, link: u32) -> bool {
        self.dst == spec.route.dst.network()
            && self.table == spec.table()
            && self.link == Some(link)
            && (spec.gateway.is_none() || self.gateway == spec.gateway)
    }

    /// Reads the payload of an RTM_NEWROUTE; returns one route for each next hop.
    pub(super) fn parse_all(payload: &[u8]) -> Vec<Self> {
        let Ok(message) = RouteMessage::parse(payload) else {
            return Vec::new();
        };
        let Some(route) = Self::of(&message) else {
            return Vec::new();
        };
        let hops = message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                RouteAttribute::MultiPath(hops) => Some(hops),
                _ => None,
            });
        let Some(hops) = hops else { return vec![route] };
        let through = |hop: &RouteNextHop| {
            let gateway = hop.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Gateway(address) => ip(address),
                _ => None,
            });
            Self {
                gateway,
                link: Some(hop.interface_index),
                ..route.clone()
            }
        };
        hops.iter().map(through).collect()
    }

    fn of(message: &RouteMessage) -> Option<Self> {
        if message.header.kind != RouteType::Unicast {
            return None;
        }
        let v4 = message.header.address_family == AddressFamily::Inet;
        let any: IpAddr = if v4 {
            std::net::Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let mut dst = any;
        let mut gateway = None;
        let mut link = None;
        let mut source = None;
        let mut table = u32::from(message.header.table);
        let mut priority = 0;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => dst = ip(address)?,
                RouteAttribute::Gateway(address) => gateway = ip(address),
                RouteAttribute::PrefSource(address) => source = ip(address),
                RouteAttribute::Oif(index) => link = Some(*index),
                RouteAttribute::Table(id) => table = *id,
                RouteAttribute::Priority(metric) => priority = *metric,
                _ => {}
            }
        }
        let dst = Cidr::new(dst, message.header.destination_prefix_length).ok()?;
        Some(Self {
            dst,
            gateway,
            link,
            table,
            priority,
            source,
        })
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

impl Rtnl {
    /// Returns the unicast routes of all tables, IPv4 first.
    ///
    /// # Errors
    /// Fails if the list cannot be read.
    pub fn routes(&mut self) -> Result<Vec<InstalledRoute>, NetError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self.dump(RouteNetlinkMessage::GetRoute(message), "routes")?;
            routes.extend(
                answers
                    .iter()
                    .flat_map(|answer| InstalledRoute::parse_all(&answer.payload)),
            );
        }
        Ok(routes)
    }

    /// Returns true if packets to `address` are delivered to this namespace itself.
    ///
    /// # Errors
    /// Fails if the look-up fails.
    pub fn is_local(&mut self, address: IpAddr) -> Result<bool, NetError> {
        let mut message = RouteMessage::default();
        message.header.address_family = if address.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        message.header.destination_prefix_length = if address.is_ipv4() { 32 } else { 128 };
        message
            .attributes
            .push(RouteAttribute::Destination(address.into()));
        let message = RouteNetlinkMessage::GetRoute(message);
        let operation = "look up the route to";
        let object = address.to_string();
        match self.socket.read(Request {
            message,
            flags: 0,
            operation,
            object,
        }) {
            Ok(answer) => Ok(answer.payload.get(RTM_TYPE) == Some(&RTN_LOCAL)),
            Err(e) if matches!(e.errno(), Some(Errno::ENETUNREACH | Errno::EHOSTUNREACH)) => {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

impl Batch {
    /// Adds a route through a link; `EEXIST` if an identical one exists. The request is sent
    /// without NLM_F_EXCL, as the reference does: a pod's second interface brings a second default
    /// route, which takes precedence over the first.
    pub fn create_route<'l>(&mut self, link: impl Into<LinkRef<'l>>, spec: &RouteSpec) {
        let link = link.into();
        let message = RouteNetlinkMessage::NewRoute(message(link.index, spec));
        self.push(message, NLM_F_CREATE, "add route", description(link, spec));
    }

    /// Deletes a route; `ESRCH` if no such route exists.
    pub fn delete_route<'l>(&mut self, link: impl Into<LinkRef<'l>>, spec: &RouteSpec) {
        let link = link.into();
        let message = RouteNetlinkMessage::DelRoute(message(link.index, spec));
        self.push(message, 0, "delete route", description(link, spec));
    }
}

fn description(link: LinkRef<'_>, spec: &RouteSpec) -> String {
    let via = spec
        .gateway
        .map(|gateway| format!(" via {gateway}"))
        .unwrap_or_default();
    format!("{}{via} dev {}", spec.route.dst, link.name)
}

fn message(link: u32, spec: &RouteSpec) -> RouteMessage {
    let route = &spec.route;
    let dst = route.dst.network();
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: if dst.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        },
        destination_prefix_length: dst.prefix(),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Boot,
        scope: scope(spec),
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    let attributes = &mut message.attributes;
    attributes.push(RouteAttribute::Oif(link));
    if dst.prefix() > 0 {
        attributes.push(RouteAttribute::Destination(dst.address().into()));
    }
    attributes.extend(
        spec.gateway
            .map(|gateway| RouteAttribute::Gateway(gateway.into())),
    );
    attributes.extend(route.priority.map(RouteAttribute::Priority));
    attributes.extend(route.table.map(RouteAttribute::Table));
    let metrics: Vec<RouteMetric> = [
        route.mtu.map(RouteMetric::Mtu),
        route.advmss.map(RouteMetric::Advmss),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !metrics.is_empty() {
        attributes.push(RouteAttribute::Metrics(metrics));
    }
    message
}

/// Returns the requested scope, or the default of ip-route(8): `link` for IPv4 without a next hop.
fn scope(spec: &RouteSpec) -> RouteScope {
    match spec.route.scope {
        Some(scope) => RouteScope::from(scope),
        None if spec.gateway.is_none() && spec.route.dst.is_ipv4() => RouteScope::Link,
        None => RouteScope::Universe,
    }
}
