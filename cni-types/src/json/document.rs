//! A checked document, decoded piece by piece.

use super::{
    DecodeError, check,
    decode::Field,
    text::{Shape, Value},
};
use serde::de::DeserializeOwned;

/// Text that is one JSON document. It takes no more memory than its text, whatever its structure;
/// the memory of a decoded value is bounded by its type.
#[derive(Clone, Debug)]
pub(crate) struct Document<B>(B);

impl<B: AsRef<[u8]>> Document<B> {
    /// Checks `text`.
    ///
    /// # Errors
    /// Fails if the text is not one JSON document, with line and column.
    pub(crate) fn parse(text: B) -> Result<Self, DecodeError> {
        check::check(text.as_ref()).map(|()| Self(text))
    }

    /// Returns the text, byte for byte.
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

    /// Returns the value of `key`, which is matched as a key of a struct is. Unlike there, `null`
    /// differs from absence.
    ///
    /// # Errors
    /// Fails if the key is repeated too often.
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
