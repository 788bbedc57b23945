//! The operations of the protocol, one file for each that does something.

mod add;
mod check;
mod del;
mod gc;
mod inspect;
mod out_of_range;
mod probe;
mod status;
mod transaction;

pub use inspect::{Inspection, Pool, Reservation};

use crate::{log, plugin::HostLocal};
use cni_types::{Attachment, Call, Detachment, Encoded, Error, Plugin};

impl Plugin for HostLocal {
    fn name(&self) -> &'static str {
        log::NAME
    }

    fn add(&self, call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
        add::add(self, call, attachment)
    }

    fn del(&self, call: &Call, detachment: &Detachment) -> Result<(), Error> {
        del::del(self, call, detachment)
    }

    fn check(&self, call: &Call, attachment: &Attachment) -> Result<(), Error> {
        check::check(self, call, attachment)
    }

    fn status(&self, call: &Call) -> Result<(), Error> {
        status::status(self, call)
    }

    fn gc(&self, call: &Call) -> Result<(), Error> {
        gc::gc(self, call)
    }
}
