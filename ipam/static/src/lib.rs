//! IPAM without a pool: an attachment gets the addresses that its configuration or its runtime
//! names.
//!
//! The plugin keeps no records, opens no namespace and does not ask the kernel. So ADD and CHECK
//! depend on their input alone, and DEL, STATUS and GC have nothing to do.

mod add;
mod check;
mod config;

pub use config::KEYS;

use cni_types::{Attachment, Call, Detachment, Encoded, Error, Plugin};

/// The plugin's name, as in `type`.
const NAME: &str = "static";

/// The plugin.
#[derive(Clone, Copy, Debug)]
pub struct Static;

impl Plugin for Static {
    fn name(&self) -> &'static str {
        NAME
    }

    fn add(&self, call: &Call, _attachment: &Attachment) -> Result<Encoded, Error> {
        add::add(call)
    }

    /// Succeeds with any configuration: there is nothing to free.
    fn del(&self, _call: &Call, _detachment: &Detachment) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self, call: &Call, attachment: &Attachment) -> Result<(), Error> {
        check::check(call, &attachment.if_name)
    }

    /// Succeeds: no resource can run out. The addresses cannot be validated, because those that a
    /// runtime names come with ADD only.
    fn status(&self, _call: &Call) -> Result<(), Error> {
        Ok(())
    }

    /// Frees nothing, because nothing is recorded. Fails if the list of valid attachments cannot be
    /// read, as GC of every plugin does.
    fn gc(&self, call: &Call) -> Result<(), Error> {
        call.valid_attachments().map(drop)
    }
}
