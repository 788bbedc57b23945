//! Changes of links of any kind.

use super::{Batch, alias};
use crate::netns::Netns;
use cni_types::{IfName, MacAddr};
use netlink_packet_route::{RouteNetlinkMessage, link::LinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec};
use std::{num::NonZeroU32, os::fd::AsRawFd};

/// A reference to a link: the kernel finds it by its index, and an error names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkRef<'a> {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: &'a IfName,
}

impl<'a> LinkRef<'a> {
    /// Refers to a link whose index and name are known.
    #[must_use]
    pub fn new(index: u32, name: &'a IfName) -> Self {
        Self { index, name }
    }

    pub(super) fn builder(self) -> LinkMessageBuilder<LinkUnspec> {
        LinkUnspec::new_with_index(self.index)
    }
}

impl Batch {
    /// Sets a link up.
    pub fn set_up<'l>(&mut self, link: impl Into<LinkRef<'l>>) {
        let link = link.into();
        self.set_link("set up", link, link.builder().up());
    }

    /// Sets a link down.
    pub fn set_down<'l>(&mut self, link: impl Into<LinkRef<'l>>) {
        let link = link.into();
        self.set_link("set down", link, link.builder().down());
    }

    /// Sets a link's hardware address; the kernel then counts it as set by the administrator.
    pub fn set_mac<'l>(&mut self, link: impl Into<LinkRef<'l>>, mac: MacAddr) {
        let link = link.into();
        let builder = link.builder().address(mac.0.to_vec());
        self.set_link("set the MAC address of", link, builder);
    }

    /// Puts a link into a group of links.
    pub fn set_group<'l>(&mut self, link: impl Into<LinkRef<'l>>, group: NonZeroU32) {
        let link = link.into();
        let builder = link.builder().link_group(group.get());
        self.set_link("set the group of", link, builder);
    }

    /// Sets a link's MTU, in bytes.
    pub fn set_mtu<'l>(&mut self, link: impl Into<LinkRef<'l>>, mtu: u32) {
        let link = link.into();
        self.set_link("set the MTU of", link, link.builder().mtu(mtu));
    }

    /// Makes a link a port of a bridge or of a VRF.
    pub fn set_master<'l, 'm>(
        &mut self,
        link: impl Into<LinkRef<'l>>,
        master: impl Into<LinkRef<'m>>,
    ) {
        let link = link.into();
        let builder = link.builder().controller(master.into().index);
        self.set_link("set the bridge of", link, builder);
    }

    /// Detaches a link from its master, a bridge or a VRF.
    pub fn remove_master<'l>(&mut self, link: impl Into<LinkRef<'l>>) {
        let link = link.into();
        self.set_link("set the bridge of", link, link.builder().nocontroller());
    }

    /// Sets a link's alias, a text for people of at most 255 bytes, empty for none.
    pub fn set_alias<'l>(&mut self, link: impl Into<LinkRef<'l>>, alias: &str) {
        let link = link.into();
        let builder = link
            .builder()
            .append_extra_attribute(alias::attribute(alias));
        self.set_link("set the alias of", link, builder);
    }

    /// Makes a link accept frames for every address.
    pub fn set_promiscuous<'l>(&mut self, link: impl Into<LinkRef<'l>>) {
        let link = link.into();
        let builder = link.builder().promiscuous(true);
        self.set_link("set promiscuous mode on", link, builder);
    }

    /// Renames a link; `EEXIST` if another link has the name. Before Linux 6.2 the link must be
    /// down (dev_change_name in net/core/dev.c).
    pub fn rename<'l>(&mut self, link: impl Into<LinkRef<'l>>, name: &IfName) {
        let link = link.into();
        self.set_link("rename", link, link.builder().name(name.as_str()));
    }

    /// Moves a link into another namespace, where it is down and may have another index; `EEXIST`
    /// if its name is taken there.
    pub fn move_to<'l>(&mut self, link: impl Into<LinkRef<'l>>, netns: &Netns) {
        let link = link.into();
        let file = netns.file();
        let builder = link.builder().setns_by_fd(file.as_raw_fd());
        self.namespaces.push(file);
        self.set_link("move to another namespace", link, builder);
    }

    fn set_link(
        &mut self,
        operation: &'static str,
        link: LinkRef<'_>,
        builder: LinkMessageBuilder<LinkUnspec>,
    ) {
        let message: LinkMessage = builder.build();
        let object = link.name.to_string();
        self.push(RouteNetlinkMessage::SetLink(message), 0, operation, object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::Emitable;

    /// Returns the bytes of the one request of a batch, behind the header with index and flags.
    fn encoded(fill: impl FnOnce(&mut Batch)) -> (String, Vec<u8>) {
        let mut batch = Batch::new();
        fill(&mut batch);
        let [request] = batch.requests.as_slice() else {
            panic!("not one request");
        };
        let RouteNetlinkMessage::SetLink(message) = &request.message else {
            panic!("no RTM_SETLINK");
        };
        assert_eq!(message.header.index, 7);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        (request.object.clone(), bytes.split_off(16))
    }

    #[test]
    fn a_link_is_found_by_its_index_and_named_in_errors() {
        let eth0 = IfName::parse("eth0").unwrap();
        let net1 = IfName::parse("net1").unwrap();
        let link = LinkRef::new(7, &eth0);
        let named = |bytes: &[u8]| ("eth0".to_owned(), bytes.to_vec());
        assert_eq!(encoded(|batch| batch.set_up(link)), named(&[]));
        // IFLA_IFNAME
        let rename = [9, 0, 3, 0, b'n', b'e', b't', b'1', 0, 0, 0, 0];
        assert_eq!(encoded(|batch| batch.rename(link, &net1)), named(&rename));
        // IFLA_MASTER
        let off = [8, 0, 10, 0, 0, 0, 0, 0];
        assert_eq!(encoded(|batch| batch.remove_master(link)), named(&off));
        // IFLA_IFALIAS, without a NUL
        let alias = [6, 0, 20, 0, b'a', b'b', 0, 0];
        assert_eq!(encoded(|batch| batch.set_alias(link, "ab")), named(&alias));
    }
}
