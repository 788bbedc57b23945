//! The liveness of the attachment that a record is of, as far as it is certain.

use crate::{
    machine::{CurrentBoot, is_gone},
    store::Origin,
};
use std::time::SystemTime;

/// The state of the attachment that a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Liveness {
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

impl Liveness {
    /// Returns the liveness of the attachment of a record of this origin, written then.
    pub(crate) fn of(
        origin: Option<&Origin>,
        written: SystemTime,
        now: Option<CurrentBoot>,
    ) -> Self {
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
        if now.is_alone() && origin.netns.as_ref().is_some_and(is_gone) {
            Self::NetnsGone
        } else {
            Self::ThisBoot
        }
    }

    /// Returns true if the attachment is certainly over, so that its record may be reclaimed.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::EarlierBoot | Self::NetnsGone)
    }

    /// The state in words, as in `in an earlier boot`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Boot, Netns};

    #[test]
    fn only_an_earlier_boot_of_this_machine_is_over() {
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let boot = |machine, boot| Boot {
            machine: [machine; 16],
            boot: [boot; 16],
        };
        // The kernel started at 100.
        let now = |boot| Some(CurrentBoot::new(boot, Some(at(100))));
        let liveness = |origin: Option<Boot>, written, now| {
            Liveness::of(
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
                Liveness::EarlierBoot,
                true,
            ),
            (
                Some(boot(1, 1)),
                99,
                now(boot(1, 1)),
                Liveness::ThisBoot,
                false,
            ),
            (
                Some(boot(2, 1)),
                99,
                now(boot(1, 2)),
                Liveness::OtherMachine,
                false,
            ),
            (None, 99, now(boot(1, 2)), Liveness::Unknown, false),
            (Some(boot(1, 1)), 99, None, Liveness::Unknown, false),
            // A clone's, or a container's with a boot id of its own.
            (
                Some(boot(1, 1)),
                101,
                now(boot(1, 2)),
                Liveness::OtherBoot,
                false,
            ),
            // On a file system that clones may share.
            (
                Some(boot(1, 1)),
                99,
                Some(CurrentBoot::new(boot(1, 2), None)),
                Liveness::OtherBoot,
                false,
            ),
        ] {
            assert_eq!(liveness(origin, written, now), wanted);
            assert_eq!(wanted.is_over(), is_over);
        }
    }

    #[test]
    fn a_namespace_is_not_gone_on_a_file_system_that_clones_share() {
        use std::os::unix::fs::MetadataExt;
        let parent = std::env::temp_dir().metadata().unwrap();
        let netns = Netns {
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
        let liveness = |alone| {
            Liveness::of(
                Some(&origin),
                SystemTime::now(),
                Some(CurrentBoot::new(boot, alone)),
            )
        };
        assert_eq!(liveness(Some(SystemTime::UNIX_EPOCH)), Liveness::NetnsGone);
        assert_eq!(liveness(None), Liveness::ThisBoot);
    }
}
