//! Tests of the workspace as a whole, and the workspace's folder.

use std::path::{Path, PathBuf};

/// Returns a path of the workspace, given from its root.
#[must_use]
pub fn workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
