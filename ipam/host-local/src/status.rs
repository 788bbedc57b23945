//! STATUS: an ADD could succeed. Only looks; runtimes ask every few seconds.

use crate::{allocator, config::Config, record::Owner, store::Store};
use cni_types::{Call, Code, Error};
use std::{collections::HashSet, net::IpAddr};

/// Fails with code 50 where the data directory cannot be used, or a range set has no address left.
pub(crate) fn status(call: &Call) -> Result<(), Error> {
    let config = Config::load(call)?;
    let store = Store::new(&config.data_dir, &call.network);
    store.require_usable()?;
    let named = store.addresses()?.into_iter().map(|(address, _)| address).collect();
    if require_free(&config, &named).is_ok() {
        return Ok(());
    }
    // Only now a look inside is worth its time: what belongs to nobody is free.
    let owned = store.records()?.into_iter().filter(|record| record.owner != Owner::Nobody);
    require_free(&config, &owned.map(|record| record.address).collect())
}

fn require_free(config: &Config, taken: &HashSet<IpAddr>) -> Result<(), Error> {
    let full = config.range_sets.iter().filter_map(|set| allocator::require_free(set, taken).err());
    Error::join(full.map(|e| Error::new(Code::UNAVAILABLE, e.to_string()).with_details(e.remedy())))
}
