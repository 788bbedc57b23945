//! IPAM from ranges of addresses, recorded in a directory of this host.
//!
//! The directory is shared with the reference plugin, in both directions: a node is upgraded, or rolled back,
//! with its pods running. So one file per address holds its owner, and the same lock is taken.
//!
//! `range` and `range_set` say which addresses there are, `allocator` says which of them is next; none of
//! the three does I/O. `store` knows the directory and nothing of ranges. Each operation of the protocol
//! joins the two in a file of its own.

mod add;
mod allocator;
mod check;
mod config;
mod del;
mod gc;
mod range;
mod range_set;
mod record;
mod resolv_conf;
mod status;
mod store;

use cni_types::{Attachment, Call, Detachment, Encoded, Error, Plugin};
use std::io::Write;

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct HostLocal;

impl Plugin for HostLocal {
    fn name(&self) -> &'static str {
        "host-local"
    }

    fn add(&self, call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
        add::add(call, attachment)
    }

    fn del(&self, call: &Call, detachment: &Detachment) -> Result<(), Error> {
        del::del(call, detachment)
    }

    fn check(&self, call: &Call, attachment: &Attachment) -> Result<(), Error> {
        check::check(call, attachment)
    }

    fn status(&self, call: &Call) -> Result<(), Error> {
        status::status(call)
    }

    fn gc(&self, call: &Call) -> Result<(), Error> {
        gc::gc(call)
    }
}

/// Tells a person something that is not an error. A closed stderr is no reason to fail, as it is for `eprintln!`.
fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "host-local: {text}");
}
