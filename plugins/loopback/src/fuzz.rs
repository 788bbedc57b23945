//! An entry function for the fuzzer: what the plugin makes of a request before it asks the kernel.

use crate::addresses_of_lo;
use cni_types::{Attachment, Call, Detachment, Encoded, Error, Plugin};

/// The plugin without its kernel.
struct BeforeTheKernel;

impl Plugin for BeforeTheKernel {
    fn name(&self) -> &'static str {
        "loopback"
    }

    fn add(&self, call: &Call, _attachment: &Attachment) -> Result<Encoded, Error> {
        call.prev_result()?.unwrap_or_default().encode(call.version)
    }

    fn del(&self, _call: &Call, _detachment: &Detachment) -> Result<(), Error> {
        Ok(())
    }

    fn check(&self, call: &Call, _attachment: &Attachment) -> Result<(), Error> {
        let _ = addresses_of_lo(&call.prev_result()?.unwrap_or_default()).count();
        Ok(())
    }

    fn status(&self, _call: &Call) -> Result<(), Error> {
        Ok(())
    }

    fn gc(&self, call: &Call) -> Result<(), Error> {
        call.valid_attachments().map(drop)
    }
}

/// Answers a request (see [`cni_types::fuzz::request`]).
///
/// # Panics
/// Panics if the specification does not allow the answer.
pub fn request(data: &[u8]) {
    let (environment, stdin) = cni_types::fuzz::request(data);
    let _ = cni_types::fuzz::serve(&BeforeTheKernel, environment, stdin);
}
