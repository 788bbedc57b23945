//! The alias of a link as an attribute.

use netlink_packet_core::DefaultNla;
use netlink_packet_route::link::LinkAttribute;

/// include/uapi/linux/if_link.h
pub(super) const IFLA_IFALIAS: u16 = 20;

/// Returns the attribute without the NUL that `LinkAttribute::IfAlias` ends it with: the kernel
/// counts that as one byte of the 255.
pub(super) fn attribute(alias: &str) -> LinkAttribute {
    LinkAttribute::Other(DefaultNla::new(IFLA_IFALIAS, alias.as_bytes().to_vec()))
}
