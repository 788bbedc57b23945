//! Finds records that have outlived their attachment. A runtime that died, or was reset with its
//! machine, never sends the DEL of its pods.
//!
//! Only what is certain counts: a record that we wrote ourselves, on this machine, in an earlier
//! boot, or for a namespace whose mount is gone. Of the reference's records nothing is known.

use crate::{
    age,
    ledger::Origin,
    netns, note,
    record::Record,
    store::{Folder, Found, Locked, Sighting},
    system::Present,
};
use cni_types::Error;
use std::{fs::Metadata, net::IpAddr, time::SystemTime};

/// How many holders an error names.
const NAMED: usize = 3;

/// What became of the attachment that a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It ended with an earlier boot.
    EarlierBoot,
    /// Its namespace is no longer mounted.
    NetnsGone,
    /// It may live.
    ThisBoot,
    /// It ended with an earlier boot of this machine, or lives in a boot of a machine or container
    /// that has the same machine-id.
    OtherBoot,
    /// It may live, elsewhere.
    OtherMachine,
    /// Nothing is known.
    Unknown,
}

impl Fate {
    /// The fate of a record that came from there.
    pub(crate) fn of(origin: Option<&Origin>, written: SystemTime, now: Option<Present>) -> Self {
        let (Some(origin), Some(now)) = (origin, now) else {
            return Self::Unknown;
        };
        if origin.boot.machine != now.boot.machine {
            return Self::OtherMachine;
        }
        if origin.boot.boot != now.boot.boot {
            return if now.is_after(written) {
                Self::EarlierBoot
            } else {
                Self::OtherBoot
            };
        }
        let is_gone = now.is_alone() && origin.netns.as_ref().is_some_and(netns::is_gone);
        if is_gone {
            Self::NetnsGone
        } else {
            Self::ThisBoot
        }
    }

    /// Returns true if its record may be taken away.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::EarlierBoot | Self::NetnsGone)
    }

    /// In words: `in an earlier boot`.
    #[must_use]
    pub fn as_text(self) -> &'static str {
        match self {
            Self::EarlierBoot => "in an earlier boot",
            Self::NetnsGone => "its network namespace is gone",
            Self::ThisBoot => "in this boot",
            Self::OtherBoot => {
                "in another boot, of this machine or of one with the same machine-id"
            }
            Self::OtherMachine => "on another machine",
            Self::Unknown => "in an unknown boot",
        }
    }
}

/// A record, how old it is, and what became of its attachment.
#[derive(Debug)]
pub(crate) struct Holding {
    /// The record.
    pub(crate) record: Record,
    /// When it was written.
    pub(crate) written: SystemTime,
    /// What became of its attachment.
    pub(crate) fate: Fate,
}

impl Holding {
    /// Looks up what is known of a record.
    pub(crate) fn of(folder: &Folder<'_>, found: Found, now: Option<Present>) -> Self {
        let written = written(&found.meta);
        let fate = Fate::of(
            folder
                .origins()
                .of(found.record.address, &found.meta)
                .as_ref(),
            written,
            now,
        );
        Self {
            record: found.record,
            written,
            fate,
        }
    }

    /// Who holds the address, since when, of which boot.
    pub(crate) fn describe(&self) -> String {
        let Self {
            record,
            written,
            fate,
        } = self;
        let since = age::since(*written, SystemTime::now());
        format!(
            "{} is held by {} for {since}, {}",
            record.address,
            record.owner,
            fate.as_text()
        )
    }
}

/// The time at which a record was written. If it is not known, the present: that proves nothing.
pub(crate) fn written(meta: &Metadata) -> SystemTime {
    meta.modified().unwrap_or_else(|_| SystemTime::now())
}

/// What a look at all records of some addresses found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Those whose attachment is over: first those of earlier boots, then those without a namespace, oldest first.
    pub(crate) over: Vec<Holding>,
    /// The oldest of all.
    pub(crate) oldest: Vec<Holding>,
    /// How many there are in all.
    pub(crate) count: u64,
}

impl Survey {
    /// Looks at the records of the addresses that are `wanted`. At most `limit` of those that are over are kept, since
    /// there may be very many.
    ///
    /// # Errors
    /// Code 5 where the records cannot be read.
    pub(crate) fn of(
        folder: &Folder<'_>,
        now: Option<Present>,
        limit: usize,
        wanted: &dyn Fn(IpAddr) -> bool,
    ) -> Result<Self, Error> {
        let mut survey = Self::default();
        let mut origins = folder.origins();
        folder.scan(&mut |sighting| {
            match sighting {
                Sighting::Record(record, file)
                    if wanted(record.address) && !record.is_nobodys() =>
                {
                    survey.count += 1;
                    if let Ok(meta) = file.metadata() {
                        let written = written(&meta);
                        let fate =
                            Fate::of(origins.of(record.address, &meta).as_ref(), written, now);
                        survey.add(
                            Holding {
                                record,
                                written,
                                fate,
                            },
                            limit,
                        );
                    }
                }
                // Somebody holds it.
                Sighting::Unread(address, _) => survey.count += u64::from(wanted(address)),
                Sighting::Record(..) => {}
            }
            Ok(())
        })?;
        survey.sort(limit);
        Ok(survey)
    }

