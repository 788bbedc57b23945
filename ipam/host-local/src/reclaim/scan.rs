//! A scan of all records for those that can be reclaimed.

use super::aged_record::AgedRecord;
use crate::{
    machine::CurrentBoot,
    store::{Folder, Origins, Scanned},
};
use cni_types::Error;
use std::net::IpAddr;

/// The number of holders that an error names.
const MAX_NAMED: usize = 3;

/// The records of some addresses.
#[derive(Debug, Default)]
pub(crate) struct ReclaimScan {
    /// The records whose attachment is over: first those of earlier boots, then those without a
    /// namespace, oldest first.
    pub(crate) over: Vec<AgedRecord>,
    /// The oldest of the others.
    pub(crate) oldest: Vec<AgedRecord>,
    /// The number of records in all.
    pub(crate) count: u64,
}

impl ReclaimScan {
    /// Reads the records of the addresses that are `wanted`. Keeps at most `limit` of those that
    /// are over, since there may be very many.
    ///
    /// # Errors
    /// Code 5 if the folder cannot be read, 11 if the process was asked to stop.
    pub(crate) fn of(
        folder: &Folder<'_>,
        now: Option<CurrentBoot>,
        limit: usize,
        wanted: &dyn Fn(IpAddr) -> bool,
    ) -> Result<Self, Error> {
        let mut scan = Self::default();
        let mut origins = Origins::of_folder(folder);
        folder.scan(&mut |scanned| {
            match scanned {
                Scanned::Record(record, file)
                    if wanted(record.address) && !record.has_no_owner() =>
                {
                    scan.count += 1;
                    if let Ok(meta) = file.metadata() {
                        let aged = AgedRecord::new(&mut origins, record, &meta, now);
                        scan.add(aged, limit);
                    }
                }
                // Somebody holds it.
                Scanned::Unreadable(address, _) => scan.count += u64::from(wanted(address)),
                Scanned::Record(..) => {}
            }
            Ok(())
        })?;
        scan.sort(limit);
        Ok(scan)
    }

    fn add(&mut self, aged: AgedRecord, limit: usize) {
        if aged.liveness.is_over() {
            self.over.push(aged);
        } else {
            self.oldest.push(aged);
        }
        self.trim(limit);
    }

    /// Keeps the lists short, but sorts them only now and then.
    fn trim(&mut self, limit: usize) {
        let is_long = |list: &Vec<AgedRecord>, limit: usize| {
            list.len() > limit.saturating_mul(2).saturating_add(64)
        };
        if is_long(&self.over, limit) || is_long(&self.oldest, MAX_NAMED) {
            self.sort(limit);
        }
    }

    fn sort(&mut self, limit: usize) {
        self.over
            .sort_unstable_by_key(|aged| (aged.liveness, aged.written));
        self.over.truncate(limit);
        self.oldest.sort_unstable_by_key(|aged| aged.written);
        self.oldest.truncate(MAX_NAMED);
    }

    /// The oldest holders, for an error; empty if there are none.
    pub(crate) fn describe(&self) -> String {
        let holders: Vec<String> = self.oldest.iter().map(AgedRecord::describe).collect();
        if holders.is_empty() {
            String::new()
        } else {
            format!("the oldest: {}", holders.join("; "))
        }
    }
}
