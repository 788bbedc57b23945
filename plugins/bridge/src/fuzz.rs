//! An entry function for the fuzzer: all that the plugin does with a request before it asks the
//! kernel or runs another program.

use crate::config::{CleanupConfig, Config};
use cni_attachment::{
    mark::{self, Role},
    names::host_names,
    netfilter::mac_check,
    prev_result,
};
use cni_types::{AddResult, Attachment, Call, Detachment, Encoded, Error, Plugin};

/// The plugin without its requests to the kernel and without its delegate.
struct BeforeTheKernel;

impl Plugin for BeforeTheKernel {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn add(&self, call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
        let config = Config::of(call)?;
        let id = attachment.id(&call.network);
        let _ = (mark::alias(Role::Pair, id), host_names(id));
        mac_check::require_nameable(id)?;
        find_delegate(call, config.ipam())?;
        prev_result::merged(call.prev_result()?, AddResult::default()).encode(call.version)
    }

    fn del(&self, call: &Call, _detachment: &Detachment) -> Result<(), Error> {
        let _ = call.prev_result();
        find_delegate(call, CleanupConfig::of(call)?.ipam.as_deref())
    }

    fn check(&self, call: &Call, _attachment: &Attachment) -> Result<(), Error> {
        Config::of(call)?;
        call.prev_result().map(drop)
    }

    fn status(&self, call: &Call) -> Result<(), Error> {
        Config::of(call).map(drop)
    }

    fn gc(&self, call: &Call) -> Result<(), Error> {
        call.valid_attachments()?;
        find_delegate(call, CleanupConfig::of(call)?.ipam.as_deref())
    }
}

/// Looks the delegate up, as a run of it begins. A delegate outside `CNI_PATH` must not be found
/// (CVE-2021-20206).
fn find_delegate(call: &Call, kind: Option<&str>) -> Result<(), Error> {
    let Some(kind) = kind else { return Ok(()) };
    call.delegate(kind)?;
    assert!(
        !kind.contains('/') && kind != "..",
        "a delegate called {kind:?} is found"
    );
    Ok(())
}

/// Answers a request (see [`cni_types::fuzz::request`]).
///
/// # Panics
/// If the specification does not allow the answer.
pub fn request(data: &[u8]) {
    let (environment, stdin) = cni_types::fuzz::request(data);
    let _ = cni_types::fuzz::serve(&BeforeTheKernel, environment, stdin);
}
