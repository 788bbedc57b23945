//! STATUS: an ADD could succeed. It changes nothing; runtimes call it every few seconds.
//!
//! It fails if something keeps every ADD from working until a person repairs it. A full set does
//! not (see [`WhenFull`]): any DEL ends it, and runtimes take a failed STATUS for a broken node.

use super::{out_of_range, probe::require_room_on_disk};
use crate::{
    alloc::{RangeSet, Spans, require_free},
    config::{Config, WhenFull, resolv_conf},
    log,
    machine::FileSystem,
    plugin::HostLocal,
    reclaim::ReclaimScan,
    store::{Folder, Store, query_unlocked},
};
use cni_types::{Call, Code, Error};
use std::time::Duration;

/// The time limit for taking the lock. Holders need a millisecond: one that keeps it for this long
/// hangs, and no ADD gets it either.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Reports if an ADD can succeed.
///
/// # Errors
/// Code 50 if no ADD can; the code of the error if the configuration makes no sense.
pub(super) fn status(plugin: &HostLocal, call: &Call) -> Result<(), Error> {
    let config = Config::load(call)?;
    let store = plugin.store(&config.data_dir, call);
    store.require_usable()?;
    require_room_on_disk(&config.data_dir.join(call.network.as_str()))?;
    if let Some(path) = &config.resolv_conf {
        resolv_conf::read(path).map_err(unavailable)?;
    }
    let kind = FileSystem::of(&config.data_dir).ok();
    let warning = kind.and_then(|kind| kind.warning(&config.data_dir));
    warning.iter().for_each(log::warn);
    require_lockable(plugin, call, &store)?;
    let failures = full_sets(plugin, &config, store.open()?.as_ref())?;
    Error::join(failures.into_iter().map(Err))
}

/// Turns an error into one of STATUS.
fn unavailable(error: Error) -> Error {
    Error {
        code: Code::UNAVAILABLE,
        ..error
    }
}

/// Fails if somebody holds the lock and does not release it.
fn require_lockable(plugin: &HostLocal, call: &Call, store: &Store<'_>) -> Result<(), Error> {
    let locked = store.lock(plugin.lock_timeout.min(LOCK_TIMEOUT));
    call.stop.check()?;
    locked.map(drop).map_err(unavailable)
}

/// The errors of the range sets that are full.
fn full_sets(
    plugin: &HostLocal,
    config: &Config,
    folder: Option<&Folder<'_>>,
) -> Result<Vec<Error>, Error> {
    let sets = &config.range_sets;
    let everything = out_of_range::configured(sets);
    let lists: Vec<&Spans> = sets
        .iter()
        .map(RangeSet::allocatable)
        .chain([&everything])
        .collect();
    let count = |folder| query_unlocked(folder, |index| Ok((index.count(&lists)?, index.taken())));
    let counts = folder.map(count).transpose()?;
    let (used, all) = counts.unwrap_or_else(|| (vec![0; lists.len()], 0));
    // The last list is that of all ranges.
    let inside = used.iter().skip(sets.len()).sum();
    let outside = out_of_range::warning(all.saturating_sub(inside));
    outside.iter().for_each(log::warn);
    let mut failures = Vec::new();
    for (set, used) in sets.iter().zip(used) {
        let Err(full) = require_free(set, used) else {
            continue;
        };
        // Reads all records, so only if it matters.
        let error = match (folder, config.when_full) {
            (Some(folder), WhenFull::Error) => require_room(plugin, folder, set)?,
            (_, WhenFull::Ready) if !set.capacity().is_zero() => {
                log::warn(format_args!("{full}: {}", full.remedy()));
                None
            }
            _ => Some(unavailable(full.explained(None))),
        };
        failures.extend(error);
    }
    let with_outside = |e: Error| outside.iter().fold(e, |e, text| e.and_details(text));
    Ok(failures.into_iter().map(with_outside).collect())
}

/// Reads the records themselves: an address without an owner is free, and one that an ADD would
/// reclaim counts as free.
fn require_room(
    plugin: &HostLocal,
    folder: &Folder<'_>,
    set: &RangeSet,
) -> Result<Option<Error>, Error> {
    let now = plugin.system.current_boot(folder.path());
    let scan = ReclaimScan::of(folder, now, 1, &|address| set.is_allocatable(address))?;
    let full = require_free(set, scan.count)
        .err()
        .filter(|_| scan.over.is_empty());
    Ok(full.map(|full| unavailable(full.explained(Some(scan.describe())))))
}
