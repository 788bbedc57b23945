//! Attributes in the kernel's answers, borrowed from them.

use crate::netlink::c_string;
use netlink_packet_core::NlasIterator;

// The kinds of attributes of a rule, include/uapi/linux/netfilter/nf_tables.h.
pub(super) const NFTA_RULE_CHAIN: u16 = 2;
pub(super) const NFTA_RULE_HANDLE: u16 = 3;
pub(super) const NFTA_RULE_EXPRESSIONS: u16 = 4;
pub(super) const NFTA_RULE_USERDATA: u16 = 7;
pub(super) const NFTA_LIST_ELEM: u16 = 1;
pub(super) const NFTA_EXPR_NAME: u16 = 1;
pub(super) const NFTA_EXPR_DATA: u16 = 2;
pub(super) const NFTA_PAYLOAD_OFFSET: u16 = 3;
pub(super) const NFTA_CMP_OP: u16 = 2;
pub(super) const NFTA_CMP_DATA: u16 = 3;
pub(super) const NFT_CMP_EQ: u32 = 0;
pub(super) const NFTA_IMMEDIATE_DATA: u16 = 2;
pub(super) const NFTA_DATA_VALUE: u16 = 1;
pub(super) const NFTA_DATA_VERDICT: u16 = 2;
pub(super) const NFTA_VERDICT_CODE: u16 = 1;
pub(super) const NFTA_VERDICT_CHAIN: u16 = 2;

/// `struct nfgenmsg` of include/uapi/linux/netfilter/nfnetlink.h, in front of the attributes.
const NFGENMSG_LEN: usize = 4;
/// `struct nlattr` of include/uapi/linux/netlink.h
const NLA_HEADER_LEN: usize = 4;

/// The attributes of an answer.
pub(super) fn of_answer(payload: &[u8]) -> &[u8] {
    payload.get(NFGENMSG_LEN..).unwrap_or_default()
}

/// Kinds and values, in order.
pub(super) fn each(attributes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    NlasIterator::new(attributes)
        .flatten()
        .filter_map(|attribute| {
            let (kind, length) = (attribute.kind(), usize::from(attribute.length()));
            Some((kind, attribute.into_inner().get(NLA_HEADER_LEN..length)?))
        })
}

/// The value of the first of a kind.
pub(super) fn value(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    each(attributes)
        .find(|(found, _)| *found == kind)
        .map(|(_, value)| value)
}

/// A value that is a number.
pub(super) fn number(attributes: &[u8], kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(
        value(attributes, kind)?.try_into().ok()?,
    ))
}

/// A value that is a text; empty where there is none.
pub(super) fn text(attributes: &[u8], kind: u16) -> String {
    value(attributes, kind).map(c_string).unwrap_or_default()
}
