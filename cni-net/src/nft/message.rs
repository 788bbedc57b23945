//! Messages of nfnetlink: a header and the attributes behind it.

use super::attribute::Attributes;
use netlink_packet_core::NetlinkSerializable;

// include/uapi/linux/netfilter/nfnetlink.h
const NFNL_SUBSYS_NFTABLES: u8 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFNL_BATCH_GENID: u16 = 1;

/// The length of `struct nfgenmsg`.
pub(super) const HEADER_LEN: usize = 4;

/// The message types of nf_tables, `enum nf_tables_msg_types` of
/// include/uapi/linux/netfilter/nf_tables.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    GetChain = 4,
    DeleteChain = 5,
    NewRule = 6,
    GetRule = 7,
    DeleteRule = 8,
    NewSet = 9,
    GetSet = 10,
    DeleteSet = 11,
    NewElements = 12,
    GetElements = 13,
    DeleteElements = 14,
    GetGeneration = 16,
}

/// A message: `struct nfgenmsg` and attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    kind: u16,
    family: u8,
    resource: u16,
    attributes: Vec<u8>,
}

impl Message {
    /// Creates a message to nf_tables for an address family (0 for all families).
    pub(super) fn new(kind: Kind, family: u8, attributes: Attributes) -> Self {
        Self {
            kind: u16::from_be_bytes([NFNL_SUBSYS_NFTABLES, kind as u8]),
            family,
            resource: 0,
            attributes: attributes.into_bytes(),
        }
    }

    /// Begins a transaction. The kernel refuses it (`ERESTART`) if `generation` is given and is no
    /// longer that of the ruleset.
    pub(super) fn batch_begin(generation: Option<u32>) -> Self {
        let attributes = Attributes::new().some_u32(NFNL_BATCH_GENID, generation);
        Self::batch(NFNL_MSG_BATCH_BEGIN, attributes)
    }

    /// Ends a transaction.
    pub(super) fn batch_end() -> Self {
        Self::batch(NFNL_MSG_BATCH_END, Attributes::new())
    }

    fn batch(kind: u16, attributes: Attributes) -> Self {
        Self {
            kind,
            family: 0,
            resource: u16::from(NFNL_SUBSYS_NFTABLES),
            attributes: attributes.into_bytes(),
        }
    }

    /// Returns the header and the attributes as they are sent.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let [high, low] = self.resource.to_be_bytes();
        [&[self.family, 0, high, low], self.attributes.as_slice()].concat()
    }
}

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        HEADER_LEN + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.copy_from_slice(&self.to_bytes());
    }
}
