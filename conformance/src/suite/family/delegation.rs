//! Delegation: what a plugin's IPAM gets, and what becomes of its answers (spec section 4). A
//! double stands in for it.

mod answers;
mod failures;
mod kinds;
mod loops;
mod requests;
mod scene;
mod undone;

use crate::suite::case::Case;

pub(super) fn cases() -> Vec<Case> {
    [
        requests::CASES,
        answers::CASES,
        failures::CASES,
        kinds::CASES,
        loops::CASES,
        undone::CASES,
    ]
    .concat()
}
