//! ADD: one address from each range set, all of them or none.
//!
//! The lock is held for a few look-ups in the index, full pool or not. The search for records whose
//! attachment is over means reading all of them: that is done without the lock (see
//! [`ReclaimSearch`]), and the records found are checked again under it.

use super::{
    out_of_range,
    transaction::{Refusal, Transaction},
};
use crate::{
    config::{Config, resolv_conf},
    plugin::HostLocal,
    reclaim::ReclaimSearch,
    store::Locked,
};
use cni_types::{AddResult, Attachment, Call, Dns, Encoded, Error, IpConfig};
use std::net::IpAddr;

/// Reserves the addresses and returns them.
///
/// # Errors
/// Fails if a set has no address for the attachment (103), the configuration or the request makes
/// no sense (4, 6, 7), or the records cannot be read or written (5, 11). Then nothing is reserved.
pub(super) fn add(
    plugin: &HostLocal,
    call: &Call,
    attachment: &Attachment,
) -> Result<Encoded, Error> {
    let config = Config::load(call)?;
    let requested = config.requested(call)?;
    let dns = match &config.resolv_conf {
        Some(path) => resolv_conf::read(path)?,
        None => Dns::default(),
    };
    let store = plugin.store(&config.data_dir, call);
    let mut search = ReclaimSearch::in_sets(&config.range_sets);
    let add = Add {
        plugin,
        call,
        attachment,
        config: &config,
        requested,
        dns,
    };
    loop {
        let locked = store.create_and_lock(plugin.lock_timeout)?;
        let outcome = add.attempt(&locked, &search);
        drop(locked);
        match outcome {
            Ok(encoded) => return Ok(encoded),
            Err(Refusal::Final(e)) => return Err(e),
            Err(Refusal::Full { set, reason }) => {
                call.stop.check()?;
                search
                    .scan(&plugin.system, &store, set, &reason)
                    .map_err(|e| of_set(set, e))?;
            }
        }
    }
}

/// Prefixes an error with the range set that it is about.
fn of_set(set: usize, error: Error) -> Error {
    error.context(format_args!("failed to allocate for range {set}"))
}

/// The request.
struct Add<'a> {
    plugin: &'a HostLocal,
    call: &'a Call,
    attachment: &'a Attachment,
    config: &'a Config,
    /// The particular address that is requested of each set.
    requested: Vec<Option<IpAddr>>,
    dns: Dns,
}

impl Add<'_> {
    /// Reserves an address from each set; none at all if one is refused.
    fn attempt(&self, locked: &Locked<'_>, search: &ReclaimSearch<'_>) -> Result<Encoded, Refusal> {
        let sets = &self.config.range_sets;
        out_of_range::warn_once(locked, sets)?;
        let now = self.plugin.system.current_boot(locked.folder().path());
        let mut transaction =
            Transaction::begin(locked, &self.call.network, self.attachment, now, search)?;
        let mut ips = Vec::with_capacity(sets.len());
        for (index, (set, requested)) in sets.iter().zip(&self.requested).enumerate() {
            self.call.stop.check()?;
            let allocation = transaction.reserve_from(set, index, *requested);
            let allocation = allocation.map_err(|refusal| match refusal {
                Refusal::Final(e) => Refusal::Final(of_set(index, e)),
                full @ Refusal::Full { .. } => full,
            })?;
            ips.push(IpConfig {
                interface: None,
                address: allocation.address,
                gateway: Some(allocation.gateway),
            });
        }
        let encoded = AddResult {
            ips,
            routes: self.config.routes.clone(),
            dns: self.dns.clone(),
            ..AddResult::default()
        }
        .encode(self.call.version)?;
        self.call.stop.check()?;
        transaction.commit()?;
        Ok(encoded)
    }
}
