//! The `name` of a network configuration (spec section 1).

use crate::error::{Code, Error};
use std::fmt;

/// A network's name. It has the same grammar as a container id, so it can name a folder and cannot
/// leave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NetworkName(String);

impl NetworkName {
    /// Checks `text` against the spec's grammar.
    ///
    /// # Errors
    /// Fails with code 7 and the reference's texts for a missing name and for one with other
    /// characters.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Err(Error::new(Code::INVALID_CONFIG, "missing network name"));
        }
        if super::is_identifier(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::new(
            Code::INVALID_CONFIG,
            "invalid characters found in network name",
        )
        .with_details(text))
    }

    /// Returns the name as in the configuration.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
