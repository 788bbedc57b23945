//! The plan of a run: the selected cases, each with a plugin and a version.

use super::{
    case::{Case, Level, Need},
    glob,
    profile::Profile,
    subject::{Subject, is_in_path},
    supported_versions,
};
use cni_types::SpecVersion;
use std::sync::Arc;

/// The cases that the user wants.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Patterns for [`Item::full_id`]; a case is wanted if one of them matches. An empty list means
    /// all cases.
    pub filters: Vec<String>,
    /// The weakest level that is wanted.
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
    /// Returns `family/case@version`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}@{}", self.case.id, self.version)
    }

    /// Returns `plugin:family/case@version`, which filters are matched against.
    #[must_use]
    pub fn full_id(&self) -> String {
        format!("{}:{}", self.subject.profile.name, self.id())
    }

    /// Returns the reason to skip the case; `None` if it can be run.
    pub(super) fn skip_reason(&self) -> Option<String> {
        let unmet_need = || {
            let mut needs = self.case.needs.iter();
            needs.find_map(|need| self.unmet_need(*need))
        };
        let unlisted_version = || match self.case.needs.contains(&Need::AnyVersion) {
            true => None,
            false => self.unlisted_version(),
        };
        self.subject
            .skip_reason()
            .or_else(unmet_need)
            .or_else(unlisted_version)
    }

    /// Returns a reason to skip if the plugin's VERSION does not list the version; `None` also if
    /// the plugin gives no list. Disregards [`Need::AnyVersion`].
    pub(super) fn unlisted_version(&self) -> Option<String> {
        let list = supported_versions::versions(&self.subject.binary(), self.subject.limit)?;
        let version = self.version.as_str();
        let is_listed = list.iter().any(|listed| listed == version);
        (!is_listed).then(|| format!("VERSION does not list {version}"))
    }

    /// Returns a reason to skip if the plugin or the machine lacks what the case needs.
    fn unmet_need(&self, need: Need) -> Option<String> {
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
            // `applies` has looked at the first three, `skip_reason` looks at `AnyVersion`.
            Need::Makes(_) | Need::Ipam | Need::DataDir | Need::AnyVersion => None,
        }
    }
}

/// Returns an item for each plugin, case that applies to it, and version, as far as the selection
/// wants it. They are in the order of plugins, then of cases, then of versions.
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

/// Lowers the version of items whose case is run in the newest version only, if the plugin's
/// VERSION does not list it: to the newest of the profile's versions that VERSION lists. The
/// process must have entered the sandbox ([`sandbox::enter`]), because plugins are run.
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
        let mut supported = item.subject.profile.versions.clone();
        supported.retain(|version| list.iter().any(|listed| listed == version.as_str()));
        let newest = item.case.versions.of(&supported).pop();
        item.version = newest.unwrap_or(item.version);
    }
    items
}

impl Selection {
    /// Returns true if the level and a filter let the item pass.
    fn wants(&self, item: &Item) -> bool {
        let id = item.full_id();
        item.case.level <= self.level
            && (self.filters.is_empty()
                || self.filters.iter().any(|filter| glob::occurs(filter, &id)))
    }
}

/// Returns true if the case can apply to a plugin with this profile.
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
