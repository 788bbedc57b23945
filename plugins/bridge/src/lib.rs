//! Connects a container to a bridge of the host, by a veth pair.
//!
//! One module for each operation, `config` for what may be asked, `names` for the names that an
//! attachment gives its traces on the host, `undo` for taking back a failed ADD.

mod add;
mod chain;
mod check;
pub mod config;
mod container;
mod del;
mod foreign;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod gateway;
mod gc;
mod host;
mod in_use;
mod ipam;
mod mac;
mod macspoof;
mod mark;
mod masquerade;
mod names;
mod neighbours;
mod pair;
mod parameters;
mod stale;
mod status;
mod undo;
mod vlan;

pub use config::KEYS;

use cni_types::{Attachment, Call, Detachment, Encoded, Error, Plugin};

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Bridge;

impl Plugin for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
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
