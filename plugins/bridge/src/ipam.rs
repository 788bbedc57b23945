//! Addresses, from the IPAM plugin. It is a process of its own, so other things are done while it runs.

use crate::undo::Undo;
use cni_types::{AddResult, Call, Code, Error, RunningAdd};

/// The addresses of an attachment, known already or still in the making.
pub(crate) enum Addresses<'a> {
    Known(AddResult),
    Awaited { call: &'a Call, kind: &'a str, running: RunningAdd<'a> },
}

impl<'a> Addresses<'a> {
    /// Without an IPAM plugin there are none.
    pub(crate) fn none() -> Self {
        Self::Known(AddResult::default())
    }

    /// Asks the IPAM plugin for addresses. From here on a failure runs its DEL, also where its own ADD failed (spec section
    /// 4). So ADD must have made sure before that no such attachment lives: its addresses would be freed.
    ///
    /// # Errors
    /// Where there is no such plugin, or it cannot be run.
    pub(crate) fn ask(call: &'a Call, kind: &'a str, undo: &mut Undo<'a>) -> Result<Self, Error> {
        let delegate = call.delegate(kind)?;
        let running = delegate.start_add()?;
        undo.on_failure("freeing addresses", move || delegate.del());
        Ok(Self::Awaited { call, kind, running })
    }

    /// Waits until they are known.
    ///
    /// # Errors
    /// The IPAM plugin's own; or that it gave no address, or more than the version can hold.
    pub(crate) fn wait(self) -> Result<AddResult, Error> {
        let (call, kind, running) = match self {
            Self::Known(result) => return Ok(result),
            Self::Awaited { call, kind, running } => (call, kind, running),
        };
        let result = running.result()?;
        if result.ips.is_empty() {
            return Err(Error::new(Code::DELEGATE, "IPAM plugin returned missing IP config")
                .with_details(format!("the IPAM plugin {kind:?} succeeded without an address")));
        }
        let addresses = result.ips.iter().map(|ip| ip.address.address());
        AddResult::require_one_address_per_family(call.version, addresses)?;
        Ok(result)
    }
}
