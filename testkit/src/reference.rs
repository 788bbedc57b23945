//! The Go reference plugins, for tests side by side.
//!
//! `scripts/fetch-reference` puts them into `target/reference` of the workspace, wherever else
//! Cargo may build; `CNI_TEST_REFERENCE` names another folder. A test that needs them is ignored if
//! they are missing, with the command to run as its reason; `CNI_TEST_REQUIRE_REFERENCE` names the
//! suites, separated by blanks, for which it fails instead.

use super::verdict::{fail, require};
use std::path::{Path, PathBuf};

const FOLDER: &str = "CNI_TEST_REFERENCE";
const REQUIRED: &str = "CNI_TEST_REQUIRE_REFERENCE";

/// The Debian suite that the reference is from. Suites move, so what a test may expect is said by
/// suite and not by version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    /// 1.1.1, the version that Debian 12 has for good. Specification 1.0.0.
    Bookworm,
    /// The newest: 1.9.1 at the time of writing. Specification 1.1.0.
    Sid,
}

impl Suite {
    /// Both, the older one first.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Sid];

    /// The suite's name, which is that of the link to its folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Sid => "sid",
        }
    }

    /// Returns the folder with the suite's plugins: a `CNI_PATH`. Ends the test if it is missing.
    #[track_caller]
    #[must_use]
    pub fn require(self) -> PathBuf {
        let folder = root().join(self.name());
        let there = folder.join("bridge").is_file();
        if !there && is_required(self, std::env::var(REQUIRED).as_deref().unwrap_or_default()) {
            fail(format_args!(
                "{REQUIRED} wants the reference plugins, and {} has none",
                folder.display()
            ));
        }
        let what = format!(
            "the reference plugins of {} (get them with scripts/fetch-reference)",
            self.name()
        );
        require(&what, there);
        // The links among the folders are the script's business; a report shall name the version.
        folder.canonicalize().unwrap_or(folder)
    }
}

fn root() -> PathBuf {
    std::env::var_os(FOLDER).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/reference"),
        PathBuf::from,
    )
}

fn is_required(suite: Suite, required: &str) -> bool {
    required.split_whitespace().any(|name| name == suite.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_required_by_its_name() {
        assert!(is_required(Suite::Sid, "bookworm sid"));
        assert!(!is_required(Suite::Sid, "bookworm"));
        assert!(!is_required(Suite::Bookworm, ""));
    }
}
