//! STATUS: an ADD could succeed. Changes nothing; runtimes ask every few seconds.
//!
//! It fails for what keeps every ADD from working until a person does something. A full set is no
//! such thing (see [`WhenFull`]): any DEL ends it, and runtimes take a failed STATUS for a broken node.

use crate::{
    FileSystem, HostLocal,
    allocator::require_free,
    config::{Config, WhenFull},
    note, outsiders,
    probe::require_room_on_disk,
    range_set::RangeSet,
    reclaim::Survey,
    resolv_conf,
    span::Spans,
    store::{Folder, Store},
};
use cni_types::{Call, Code, Error};
use std::time::Duration;

/// How long to wait for the lock. Its holders need a millisecond: one that keeps it for this long
/// hangs, and no ADD gets it either.
const PATIENCE: Duration = Duration::from_secs(5);

/// Fails with code 50 if no ADD can succeed.
pub(crate) fn status(plugin: &HostLocal, call: &Call) -> Result<(), Error> {
    let config = Config::load(call)?;
    let store = plugin.store(&config.data_dir, call);
    store.require_usable()?;
    require_room_on_disk(&config.data_dir.join(call.network.as_str()))?;
    if let Some(path) = &config.resolv_conf {
        resolv_conf::read(path).map_err(unavailable)?;
    }
    let kind = FileSystem::of(&config.data_dir);
    kind.ok()
        .and_then(|kind| kind.warning(&config.data_dir))
        .iter()
        .for_each(|text| note(text));
    require_lockable(plugin, call, &store)?;
    let rooms = rooms(plugin, &config, store.open()?.as_ref())?;
    Error::join(rooms.into_iter().map(Err))
}

/// An error as one of STATUS.
fn unavailable(error: Error) -> Error {
    Error {
        code: Code::UNAVAILABLE,
        ..error
    }
}

/// Fails if somebody holds the lock and does not let go of it.
fn require_lockable(plugin: &HostLocal, call: &Call, store: &Store<'_>) -> Result<(), Error> {
    let locked = store.lock(plugin.patience.min(PATIENCE));
    call.stop.check()?;
    locked.map(drop).map_err(unavailable)
}

/// What there is to say against each range set.
fn rooms(
    plugin: &HostLocal,
    config: &Config,
    folder: Option<&Folder<'_>>,
) -> Result<Vec<Error>, Error> {
    let sets = &config.range_sets;
    let everything = outsiders::configured(sets);
    let lists: Vec<&Spans> = sets
        .iter()
        .map(RangeSet::allocatable)
        .chain([&everything])
        .collect();
    let counts =
        folder.map(|folder| folder.look(|index| Ok((index.count(&lists)?, index.taken()))));
    let (mut used, all) = counts
        .transpose()?
        .unwrap_or_else(|| (vec![0; lists.len()], 0));
    let outside = outsiders::warning(all.saturating_sub(used.pop().unwrap_or_default()));
    outside.iter().for_each(|text| note(text));
    let mut failures = Vec::new();
    for (set, used) in sets.iter().zip(used) {
        let Err(full) = require_free(set, used) else {
            continue;
        };
        // Reads all records: so only if it matters.
        let error = match (folder, config.when_full) {
            (Some(folder), WhenFull::Error) => require_room(plugin, folder, set)?,
            (_, WhenFull::Ready) if !set.capacity().is_zero() => {
                note(&format!("{full}: {}", full.remedy()));
                None
            }
            _ => Some(unavailable(full.explained(None))),
        };
        failures.extend(error);
    }
    let with_outside = |e: Error| outside.iter().fold(e, |e, text| e.and_details(text));
    Ok(failures.into_iter().map(with_outside).collect())
}

/// Looks at the records themselves: what belongs to nobody is free, and what an ADD would reclaim
/// counts as free.
fn require_room(
    plugin: &HostLocal,
    folder: &Folder<'_>,
    set: &RangeSet,
) -> Result<Option<Error>, Error> {
    let now = plugin.system.present(folder.path());
    let survey = Survey::of(folder, now, 1, &|address| set.is_allocatable(address))?;
    let full = require_free(set, survey.count)
        .err()
        .filter(|_| survey.over.is_empty());
    Ok(full.map(|full| unavailable(full.explained(Some(survey.describe())))))
}
