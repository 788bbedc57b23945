//! IPAM delegation: addresses, from the plugin that the configuration names.

use crate::rollback::Rollback;
use cni_types::{AddResult, Call, Code, Command, Delegate, Error, KeepAddresses};

/// The IPAM plugin, found.
pub struct Ipam<'a> {
    call: &'a Call,
    kind: &'a str,
    delegate: Delegate<'a>,
}

impl<'a> Ipam<'a> {
    /// Finds the plugin.
    ///
    /// # Errors
    /// Fails if no program has that name.
    pub fn find(call: &'a Call, kind: &'a str) -> Result<Self, Error> {
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
    pub fn request_addresses(self, rollback: &mut Rollback<'a>) -> Result<AddResult, Error> {
        let Self {
            call,
            kind,
            delegate,
        } = self;
        let running = delegate.start_add()?;
        rollback.on_failure_last("freeing addresses", move || delegate.del());
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

/// Has the IPAM plugin, if there is one, free the attachment's addresses.
///
/// # Errors
/// Fails if the plugin cannot be run, and with its own error.
pub fn del(call: &Call, kind: Option<&str>) -> Result<(), Error> {
    kind.map_or(Ok(()), |kind| call.delegate(kind)?.del())
}

/// Has the IPAM plugin, if there is one, check the attachment's addresses.
///
/// # Errors
/// Fails if the plugin cannot be run, and with its own error.
pub fn check(call: &Call, kind: Option<&str>) -> Result<(), Error> {
    kind.map_or(Ok(()), |kind| call.delegate(kind)?.verify(Command::Check))
}

/// Asks the IPAM plugin, if there is one, if an ADD could succeed.
///
/// # Errors
/// Code 7 if the plugin cannot be one, 50 if it cannot be run, and the plugin's own error.
pub fn status(call: &Call, kind: Option<&str>) -> Result<(), Error> {
    let unavailable = |e: Error| match e.code {
        Code::INVALID_CONFIG => e,
        _ => Error {
            code: Code::UNAVAILABLE,
            ..e
        },
    };
    kind.map_or(Ok(()), |kind| {
        let delegate = call.delegate(kind).map_err(unavailable)?;
        delegate.verify(Command::Status)
    })
}

/// Has the IPAM plugin, if there is one, free the addresses of attachments that are not valid any
/// more, but for those that are to be kept.
///
/// # Errors
/// Fails if the plugin cannot be run, and with its own error.
pub fn gc(call: &Call, kind: Option<&str>, keep: KeepAddresses) -> Result<(), Error> {
    kind.map_or(Ok(()), |kind| {
        call.delegate(kind)?.keeping(keep).verify(Command::Gc)
    })
}
