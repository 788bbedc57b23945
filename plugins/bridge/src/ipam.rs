//! Addresses, from the IPAM plugin.

use crate::undo::Undo;
use cni_types::{AddResult, Call, Code, Delegate, Error};

/// The IPAM plugin, found.
pub(crate) struct Ipam<'a> {
    call: &'a Call,
    kind: &'a str,
    delegate: Delegate<'a>,
}

impl<'a> Ipam<'a> {
    /// Finds the plugin.
    ///
    /// # Errors
    /// Fails if there is none of that name.
    pub(crate) fn find(call: &'a Call, kind: &'a str) -> Result<Self, Error> {
        Ok(Self {
            call,
            kind,
            delegate: call.delegate(kind)?,
        })
    }

    /// Asks the IPAM plugin for addresses. From here on a failure runs its DEL, also if its own ADD
    /// failed (spec section 4), once the interface is gone. So ADD must have made sure before that
    /// no such attachment lives: its addresses would be freed.
    ///
    /// # Errors
    /// Fails if the plugin cannot be run, with the plugin's own error, and if it gave no address or
    /// more than the version can hold.
    pub(crate) fn ask(self, undo: &mut Undo<'a>) -> Result<AddResult, Error> {
        let Self {
            call,
            kind,
            delegate,
        } = self;
        let running = delegate.start_add()?;
        undo.on_failure_last("freeing addresses", move || delegate.del());
        let result = running.result()?;
        if result.ips.is_empty() {
            return Err(
                Error::new(Code::DELEGATE, "IPAM plugin returned missing IP config").with_details(
                    format!("the IPAM plugin {kind:?} succeeded without an address"),
                ),
            );
        }
        let addresses = result.ips.iter().map(|ip| ip.address.address());
        AddResult::require_one_address_per_family(call.version, addresses)?;
        Ok(result)
    }
}
