//! The addresses that one ADD reserves, under the lock: all are kept, or all are freed again.

use crate::{
    allocator::{self, Allocation, NoAddress, Wanted},
    ledger::Origin,
    netns, note,
    range_set::RangeSet,
    reclaim::{Fate, Holding, reclaim, written},
    record::Holder,
    room::Room,
    store::{Found, Locked, Reserved},
    system::Present,
};
use cni_types::{Attachment, Error};
use std::net::IpAddr;

/// Why no address is reserved.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The set with this index is full, and nothing in it is known to be over.
    Full {
        /// The index of the set.
        set: usize,
        /// The error that it comes to unless room is found.
        reason: NoAddress,
    },
    /// Another attempt would end the same way.
    Final(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// A record that the attachment held in an earlier life.
struct Former {
    found: Found,
    fate: Fate,
}

/// The addresses reserved so far. They are freed again unless [`Reservation::keep`] is reached, by a
/// panic too.
pub(crate) struct Reservation<'a> {
    locked: &'a Locked<'a>,
    room: &'a Room<'a>,
    holder: Holder,
    now: Option<Present>,
    origin: Option<Origin>,
    /// The records that the attachment holds already: it may not have two of one set.
    own: Vec<Holding>,
    /// The records that it held in an earlier boot, or for a namespace that is gone: it gets the same
    /// addresses again.
    former: Vec<Former>,
    kept: Vec<Former>,
    reserved: Vec<IpAddr>,
    /// True once the index was rebuilt, so that it certainly agrees with the records.
    is_fresh: bool,
}

impl<'a> Reservation<'a> {
    /// Nothing reserved yet; finds what the attachment holds already.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read.
    pub(crate) fn new(
        locked: &'a Locked<'a>,
        attachment: &Attachment,
        now: Option<Present>,
        room: &'a Room<'a>,
    ) -> Result<Self, Error> {
        let holder = Holder::new(&attachment.container_id, &attachment.if_name);
        let mut origins = locked.folder().origins();
        let (mut own, mut former) = (Vec::new(), Vec::new());
        // One that cannot be read is a reason for its DEL to fail, and not for this ADD.
        for found in locked.records_of(&holder)?.found {
            let origin = origins.of(found.record.address, &found.meta);
            let fate = Fate::of(origin.as_ref(), written(&found.meta), now);
            if fate.is_over() {
                former.push(Former { found, fate });
            } else {
                own.push(Holding::of(locked.folder(), found, now));
            }
        }
        let netns = || netns::identify(attachment.netns.as_path());
        let origin = now.map(|now| Origin {
            boot: now.boot,
            netns: netns(),
        });
        let (kept, reserved) = (Vec::new(), Vec::new());
        Ok(Self {
            locked,
            room,
            holder,
            now,
            origin,
            own,
            former,
            kept,
            reserved,
            is_fresh: false,
        })
    }
    /// Reserves an address of the set with this index.
    ///
    /// # Errors
    /// The refusal; code 5 if a record cannot be read or written.
    pub(crate) fn reserve_from(
        &mut self,
        set: &RangeSet,
        index: usize,
        requested: Option<IpAddr>,
    ) -> Result<Allocation, Refusal> {
        if let Some(allocation) = self.reuse(set, requested)? {
            return Ok(allocation);
        }
        let last = self.locked.last_reserved(index);
        let wanted = requested.map_or(
            Wanted::Next {
                after: last.address(),
            },
            Wanted::Exactly,
        );
        let own: Vec<IpAddr> = self
            .own
            .iter()
            .map(|holding| holding.record.address)
            .collect();
        loop {
            let id = self.holder.container_id();
            let chosen = match allocator::choose(set, wanted, self.locked, &own, id)? {
                Ok(chosen) => chosen,
                Err(reason) => {
                    self.make_room(set, index, reason)?;
                    continue;
                }
            };
            let address = chosen.address.address();
            match self
                .locked
                .reserve(address, &self.holder, self.origin.as_ref())?
            {
                Reserved::Done => {
                    self.reserved.push(address);
                    last.write(address);
                    return Ok(chosen);
                }
                // Somebody did not wait for the lock, or the record of that name has no content.
                Reserved::Taken => self.take_over(address)?,
            }
        }
    }

