//! Mishaps on a node: a plugin is killed half-way, its streams are closed, the disk is full. The
//! runtime must be able to clean up with a DEL afterwards.

mod collected;
mod disk;
mod killed;
mod streams;
mod times;

use crate::suite::{Failure, case::Case};
use sandbox::trace::SHELL;
use std::path::Path;

pub(super) fn cases() -> Vec<Case> {
    [
        killed::CASES,
        collected::CASES,
        times::CASES,
        streams::CASES,
        disk::CASES,
    ]
    .concat()
}

fn require_shell() -> Result<(), Failure> {
    if Path::new(SHELL).exists() {
        Ok(())
    } else {
        Err(Failure::skip(format!("there is no {SHELL}")))
    }
}
