//! The error that a plugin reports: a code, a short text, details (spec section 5, "Error").
//!
//! Texts are an interface. Runtimes and people match on the reference's key phrases, so a text
//! starts with the phrase that the reference uses and goes on with what was wanted, what was found
//! and the remedy.

use crate::{json::Document, version::SpecVersion};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A numeric error code. 0–99 belong to the spec, 100 and up to the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Code(pub u32);

impl Code {
    /// The plugin does not speak the configuration's version.
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    /// A field of the configuration is not supported; the text holds its key and value.
    pub const UNSUPPORTED_FIELD: Self = Self(2);
    /// The container does not exist; the runtime need not clean up.
    pub const UNKNOWN_CONTAINER: Self = Self(3);
    /// A `CNI_*` variable is missing or malformed; the text names it.
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    /// Reading or writing failed.
    pub const IO: Self = Self(5);
    /// Content could not be decoded.
    pub const DECODE: Self = Self(6);
    /// The configuration was decoded, but is invalid.
    pub const INVALID_CONFIG: Self = Self(7);
    /// The network namespace cannot be used (the reference's code, not the spec's).
    pub const INVALID_NETNS: Self = Self(8);
    /// A temporary condition; the runtime should try again.
    pub const TRY_AGAIN: Self = Self(11);
    /// STATUS: the plugin cannot serve an ADD.
    pub const UNAVAILABLE: Self = Self(50);
    /// STATUS: the plugin cannot serve an ADD, and existing containers may have limited
    /// connectivity.
    pub const LIMITED_CONNECTIVITY: Self = Self(51);
    /// CHECK found the attachment in another state than ADD left it.
    pub const CHECK_MISMATCH: Self = Self(100);
    /// The kernel refused an operation.
    pub const KERNEL: Self = Self(101);
    /// A delegate could not be run, or violated the protocol.
    pub const DELEGATE: Self = Self(102);
    /// IPAM cannot give an address: none is left, or the requested one is taken.
    pub const ADDRESS_UNAVAILABLE: Self = Self(103);
    /// Anything else (the reference's catch-all).
    pub const OTHER: Self = Self(999);
}

/// An error as it is reported to the runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The numeric code.
    pub code: Code,
    /// The short text, in lower case and without a final stop.
    pub msg: String,
    /// The longer text; empty if there is nothing to add.
    pub details: String,
}

#[derive(Serialize)]
struct Wire<'a> {
    #[serde(rename = "cniVersion")]
    cni_version: &'a str,
    code: u32,
    msg: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'a str,
}

#[derive(Deserialize)]
struct Foreign {
    code: u32,
    #[serde(default)]
    msg: String,
    #[serde(default)]
    details: String,
}

impl Error {
    /// Creates an error without details.
    #[must_use]
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: String::new(),
        }
    }

    /// Replaces the details.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// Appends `more` to the details.
    #[must_use]
    pub fn and_details(mut self, more: &str) -> Self {
        if !self.details.is_empty() {
            self.details.push_str("; ");
        }
        self.details.push_str(more);
        self
    }

    /// Prefixes the text with `prefix` and a colon.
    #[must_use]
    pub fn context(mut self, prefix: impl fmt::Display) -> Self {
        self.msg = format!("{prefix}: {}", self.msg);
        self
    }

    /// Joins the outcomes of work that is not stopped by an error. The first error gives code and
    /// text; the others follow as details, each once.
    ///
    /// # Errors
    /// Fails if an outcome is an error, with all of them.
    pub fn join<E: Into<Self>>(
        outcomes: impl IntoIterator<Item = Result<(), E>>,
    ) -> Result<(), Self> {
        let mut errors = outcomes.into_iter().filter_map(Result::err).map(E::into);
        let Some(first) = errors.next() else {
            return Ok(());
        };
        let mut texts = vec![first.to_string()];
        Err(errors.fold(first, |all, e| {
            let text = e.to_string();
            if texts.contains(&text) {
                return all;
            }
            let joined = all.and_details(&text);
            texts.push(text);
            joined
        }))
    }

    /// Returns the error object of spec section 5, as one JSON document.
    #[must_use]
    pub fn to_json(&self, version: SpecVersion) -> String {
        let wire = Wire {
            cni_version: version.as_str(),
            code: self.code.0,
            msg: &self.msg,
            details: &self.details,
        };
        crate::json::pretty(&wire)
    }

    /// Reads the error object that another plugin printed; returns `None` for any other text.
    /// Code 0 becomes 102.
    #[must_use]
    pub fn from_json(bytes: &[u8]) -> Option<Self> {
        let wire: Foreign = Document::parse(bytes).ok()?.decode().ok()?;
        // 0 means success to a reader of codes (spec section 5); the reference prints it for errors
        // of its own.
        let code = if wire.code == 0 {
            Code::DELEGATE
        } else {
            Code(wire.code)
        };
        Some(Self {
            code,
            msg: wire.msg,
            details: wire.details,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if self.details.is_empty() {
            Ok(())
        } else {
            write!(f, "; {}", self.details)
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_back_from_its_json() {
        let error = Error::new(Code(117), "first").with_details("second");
        let text = error.to_json(SpecVersion::V1_1_0);
        assert_eq!(Error::from_json(text.as_bytes()), Some(error));
        assert!(text.contains(r#""cniVersion": "1.1.0""#), "{text}");
    }

    #[test]
    fn a_result_is_not_mistaken_for_an_error() {
        assert_eq!(
            Error::from_json(br#"{"cniVersion":"1.0.0","ips":[]}"#),
            None
        );
        assert_eq!(Error::from_json(b"not json"), None);
    }

    #[test]
    fn an_error_with_code_0_gets_a_code_and_keeps_its_text() {
        let error = Error::from_json(br#"{"code":0,"msg":"a","details":"b"}"#).unwrap();
        assert_eq!(error, Error::new(Code::DELEGATE, "a").with_details("b"));
    }

    #[test]
    fn joined_errors_keep_the_first_as_the_cause() {
        let error = |text: &str| Error::new(Code::OTHER, text);
        let errors = [
            Error::new(Code::IO, "a"),
            error("b").with_details("c"),
            error("a"),
            error("b; c"),
        ];
        let joined = Error::join(errors.map(Err)).unwrap_err();
        assert_eq!(
            (joined.code, joined.to_string().as_str()),
            (Code::IO, "a; b; c")
        );
        assert_eq!(Error::join([Ok::<(), Error>(())]), Ok(()));
    }
}