    fn add(&mut self, holding: Holding, limit: usize) {
        let list = if holding.fate.is_over() {
            &mut self.over
        } else {
            &mut self.oldest
        };
        list.push(holding);
        self.trim(limit);
    }

    /// Keeps the lists short, but sorts them only now and then.
    fn trim(&mut self, limit: usize) {
        let is_long = |list: &Vec<Holding>, limit: usize| {
            list.len() > limit.saturating_mul(2).saturating_add(64)
        };
        if is_long(&self.over, limit) || is_long(&self.oldest, NAMED) {
            self.sort(limit);
        }
    }

    fn sort(&mut self, limit: usize) {
        self.over
            .sort_unstable_by_key(|holding| (holding.fate, holding.written));
        self.over.truncate(limit);
        self.oldest.sort_unstable_by_key(|holding| holding.written);
        self.oldest.truncate(NAMED);
    }

    /// The oldest holders, for an error.
    pub(crate) fn describe(&self) -> String {
        let holders: Vec<String> = self.oldest.iter().map(Holding::describe).collect();
        if holders.is_empty() {
            String::new()
        } else {
            format!("the oldest: {}", holders.join("; "))
        }
    }
}

/// Frees an address whose attachment is over, and says so.
///
/// # Errors
/// Code 5; the record is still there.
pub(crate) fn reclaim(locked: &Locked<'_>, holding: &Holding) -> Result<(), Error> {
    locked.release(&holding.record)?;
    note(&format!("reclaimed an address: {}", holding.describe()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger, system::Boot};

    #[test]
    fn only_an_earlier_boot_of_this_machine_is_over() {
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let boot = |machine, boot| Boot {
            machine: [machine; 16],
            boot: [boot; 16],
        };
        // The kernel started at 100.
        let now = |boot| Some(Present::new(boot, Some(at(100))));
        let fate = |origin: Option<Boot>, written, now| {
            Fate::of(
                origin.map(|boot| Origin { boot, netns: None }).as_ref(),
                at(written),
                now,
            )
        };
        for (origin, written, now, wanted, is_over) in [
            (
                Some(boot(1, 1)),
                99,
                now(boot(1, 2)),
                Fate::EarlierBoot,
                true,
            ),
            (Some(boot(1, 1)), 99, now(boot(1, 1)), Fate::ThisBoot, false),
            (
                Some(boot(2, 1)),
                99,
                now(boot(1, 2)),
                Fate::OtherMachine,
                false,
            ),
            (None, 99, now(boot(1, 2)), Fate::Unknown, false),
            (Some(boot(1, 1)), 99, None, Fate::Unknown, false),
            // A clone's, or a container's with a boot id of its own.
            (
                Some(boot(1, 1)),
                101,
                now(boot(1, 2)),
                Fate::OtherBoot,
                false,
            ),
            // On a file system that clones may share.
            (
                Some(boot(1, 1)),
                99,
                Some(Present::new(boot(1, 2), None)),
                Fate::OtherBoot,
                false,
            ),
        ] {
            assert_eq!(fate(origin, written, now), wanted);
            assert_eq!(wanted.is_over(), is_over);
        }
    }

    #[test]
    fn a_namespace_is_not_gone_on_a_file_system_that_clones_share() {
        use std::os::unix::fs::MetadataExt;
        let parent = std::env::temp_dir().metadata().unwrap();
        let netns = ledger::Netns {
            path: std::env::temp_dir().join("host-local-no-such-namespace"),
            place: (1, 1),
            parent: (parent.dev(), parent.ino()),
        };
        let boot = Boot {
            machine: [1; 16],
            boot: [1; 16],
        };
        let origin = Origin {
            boot,
            netns: Some(netns),
        };
        let fate = |alone| {
            Fate::of(
                Some(&origin),
                SystemTime::now(),
                Some(Present::new(boot, alone)),
            )
        };
        assert_eq!(fate(Some(SystemTime::UNIX_EPOCH)), Fate::NetnsGone);
        assert_eq!(fate(None), Fate::ThisBoot);
    }
}
