//! Errors between a runtime and its plugins.

use super::network::ConfigError;
use cni_types::Command;
use std::{io, path::PathBuf};

/// The reason for which an operation on a network failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A network configuration that cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A plugin failed, could not be found, or broke the protocol.
    #[error("plugin {plugin:?} failed {}: {error}", command.as_str())]
    Plugin {
        /// Its `type`.
        plugin: String,
        /// The operation.
        command: Command,
        /// Its error, word for word; an error of ours with code 6 or 102 if it gave none.
        error: cni_types::Error,
    },
    /// The cached result could not be read or written.
    #[error("cannot {operation} the cached result {}: {source}", path.display())]
    Cache {
        /// The operation that failed.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The operation needs something that the caller did not give, or that was never there.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// The plugin's own error, if it is one.
    #[must_use]
    pub fn plugin_error(&self) -> Option<&cni_types::Error> {
        match self {
            Self::Plugin { error, .. } => Some(error),
            _ => None,
        }
    }
}
