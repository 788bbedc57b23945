//! The state that a test compares: less than [`State::read`] has, which reads hundreds of kernel
//! parameters in each namespace, and without the empty chains that a network keeps.

use crate::rules;
use cni_net::NetError;
use sandbox::{State, inventory};
use std::path::{Path, PathBuf};

const FOLDERS: [&str; 2] = ["/run/cni-data", "/var/lib/cni"];

/// Reads the host, these pods and the folders with data.
pub(super) fn of(pods: &[&Path]) -> Result<State, NetError> {
    let mut state = State::of_networks(pods, network)?;
    state.add_folders(&FOLDERS);
    Ok(state)
}

/// Reads the same with all pods that are there.
pub(super) fn of_everything() -> Result<State, NetError> {
    let entries = std::fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten();
    let mut pods: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    pods.sort();
    of(&pods.iter().map(AsRef::as_ref).collect::<Vec<_>>())
}

/// Reads [`inventory::network`], and the masquerade and macspoofchk rules.
fn network() -> Result<Vec<String>, NetError> {
    let mut lines = inventory::network()?;
    let rules = rules::masquerade_comments().into_iter().flatten();
    lines.extend(rules.map(|comment| format!("masquerade {comment:?}")));
    let checks = rules::mac_check_comments().into_iter().flatten();
    lines.extend(checks.map(|comment| format!("macspoofchk {comment:?}")));
    lines.sort();
    Ok(lines)
}
