//! ADD: one address from each range set, all of them or none.

use crate::{
    HostLocal,
    allocator::{self, Allocation, NoAddress, Occupancy, Wanted},
    config::Config,
    ledger::Origin,
    netns, note, outsiders,
    range_set::RangeSet,
    reclaim::{Fate, Holding, Survey, reclaim},
    record::Holder,
    resolv_conf,
    span::Span,
    store::{Found, Locked, Reserved},
    system::Boot,
    table::hash,
};
use cni_types::{AddResult, Attachment, Call, Code, Dns, Encoded, Error, IpConfig};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// The most addresses that are reclaimed at once: one of this many of the pool. To look for them takes a look at every
/// record, so a large pool should not do that for each.
const RECLAIMED_SHARE: u128 = 256;

/// Reserves the addresses and answers with them.
pub(crate) fn add(plugin: &HostLocal, call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
    let config = Config::load(call)?;
    let requested = config.requested(call)?;
    let dns = match &config.resolv_conf {
        Some(path) => resolv_conf::read(path)?,
        None => Dns::default(),
    };
    let store = plugin.store(&config.data_dir, call);
    let locked = store.create_and_lock(plugin.patience)?;
    outsiders::warn_once(&locked, &config.range_sets)?;
    let mut reservation = Reservation::new(&locked, attachment, plugin.system.boot())?;
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
    reservation.keep()?;
    Ok(encoded)
}

impl Occupancy for Locked<'_> {
    fn first_free(&self, span: Span) -> Result<Option<IpAddr>, Error> {
        self.first_free(span)
    }

    fn count(&self, spans: &[Span]) -> Result<u64, Error> {
        Ok(self.count(&[spans])?.0.iter().sum())
    }
}

/// A record that the attachment held, but its sandbox is over.
struct Earlier {
    found: Found,
    fate: Fate,
}

/// The addresses reserved so far. They are freed again unless [`Reservation::keep`] is reached, also by a panic.
struct Reservation<'a> {
    locked: &'a Locked<'a>,
    holder: Holder,
    now: Option<Boot>,
    origin: Option<Origin>,
    /// What the attachment holds already, and may not get twice.
    own: Vec<Holding>,
    /// What it held in an earlier boot, or for a namespace that is gone: it gets the same again.
    earlier: Vec<Earlier>,
    kept: Vec<Earlier>,
    reserved: Vec<IpAddr>,
    /// Whether the index was made anew, so that it certainly tells the truth.
    is_fresh: bool,
}

impl<'a> Reservation<'a> {
    fn new(locked: &'a Locked<'a>, attachment: &Attachment, now: Option<Boot>) -> Result<Self, Error> {
        let holder = Holder::new(&attachment.container_id, &attachment.if_name);
        let mut origins = locked.folder().origins();
        let (mut own, mut earlier) = (Vec::new(), Vec::new());
        // One that cannot be read is a reason for its DEL to fail, and not for this ADD.
        for found in locked.records_of(&holder)?.found {
            let fate = Fate::of(origins.of(found.record.address, &found.meta).as_ref(), now);
            match fate.is_over() {
                true => earlier.push(Earlier { found, fate }),
                false => own.push(Holding::of(locked.folder(), found, now)),
            }
        }
        let origin = now.map(|boot| Origin { boot, netns: netns::identify(attachment.netns.as_path()) });
        let (kept, reserved) = (Vec::new(), Vec::new());
        Ok(Self { locked, holder, now, origin, own, earlier, kept, reserved, is_fresh: false })
    }

    /// Reserves an address from the set with this index.
    fn reserve_from(
        &mut self,
        set: &RangeSet,
        index: usize,
        requested: Option<IpAddr>,
    ) -> Result<Allocation, Error> {
        if let Some(allocation) = self.reuse(set, requested)? {
            return Ok(allocation);
        }
        let last = self.locked.last_reserved(index);
        let wanted = requested.map_or(Wanted::Next { after: last.address() }, Wanted::Exactly);
        let own: Vec<IpAddr> = self.own.iter().map(|holding| holding.record.address).collect();
        loop {
            let id = self.holder.container_id();
            let chosen = match allocator::choose(set, wanted, self.locked, &own, id)? {
                Ok(chosen) => chosen,
                Err(refusal) => {
                    self.make_room(set, &refusal)?;
                    continue;
                }
            };
            let address = chosen.address.address();
            match self.locked.reserve(address, &self.holder, self.origin.as_ref())? {
                Reserved::Done => {
                    self.reserved.push(address);
                    last.write(address);
                    return Ok(chosen);
                }
                // Somebody did not wait for the lock, or the name is taken by something that belongs to nobody.
                Reserved::Taken => self.take_over(address)?,
            }
        }
    }

    /// The address of this set that the attachment had before, unless it can have it no more.
    fn reuse(&mut self, set: &RangeSet, requested: Option<IpAddr>) -> Result<Option<Allocation>, Error> {
        let is_in_set = |earlier: &Earlier| set.contains(earlier.found.record.address);
        let Some(index) = self.earlier.iter().position(is_in_set) else { return Ok(None) };
        let Earlier { found, fate } = self.earlier.swap_remove(index);
        let address = found.record.address;
        if !set.is_allocatable(address) || requested.is_some_and(|wanted| wanted != address) {
            reclaim(self.locked, &Holding::of(self.locked.folder(), found, self.now))?;
            return Ok(None);
        }
        let why = fate.as_text();
        note(&format!("{} gets {address} back, which it held: {why}", found.record.owner));
        self.kept.push(Earlier { found, fate });
        Ok(allocator::allocation(set, address))
    }

