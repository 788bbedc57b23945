//! The addresses that one ADD reserves, under the lock: all of them, or none.

use crate::{
    alloc::{self, Allocation, NoAddress, RangeSet, Wanted},
    log,
    machine::{CurrentBoot, identify},
    reclaim::{AgedRecord, Liveness, ReclaimSearch, reclaim, written},
    store::{LastReserved, Locked, Origin, Origins, RecordFile, Reserve},
};
use cni_types::{Attachment, AttachmentId, Error, NetworkName};
use std::net::IpAddr;

/// The reason for which no address is reserved.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The set with this index is full, and nothing in it is known to be over.
    Full {
        /// The index of the set.
        set: usize,
        /// The error, unless something can be reclaimed.
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

/// A record of the attachment from an earlier life.
struct Former {
    file: RecordFile,
    liveness: Liveness,
}

/// The addresses reserved so far. They are freed again unless [`Transaction::commit`] is reached,
/// by a panic too.
pub(super) struct Transaction<'a> {
    locked: &'a Locked<'a>,
    search: &'a ReclaimSearch<'a>,
    id: AttachmentId<'a>,
    now: Option<CurrentBoot>,
    origin: Option<Origin>,
    /// The records that the attachment has already: it may not have two of one set.
    own: Vec<AgedRecord>,
    /// The records that it had in an earlier boot, or for a namespace that is gone: it gets the
    /// same addresses again.
    former: Vec<Former>,
    /// The former records whose addresses it got again.
    reused: Vec<Former>,
    /// The addresses of new records.
    reserved: Vec<IpAddr>,
    /// True once the index was rebuilt, so that it certainly agrees with the records.
    is_index_fresh: bool,
}

impl<'a> Transaction<'a> {
    /// Finds the records that the attachment has already; reserves nothing yet.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read.
    pub(super) fn begin(
        locked: &'a Locked<'a>,
        network: &'a NetworkName,
        attachment: &'a Attachment,
        now: Option<CurrentBoot>,
        search: &'a ReclaimSearch<'a>,
    ) -> Result<Self, Error> {
        let id = attachment.id(network);
        let mut origins = Origins::of_folder(locked.folder());
        let mut own = Vec::new();
        let mut former = Vec::new();
        // A record that cannot be read is a reason for its DEL to fail, and not for this ADD.
        for file in locked.records_of(id)?.found {
            let origin = origins.find(file.record.address, &file.meta);
            let liveness = Liveness::of(origin.as_ref(), written(&file.meta), now);
            if liveness.is_over() {
                former.push(Former { file, liveness });
            } else {
                own.push(AgedRecord::of(locked.folder(), file, now));
            }
        }
        let origin = now.map(|now| Origin {
            boot: now.boot,
            netns: identify(attachment.netns.as_path()),
        });
        Ok(Self {
            locked,
            search,
            id,
            now,
            origin,
            own,
            former,
            reused: Vec::new(),
            reserved: Vec::new(),
            is_index_fresh: false,
        })
    }

    /// Reserves an address of the set with this index.
    ///
    /// # Errors
    /// The refusal; code 5 if a record cannot be read or written.
    pub(super) fn reserve_from(
        &mut self,
        set: &RangeSet,
        index: usize,
        requested: Option<IpAddr>,
    ) -> Result<Allocation, Refusal> {
        if let Some(allocation) = self.reuse(set, requested)? {
            return Ok(allocation);
        }
        let last = LastReserved::read(self.locked, index);
        let next = Wanted::Next {
            after: last.address(),
        };
        let wanted = requested.map_or(next, Wanted::Exactly);
        let own: Vec<IpAddr> = self.own.iter().map(|aged| aged.record.address).collect();
        loop {
            let id = self.id.container_id;
            let allocation = match alloc::choose(set, wanted, self.locked, &own, id)? {
                Ok(allocation) => allocation,
                Err(reason) => {
                    self.make_room(set, index, reason)?;
                    continue;
                }
            };
            let address = allocation.address.address();
            match self
                .locked
                .reserve(address, self.id, self.origin.as_ref())?
            {
                Reserve::Done => {
                    self.reserved.push(address);
                    last.write(address);
                    return Ok(allocation);
                }
                // Somebody did not wait for the lock, or the record of that name has no content.
                Reserve::Taken => self.take_over(address)?,
            }
        }
    }

