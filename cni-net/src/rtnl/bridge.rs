//! Bridges and their ports.

use super::{Batch, Rtnl, link::IFLA_IFALIAS};
use crate::{error::NetError, netlink::Request};
use cni_types::{IfName, MacAddr};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{RouteNetlinkMessage, link::InfoBridgePort, link::LinkAttribute};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec};

/// What a port of a bridge does beyond the ordinary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortMode {
    /// Frames may leave through the port that they came by.
    pub hairpin: bool,
    /// It exchanges no frames with other isolated ports.
    pub isolated: bool,
}

impl Rtnl {
    /// Makes a bridge and sets it up. It gets `mac` from the start: a bridge whose address was chosen keeps it, while
    /// one that was not takes on the lowest of its ports' and changes it when that port leaves.
    ///
    /// # Errors
    /// `EEXIST` where there is a link of that name.
    pub fn create_bridge(&mut self, name: &IfName, mac: MacAddr, mtu: Option<u32>) -> Result<(), NetError> {
        self.create(name, new_bridge(name, mac, mtu))
    }

    /// Makes a bridge that keeps VLANs apart from the start.
    ///
    /// # Errors
    /// `EEXIST` if there is a link of that name, `EOPNOTSUPP` if the kernel has no bridge VLAN
    /// filtering; then nothing is made.
    pub fn create_vlan_bridge(
        &mut self,
        name: &IfName,
        mac: MacAddr,
        mtu: Option<u32>,
    ) -> Result<(), NetError> {
        self.create(name, new_bridge(name, mac, mtu).vlan_filtering(true))
    }

    fn create(&mut self, name: &IfName, bridge: LinkMessageBuilder<LinkBridge>) -> Result<(), NetError> {
        let message = RouteNetlinkMessage::NewLink(bridge.build());
        let (flags, operation) = (NLM_F_CREATE | NLM_F_EXCL, "create bridge");
        self.execute(vec![Request { message, flags, operation, object: name.to_string() }]).map(drop)
    }
}

fn new_bridge(name: &IfName, mac: MacAddr, mtu: Option<u32>) -> LinkMessageBuilder<LinkBridge> {
    let builder = LinkBridge::new(name.as_str()).address(mac.0.to_vec()).up();
    mtu.into_iter().fold(builder, LinkMessageBuilder::mtu)
}

impl Batch {
    /// Makes a link a port of a bridge. By name, so that it can follow the link's creation in one batch.
    pub fn attach(&mut self, name: &IfName, bridge: u32) {
        let message = LinkUnspec::new_with_name(name.as_str()).controller(bridge).build();
        self.push(RouteNetlinkMessage::SetLink(message), 0, "attach to the bridge", name.to_string());
    }

    /// Sets the mode of a port, and the text that tells people whose it is: at most 255 bytes, empty for none. By name, so that it can follow the port's
    /// creation in one batch. Through RTM_NEWLINK: RTM_SETLINK ignores port attributes.
    pub fn set_port(&mut self, name: &IfName, mode: PortMode, alias: &str) {
        let mut port = LinkBridgePort::new(0).name(name.to_string());
        if !alias.is_empty() {
            // Without the NUL that `LinkAttribute::IfAlias` ends it with: the kernel counts that as a byte of 255.
            let text = DefaultNla::new(IFLA_IFALIAS, alias.as_bytes().to_vec());
            port = port.append_extra_attribute(LinkAttribute::Other(text));
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
