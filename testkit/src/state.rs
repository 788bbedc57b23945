//! Everything that a plugin may change, as text: two of them are compared to show that nothing was left.

use cni_net::{NetError, nft::Nft};
use sandbox::inventory;
use std::{fmt, path::Path};

/// A snapshot. Two that are equal print the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(String);

impl State {
    pub(super) fn of(pods: &[&Path]) -> Self {
        let mut text = format!("host\n{}", network());
        for pod in pods {
            let inside = cni_net::Netns::open(pod).and_then(|netns| netns.run(network));
            text += &format!(
                "pod {}\n{}",
                pod.display(),
                inside.unwrap_or_else(|e| format!("  {e}\n"))
            );
        }
        for folder in ["/run/cni-data", "/var/lib/cni"] {
            let mut lines = Vec::new();
            inventory::files(Path::new(folder), &mut lines);
            lines.iter().for_each(|line| text += &format!("{line}\n"));
        }
        Self(text)
    }

    /// The state with all pods that are there.
    pub(super) fn of_everything() -> Self {
        let entries = std::fs::read_dir("/run/netns")
            .into_iter()
            .flatten()
            .flatten();
        let mut pods: Vec<_> = entries.map(|entry| entry.path()).collect();
        pods.sort();
        Self::of(&pods.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// The lines that are in `self` and not in `before`, and the other way round: empty for equal states.
    #[must_use]
    pub fn difference(&self, before: &Self) -> String {
        let only = |sign: &str, these: &Self, those: &Self| -> String {
            let new = these
                .0
                .lines()
                .filter(|line| !those.0.lines().any(|other| other == *line));
            new.map(|line| format!("{sign}{line}\n")).collect()
        };
        if self == before {
            return String::new();
        }
        let lines = only("-", before, self) + &only("+", self, before);
        if lines.is_empty() {
            "the same lines, in another order or number".to_owned()
        } else {
            lines
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What [`inventory::network`] finds, and the masquerade and macspoofchk rules.
fn network() -> String {
    let read = || -> Result<Vec<String>, NetError> {
        let mut lines = inventory::network()?;
        let rules = Nft::open().and_then(|mut nft| nft.masquerade_entries());
        lines.extend(
            rules
                .into_iter()
                .flatten()
                .map(|rule| format!("masquerade {:?}", rule.comment)),
        );
        let checks = Nft::open().and_then(|mut nft| nft.mac_check_jumps());
        let checks = checks.into_iter().flatten();
        lines.extend(checks.map(|jump| format!("macspoofchk {} {}", jump.host_end, jump.chain())));
        lines.sort();
        Ok(lines)
    };
    match read() {
        Ok(lines) => lines.iter().map(|line| format!("  {line}\n")).collect(),
        Err(e) => format!("  cannot be read: {e}\n"),
    }
}
