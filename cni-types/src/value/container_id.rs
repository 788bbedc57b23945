//! `CNI_CONTAINERID`, checked when it is read (spec section 2, "Parameters").

use crate::error::{Code, Error};
use std::fmt;

/// The identifier of a container, given by the runtime: an alphanumeric character, then
/// alphanumeric characters, `_`, `.` or `-`. It is safe as a part of a file name, since it contains
/// no `/` and is not `..`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// Checks `text` against the spec's grammar.
    ///
    /// # Errors
    /// Fails with code 4 and the reference's text; the details are the identifier.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if super::is_identifier(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(
            Code::INVALID_ENVIRONMENT,
            "invalid characters in containerID",
        )
        .with_details(text))
    }

    /// Returns the identifier as the runtime gave it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
