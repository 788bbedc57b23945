//! The difference between what a plugin should have done and what it did.

use std::fmt::Display;

/// A difference between the wanted behaviour and the one that was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wanted {wanted}, found {found}")]
pub struct Mismatch {
    /// The behaviour that was wanted.
    pub wanted: String,
    /// The behaviour that was found.
    pub found: String,
}

impl Mismatch {
    /// Returns a mismatch of the two behaviours.
    pub fn new(wanted: impl Into<String>, found: impl Display) -> Self {
        Self {
            wanted: wanted.into(),
            found: found.to_string(),
        }
    }

    /// Returns the result of a check: `kept` is true if the wanted behaviour was found.
    ///
    /// # Errors
    /// Fails with a mismatch of the two behaviours if `kept` is false.
    pub fn unless(kept: bool, wanted: impl Into<String>, found: impl Display) -> Result<(), Self> {
        if kept {
            Ok(())
        } else {
            Err(Self::new(wanted, found))
        }
    }
}
