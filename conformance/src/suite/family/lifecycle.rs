//! The life of an attachment: what ADD makes, what DEL leaves (spec section 2, "CNI operations").

mod add;
mod check;
mod del;
mod kernel;
mod missing;
mod repeat;
mod result;

use crate::suite::case::Case;

pub(super) fn cases() -> Vec<Case> {
    [add::CASES, result::CASES, repeat::CASES, check::CASES, del::CASES, missing::CASES].concat()
}