    /// Removes the record of `address` if it belongs to nobody.
    fn take_over(&self, address: IpAddr) -> Result<(), Error> {
        // One that cannot be read is somebody's.
        let found = self.locked.folder().record(address).ok().flatten();
        if let Some(found) = found.filter(|found| found.record.is_nobodys()) {
            self.locked.release(&found.record)?;
            note(&format!("took over {address}, whose record has no content"));
        }
        Ok(())
    }

    /// Frees what can be freed for the sake of a refused request.
    ///
    /// # Errors
    /// The refusal, explained, where nothing can.
    fn make_room(&mut self, set: &RangeSet, refusal: &NoAddress) -> Result<(), Error> {
        if let NoAddress::Exhausted { .. } = refusal
            && let Some(rest) = self.locked.rest_of(hash_of(set))?
        {
            return Err(explained(refusal, Some(resting(rest))));
        }
        match refusal {
            NoAddress::Exhausted { .. } | NoAddress::RequestedTaken(..) if !self.is_fresh => {
                self.is_fresh = true;
                self.locked.refresh()
            }
            NoAddress::Exhausted { .. } => self.reclaim_oldest(set, refusal),
            NoAddress::RequestedTaken(address, _) => {
                // One that has an address of this set gets no other, so there is no room to be made for it.
                let has_one = self.own.iter().any(|holding| set.contains(holding.record.address));
                self.reclaim_one(*address, has_one, refusal)
            }
            NoAddress::Duplicate(address, _) => {
                let holding = self.own.iter().find(|holding| holding.record.address == *address);
                Err(explained(refusal, holding.map(Holding::describe)))
            }
            _ => Err(explained(refusal, None)),
        }
    }

    fn reclaim_oldest(&self, set: &RangeSet, refusal: &NoAddress) -> Result<(), Error> {
        let limit = usize::try_from(set.capacity() / RECLAIMED_SHARE).unwrap_or(usize::MAX).clamp(1, 256);
        let is_ours = |address| self.reserved.contains(&address) || self.is_kept(address);
        let wanted = |address| set.is_allocatable(address) && !is_ours(address);
        let start = Instant::now();
        let survey = Survey::of(self.locked.folder(), self.now, limit, &wanted)?;
        if survey.over.is_empty() {
            self.locked.note_fruitless(hash_of(set), start.elapsed());
            return Err(explained(refusal, Some(survey.describe())));
        }
        survey.over.iter().try_for_each(|holding| reclaim(self.locked, holding))
    }

    fn is_kept(&self, address: IpAddr) -> bool {
        let mut all = self.kept.iter().chain(&self.earlier);
        all.any(|earlier| earlier.found.record.address == address)
    }

    fn reclaim_one(&self, address: IpAddr, has_one: bool, refusal: &NoAddress) -> Result<(), Error> {
        let Some(found) = self.locked.folder().record(address)? else { return Err(explained(refusal, None)) };
        let holding = Holding::of(self.locked.folder(), found, self.now);
        if holding.fate.is_over() && !has_one && !self.is_kept(address) {
            return reclaim(self.locked, &holding);
        }
        Err(explained(refusal, Some(holding.describe())))
    }

    /// Makes the reservation final.
    ///
    /// # Errors
    /// Code 5 if an address that it had before would still count as one of a dead attachment. The record
    /// stays.
    fn keep(mut self) -> Result<(), Error> {
        if let Some(origin) = &self.origin {
            let mut kept = self.kept.iter();
            kept.try_for_each(|earlier| self.locked.renew_origin(&earlier.found, origin))?;
        }
        self.reserved.clear();
        Ok(())
    }
}

/// The hash by which the store remembers the set.
fn hash_of(set: &RangeSet) -> u64 {
    hash(set.to_string().as_bytes()).max(1)
}

/// Why nothing is reclaimed, for the details of an error.
fn resting(rest: Duration) -> String {
    let seconds = rest.as_secs() + 1;
    format!(
        "a look at all of them found none that could be reclaimed; within {seconds} s that is not repeated, \
         because it keeps others from their DEL"
    )
}

/// A refusal with the holders and the remedy.
fn explained(refusal: &NoAddress, holders: Option<String>) -> Error {
    let holders = holders.filter(|text| !text.is_empty());
    let remedy = refusal.remedy();
    let details = match (refusal, holders) {
        (_, None) => remedy,
        (NoAddress::Exhausted { .. }, Some(holders)) => format!("{remedy}; {holders}"),
        (_, Some(holder)) => format!("{holder}; {remedy}"),
    };
    Error::new(Code::ADDRESS_UNAVAILABLE, refusal.to_string()).with_details(details)
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        for address in self.reserved.drain(..) {
            if let Err(e) = self.locked.unreserve(address, &self.holder) {
                note(&format!("roll-back: {e}"));
            }
        }
    }
}
