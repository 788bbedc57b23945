//! Bridges and their ports.

use super::{Batch, LinkRef, Rtnl, alias, number};
use crate::{error::NetError, netlink::Request};
use cni_types::{IfName, MacAddr, VlanId};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NlasIterator};
use netlink_packet_route::{RouteNetlinkMessage, link::InfoBridgePort};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec};
use std::{fmt, time::Duration};

/// include/uapi/linux/if_link.h
const IFLA_BR_FORWARD_DELAY: u16 = 1;
const IFLA_BR_STP_STATE: u16 = 5;
const IFLA_BR_VLAN_FILTERING: u16 = 7;
const IFLA_BR_VLAN_DEFAULT_PVID: u16 = 39;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_ISOLATED: u16 = 33;

/// Times of a bridge are in hundredths of a second (`USER_HZ`, jiffies_to_clock_t in
/// kernel/time/time.c).
const CLOCK_TICK: Duration = Duration::from_millis(10);

/// The state of a bridge port (include/uapi/linux/if_bridge.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortState {
    /// The link has no carrier, or is down.
    Disabled,
    /// Spanning tree listens for other bridges, before it learns.
    Listening,
    /// Spanning tree learns addresses, before it forwards.
    Learning,
    /// Frames pass.
    Forwarding,
    /// Spanning tree drops frames to avoid a loop.
    Blocking,
}

/// The properties of a link as a bridge port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// The state, which decides whether frames pass.
    pub state: PortState,
    /// Frames may leave through the port through which they came.
    pub hairpin: bool,
    /// The port exchanges no frames with other isolated ports.
    pub isolated: bool,
}

/// The VLAN settings of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeVlans {
    /// Frames pass only between ports of their VLAN.
    pub filtering: bool,
    /// The VLAN of untagged frames that a new port gets from the bridge.
    pub default: Option<VlanId>,
}

/// A bridge's spanning tree, run by the kernel or by a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanningTree {
    /// The time for which a port listens, and then learns, before it forwards.
    pub forward_delay: Duration,
}

/// The optional properties of a bridge port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortMode {
    /// Frames may leave through the port through which they came.
    pub hairpin: bool,
    /// The port exchanges no frames with other isolated ports.
    pub isolated: bool,
}

impl fmt::Display for PortState {
    /// Writes the word of bridge(8).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "disabled",
            Self::Listening => "listening",
            Self::Learning => "learning",
            Self::Forwarding => "forwarding",
            Self::Blocking => "blocking",
        })
    }
}

impl SpanningTree {
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let find = |kind| NlasIterator::new(data).flatten().find(|a| a.kind() == kind);
        // BR_NO_STP of net/bridge/br_private.h is 0.
        let is_on = find(IFLA_BR_STP_STATE)
            .and_then(|a| number(a.value()))
            .is_some_and(|state| state != 0);
        let ticks = find(IFLA_BR_FORWARD_DELAY)
            .and_then(|a| number(a.value()))
            .unwrap_or(0);
        is_on.then(|| Self {
            forward_delay: CLOCK_TICK.saturating_mul(ticks),
        })
    }
}

impl BridgeVlans {
    /// Reads the settings. Every kernel reports if a bridge filters; only one built with VLAN
    /// filtering reports the default VLAN (br_fill_info in net/bridge/br_netlink.c).
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let mut filtering = false;
        let mut default = None;
        for attribute in NlasIterator::new(data).flatten() {
            let value = attribute.value();
            match attribute.kind() {
                IFLA_BR_VLAN_FILTERING => filtering = value.first().is_some_and(|on| *on != 0),
                IFLA_BR_VLAN_DEFAULT_PVID => {
                    default = value
                        .first_chunk()
                        .map(|id| VlanId::new(u16::from_ne_bytes(*id)));
                }
                _ => {}
            }
        }
        default.map(|default| Self { filtering, default })
    }
}

impl Port {
    pub(super) fn parse(data: &[u8]) -> Self {
        let byte = |kind| {
            NlasIterator::new(data)
                .flatten()
                .find(|a| a.kind() == kind)?
                .value()
                .first()
                .copied()
        };
        let state = match byte(IFLA_BRPORT_STATE) {
            Some(0) | None => PortState::Disabled,
            Some(1) => PortState::Listening,
            Some(2) => PortState::Learning,
            Some(3) => PortState::Forwarding,
            Some(_) => PortState::Blocking,
        };
        let on = |kind| byte(kind).is_some_and(|value| value != 0);
        Self {
            state,
            hairpin: on(IFLA_BRPORT_MODE),
            isolated: on(IFLA_BRPORT_ISOLATED),
        }
    }
}

impl Rtnl {
    /// Creates a bridge and sets it up. It gets `mac` at once: a bridge keeps an address that was
    /// set, while an unset one follows the lowest address of its ports and changes when that port
    /// leaves.
    ///
    /// # Errors
    /// Fails with `EEXIST` if there is a link of that name.
    pub fn create_bridge(
        &mut self,
        name: &IfName,
        mac: MacAddr,
        mtu: Option<u32>,
    ) -> Result<(), NetError> {
        self.create(name, new_bridge(name, mac, mtu))
    }

