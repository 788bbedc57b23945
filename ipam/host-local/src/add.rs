//! ADD: one address from each range set, all of them or none.

use crate::{
    allocator::{self, Allocation, Taken, Wanted},
    config::Config,
    note,
    range_set::RangeSet,
    record::{Holder, Owner, Record},
    resolv_conf,
    store::{Locked, Reserved, Store},
};
use cni_types::{AddResult, Attachment, Call, Code, Dns, Encoded, Error, IpConfig};
use std::net::IpAddr;

/// Reserves the addresses and answers with them.
pub(crate) fn add(call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
    let config = Config::load(call)?;
    let requested = config.requested(call)?;
    let dns = match &config.resolv_conf {
        Some(path) => resolv_conf::read(path)?,
        None => Dns::default(),
    };
    let store = Store::new(&config.data_dir, &call.network);
    let locked = store.create_and_lock(&call.stop)?;
    let mut reservation =
        Reservation::new(&locked, Holder::new(&attachment.container_id, &attachment.if_name))?;
    let mut ips = Vec::with_capacity(config.range_sets.len());
    for (index, (set, wanted)) in config.range_sets.iter().zip(requested).enumerate() {
        let allocation = reservation.reserve_from(set, index, wanted);
        let allocation =
            allocation.map_err(|e| e.context(format_args!("failed to allocate for range {index}")))?;
        ips.push(IpConfig {
            interface: None,
            address: allocation.address,
            gateway: Some(allocation.gateway),
        });
    }
    let result = AddResult { ips, routes: config.routes, dns, ..AddResult::default() };
    let encoded = result.encode(call.version)?;
    call.stop.check()?;
    reservation.keep();
    Ok(encoded)
}

/// The addresses reserved so far. They are freed again unless [`Reservation::keep`] is reached, also by a panic.
struct Reservation<'a> {
    locked: &'a Locked<'a>,
    holder: Holder,
    taken: Taken,
    abandoned: Vec<Record>,
    reserved: Vec<IpAddr>,
}

impl<'a> Reservation<'a> {
    fn new(locked: &'a Locked<'a>, holder: Holder) -> Result<Self, Error> {
        let records = locked.records()?;
        let (abandoned, owned): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|r| r.owner == Owner::Nobody);
        let own = owned.iter().filter(|r| r.owner.may_be(&holder)).map(|r| r.address).collect();
        let taken = Taken { all: owned.iter().map(|r| r.address).collect(), own };
        Ok(Self { locked, holder, taken, abandoned, reserved: Vec::new() })
    }

    /// Reserves an address from the set with this index.
    fn reserve_from(
        &mut self,
        set: &RangeSet,
        index: usize,
        requested: Option<IpAddr>,
    ) -> Result<Allocation, Error> {
        let last = self.locked.last_reserved(index);
        let wanted = requested.map_or(Wanted::Next { after: last.address() }, Wanted::Exactly);
        loop {
            let chosen = allocator::choose(set, wanted, &self.taken, self.holder.container_id())
                .map_err(|e| Error::new(Code::ADDRESS_UNAVAILABLE, e.to_string()).with_details(e.remedy()))?;
            let address = chosen.address.address();
            self.take_over(address)?;
            match self.locked.reserve(address, &self.holder)? {
                Reserved::Done => {
                    self.reserved.push(address);
                    last.write(address);
                    return Ok(chosen);
                }
                // Somebody did not wait for the lock, or the name is taken by something that is no record.
                Reserved::Taken => self.taken.all.insert(address),
            };
        }
    }

    /// Removes the record of `address` if it belongs to nobody.
    fn take_over(&self, address: IpAddr) -> Result<(), Error> {
        for record in self.abandoned.iter().filter(|record| record.address == address) {
            self.locked.release(record)?;
            note(&format!("took over {address}, whose record has no content"));
        }
        Ok(())
    }

    /// Makes the reservation final.
    fn keep(mut self) {
        self.reserved.clear();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        for address in self.reserved.drain(..) {
            if let Err(e) = self.locked.unreserve(address) {
                note(&format!("roll-back: {e}"));
            }
        }
    }
}
