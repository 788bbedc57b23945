//! Delegation: what a plugin's IPAM gets, and what becomes of its answers (spec section 4). A double stands in for it.

mod requests;

use crate::suite::case::Case;

pub(super) fn cases() -> Vec<Case> {
    requests::CASES.to_vec()
}
