//! veth pairs, mostly such whose one end is born in another namespace.
//!
//! One request makes both ends, puts the peer into the container and the host's end on the bridge. Nothing is
//! moved between namespaces, so no name can clash on the way and no event is sent twice.

use super::Batch;
use crate::netns::Netns;
use cni_types::{IfName, MacAddr};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoData, InfoVeth},
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth};
use std::os::fd::AsRawFd;

/// What a pair is made of.
#[derive(Debug)]
pub struct VethPair<'a> {
    /// The host's end.
    pub host_name: &'a IfName,
    /// Its hardware address.
    pub host_mac: MacAddr,
    /// The bridge that it becomes a port of.
    pub bridge: u32,
    /// The group of links that the host's end is in from its first moment; 0 is the kernel's
    /// default.
    pub group: u32,
    /// The container's end.
    pub container_name: &'a IfName,
    /// Its hardware address.
    pub container_mac: MacAddr,
    /// The namespace in which it is born.
    pub netns: &'a Netns,
    /// The MTU of both ends, in bytes; the kernel's default where it is `None`.
    pub mtu: Option<u32>,
}

/// A pair with both ends on the host.
#[derive(Debug)]
pub struct HostPair<'a> {
    /// The end that is used as an interface.
    pub name: &'a IfName,
    /// Its hardware address.
    pub mac: MacAddr,
    /// The other end.
    pub peer_name: &'a IfName,
    /// Its hardware address.
    pub peer_mac: MacAddr,
    /// The MTU of both ends, in bytes.
    pub mtu: u32,
}

impl Batch {
    /// Makes a pair on the host, both ends down; `EEXIST` where either name is taken. The kernel makes the peer first, so it has
    /// the lower index.
    pub fn create_host_pair(&mut self, pair: &HostPair<'_>) {
        let peer = LinkMessageBuilder::<LinkUnspec>::default()
            .name(pair.peer_name.to_string())
            .address(pair.peer_mac.0.to_vec())
            .mtu(pair.mtu)
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(pair.name.as_str(), "_")
            .address(pair.mac.0.to_vec())
            .mtu(pair.mtu)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .build();
        let object = format!("{} with peer {}", pair.name, pair.peer_name);
        self.push(
            RouteNetlinkMessage::NewLink(message),
            NLM_F_CREATE | NLM_F_EXCL,
            "create veth",
            object,
        );
    }

    /// Makes the pair; `EEXIST` where either name is taken. The host's end is set up at once. The container's cannot be
    /// in the same request (veth_open in drivers/net/veth.c answers ENOTCONN), and should not: what is set
    /// before it comes up is in force from its first packet.
    pub fn create_veth(&mut self, pair: &VethPair<'_>) {
        let netns = pair.netns.file();
        let mut peer = LinkMessageBuilder::<LinkUnspec>::default()
            .name(pair.container_name.to_string())
            .address(pair.container_mac.0.to_vec())
            .setns_by_fd(netns.as_raw_fd());
        let mut host = LinkMessageBuilder::<LinkVeth>::new(pair.host_name.as_str(), "_")
            .address(pair.host_mac.0.to_vec())
            .controller(pair.bridge)
            .link_group(pair.group)
            .up();
        if let Some(mtu) = pair.mtu {
            peer = peer.mtu(mtu);
            host = host.mtu(mtu);
        }
        let host = host.set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())));
        self.namespaces.push(netns);
        let object = format!("{} with peer {}", pair.host_name, pair.container_name);
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.push(
            RouteNetlinkMessage::NewLink(host.build()),
            flags,
            "create veth",
            object,
        );
    }
}
