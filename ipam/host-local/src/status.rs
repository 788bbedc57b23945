//! STATUS: an ADD could succeed. Only looks; runtimes ask every few seconds.

use crate::{
    HostLocal,
    allocator::require_free,
    config::{Config, WhenFull},
    note, outsiders,
    range_set::RangeSet,
    reclaim::Survey,
    span::Span,
    store::Folder,
};
use cni_types::{Call, Code, Error};

/// Fails with code 50 where the data directory cannot be used, or a range set has no address left.
pub(crate) fn status(plugin: &HostLocal, call: &Call) -> Result<(), Error> {
    let config = Config::load(call)?;
    let store = plugin.store(&config.data_dir, call);
    store.require_usable()?;
    let sets = &config.range_sets;
    let Some(folder) = store.open()? else { return Ok(()) };
    let everything = outsiders::configured(sets);
    let lists: Vec<&[Span]> = sets.iter().map(RangeSet::spans).chain([everything.as_slice()]).collect();
    let (mut used, all) = folder.look(|index| Ok((index.count(&lists)?, index.taken())))?;
    let outside = outsiders::warning(all.saturating_sub(used.pop().unwrap_or_default()));
    outside.iter().for_each(|text| note(text));
    if config.when_full == WhenFull::Ok {
        return Ok(());
    }
    let full = sets.iter().zip(used).filter(|(set, used)| require_free(set, *used).is_err());
    let full: Vec<Option<Error>> =
        full.map(|(set, _)| require_room(plugin, &folder, set)).collect::<Result<_, _>>()?;
    Error::join(full.into_iter().flatten()).map_err(|e| match outside {
        Some(text) => e.and_details(&text),
        None => e,
    })
}

/// Looks at the records themselves: what belongs to nobody is free, and what an ADD would reclaim counts as free.
fn require_room(plugin: &HostLocal, folder: &Folder<'_>, set: &RangeSet) -> Result<Option<Error>, Error> {
    let survey = Survey::of(folder, plugin.system.boot(), 1, &|address| set.is_allocatable(address))?;
    let full = require_free(set, survey.count).err().filter(|_| survey.over.is_empty());
    Ok(full.map(|e| {
        let error = Error::new(Code::UNAVAILABLE, e.to_string()).with_details(e.remedy());
        if survey.oldest.is_empty() { error } else { error.and_details(&survey.describe()) }
    }))
}
