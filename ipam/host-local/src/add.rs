//! ADD: one address from each range set, all of them or none.
//!
//! The lock is held for as long as a few look-ups in the index take, full pool or not. Looking for
//! records whose attachment is over means reading all of them: that is done without the lock (see
//! [`Room`]), and what is found is judged again under it.

use crate::{
    HostLocal,
    allocator::Occupancy,
    config::Config,
    outsiders,
    reservation::{Refusal, Reservation},
    resolv_conf,
    room::Room,
    span::{Span, Spans},
    store::Locked,
};
use cni_types::{AddResult, Attachment, Call, Dns, Encoded, Error, IpConfig};
use std::net::IpAddr;

/// Reserves the addresses and returns them.
pub(crate) fn add(
    plugin: &HostLocal,
    call: &Call,
    attachment: &Attachment,
) -> Result<Encoded, Error> {
    let config = Config::load(call)?;
    let wanted = config.requested(call)?;
    let dns = match &config.resolv_conf {
        Some(path) => resolv_conf::read(path)?,
        None => Dns::default(),
    };
    let store = plugin.store(&config.data_dir, call);
    let mut room = Room::for_sets(&config.range_sets);
    let add = Add {
        plugin,
        call,
        attachment,
        config: &config,
        wanted,
        dns,
    };
    loop {
        let locked = store.create_and_lock(plugin.patience)?;
        let outcome = add.attempt(&locked, &room);
        drop(locked);
        match outcome {
            Ok(encoded) => return Ok(encoded),
            Err(Refusal::Final(e)) => return Err(e),
            Err(Refusal::Full { set, reason }) => {
                call.stop.check()?;
                room.look(plugin, &store, set, &reason)
                    .map_err(|e| within(set, e))?;
            }
        }
    }
}

/// Names the range set that an error is about.
fn within(set: usize, error: Error) -> Error {
    error.context(format_args!("failed to allocate for range {set}"))
}

/// A request, with all that it is about.
struct Add<'a> {
    plugin: &'a HostLocal,
    call: &'a Call,
    attachment: &'a Attachment,
    config: &'a Config,
    /// The particular address that is wanted of each set.
    wanted: Vec<Option<IpAddr>>,
    dns: Dns,
}

impl Add<'_> {
    /// Reserves an address from each set; none at all if one is refused.
    fn attempt(&self, locked: &Locked<'_>, room: &Room<'_>) -> Result<Encoded, Refusal> {
        let sets = &self.config.range_sets;
        outsiders::warn_once(locked, sets)?;
        let now = self.plugin.system.present(locked.folder().path());
        let mut reservation = Reservation::new(locked, self.attachment, now, room)?;
        let mut ips = Vec::with_capacity(sets.len());
        for (index, (set, wanted)) in sets.iter().zip(&self.wanted).enumerate() {
            self.call.stop.check()?;
            let allocation = reservation.reserve_from(set, index, *wanted);
            let allocation = allocation.map_err(|refusal| match refusal {
                Refusal::Final(e) => Refusal::Final(within(index, e)),
                full @ Refusal::Full { .. } => full,
            })?;
            ips.push(IpConfig {
                interface: None,
                address: allocation.address,
                gateway: Some(allocation.gateway),
            });
        }
        let (routes, dns) = (self.config.routes.clone(), self.dns.clone());
        let encoded = AddResult {
            ips,
            routes,
            dns,
            ..AddResult::default()
        }
        .encode(self.call.version)?;
        self.call.stop.check()?;
        reservation.keep()?;
        Ok(encoded)
    }
}

impl Occupancy for Locked<'_> {
    fn first_free(&self, span: Span) -> Result<Option<IpAddr>, Error> {
        self.first_free(span)
    }

    fn count(&self, spans: &Spans) -> Result<u64, Error> {
        Ok(self.count(&[spans])?.0.iter().sum())
    }
}
