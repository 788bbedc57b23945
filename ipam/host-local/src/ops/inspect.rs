//! One network's reservations, for tools: their holders and ages, and the addresses that are left.
//! Takes no lock and changes nothing, so it may see a record that is gone a moment later.

use crate::{
    alloc::{Count, Range, RangeSet},
    config::{self, Config},
    machine::{CurrentBoot, FileSystem},
    plugin::HostLocal,
    reclaim::{Liveness, written},
    store::{Folder, Origins, Owner, Scanned},
};
use cni_types::{Call, Cidr, Error};
use std::{net::IpAddr, path::PathBuf, time::SystemTime};

/// The reservations and pools of one network.
#[derive(Debug)]
pub struct Inspection {
    /// The network's folder in the data directory; it need not exist.
    pub folder: PathBuf,
    /// The file system that it is on, or would be: on one that other machines can write, nothing is
    /// ever reclaimed. Or the error of statfs(2).
    pub file_system: std::io::Result<FileSystem>,
    /// The range sets as they are configured now, or the error with which ADD would refuse them.
    pub pools: Result<Vec<Pool>, Error>,
    /// All records, in the order of their addresses.
    pub reservations: Vec<Reservation>,
}

/// A range set and the number of its addresses that are in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its ranges, as in errors: `10.1.0.1-10.1.0.254`.
    pub ranges: String,
    /// The ranges' subnets.
    pub subnets: Vec<Cidr>,
    /// The ranges' gateways.
    pub gateways: Vec<IpAddr>,
    /// The addresses that can be given to attachments: first and last of each row.
    pub rows: Vec<(IpAddr, IpAddr)>,
    /// Their number.
    pub capacity: Count,
    /// The number of addresses that the configuration keeps from being given away.
    pub excluded: Count,
    /// The number of addresses that have an owner.
    pub used: Count,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The address.
    pub address: IpAddr,
    /// The owner.
    pub owner: Owner,
    /// The time at which it was written.
    pub written: SystemTime,
    /// The liveness of its attachment.
    pub liveness: Liveness,
    /// The path at which its namespace was mounted, if that is known.
    pub netns: Option<PathBuf>,
    /// The index of the range set that the address is in; `None` if the ranges were changed.
    pub pool: Option<usize>,
}

impl Reservation {
    /// Returns true if a GC without a list of valid attachments would free it: it has no owner, or
    /// its attachment is certainly over.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.owner == Owner::Nobody || self.liveness.is_over()
    }
}

impl Inspection {
    /// Reads the reservations of the network that `call` is about.
    ///
    /// # Errors
    /// Code 5 if the records cannot be read, 6 or 7 if the configuration does not even name the
    /// directory.
    pub fn of(plugin: &HostLocal, call: &Call) -> Result<Self, Error> {
        let data_dir = config::data_dir(call)?;
        let sets = Config::load(call).map(|config| config.range_sets);
        let known = sets.as_deref().unwrap_or_default();
        let mut reservations = match plugin.store(&data_dir, call).open()? {
            Some(folder) => {
                let now = plugin.system.current_boot(folder.path());
                reservations(&folder, known, now)?
            }
            None => Vec::new(),
        };
        reservations.sort_by_key(|reservation| reservation.address);
        let pools = sets.map(|sets| {
            sets.iter()
                .map(|set| Pool::of(set, &reservations))
                .collect()
        });
        let folder = data_dir.join(call.network.as_str());
        Ok(Self {
            file_system: FileSystem::of(&folder),
            folder,
            pools,
            reservations,
        })
    }
}

