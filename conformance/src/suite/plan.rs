//! The choice of cases, plugins and versions.

use super::{
    case::{Case, Level, Need},
    glob,
    profile::Profile,
    subject::{Subject, is_in_path},
    supported_versions,
};
use cni_types::SpecVersion;
use std::sync::Arc;

/// The choice of a user.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Patterns for `plugin:family/case@version`; one that fits is enough. An empty list means all
    /// cases.
    pub filters: Vec<String>,
    /// Cases below this level are left out.
    pub level: Level,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            filters: Vec::new(),
            level: Level::May,
        }
    }
}

/// One case with one plugin in one version.
#[derive(Clone, Debug)]
pub struct Item {
    /// The case.
    pub case: &'static Case,
    /// The plugin.
    pub subject: Arc<Subject>,
    /// The version.
    pub version: SpecVersion,
}

impl Item {
    /// `family/case@version`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}@{}", self.case.id, self.version)
    }

    /// `plugin:family/case@version`: what filters are for.
    #[must_use]
    pub fn full_id(&self) -> String {
        format!("{}:{}", self.subject.profile.name, self.id())
    }

    /// Why it cannot be run here.
    pub(super) fn skip_reason(&self) -> Option<String> {
        let unmet = || self.case.needs.iter().find_map(|need| self.unmet(*need));
        self.subject
            .skip_reason()
            .or_else(unmet)
            .or_else(|| self.unspoken())
    }

    /// A plugin need not speak every version; it says which it does.
    fn unspoken(&self) -> Option<String> {
        if self.case.needs.contains(&Need::AnyVersion) {
            None
        } else {
            self.unlisted()
        }
    }

    /// Returns a reason to skip if VERSION does not list the version, whatever the case.
    pub(super) fn unlisted(&self) -> Option<String> {
        let list = supported_versions::versions(&self.subject.binary(), self.subject.limit)?;
        let version = self.version.as_str();
        let unspoken = !list.iter().any(|listed| listed == version);
        unspoken.then(|| format!("VERSION does not list {version}"))
    }

    fn unmet(&self, need: Need) -> Option<String> {
        let profile = &self.subject.profile;
        match need {
            Need::Verb(verb) => (!profile.verbs.contains(&verb))
                .then(|| format!("the profile says that the plugin has no {}", verb.as_str())),
            Need::Program(program) => {
                (!is_in_path(program)).then(|| format!("no program {program} here"))
            }
            Need::Double => self
                .subject
                .double
                .is_none()
                .then(|| "the suite's own program is not at hand".to_owned()),
            Need::Other => self
                .subject
                .other
                .is_none()
                .then(|| "there is no other build of the plugin".to_owned()),
            // These say to which plugins a case applies; `plan` has looked at them.
            Need::Makes(_) | Need::Ipam | Need::DataDir | Need::AnyVersion => None,
        }
    }
}

/// All pairs that make sense and are wanted: by plugin, then as the cases are listed, then by
/// version.
#[must_use]
pub fn plan(cases: &'static [Case], subjects: &[Arc<Subject>], selection: &Selection) -> Vec<Item> {
    let mut items = Vec::new();
    for subject in subjects {
        for case in cases.iter().filter(|case| applies(case, &subject.profile)) {
            for version in case.versions.of(&subject.profile.versions) {
                items.push(Item {
                    case,
                    subject: Arc::clone(subject),
                    version,
                });
            }
        }
    }
    items.retain(|item| selection.wants(item));
    items
}

/// For cases that are run in the newest version only: takes the newest that VERSION lists, if that
/// is older than the newest of the profile. The process must have entered the sandbox
/// ([`sandbox::enter`]).
#[must_use]
pub fn resolve_newest(mut items: Vec<Item>) -> Vec<Item> {
    for item in items
        .iter_mut()
        .filter(|item| item.case.versions.is_newest_only())
    {
        let Some(list) = supported_versions::versions(&item.subject.binary(), item.subject.limit)
        else {
            continue;
        };
        let mut spoken = item.subject.profile.versions.clone();
        spoken.retain(|version| list.iter().any(|listed| listed == version.as_str()));
        item.version = item.case.versions.of(&spoken).pop().unwrap_or(item.version);
    }
    items
}

impl Selection {
    fn wants(&self, item: &Item) -> bool {
        let id = item.full_id();
        item.case.level <= self.level
            && (self.filters.is_empty()
                || self.filters.iter().any(|filter| glob::occurs(filter, &id)))
    }
}

fn applies(case: &Case, profile: &Profile) -> bool {
    case.kinds.contains(&profile.kind)
        && case.needs.iter().all(|need| match need {
            Need::Makes(made) => profile.makes.contains(made),
            Need::Ipam => profile.ipam().is_some(),
            Need::DataDir => profile.has_data_dir(),
            Need::Verb(_) | Need::Program(_) | Need::Double | Need::Other | Need::AnyVersion => {
                true
            }
        })
}
