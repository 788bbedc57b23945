//! IPAM delegation: the addresses come from the plugin that the configuration names.

use crate::rollback::Rollback;
use cni_types::{AddResult, Call, Code, Command, Delegate, Error, KeepAddresses};

/// The IPAM plugin, found in `CNI_PATH`.
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

    /// Requests addresses from the IPAM plugin. From here on a failure runs its DEL once the
    /// interface is gone, even if its own ADD failed (spec section 4). So ADD must have checked
    /// before that the attachment does not exist: its addresses would be freed.
    ///
    /// # Errors
    /// Fails if the plugin cannot be run, with the plugin's own error, and if it returned no
    /// address or more than the version can express.
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

/// Has the IPAM plugin, if any, free the attachment's addresses.
///
/// # Errors
/// Fails if the plugin cannot be run, and with its own error.
pub fn del(call: &Call, kind: Option<&str>) -> Result<(), Error> {
    kind.map_or(Ok(()), |kind| call.delegate(kind)?.del())
}

/// Has the IPAM plugin, if any, check the attachment's addresses.
///
/// # Errors
/// Fails if the plugin cannot be run, and with its own error.
pub fn check(call: &Call, kind: Option<&str>) -> Result<(), Error> {
    kind.map_or(Ok(()), |kind| call.delegate(kind)?.verify(Command::Check))
}

/// Has the IPAM plugin, if any, check that an ADD could succeed.
///
/// # Errors
/// Fails with code 7 if the name is invalid, with 50 if the plugin cannot be run, and with the
/// plugin's own error.
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

/// Has the IPAM plugin, if any, free the addresses of invalid attachments, except those in `keep`.
///
/// # Errors
/// Fails if the plugin cannot be run, and with its own error.
pub fn gc(call: &Call, kind: Option<&str>, keep: KeepAddresses) -> Result<(), Error> {
    kind.map_or(Ok(()), |kind| {
        call.delegate(kind)?.keeping(keep).verify(Command::Gc)
    })
}
