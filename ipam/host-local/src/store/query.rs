//! Queries of the index without the lock, for CHECK and STATUS.

use super::{
    folder::Folder,
    index::Index,
    lock,
    open_index::{OpenIndex, unusable},
};
use cni_types::Error;
use std::{io, thread::sleep, time::Duration};

/// The number of attempts to find the index at rest.
const ATTEMPTS: u32 = 5;

/// The pause between two attempts: longer than a holder needs the lock.
const PAUSE: Duration = Duration::from_micros(300);

/// Queries the index without waiting for the lock: it is at rest if neither the folder nor the
/// header of the index changes meanwhile.
///
/// # Errors
/// Code 5 if there is no index and the records cannot be read, 11 if the process was asked to stop.
pub(crate) fn query_unlocked<T>(
    folder: &Folder<'_>,
    query: impl Fn(&mut Index) -> io::Result<T>,
) -> Result<T, Error> {
    for _ in 0..ATTEMPTS {
        if let Some(mut open) = OpenIndex::current(folder)
            && let Ok(answer) = query(&mut open.index)
            && OpenIndex::stamp_of(folder).is_some_and(|stamp| open.index.is_of(stamp))
            && open.index.is_unchanged()
        {
            return Ok(answer);
        }
        if let Some(_lock) = lock::take_if_free(folder) {
            return query(&mut OpenIndex::build(folder)?.index).map_err(|e| unusable(&e));
        }
        sleep(PAUSE);
    }
    query(&mut OpenIndex::build_in_memory(folder)?.index).map_err(|e| unusable(&e))
}
