//! Addresses, from the IPAM plugin.

use crate::undo::Undo;
use cni_types::{AddResult, Call, Code, Error};

/// Asks the IPAM plugin for addresses. From here on a failure runs its DEL, also where its own ADD failed (spec section
/// 4). So ADD must have made sure before that no such attachment lives: its addresses would be freed.
///
/// # Errors
/// The IPAM plugin's own; or that it gave no address, or more than the version can hold.
pub(crate) fn add<'a>(call: &'a Call, kind: &str, undo: &mut Undo<'a>) -> Result<AddResult, Error> {
    let delegate = call.delegate(kind)?;
    let again = call.delegate(kind)?;
    undo.on_failure("freeing addresses", move || again.del());
    let result = delegate.add()?;
    if result.ips.is_empty() {
        return Err(Error::new(Code::DELEGATE, "IPAM plugin returned missing IP config")
            .with_details(format!("the IPAM plugin {kind:?} succeeded without an address")));
    }
    let addresses = result.ips.iter().map(|ip| ip.address.address());
    AddResult::require_one_address_per_family(call.version, addresses)?;
    Ok(result)
}
