//! Errors of decoding, in JSON's terms: the key, the found value, the expected value.

use super::text::{Shape, Value};
use serde::de::{Expected, Unexpected};
use std::fmt;

/// The longest part of a value that an error shows, in characters.
const MAX_SHOWN: usize = 60;

/// The reason why input could not be decoded, with the path of keys and indices, such as
/// `ipam.ranges[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    path: String,
    reason: String,
}

impl DecodeError {
    pub(super) fn new(reason: String) -> Self {
        Self {
            path: String::new(),
            reason,
        }
    }

    /// Returns the error for a value of another type than `expected`.
    pub(super) fn mismatch(found: Value<'_>, expected: &str) -> Self {
        let found = match found.shape() {
            Shape::Null => "null".to_owned(),
            Shape::Bool(value) => value.to_string(),
            Shape::Number(text) => format!("the number {}", shortened(text)),
            Shape::String(text) => shown_string(&text),
            Shape::Array(_) => "an array".to_owned(),
            Shape::Object(_) => "an object".to_owned(),
        };
        Self::new(format!("found {found}, expected {expected}"))
    }

    /// Returns the error for a string of more than `limit` bytes.
    pub(super) fn too_long(found: Value<'_>, limit: usize) -> Self {
        let len = found.text().len();
        Self::new(format!(
            "found a string of {len} bytes, expected at most {limit}"
        ))
    }

    /// Prefixes the path with `step`.
    pub(super) fn below(mut self, step: &str) -> Self {
        let dot = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{}{dot}{}", shortened(step), self.path);
        self
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.reason);
        }
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl std::error::Error for DecodeError {}

impl serde::de::Error for DecodeError {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::new(reason.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::new(format!("found {}, expected {expected}", in_json(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::new(format!("found {length} elements, expected {expected}"))
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(format!("the key {key:?} is missing"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let expected: Vec<String> = expected.iter().map(|text| format!("{text:?}")).collect();
        Self::new(format!(
            "found {}, expected one of {}",
            shown_string(variant),
            expected.join(", ")
        ))
    }
}

/// Names serde's finding in JSON's terms.
fn in_json(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Str(text) => shown_string(text),
        Unexpected::Unit | Unexpected::Option => "null".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map => "an object".to_owned(),
        other => other.to_string(),
    }
}

fn shown_string(text: &str) -> String {
    format!("the string {:?}", shortened(text))
}

/// Returns the start of a text that may be megabytes long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.split_at(end).0),
    }
}
