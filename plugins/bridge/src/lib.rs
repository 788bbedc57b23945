//! Connects a container to a bridge of the host, by a veth pair.
//!
//! One module for each operation; [`config`] parses the configuration. What the plugin shares with
//! others is in `cni-attachment`.

mod add;
mod chain;
mod check;
pub mod config;
mod del;
mod foreign;
mod forwarding;
#[cfg(feature = "fuzzing")]
pub mod fuzz;
mod gateway;
mod gc;
mod host;
mod mac;
mod status;
mod vlan;

pub use config::KEYS;

use cni_types::{Attachment, Call, Detachment, Encoded, Error, Plugin};

/// The plugin's name.
const NAME: &str = "bridge";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Bridge;

impl Plugin for Bridge {
    fn name(&self) -> &'static str {
        NAME
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
