//! The process's environment as a value. The program reads it once; tests construct their own,
//! since changing the real one is unsafe in a process with threads.

use std::ffi::{OsStr, OsString};

/// Names and values of environment variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Returns the variables of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Returns the value of `name`; empty if it is not set. Bytes that are not UTF-8 are replaced
    /// by a character that no grammar of a `CNI_*` variable accepts.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        self.value(name)
            .map(|value| value.to_string_lossy().into_owned())
            .unwrap_or_default()
    }

    /// Returns the value of `name` as the kernel passed it, or `None` if it is not set.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&OsStr> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// Returns the environment with `name` set to `value`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.0.retain(|(key, _)| key != name);
        self.0.push((name.into(), value.into()));
        self
    }

    /// Returns all variables.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_os_str(), value.as_os_str()))
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(key, value)| (key.into(), value.into()))
                .collect(),
        )
    }
}
