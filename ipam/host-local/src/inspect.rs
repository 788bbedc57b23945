//! A look at one network's reservations, for tools: who holds what, since when, and how much is left. It takes no lock and
//! changes nothing, so it may see a record that is gone a moment later.

use crate::{
    HostLocal,
    config::{self, Config},
    count::Count,
    file_system::FileSystem,
    range_set::RangeSet,
    reclaim::{Fate, written},
    record::Owner,
    store::Sighting,
};
use cni_types::{Call, Cidr, Error};
use std::{
    net::IpAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// What there is to know of one network.
#[derive(Debug)]
pub struct Inspection {
    /// The network's folder in the data directory; it need not be there.
    pub folder: PathBuf,
    /// The file system that it is on, or would be: on one that other machines can write, nothing is
    /// ever reclaimed. Or the reason for which that is not known.
    pub file_system: std::io::Result<FileSystem>,
    /// The range sets as they are configured now, or why ADD would refuse them.
    pub pools: Result<Vec<Pool>, Error>,
    /// All records, in the order of their addresses.
    pub reservations: Vec<Reservation>,
}

/// A range set and how much of it is in use.
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
    /// The number of addresses that are reserved, by whomever.
    pub used: Count,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The address.
    pub address: IpAddr,
    /// Who holds it.
    pub owner: Owner,
    /// When it was written.
    pub written: SystemTime,
    /// What became of its attachment.
    pub fate: Fate,
    /// Where its namespace was mounted, if that is known.
    pub netns: Option<PathBuf>,
    /// Which range set the address is in: its index, or none, since the ranges have been changed.
    pub pool: Option<usize>,
}

impl Reservation {
    /// Whether a GC without a list of valid attachments would free it: it belongs to nobody, or its attachment is
    /// certainly over.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.owner == Owner::Nobody || self.fate.is_over()
    }
}

impl Inspection {
    /// Looks at the network that `call` is about.
    ///
    /// # Errors
    /// Code 5 where the records cannot be read, 6 or 7 where the configuration does not even say where they are.
    pub fn of(plugin: &HostLocal, call: &Call) -> Result<Self, Error> {
        let data_dir = config::data_dir(call)?;
        let sets = Config::load(call).map(|config| config.range_sets);
        let known = sets.as_deref().unwrap_or_default();
        let mut reservations = Vec::new();
        if let Some(folder) = plugin.store(&data_dir, call).open()? {
            let mut origins = folder.origins();
            let now = plugin.system.present(folder.path());
            let pool = |address| known.iter().position(|set| set.contains(address));
            folder.scan(&mut |sighting| {
                reservations.extend(match sighting {
                    Sighting::Record(record, file) => {
                        let Ok(meta) = file.metadata() else {
                            return Ok(());
                        };
                        let origin = origins.of(record.address, &meta);
                        let written = written(&meta);
                        Some(Reservation {
                            fate: Fate::of(origin.as_ref(), written, now),
                            netns: origin
                                .and_then(|origin| origin.netns)
                                .map(|netns| netns.path),
                            written,
                            pool: pool(record.address),
                            address: record.address,
                            owner: record.owner,
                        })
                    }
                    Sighting::Unread(address, _) => Some(Reservation {
                        fate: Fate::Unknown,
                        netns: None,
                        written: SystemTime::UNIX_EPOCH,
                        pool: pool(address),
                        address,
                        owner: Owner::Unknown,
                    }),
                });
                Ok(())
            })?;
        }
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

impl Pool {
    fn of(set: &RangeSet, reservations: &[Reservation]) -> Self {
        let used = reservations
            .iter()
            .filter(|held| held.owner != Owner::Nobody && set.is_allocatable(held.address));
        Self {
            ranges: set.to_string(),
            subnets: set
                .ranges()
                .iter()
                .map(crate::range::Range::subnet)
                .collect(),
            gateways: set
                .ranges()
                .iter()
                .map(crate::range::Range::gateway)
                .collect(),
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

/// A length of time as people read it: `3 h 12 min`.
#[must_use]
pub fn age(seconds: u64) -> String {
    crate::age::length(Duration::from_secs(seconds))
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
    fn ranges_that_make_no_sense_do_not_hide_the_records() {
        let stdin = br#"{"cniVersion":"1.1.0","name":"n","ipam":{"type":"host-local","dataDir":"/nonexistent","ranges":[[]]}}"#;
        let call = Call::new(Environment::default(), stdin.to_vec(), Stop::never()).unwrap();
        let seen = Inspection::of(&HostLocal::default(), &call).unwrap();
        assert!(seen.pools.is_err());
        assert_eq!(seen.reservations, []);
    }
}
