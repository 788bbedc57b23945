//! GC and STATUS: what may go, what must stay, and what a plugin says of itself (spec section 2,
//! from 1.1.0 on).

mod gc;
mod status;

use crate::suite::case::Case;

pub(super) fn cases() -> Vec<Case> {
    [gc::CASES, status::CASES].concat()
}
