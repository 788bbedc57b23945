//! JSON as a tree that can be read and changed.

use super::{
    DecodeError, Document,
    decode::VERBATIM,
    text::{Shape, Value},
};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Visitor},
};
use std::fmt::{self, Write};

/// The deepest nesting of a tree, which is walked by recursion and so takes stack.
const MAX_DEPTH: usize = 256;

/// A JSON value that preserves the order of keys, duplicates, and the text of numbers.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of RFC 8259")]
pub enum Json {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

/// A number as it is written, of any size and precision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(Box<str>);

impl Number {
    /// Returns the number, or `None` if it is not an integer of this type.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// Returns the number, or `None` if it is not an integer of this type.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.0.parse().ok()
    }

    /// Returns the nearest 64-bit floating-point number; infinite if the number is too large.
    fn as_f64(&self) -> Option<f64> {
        self.0.parse().ok()
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self(number.to_string().into())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Json {
    /// Parses one document. Nesting deeper than 256 levels is refused.
    ///
    /// # Errors
    /// Fails if the text is not one JSON document, with line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::build(Document::parse(bytes)?.root(), 0)
    }

    fn build(value: Value<'_>, depth: usize) -> Result<Self, DecodeError> {
        if depth > MAX_DEPTH {
            return Err(DecodeError::new(format!(
                "exceeded max depth of {MAX_DEPTH}"
            )));
        }
        Ok(match value.shape() {
            Shape::Null => Self::Null,
            Shape::Bool(value) => Self::Bool(value),
            Shape::Number(text) => Self::Number(Number(text.into())),
            Shape::String(text) => Self::String(text.into_owned()),
            Shape::Array(values) => Self::Array(
                values
                    .map(|value| Self::build(value, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            Shape::Object(members) => {
                let member = |(key, value): (std::borrow::Cow<'_, str>, _)| {
                    Ok((key.into_owned(), Self::build(value, depth + 1)?))
                };
                Self::Object(members.map(member).collect::<Result<_, _>>()?)
            }
        })
    }

    /// Decodes into `T`, with Go's rules for structs.
    ///
    /// # Errors
    /// Fails if a value is of another type than the field, with the path to it.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        Document::parse(self.to_string())?.decode()
    }

    /// Returns the value of `key` in an object, matched as for structs, except that `null` differs
    /// from absence. Of a repeated key it is the last value.
    #[must_use]
    pub fn lookup(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        members
            .iter()
            .rev()
            .find(|(k, _)| k.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    }

    /// Returns true for an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Replaces the value of `key`, in any spelling, or appends it. Does nothing to a value that is
    /// not an object.
    pub fn insert(&mut self, key: &str, value: Self) {
        self.remove(key);
        if let Self::Object(members) = self {
            members.push((key.to_owned(), value));
        }
    }

    /// Removes every spelling of `key`.
    pub fn remove(&mut self, key: &str) {
        if let Self::Object(members) = self {
            members.retain(|(k, _)| !k.eq_ignore_ascii_case(key));
        }
    }
}

/// Writes `items` between brackets, with commas between them.
fn write_list<T>(
    f: &mut fmt::Formatter<'_>,
    [open, close]: [char; 2],
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    f.write_char(open)?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_char(',')?;
        }
        write(f, item)?;
    }
    f.write_char(close)
}

fn write_string(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?)
}

/// Writes the shortest text. Numbers are written as they were read.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::String(value) => write_string(f, value),
            Self::Array(values) => write_list(f, ['[', ']'], values, |f, value| value.fmt(f)),
            Self::Object(members) => write_list(f, ['{', '}'], members, |f, (key, value)| {
                write_string(f, key)?;
                f.write_char(':')?;
                value.fmt(f)
            }),
        }
    }
}

/// Serializes as a part of another document. A number that is not a 64-bit integer becomes the
/// nearest one that serde supports, as in libcni.
impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => match (value.as_u64(), value.as_i64()) {
                (Some(number), _) => serializer.serialize_u64(number),
                (None, Some(number)) => serializer.serialize_i64(number),
                (None, None) => value.as_f64().serialize(serializer),
            },
            Self::String(value) => serializer.serialize_str(value),
            Self::Array(values) => serializer.collect_seq(values),
            Self::Object(members) => serializer.collect_map(members.iter().map(|(k, v)| (k, v))),
        }
    }
}

/// Deserializes from this crate's own documents only, which pass the text of the value.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(VERBATIM, TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_borrowed_bytes<E: serde::de::Error>(self, text: &'de [u8]) -> Result<Json, E> {
        Json::build(Value::of_document(text), 0).map_err(E::custom)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(value) => Self::Number(Number(value.to_string().into())),
            serde_json::Value::String(value) => Self::String(value),
            serde_json::Value::Array(values) => {
                Self::Array(values.into_iter().map(Self::from).collect())
            }
            serde_json::Value::Object(members) => Self::Object(
                members
                    .into_iter()
                    .map(|(k, v)| (k, Self::from(v)))
                    .collect(),
            ),
        }
    }
}