    /// The address of this set that the attachment had in an earlier life, if it can have it again.
    fn reuse(
        &mut self,
        set: &RangeSet,
        requested: Option<IpAddr>,
    ) -> Result<Option<Allocation>, Error> {
        let is_in_set = |former: &Former| set.contains(former.found.record.address);
        let Some(index) = self.former.iter().position(is_in_set) else {
            return Ok(None);
        };
        let Former { found, fate } = self.former.swap_remove(index);
        let address = found.record.address;
        if !set.is_allocatable(address) || requested.is_some_and(|wanted| wanted != address) {
            reclaim(
                self.locked,
                &Holding::of(self.locked.folder(), found, self.now),
            )?;
            return Ok(None);
        }
        let why = fate.as_text();
        note(&format!(
            "{} gets {address} back, which it held: {why}",
            found.record.owner
        ));
        self.kept.push(Former { found, fate });
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
    /// The refusal, if nothing can.
    fn make_room(
        &mut self,
        set: &RangeSet,
        index: usize,
        reason: NoAddress,
    ) -> Result<(), Refusal> {
        match &reason {
            NoAddress::Exhausted { total, .. } if !total.is_zero() => {
                if self.reclaim_known(set)? || self.require_fresh(self.room.is_index_wrong())? {
                    return Ok(());
                }
                Err(Refusal::Full { set: index, reason })
            }
            NoAddress::RequestedTaken(address, _) => {
                // One that has an address of this set gets no other, so no room is made for it.
                let has_one = self
                    .own
                    .iter()
                    .any(|holding| set.contains(holding.record.address));
                self.reclaim_one(*address, has_one, &reason)
            }
            NoAddress::Duplicate(address, _) => {
                let holding = self
                    .own
                    .iter()
                    .find(|holding| holding.record.address == *address);
                Err(reason.explained(holding.map(Holding::describe)).into())
            }
            _ => Err(reason.explained(None).into()),
        }
    }

    /// Rebuilds the index if that is wanted, once. Returns true if it did.
    fn require_fresh(&mut self, is_wanted: bool) -> Result<bool, Error> {
        if !is_wanted || self.is_fresh {
            return Ok(false);
        }
        self.is_fresh = true;
        self.locked.refresh()?;
        Ok(true)
    }

    /// Frees the addresses of the set of which a look at all records has found that their attachment
    /// is over, if it still is. Returns true if any was freed.
    fn reclaim_known(&self, set: &RangeSet) -> Result<bool, Error> {
        let mut any = false;
        for address in self
            .room
            .over()
            .iter()
            .copied()
            .filter(|address| set.is_allocatable(*address))
        {
            if self.reserved.contains(&address) || self.is_former(address) {
                continue;
            }
            let Ok(Some(found)) = self.locked.folder().record(address) else {
                continue;
            };
            let holding = Holding::of(self.locked.folder(), found, self.now);
            if holding.fate.is_over() {
                reclaim(self.locked, &holding)?;
                any = true;
            }
        }
        Ok(any)
    }

    fn is_former(&self, address: IpAddr) -> bool {
        self.kept
            .iter()
            .chain(&self.former)
            .any(|former| former.found.record.address == address)
    }

    /// Frees the requested address if its attachment is over.
    fn reclaim_one(
        &mut self,
        address: IpAddr,
        has_one: bool,
        reason: &NoAddress,
    ) -> Result<(), Refusal> {
        let found = self.locked.folder().record(address)?;
        let Some(found) = found.filter(|found| !found.record.is_nobodys()) else {
            // The index is wrong, or the record is under an unusual name.
            let is_rebuilt = self.require_fresh(true)?;
            return if is_rebuilt {
                Ok(())
            } else {
                Err(reason.explained(None).into())
            };
        };
        let holding = Holding::of(self.locked.folder(), found, self.now);
        if holding.fate.is_over() && !has_one && !self.is_former(address) {
            return Ok(reclaim(self.locked, &holding)?);
        }
        Err(reason.explained(Some(holding.describe())).into())
    }

    /// Makes the reservation final.
    ///
    /// # Errors
    /// Code 5 if an address that it had in an earlier life would go on to count as one of that life.
    /// The record stays.
    pub(crate) fn keep(mut self) -> Result<(), Error> {
        if let Some(origin) = &self.origin {
            let mut kept = self.kept.iter();
            kept.try_for_each(|former| self.locked.renew_origin(&former.found, origin))?;
        }
        self.reserved.clear();
        Ok(())
    }
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
