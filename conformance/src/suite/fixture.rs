//! Things that must be there before some plugins can do anything: an interface for a chained
//! plugin, and one of the host for plugins that need a parent. Made over netlink, so that no other
//! plugin and no `ip` is needed.

use super::failure::Failure;
use cni_net::{Batch, Link, NewLink, RouteSpec, Rtnl};
use cni_types::{AddResult, Cidr, IfName, Interface, IpConfig, MacAddr, Route, SpecVersion};
use sandbox::{Netns, set_lo_up};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};

/// `${MASTER}` in profiles: an interface of the host with a peer, up.
pub(super) const MASTER: &str = "cnfup0";

/// The bridge of the network that chained plugins find.
const BRIDGE: &str = "cnffix0";
const BRIDGE_MAC: MacAddr = MacAddr([0x0a, 0x58, 0xc0, 0, 2, 1]);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PREFIX: u8 = 24;

/// Gives a container an interface with an address and a default route, as an interface plugin
/// would, and the result that such a plugin would print.
pub(super) fn attach(
    netns: &Netns,
    container: &str,
    ifname: &str,
    version: SpecVersion,
) -> Result<Value, Failure> {
    let mut host = Rtnl::open()?;
    let bridge = ensure_bridge()?;
    let last = 2 + u8::try_from(host.ports(bridge.index)?.len()).unwrap_or(0) % 250;
    let end = Ends::new(container, ifname, last)?;
    let inside = cni_net::Netns::open(netns.path())?;
    let mut batch = Batch::new();
    let link = NewLink::named(&end.host_name)
        .mac(end.host_mac)
        .port_of(&bridge)
        .up();
    let peer = NewLink::named(&end.container_name)
        .mac(end.container_mac)
        .in_netns(&inside);
    batch.create_veth(&link, &peer);
    host.run(batch)?;
    inside.run(|| end.configure())??;
    let text = end
        .result(netns)
        .encode(version)
        .map_err(|e| Failure::suite("write a prevResult", e))?;
    serde_json::from_str(&text.to_string()).map_err(|e| Failure::suite("write a prevResult", e))
}

/// Makes the interface that `${MASTER}` stands for: one end of a pair whose other end is in a
/// namespace of its own. No port of a bridge, on which a macvlan would be refused
/// (`netdev_is_rx_handler_busy`).
pub(super) fn create_master() -> Result<(), Failure> {
    let mut host = Rtnl::open()?;
    let outside = Netns::create("outside")?;
    let inside = cni_net::Netns::open(outside.path())?;
    let mut batch = Batch::new();
    let master = name(MASTER)?;
    let up0 = name("up0")?;
    let link = NewLink::named(&master)
        .mac(MacAddr([0x0a, 0x58, 0xc0, 0, 3, 1]))
        .up();
    let peer = NewLink::named(&up0)
        .mac(MacAddr([0x0a, 0x58, 0xc0, 0, 3, 2]))
        .in_netns(&inside);
    batch.create_veth(&link, &peer);
    host.run(batch)?;
    // Without its other end up it has no carrier.
    inside.run(|| -> Result<(), Failure> {
        let mut rtnl = Rtnl::open()?;
        let link = rtnl
            .find_link(&up0)?
            .ok_or_else(|| Failure::suite("find", &up0))?;
        let mut batch = Batch::new();
        batch.set_up(&link);
        Ok(rtnl.run(batch)?)
    })?
}

/// The two ends of a container's pair.
struct Ends {
    host_name: IfName,
    host_mac: MacAddr,
    container_name: IfName,
    container_mac: MacAddr,
    address: Ipv4Addr,
}

impl Ends {
    fn new(container: &str, ifname: &str, last: u8) -> Result<Self, Failure> {
        let short: String = container.chars().take(8).collect();
        Ok(Self {
            host_name: name(&format!("fx{short}"))?,
            host_mac: MacAddr([0x0a, 0x58, 0xc0, 0, 1, last]),
            container_name: name(ifname)?,
            container_mac: MacAddr([0x0a, 0x58, 0xc0, 0, 2, last]),
            address: Ipv4Addr::new(192, 0, 2, last),
        })
    }

    fn cidr(&self) -> Result<Cidr, Failure> {
        Cidr::new(self.address.into(), PREFIX).map_err(|e| Failure::suite("make an address", e))
    }

    /// Inside the container.
    fn configure(&self) -> Result<(), Failure> {
        set_lo_up()?;
        let mut rtnl = Rtnl::open()?;
        let link = rtnl.find_link(&self.container_name)?;
        let link = link.ok_or_else(|| Failure::suite("find", &self.container_name))?;
        let mut batch = Batch::new();
        batch.create_address(&link, self.cidr()?, false);
        batch.set_up(&link);
        let gateway: IpAddr = GATEWAY.into();
        let route = Route::new(Cidr::V4_ANY, Some(gateway));
        batch.create_route(
            &link,
            &RouteSpec {
                route,
                gateway: Some(gateway),
            },
        );
        Ok(rtnl.run(batch)?)
    }

    fn result(&self, netns: &Netns) -> AddResult {
        let interface = |name: &str, mac: MacAddr, sandbox: Option<String>| Interface {
            name: name.to_owned(),
            mac: mac.to_string(),
            sandbox: sandbox.unwrap_or_default(),
            ..Interface::default()
        };
        let path = netns.path().display().to_string();
        let ip = self.cidr().ok().map(|address| IpConfig {
            address,
            gateway: Some(GATEWAY.into()),
            interface: Some(2),
        });
        AddResult {
            interfaces: vec![
                interface(BRIDGE, BRIDGE_MAC, None),
                interface(self.host_name.as_str(), self.host_mac, None),
                interface(self.container_name.as_str(), self.container_mac, Some(path)),
            ],
            ips: ip.into_iter().collect(),
            routes: vec![Route::new(Cidr::V4_ANY, Some(GATEWAY.into()))],
            ..AddResult::default()
        }
    }
}

fn name(text: &str) -> Result<IfName, Failure> {
    IfName::parse(text).map_err(|e| Failure::suite("name an interface", e))
}

/// Ensures the bridge that interfaces of the fixture are ports of.
pub(super) fn ensure_bridge() -> Result<Link, Failure> {
    let mut host = Rtnl::open()?;
    let bridge = name(BRIDGE)?;
    if let Some(link) = host.find_link(&bridge)? {
        return Ok(link);
    }
    host.create_bridge(&bridge, BRIDGE_MAC, None)?;
    let link = host
        .find_link(&bridge)?
        .ok_or_else(|| Failure::suite("find", BRIDGE))?;
    let mut batch = Batch::new();
    let gateway =
        Cidr::new(GATEWAY.into(), PREFIX).map_err(|e| Failure::suite("make an address", e))?;
    batch.create_address(&link, gateway, false);
    batch.set_up(&link);
    host.run(batch)?;
    Ok(link)
}
