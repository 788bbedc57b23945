//! `CNI_NETNS`: a reference to the container's network namespace.

use std::{fmt, path::Path};

/// The path of a network namespace as the runtime gave it. Results repeat it verbatim (`sandbox`,
/// spec section 5), so it is kept as text and never made canonical.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NetnsPath(String);

impl NetnsPath {
    /// Takes any text but the empty one, which means "no namespace" and gives `None`.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    /// Returns the path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for NetnsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
