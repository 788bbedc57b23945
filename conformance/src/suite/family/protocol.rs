//! The protocol: environment and stdin in, one document and an exit status out (spec sections 2 and
//! 5).

mod answers;
mod codes;
mod documents;
mod environment;
mod input;
mod refusals;

use crate::suite::case::Case;

pub(super) fn cases() -> Vec<Case> {
    [
        answers::CASES,
        documents::CASES,
        environment::CASES,
        input::CASES,
        refusals::CASES,
        codes::CASES,
    ]
    .concat()
}
