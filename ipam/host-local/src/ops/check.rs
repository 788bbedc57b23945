//! CHECK: the attachment still holds the addresses that its ADD gave it.

use crate::{
    config::Config,
    plugin::HostLocal,
    store::{ContainerHash, Folder, Owner, SearchResult, query_unlocked},
};
use cni_types::{Attachment, AttachmentId, Call, Code, Error};
use std::net::IpAddr;

/// Compares the records with the previous result, if there is one. Reads only, so it waits for no
/// lock.
///
/// # Errors
/// Code 100 with every address of the previous result that is not recorded for the attachment, or
/// if no address is; code 5 if the records cannot be read.
pub(super) fn check(plugin: &HostLocal, call: &Call, attachment: &Attachment) -> Result<(), Error> {
    let config = Config::load(call)?;
    let id = attachment.id(&call.network);
    let previous = call.prev_result()?.unwrap_or_default();
    let addresses = previous.ips.iter().map(|ip| ip.address.address());
    // An address that is in no range came from another plugin.
    let ours =
        addresses.filter(|address| config.range_sets.iter().any(|set| set.contains(*address)));
    let nothing = || lost(id, "no address is recorded for it");
    let folder = plugin
        .store(&config.data_dir, call)
        .open()?
        .ok_or_else(nothing)?;
    let outcomes: Vec<Option<Error>> = ours
        .map(|address| mismatch(&folder, id, address))
        .collect::<Result<_, _>>()?;
    if !outcomes.iter().any(Option::is_none) && !holds_any(&folder, id)? {
        return Err(nothing());
    }
    Error::join(outcomes.into_iter().flatten().map(Err))
}

/// The fault of an address of the previous result; `None` if it is recorded for the attachment.
fn mismatch(
    folder: &Folder<'_>,
    attachment: AttachmentId<'_>,
    address: IpAddr,
) -> Result<Option<Error>, Error> {
    let owner = folder.record(address)?.map(|file| file.record.owner);
    let found = match owner {
        Some(owner) if owner.may_be(attachment) => return Ok(None),
        None | Some(Owner::Nobody) => format!("{address} is in prevResult, but is not recorded"),
        Some(owner) => format!("{address} is in prevResult, but is recorded for {owner}"),
    };
    Ok(Some(lost(attachment, &found)))
}

/// Returns true if any record is the attachment's. Before it returns false it reads all of them,
/// and fails if one cannot be read: a false alarm costs a pod.
fn holds_any(folder: &Folder<'_>, attachment: AttachmentId<'_>) -> Result<bool, Error> {
    let id = ContainerHash::of(attachment.container_id);
    for address in query_unlocked(folder, |index| index.addresses_of(id))? {
        if folder
            .record(address)?
            .is_some_and(|file| file.record.owner.may_be(attachment))
        {
            return Ok(true);
        }
    }
    let SearchResult { found, unreadable } =
        folder.find(&|record| record.owner.may_be(attachment))?;
    match unreadable.into_error().filter(|_| found.is_empty()) {
        Some(error) => Err(error),
        None => Ok(!found.is_empty()),
    }
}

fn lost(attachment: AttachmentId<'_>, found: &str) -> Error {
    let id = attachment.container_id;
    let msg = format!("host-local: Failed to find address added by container {id}");
    Error::new(Code::CHECK_MISMATCH, msg).with_details(found)
}
