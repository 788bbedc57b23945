//! CHECK: the attachment still holds the addresses that its ADD gave it.

use crate::{
    config::Config,
    range_set::RangeSet,
    record::{Holder, Record, held_by},
    store::Store,
};
use cni_types::{Attachment, Call, Code, Error};
use std::net::IpAddr;

/// Compares the records with the previous result, where there is one. Only looks, so it takes no lock.
pub(crate) fn check(call: &Call, attachment: &Attachment) -> Result<(), Error> {
    let config = Config::load(call)?;
    let holder = Holder::new(&attachment.container_id, &attachment.if_name);
    let records = Store::new(&config.data_dir, &call.network).records()?;
    if held_by(&records, &holder).is_empty() {
        return Err(lost(&holder, "no address is recorded for it"));
    }
    let previous = call.prev_result()?.unwrap_or_default();
    let addresses = previous.ips.iter().map(|ip| ip.address.address());
    Error::join(addresses.filter_map(|address| mismatch(&config.range_sets, &records, &holder, address)))
}

/// What is wrong with an address of the previous result. One that is in no range came from another plugin.
fn mismatch(sets: &[RangeSet], records: &[Record], holder: &Holder, address: IpAddr) -> Option<Error> {
    if !sets.iter().any(|set| set.contains(address)) {
        return None;
    }
    match records.iter().find(|record| record.address == address) {
        Some(record) if record.owner.may_be(holder) => None,
        Some(record) => {
            Some(lost(holder, &format!("{address} is in prevResult, but is recorded for {}", record.owner)))
        }
        None => Some(lost(holder, &format!("{address} is in prevResult, but is not recorded"))),
    }
}

fn lost(holder: &Holder, found: &str) -> Error {
    let id = holder.container_id();
    let msg = format!("host-local: Failed to find address added by container {id}");
    Error::new(Code::CHECK_MISMATCH, msg).with_details(found)
}
