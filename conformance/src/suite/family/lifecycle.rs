//! The life of an attachment: what ADD makes, what DEL leaves (spec section 2, "CNI operations").

mod add;
mod del;

use crate::suite::case::Case;

pub(super) fn cases() -> Vec<Case> {
    [add::CASES, del::CASES].concat()
}
