//! A case: a rule, the place where it stands, the plugins to which it applies, and the code that
//! looks if it is kept.

use super::{
    context::Context,
    failure::Failure,
    fault::Fault,
    kind::{EVERY_KIND, Kind},
    profile::Made,
};
use cni_types::{Command, SpecVersion};
use serde::{Deserialize, Serialize};
use std::fmt;

/// One rule and the way to see whether a plugin keeps it.
#[derive(Clone, Copy)]
pub struct Case {
    /// `family/name`. It never changes and is never given to another rule.
    pub id: &'static str,
    /// A sentence without a final stop about a plugin that keeps the rule.
    pub title: &'static str,
    /// The rule.
    pub clause: Clause,
    /// The level of the rule.
    pub level: Level,
    /// In which versions it holds.
    pub versions: Versions,
    /// To which plugins it applies.
    pub kinds: &'static [Kind],
    /// Things that the plugin or the machine must have for it.
    pub needs: &'static [Need],
    /// Ways to be wrong that this case notices; a test shows that it does.
    pub faults: &'static [Fault],
    /// Sees whether the rule is kept.
    pub body: fn(&Context<'_>) -> Result<(), Failure>,
}

/// A case that has no body yet: the rule, and what may be changed about when it applies.
#[derive(Clone, Copy)]
#[must_use]
pub struct Draft {
    id: &'static str,
    title: &'static str,
    clause: Clause,
    level: Level,
    versions: Versions,
    kinds: &'static [Kind],
    needs: &'static [Need],
    faults: &'static [Fault],
}

impl Draft {
    /// The versions in which the rule holds; otherwise all.
    pub const fn versions(self, versions: Versions) -> Self {
        Self { versions, ..self }
    }

    /// The plugins to which it applies; otherwise all.
    pub const fn kinds(self, kinds: &'static [Kind]) -> Self {
        Self { kinds, ..self }
    }

    /// The needs of the case; otherwise none.
    pub const fn needs(self, needs: &'static [Need]) -> Self {
        Self { needs, ..self }
    }

    /// The faults that the case notices.
    pub const fn faults(self, faults: &'static [Fault]) -> Self {
        Self { faults, ..self }
    }

    /// Completes the case: `body` sees if the rule is kept.
    #[must_use]
    pub const fn body(self, body: fn(&Context<'_>) -> Result<(), Failure>) -> Case {
        Case {
            id: self.id,
            title: self.title,
            clause: self.clause,
            level: self.level,
            versions: self.versions,
            kinds: self.kinds,
            needs: self.needs,
            faults: self.faults,
            body,
        }
    }
}

impl Case {
    /// A case whose failure shows that the plugin is no CNI plugin.
    pub const fn must(id: &'static str, title: &'static str, clause: Clause) -> Draft {
        Self::draft(Level::Must, id, title, clause)
    }

    /// A case about a rule that there may be reasons to break.
    pub const fn should(id: &'static str, title: &'static str, clause: Clause) -> Draft {
        Self::draft(Level::Should, id, title, clause)
    }

    /// A case whose findings are notes, never failures.
    pub const fn may(id: &'static str, title: &'static str, clause: Clause) -> Draft {
        Self::draft(Level::May, id, title, clause)
    }

    const fn draft(level: Level, id: &'static str, title: &'static str, clause: Clause) -> Draft {
        Draft {
            id,
            title,
            clause,
            level,
            versions: Versions::ALL,
            kinds: EVERY_KIND,
            needs: &[],
            faults: &[],
        }
    }

    /// The part of the id before the slash.
    #[must_use]
    pub fn family(&self) -> &'static str {
        self.id
            .split_once('/')
            .map_or(self.id, |(family, _)| family)
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

/// A rule of the specification, or of its conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Clause {
    /// The place of the rule: `2 DEL` for section 2, "DEL"; `silent` if the specification says
    /// nothing.
    pub section: &'static str,
    /// The rule in few and other words.
    pub rule: &'static str,
}

impl Clause {
    /// A rule, and the section that has it.
    #[must_use]
    pub const fn new(section: &'static str, rule: &'static str) -> Self {
        Self { section, rule }
    }

    /// Describes what is usual, or useful, if the specification says nothing.
    #[must_use]
    pub const fn silent(rule: &'static str) -> Self {
        Self::new("silent", rule)
    }
}

/// The level of a rule (RFC 2119). The order is from the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Who breaks it is no CNI plugin.
    Must,
    /// There may be reasons against it.
    Should,
    /// Good to know. What such a case finds is a note, never a failure.
    May,
}

impl Level {
    /// As RFC 2119 writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        }
    }
}

/// A range of versions, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    first: SpecVersion,
    last: SpecVersion,
    newest_only: bool,
}

impl Versions {
    /// All released versions.
    pub const ALL: Self = Self::since(SpecVersion::V0_1_0);
    /// The versions in which a result has interfaces, and plugins can be chained.
    pub const WITH_INTERFACES: Self = Self::since(SpecVersion::V0_3_0);
    /// The versions with CHECK, and with a prevResult for DEL.
    pub const WITH_CHECK: Self = Self::since(SpecVersion::V0_4_0);
    /// The versions with GC and STATUS.
    pub const WITH_GC: Self = Self::since(SpecVersion::V1_1_0);
    /// Only the newest that the plugin speaks: for cases that take long and do not depend on the
    /// version.
    pub const NEWEST: Self = Self {
        newest_only: true,
        ..Self::ALL
    };

    /// The newest version only, if it has GC.
    pub const NEWEST_WITH_GC: Self = Self {
        newest_only: true,
        ..Self::WITH_GC
    };

    /// From this version on.
    #[must_use]
    pub const fn since(first: SpecVersion) -> Self {
        Self {
            first,
            last: SpecVersion::LATEST,
            newest_only: false,
        }
    }

    /// Up to this version.
    #[must_use]
    pub const fn until(last: SpecVersion) -> Self {
        Self {
            first: SpecVersion::V0_1_0,
            last,
            newest_only: false,
        }
    }

    /// Returns true if only the newest of several is wanted.
    pub(super) fn is_newest_only(self) -> bool {
        self.newest_only
    }

    /// Those of a plugin's versions in which the rule holds.
    #[must_use]
    pub fn of(self, spoken: &[SpecVersion]) -> Vec<SpecVersion> {
        let all = SpecVersion::ALL.into_iter();
        let mut versions: Vec<_> = all
            .filter(|version| {
                self.first <= *version && *version <= self.last && spoken.contains(version)
            })
            .collect();
        if self.newest_only {
            versions.drain(..versions.len().saturating_sub(1));
        }
        versions
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first,
            last,
            newest_only,
        } = self;
        if *newest_only {
            return f.write_str("newest");
        }
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}–{last}")
        }
    }
}

/// A need of a case. If it is not met, the case is skipped, with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The profile lists the operation.
    Verb(Command),
    /// The profile says that an ADD makes this.
    Makes(Made),
    /// The profile's configuration has an IPAM plugin.
    Ipam,
    /// The profile's configuration has a folder for state, `${DATA_DIR}`.
    DataDir,
    /// A program in `PATH`.
    Program(&'static str),
    /// Nothing: the case finds out by itself if the plugin speaks the version. Other cases are
    /// skipped if VERSION does not list it.
    AnyVersion,
    /// The suite's own program, which can stand in for a delegate ([`Context::double`]).
    Double,
    /// A second folder with the same plugin ([`Context::other`]).
    Other,
}
