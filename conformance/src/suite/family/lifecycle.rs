//! The life of an attachment: what ADD makes, what DEL leaves (spec section 2, "CNI operations").

mod add;
mod check;
mod del;
mod kernel;
mod missing;
mod repeat;
mod result;

use crate::suite::case::{Case, Clause};

/// The clause that cases of several modules rest on.
const NAME_IS_TAKEN: Clause = Clause::new(
    "2 ADD",
    "if an interface of the requested name exists in the container, the plugin returns an \
     error",
);

pub(super) fn cases() -> Vec<Case> {
    [
        add::CASES,
        result::CASES,
        repeat::CASES,
        check::CASES,
        del::CASES,
        missing::CASES,
    ]
    .concat()
}
