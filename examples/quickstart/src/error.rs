//! The error that ends the tour early. All other failures are shown and counted.

use sandbox::{self, binaries};
use std::fmt;

/// A failure after which the tour cannot go on.
#[derive(Debug)]
pub(crate) struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error {
    pub(crate) fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }
}

macro_rules! from {
    ($($source:ty),*) => { $(impl From<$source> for Error {
        fn from(error: $source) -> Self {
            Self(error.to_string())
        }
    })* };
}

from!(
    binaries::Error,
    sandbox::Error,
    cni_runtime::Error,
    cni_runtime::ConfigError,
    cni_net::NetError,
    cni_types::Error
);

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}