    /// Creates a bridge that separates VLANs from its first moment, and sets it up.
    ///
    /// # Errors
    /// Fails with `EEXIST` if there is a link of that name, and with `EOPNOTSUPP` if the kernel has
    /// no bridge VLAN filtering; no bridge is created then.
    pub fn create_vlan_bridge(
        &mut self,
        name: &IfName,
        mac: MacAddr,
        mtu: Option<u32>,
    ) -> Result<(), NetError> {
        self.create(name, new_bridge(name, mac, mtu).vlan_filtering(true))
    }

    fn create(
        &mut self,
        name: &IfName,
        bridge: LinkMessageBuilder<LinkBridge>,
    ) -> Result<(), NetError> {
        let message = RouteNetlinkMessage::NewLink(bridge.build());
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        let operation = "create bridge";
        self.execute(vec![Request {
            message,
            flags,
            operation,
            object: name.to_string(),
        }])
        .map(drop)
    }
}

fn new_bridge(name: &IfName, mac: MacAddr, mtu: Option<u32>) -> LinkMessageBuilder<LinkBridge> {
    let builder = LinkBridge::new(name.as_str()).address(mac.0.to_vec()).up();
    mtu.into_iter().fold(builder, LinkMessageBuilder::mtu)
}

impl Batch {
    /// Makes a link a port of a bridge. The link is found by its name, so that the request can
    /// follow the link's creation in one batch.
    pub fn attach<'l>(&mut self, name: &IfName, bridge: impl Into<LinkRef<'l>>) {
        let message = LinkUnspec::new_with_name(name.as_str())
            .controller(bridge.into().index)
            .build();
        self.push(
            RouteNetlinkMessage::SetLink(message),
            0,
            "attach to the bridge",
            name.to_string(),
        );
    }

    /// Sets the mode of a port and its alias, a text for people of at most 255 bytes, empty for
    /// none. The link is found by its name, so that the request can follow the port's creation in
    /// one batch. The message is an RTM_NEWLINK, since RTM_SETLINK ignores port attributes.
    pub fn set_port(&mut self, name: &IfName, mode: PortMode, alias: &str) {
        let mut port = LinkBridgePort::new(0).name(name.to_string());
        if !alias.is_empty() {
            port = port.append_extra_attribute(alias::attribute(alias));
        }
        if mode != PortMode::default() {
            port = port.append_info_data(InfoBridgePort::HairpinMode(mode.hairpin));
            port = port.append_info_data(InfoBridgePort::Isolated(mode.isolated));
        }
        self.push(
            RouteNetlinkMessage::NewLink(port.build()),
            0,
            "configure the bridge port",
            name.to_string(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::testing::attribute;

    #[test]
    fn a_port_is_read_with_its_state_and_mode() {
        let port = |state| {
            let mode = [
                attribute(IFLA_BRPORT_MODE, &[1]),
                attribute(IFLA_BRPORT_ISOLATED, &[0]),
            ];
            Port::parse(&[attribute(IFLA_BRPORT_STATE, &[state]), mode.concat()].concat())
        };
        assert_eq!(
            port(3),
            Port {
                state: PortState::Forwarding,
                hairpin: true,
                isolated: false
            }
        );
        let words: Vec<String> = (0..5).map(|state| port(state).state.to_string()).collect();
        assert_eq!(
            words,
            [
                "disabled",
                "listening",
                "learning",
                "forwarding",
                "blocking"
            ]
        );
    }

    #[test]
    fn a_bridge_is_read_with_what_it_does_with_vlans() {
        let bridge = |data: &[Vec<u8>]| BridgeVlans::parse(&data.concat());
        let filtering = attribute(IFLA_BR_VLAN_FILTERING, &[1]);
        let default = |id: u16| attribute(IFLA_BR_VLAN_DEFAULT_PVID, &id.to_ne_bytes());
        let vlans = |default| {
            Some(BridgeVlans {
                filtering: true,
                default,
            })
        };
        assert_eq!(
            bridge(&[filtering.clone(), default(1)]),
            vlans(VlanId::new(1))
        );
        assert_eq!(bridge(&[filtering.clone(), default(0)]), vlans(None));
        // As listed by a kernel without CONFIG_BRIDGE_VLAN_FILTERING.
        assert_eq!(bridge(&[attribute(IFLA_BR_VLAN_FILTERING, &[0])]), None);
    }

    #[test]
    fn a_bridge_is_read_with_its_spanning_tree() {
        let bridge = |state: u32, delay: u32| {
            let state = attribute(IFLA_BR_STP_STATE, &state.to_ne_bytes());
            SpanningTree::parse(
                &[
                    attribute(IFLA_BR_FORWARD_DELAY, &delay.to_ne_bytes()),
                    state,
                ]
                .concat(),
            )
        };
        assert_eq!(bridge(0, 1500), None);
        assert_eq!(
            bridge(1, 1500),
            Some(SpanningTree {
                forward_delay: Duration::from_secs(15)
            })
        );
        assert_eq!(
            bridge(2, 200),
            Some(SpanningTree {
                forward_delay: Duration::from_secs(2)
            })
        );
    }
}