/// Reads all records of a folder.
fn reservations(
    folder: &Folder<'_>,
    sets: &[RangeSet],
    now: Option<CurrentBoot>,
) -> Result<Vec<Reservation>, Error> {
    let mut reservations = Vec::new();
    let mut origins = Origins::of_folder(folder);
    let pool = |address| sets.iter().position(|set| set.contains(address));
    folder.scan(&mut |scanned| {
        reservations.push(match scanned {
            Scanned::Record(record, file) => {
                let Ok(meta) = file.metadata() else {
                    return Ok(());
                };
                let origin = origins.find(record.address, &meta);
                let written = written(&meta);
                Reservation {
                    liveness: Liveness::of(origin.as_ref(), written, now),
                    netns: origin
                        .and_then(|origin| origin.netns)
                        .map(|netns| netns.path),
                    written,
                    pool: pool(record.address),
                    address: record.address,
                    owner: record.owner,
                }
            }
            Scanned::Unreadable(address, _) => Reservation {
                liveness: Liveness::Unknown,
                netns: None,
                written: SystemTime::UNIX_EPOCH,
                pool: pool(address),
                address,
                owner: Owner::Unknown,
            },
        });
        Ok(())
    })?;
    Ok(reservations)
}

impl Pool {
    fn of(set: &RangeSet, reservations: &[Reservation]) -> Self {
        let used = reservations
            .iter()
            .filter(|held| held.owner != Owner::Nobody && set.is_allocatable(held.address));
        Self {
            ranges: set.to_string(),
            subnets: set.ranges().iter().map(Range::subnet).collect(),
            gateways: set.ranges().iter().map(Range::gateway).collect(),
            rows: set
                .allocatable()
                .as_slice()
                .iter()
                .map(|span| (span.first, span.last))
                .collect(),
            capacity: set.capacity(),
            excluded: set.excluded(),
            used: used.map(|_| Count::from(1_u64)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::{Environment, Stop};
    use std::fs;

    #[test]
    fn every_record_is_shown_with_its_holder_and_its_pool() {
        let dir = std::env::temp_dir().join(format!("host-local-inspect-{}", std::process::id()));
        let folder = dir.join("n");
        fs::create_dir_all(&folder).unwrap();
        for (name, content) in [
            ("10.1.0.9", "c1\r\neth0"),
            ("10.1.0.10", ""),
            ("10.2.0.2", "old"),
            ("last_reserved_ip.0", "10.1.0.9"),
        ] {
            fs::write(folder.join(name), content).unwrap();
        }
        let stdin = format!(
            r#"{{"cniVersion":"1.1.0","name":"n","type":"bridge","ipam":{{"type":"host-local","dataDir":{dir:?},
            "ranges":[[{{"subnet":"10.1.0.0/24","exclude":["10.1.0.128/25"]}}]]}}}}"#
        );
        let call = Call::new(Environment::default(), stdin.into_bytes(), Stop::never()).unwrap();
        let seen = Inspection::of(&HostLocal::default(), &call).unwrap();
        fs::remove_dir_all(&dir).unwrap();
        let holders: Vec<_> = seen
            .reservations
            .iter()
            .map(|r| (r.address.to_string(), r.is_dead(), r.pool))
            .collect();
        let wanted = [
            ("10.1.0.9", false, Some(0)),
            ("10.1.0.10", true, Some(0)),
            ("10.2.0.2", false, None),
        ];
        assert_eq!(
            holders,
            wanted.map(|(address, dead, pool)| (address.to_owned(), dead, pool))
        );
        let pool = &seen.pools.unwrap()[0];
        let count = |number: u64| Count::from(number);
        // 126 are left of 253 by the exclusion: 10.1.0.2 to 10.1.0.127.
        assert_eq!(
            (pool.capacity, pool.excluded, pool.used),
            (count(126), count(127), count(1))
        );
        assert_eq!(
            pool.rows,
            [(IpAddr::from([10, 1, 0, 2]), IpAddr::from([10, 1, 0, 127]))]
        );
        assert_eq!(pool.gateways, [IpAddr::from([10, 1, 0, 1])]);
    }

    #[test]
    fn invalid_ranges_do_not_hide_the_records() {
        let stdin = br#"{"cniVersion":"1.1.0","name":"n","ipam":{"type":"host-local","dataDir":"/nonexistent","ranges":[[]]}}"#;
        let call = Call::new(Environment::default(), stdin.to_vec(), Stop::never()).unwrap();
        let seen = Inspection::of(&HostLocal::default(), &call).unwrap();
        assert!(seen.pools.is_err());
        assert_eq!(seen.reservations, []);
    }
}
