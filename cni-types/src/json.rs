//! JSON as the reference reads it.
//!
//! Configurations in the field were only ever read by Go's `encoding/json`: keys match struct
//! fields without regard to case, repeated keys are merged, `null` equals a missing key, and
//! unknown keys are ignored whatever they contain. serde's defaults differ in all of these. So text
//! is first checked (`check`) without building a tree, and then decoded on request by a
//! deserializer that follows Go (`decode`): memory is bounded by the size of the text.
//!
//! [`Json`] is a tree, for code that reads keys that no type declares, or changes some keys and
//! passes the rest on.

mod check;
mod decode;
mod document;
mod error;
mod text;
mod tree;

pub(crate) use document::Document;
pub use error::DecodeError;
pub use tree::{Json, Number};

use serde::Serialize;

/// Writes a value as the reference does: one document, four spaces of indentation, a final newline.
#[expect(
    clippy::expect_used,
    reason = "fails only for maps whose keys are not strings; none of our types holds one"
)]
pub(crate) fn pretty(value: &impl Serialize) -> String {
    let mut bytes = Vec::with_capacity(512);
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
    value.serialize(&mut serializer).expect("keys are strings");
    bytes.push(b'\n');
    String::from_utf8(bytes).expect("serde_json writes UTF-8")
}

#[cfg(test)]
mod tests;
