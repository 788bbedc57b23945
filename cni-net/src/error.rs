//! Errors of operations on the kernel: the operation, its object, and the kernel's answer.

use nix::errno::Errno;
use std::{fmt, io};

/// The kernel's answer to a request that it refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelError {
    /// The error number.
    pub errno: Errno,
    /// The text that came with it (extended acknowledgement, include/linux/netlink.h), if any.
    pub text: Option<String>,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.errno.desc().to_lowercase())?;
        self.text
            .as_ref()
            .map_or(Ok(()), |text| write!(f, " (kernel: {text})"))
    }
}

impl std::error::Error for KernelError {}

/// A feature that a kernel may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// nf_tables altogether.
    NfTables,
    /// Chains of type `nat` in tables of the family `inet`.
    InetNat,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NfTables => "nf_tables (CONFIG_NF_TABLES)",
            Self::InetNat => "nat in inet tables of nf_tables (Linux 5.2)",
        })
    }
}

/// A failed operation on the kernel's network state.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// A netlink request was refused.
    #[error("failed to {operation} {object:?}: {source}")]
    Kernel {
        /// The operation, as a verb.
        operation: &'static str,
        /// The object of the operation.
        object: String,
        /// The kernel's answer.
        source: KernelError,
    },
    /// A system call or a file operation failed.
    #[error("failed to {operation} {object:?}: {source}")]
    Io {
        /// The operation, as a verb.
        operation: &'static str,
        /// The object of the operation.
        object: String,
        /// The system's error.
        source: io::Error,
    },
    /// The kernel's answer was not understood.
    #[error("failed to {operation} {object:?}: {reason}")]
    Protocol {
        /// The operation, as a verb.
        operation: &'static str,
        /// The object of the operation.
        object: String,
        /// The reason why the answer was not understood.
        reason: String,
    },
    /// The kernel lacks a feature that the operation needs.
    #[error("the kernel lacks {feature}: {source}")]
    Lacking {
        /// The missing feature.
        feature: Feature,
        /// The refusal from which the lack was concluded.
        source: Box<NetError>,
    },
    /// `/proc` is not mounted, so namespaces cannot be compared.
    #[error("failed to find the own network namespace: /proc is not mounted")]
    NoProc,
    /// An awaited state was not reached in time.
    #[error("timed out waiting for {0}")]
    TimedOut(String),
    /// The process received a request to stop while it waited.
    #[error("terminated while waiting for {0}")]
    Stopped(String),
    /// A required program of the system is not installed. The first words are the reference's.
    #[error("failed to locate iptables: no program {0:?} in PATH or the usual folders")]
    NoProgram(String),
    /// A program of the system failed.
    #[error("{program} failed: {reason}")]
    Program {
        /// The name of the program.
        program: String,
        /// The exit status, or the reason why the program could not be run.
        reason: String,
        /// The text that it printed on stderr.
        stderr: String,
    },
}

impl NetError {
    pub(crate) fn io(
        operation: &'static str,
        object: impl fmt::Display,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Io {
            operation,
            object: object.to_string(),
            source: source.into(),
        }
    }

    /// Returns the error number, if there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Kernel { source, .. } => Some(source.errno),
            Self::Io { source, .. } => source.raw_os_error().map(Errno::from_raw),
            // `is_exists` and `is_absent` speak of objects; a missing feature is not an object.
            Self::Lacking { .. }
            | Self::Protocol { .. }
            | Self::NoProc
            | Self::TimedOut(_)
            | Self::Stopped(_)
            | Self::NoProgram(_)
            | Self::Program { .. } => None,
        }
    }

    /// Returns the object of the operation, if it had one.
    #[must_use]
    pub fn object(&self) -> Option<&str> {
        match self {
            Self::Kernel { object, .. }
            | Self::Io { object, .. }
            | Self::Protocol { object, .. } => Some(object),
            Self::Lacking { source, .. } => source.object(),
            Self::NoProc
            | Self::TimedOut(_)
            | Self::Stopped(_)
            | Self::NoProgram(_)
            | Self::Program { .. } => None,
        }
    }

    /// Returns true if the object exists already.
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EEXIST)
    }

    /// Returns true if the object does not exist.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(
            self.errno(),
            Some(Errno::ENOENT | Errno::ENODEV | Errno::ESRCH | Errno::EADDRNOTAVAIL)
        )
    }

    /// Returns true if the kernel lacks a required feature.
    #[must_use]
    pub fn is_missing_feature(&self) -> bool {
        matches!(self, Self::Lacking { .. })
    }

    /// Takes the absence of an object for success, as a removal does.
    ///
    /// # Errors
    /// Returns every error but one that reports absence.
    pub fn absent_is_ok(outcome: Result<(), Self>) -> Result<(), Self> {
        outcome.or_else(|e| if e.is_absent() { Ok(()) } else { Err(e) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_words_are_kept() {
        let source = KernelError {
            errno: Errno::EBUSY,
            text: Some("Device is already a port".into()),
        };
        let error = NetError::Kernel {
            operation: "attach",
            object: "veth0".into(),
            source,
        };
        assert_eq!(
            error.to_string(),
            r#"failed to attach "veth0": device or resource busy (kernel: Device is already a port)"#
        );
        assert!(!error.is_absent() && !error.is_exists());
        assert_eq!(error.object(), Some("veth0"));
    }
}
