//! A difference between what was wanted of a plugin and what it did.

use std::fmt::Display;

/// The behaviour that was wanted, and the one that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wanted {wanted}, found {found}")]
pub struct Mismatch {
    /// The behaviour that was wanted.
    pub wanted: String,
    /// The behaviour that was found.
    pub found: String,
}

impl Mismatch {
    /// A mismatch of these two.
    pub fn new(wanted: impl Into<String>, found: impl Display) -> Self {
        Self {
            wanted: wanted.into(),
            found: found.to_string(),
        }
    }

    /// Succeeds if `kept`.
    ///
    /// # Errors
    /// Fails otherwise, with a mismatch of these two.
    pub fn unless(kept: bool, wanted: impl Into<String>, found: impl Display) -> Result<(), Self> {
        if kept {
            Ok(())
        } else {
            Err(Self::new(wanted, found))
        }
    }
}
