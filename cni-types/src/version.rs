//! The versions of the CNI specification, and their features.

use std::{fmt, str::FromStr};

/// A released version of the specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the version numbers")]
pub enum SpecVersion {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl SpecVersion {
    /// Every version, oldest first; all of them are supported.
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    /// The newest version.
    pub const LATEST: Self = Self::V1_1_0;

    /// Returns the version number as in `cniVersion`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The first version with CHECK.
    pub const FIRST_WITH_CHECK: Self = Self::V0_4_0;

    /// The first version with GC and STATUS.
    pub const FIRST_WITH_GC_AND_STATUS: Self = Self::V1_1_0;

    /// Returns true if the version has CHECK.
    #[must_use]
    pub fn has_check(self) -> bool {
        self >= Self::FIRST_WITH_CHECK
    }

    /// Returns true if the version has GC and STATUS.
    #[must_use]
    pub fn has_gc_and_status(self) -> bool {
        self >= Self::FIRST_WITH_GC_AND_STATUS
    }

    /// Returns true if a result has one address per family and no interfaces (up to 0.2.0).
    #[must_use]
    pub fn has_one_address_per_family(self) -> bool {
        self <= Self::V0_2_0
    }
}

/// Text that is not the number of a released version.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownVersion;

impl FromStr for SpecVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, UnknownVersion> {
        Self::ALL
            .into_iter()
            .find(|v| v.as_str() == text)
            .ok_or(UnknownVersion)
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn an_unknown_version_is_refused_with_the_supported_list() {
        let error = SpecVersion::of_config("9.8.7").unwrap_err();
        assert_eq!(error.code, Code::INCOMPATIBLE_VERSION);
        assert_eq!(error.msg, "incompatible CNI versions");
        assert_eq!(
            error.details,
            r#"config is "9.8.7", plugin supports ["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#
        );
    }

    #[test]
    fn no_version_means_the_first() {
        assert_eq!(SpecVersion::of_config(""), Ok(SpecVersion::V0_1_0));
    }

    #[test]
    fn each_operation_starts_with_its_version() {
        let with = |f: fn(SpecVersion) -> bool| SpecVersion::ALL.map(f);
        assert_eq!(
            with(SpecVersion::has_check),
            [false, false, false, false, true, true, true]
        );
        assert_eq!(
            with(SpecVersion::has_gc_and_status),
            [false, false, false, false, false, false, true]
        );
        assert_eq!(
            with(SpecVersion::has_one_address_per_family),
            [true, true, false, false, false, false, false]
        );
    }
}