    /// The address of this set that the attachment had in an earlier life, if it can have it again.
    fn reuse(
        &mut self,
        set: &RangeSet,
        requested: Option<IpAddr>,
    ) -> Result<Option<Allocation>, Error> {
        let is_in_set = |former: &Former| set.contains(former.file.record.address);
        let Some(index) = self.former.iter().position(is_in_set) else {
            return Ok(None);
        };
        let Former { file, liveness } = self.former.swap_remove(index);
        let address = file.record.address;
        if !set.is_allocatable(address) || requested.is_some_and(|wanted| wanted != address) {
            let aged = AgedRecord::of(self.locked.folder(), file, self.now);
            reclaim(self.locked, &aged)?;
            return Ok(None);
        }
        let why = liveness.as_text();
        log::warn(format_args!(
            "{} gets {address} back, which it held: {why}",
            file.record.owner
        ));
        self.reused.push(Former { file, liveness });
        Ok(alloc::allocation(set, address))
    }

    /// Removes the record of `address` if it has no owner.
    fn take_over(&self, address: IpAddr) -> Result<(), Error> {
        // A record that cannot be read is somebody's.
        let file = self.locked.folder().record(address).ok().flatten();
        if let Some(file) = file.filter(|file| file.record.has_no_owner()) {
            self.locked.release(&file.record)?;
            log::warn(format_args!(
                "took over {address}, whose record has no content"
            ));
        }
        Ok(())
    }

    /// Reclaims addresses for the sake of a refused request.
    ///
    /// # Errors
    /// The refusal, if nothing can be reclaimed.
    fn make_room(
        &mut self,
        set: &RangeSet,
        index: usize,
        reason: NoAddress,
    ) -> Result<(), Refusal> {
        match &reason {
            NoAddress::Exhausted { total, .. } if !total.is_zero() => {
                let is_index_wrong = self.search.is_index_wrong();
                if self.reclaim_found(set)? || (is_index_wrong && self.refresh_index()?) {
                    return Ok(());
                }
                Err(Refusal::Full { set: index, reason })
            }
            NoAddress::RequestedTaken(address, _) => {
                // An attachment that has an address of this set gets no other, so nothing is
                // reclaimed for it.
                let has_one = self
                    .own
                    .iter()
                    .any(|aged| set.contains(aged.record.address));
                self.reclaim_one(*address, has_one, &reason)
            }
            NoAddress::Duplicate(address, _) => {
                let mut own = self.own.iter();
                let aged = own.find(|aged| aged.record.address == *address);
                Err(reason.explained(aged.map(AgedRecord::describe)).into())
            }
            _ => Err(reason.explained(None).into()),
        }
    }

    /// Rebuilds the index, once. Returns false if it was rebuilt before.
    fn refresh_index(&mut self) -> Result<bool, Error> {
        if self.is_index_fresh {
            return Ok(false);
        }
        self.is_index_fresh = true;
        self.locked.rebuild_index()?;
        Ok(true)
    }

    /// Reclaims the addresses of the set that the search has found, if their attachment is still
    /// over. Returns true if any was reclaimed.
    fn reclaim_found(&self, set: &RangeSet) -> Result<bool, Error> {
        let mut any = false;
        let found = self.search.over().iter().copied();
        for address in found.filter(|address| set.is_allocatable(*address)) {
            if self.reserved.contains(&address) || self.is_former(address) {
                continue;
            }
            let Ok(Some(file)) = self.locked.folder().record(address) else {
                continue;
            };
            let aged = AgedRecord::of(self.locked.folder(), file, self.now);
            if aged.liveness.is_over() {
                reclaim(self.locked, &aged)?;
                any = true;
            }
        }
        Ok(any)
    }

    fn is_former(&self, address: IpAddr) -> bool {
        self.reused
            .iter()
            .chain(&self.former)
            .any(|former| former.file.record.address == address)
    }

    /// Reclaims the requested address if its attachment is over.
    fn reclaim_one(
        &mut self,
        address: IpAddr,
        has_one: bool,
        reason: &NoAddress,
    ) -> Result<(), Refusal> {
        let file = self.locked.folder().record(address)?;
        let Some(file) = file.filter(|file| !file.record.has_no_owner()) else {
            // The index is wrong, or the record is under an unusual name.
            return if self.refresh_index()? {
                Ok(())
            } else {
                Err(reason.explained(None).into())
            };
        };
        let aged = AgedRecord::of(self.locked.folder(), file, self.now);
        if aged.liveness.is_over() && !has_one && !self.is_former(address) {
            return Ok(reclaim(self.locked, &aged)?);
        }
        Err(reason.explained(Some(aged.describe())).into())
    }

    /// Makes the reservations final.
    ///
    /// # Errors
    /// Code 5 if an address of an earlier life would go on to count as one of that life. The record
    /// stays.
    pub(super) fn commit(mut self) -> Result<(), Error> {
        if let Some(origin) = &self.origin {
            for former in &self.reused {
                self.locked.origin_file().renew(&former.file, origin)?;
            }
        }
        self.reserved.clear();
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        for address in self.reserved.drain(..) {
            if let Err(e) = self.locked.unreserve(address, self.id) {
                log::warn(format_args!("roll-back: {e}"));
            }
        }
    }
}
