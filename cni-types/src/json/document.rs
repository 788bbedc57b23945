//! A document that was checked, and is decoded piece by piece.

use super::{
    DecodeError, check,
    decode::Field,
    text::{Shape, Value},
};
use serde::de::DeserializeOwned;

/// Text that is one JSON document. It needs no more memory than its text, however it is built: what
/// is decoded from it is bounded by the type that is decoded.
#[derive(Clone, Debug)]
pub(crate) struct Document<B>(B);

impl<B: AsRef<[u8]>> Document<B> {
    /// Checks `text`.
    ///
    /// # Errors
    /// Fails if it is not one JSON document, with line and column.
    pub(crate) fn parse(text: B) -> Result<Self, DecodeError> {
        check::check(text.as_ref()).map(|()| Self(text))
    }

    /// The text, byte for byte.
    pub(crate) fn text(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// Fails unless the document is an object.
    pub(crate) fn require_object(&self) -> Result<(), DecodeError> {
        match self.root().shape() {
            Shape::Object(_) => Ok(()),
            _ => Err(DecodeError::mismatch(self.root(), "an object")),
        }
    }

    /// Decodes into `T`, by Go's rules.
    ///
    /// # Errors
    /// Fails if a value is of another type than the field, with the path to it.
    pub(crate) fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        Field::new(self.root()).decode()
    }

    /// The value of `key`, matched as a key of a struct is, but with `null` distinguished from
    /// absence.
    ///
    /// # Errors
    /// Fails if the key is repeated without end.
    pub(crate) fn field(&self, key: &str) -> Result<Option<Field<'_>>, DecodeError> {
        let Shape::Object(members) = self.root().shape() else {
            return Ok(None);
        };
        let mut field: Option<Field<'_>> = None;
        for (_, value) in members.filter(|(name, _)| name.eq_ignore_ascii_case(key)) {
            match &mut field {
                Some(field) => field.push(value).map_err(|e| e.below(key))?,
                None => field = Some(Field::new(value)),
            }
        }
        Ok(field)
    }

    pub(super) fn root(&self) -> Value<'_> {
        Value::of_document(self.text())
    }
}
