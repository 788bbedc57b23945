//! Decoding of checked text into a type, by the rules of Go's encoding/json.
//!
//! - A key matches a field without regard to case.
//! - A repeated key, in any spelling, is decoded into the previous value: objects are merged key by
//!   key, and any other value replaces the previous one.
//! - `null` leaves a field unchanged, except that it empties maps, lists and pointers (`Option`).

use super::{
    DecodeError,
    text::{Elements, Members, Shape, Value},
};
use serde::{
    de::{
        DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
        Visitor,
    },
    forward_to_deserialize_any,
};
use std::borrow::Cow;

/// The name of the newtype by which a type requests a value's text, as it is written.
pub(super) const VERBATIM: &str = "$cni-types::verbatim";

/// The most repetitions of one key. Files merged by templates repeat a key twice.
const MAX_REPEATS: usize = 1000;

/// The longest string that is decoded, in bytes of its text. A program copies decoded strings
/// several times, so longer ones could take far more memory than stdin may have bytes.
const MAX_STRING: usize = 1 << 20;

/// The deepest nesting that is decoded. Only a recursive type reaches it.
const MAX_DEPTH: u8 = 128;

/// The value of a key: everything that the document contains for it.
#[derive(Clone, Debug)]
pub(crate) struct Field<'de> {
    earlier: Vec<Value<'de>>,
    last: Value<'de>,
    depth: u8,
}

impl<'de> Field<'de> {
    pub(super) fn new(value: Value<'de>) -> Self {
        Self {
            earlier: Vec::new(),
            last: value,
            depth: 0,
        }
    }

    /// Adds the value of a repetition of the key.
    pub(super) fn push(&mut self, value: Value<'de>) -> Result<(), DecodeError> {
        if self.earlier.len() >= MAX_REPEATS {
            return Err(DecodeError::new(format!(
                "the key is repeated more than {MAX_REPEATS} times"
            )));
        }
        self.earlier.push(std::mem::replace(&mut self.last, value));
        Ok(())
    }

    /// Decodes into `T`.
    pub(crate) fn decode<T: DeserializeOwned>(self) -> Result<T, DecodeError> {
        T::deserialize(self)
    }

    /// Creates the field for a value inside an array or an object at nesting `depth`.
    fn inside(depth: u8, value: Value<'de>) -> Result<Self, DecodeError> {
        if depth == MAX_DEPTH {
            return Err(DecodeError::new(format!(
                "nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(Self {
            depth: depth + 1,
            ..Self::new(value)
        })
    }

    fn all(&self) -> impl DoubleEndedIterator<Item = Value<'de>> {
        self.earlier.iter().copied().chain([self.last])
    }

    /// Returns the last value that is not `null`, or `null` if all are.
    fn value(&self) -> Value<'de> {
        self.all()
            .rev()
            .find(|value| !value.is_null())
            .unwrap_or(self.last)
    }

    /// Returns the values behind the last `null`, which empties a list, a map or a pointer; `None`
    /// if there are none.
    fn since_null(mut self) -> Option<Self> {
        if self.last.is_null() {
            return None;
        }
        let emptied = self
            .earlier
            .iter()
            .rposition(|value| value.is_null())
            .map_or(0, |at| at + 1);
        self.earlier.drain(..emptied);
        Some(self)
    }

    /// Returns the fields of a struct for which the document has a value.
    fn fields(
        &self,
        names: &'static [&'static str],
    ) -> Result<Vec<(Cow<'de, str>, Self)>, DecodeError> {
        let mut fields: Vec<(&'static str, Self)> = Vec::new();
        for object in self.all().filter(|value| !value.is_null()) {
            for (key, value) in members(object)? {
                let Some(name) = names.iter().find(|name| name.eq_ignore_ascii_case(&key)) else {
                    continue;
                };
                match fields.iter_mut().find(|(seen, _)| seen == name) {
                    Some((_, field)) => field.push(value).map_err(|e| e.below(name))?,
                    None => fields.push((name, Self::inside(self.depth, value)?)),
                }
            }
        }
        fields.retain(|(_, field)| !field.value().is_null());
        Ok(fields
            .into_iter()
            .map(|(name, field)| (Cow::Borrowed(name), field))
            .collect())
    }
}

fn members(value: Value<'_>) -> Result<Members<'_>, DecodeError> {
    match value.shape() {
        Shape::Object(members) => Ok(members),
        _ => Err(DecodeError::mismatch(value, "an object")),
    }
}

/// Decodes an integer. As in Go, a number with a fraction or an exponent is refused.
macro_rules! integers {
    ($($method:ident: $type:ty => $visit:ident,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
            let value = self.value();
            let text = match value.shape() {
                Shape::Null => "0",
                Shape::Number(text) => text,
                _ => return Err(DecodeError::mismatch(value, "an integer")),
            };
            match text.parse::<$type>() {
                Ok(number) => visitor.$visit(number),
                Err(_) if text.contains(['.', 'e', 'E']) => Err(DecodeError::mismatch(value, "an integer")),
                Err(_) => {
                    let expected = format!("an integer from {} to {}", <$type>::MIN, <$type>::MAX);
                    Err(DecodeError::mismatch(value, &expected))
                }
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Field<'de> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.value().shape() {
            Shape::Null => visitor.visit_unit(),
            Shape::Bool(_) => self.deserialize_bool(visitor),
            Shape::Number(text) if text.parse::<u64>().is_ok() => self.deserialize_u64(visitor),
            Shape::Number(text) if text.parse::<i64>().is_ok() => self.deserialize_i64(visitor),
            Shape::Number(_) => self.deserialize_f64(visitor),
            Shape::String(_) => self.deserialize_str(visitor),
            Shape::Array(_) => self.deserialize_seq(visitor),
            Shape::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let value = self.value();
        match value.shape() {
            Shape::Bool(value) => visitor.visit_bool(value),
            Shape::Null => visitor.visit_bool(false),
            _ => Err(DecodeError::mismatch(value, "true or false")),
        }
    }

    integers! {
        deserialize_i8: i8 => visit_i8,
        deserialize_i16: i16 => visit_i16,
        deserialize_i32: i32 => visit_i32,
        deserialize_i64: i64 => visit_i64,
        deserialize_u8: u8 => visit_u8,
        deserialize_u16: u16 => visit_u16,
        deserialize_u32: u32 => visit_u32,
        deserialize_u64: u64 => visit_u64,
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let value = self.value();
        let number = match value.shape() {
            Shape::Null => Some(0.0),
            Shape::Number(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => return Err(DecodeError::mismatch(value, "a number")),
        };
        let number = number.ok_or_else(|| DecodeError::mismatch(value, "a number of 64 bits"))?;
        visitor.visit_f64(number)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let value = self.value();
        // Checked before the string is unescaped, which copies it.
        if value.is_string() && value.text().len() > MAX_STRING {
            return Err(DecodeError::too_long(value, MAX_STRING));
        }
        match value.shape() {
            Shape::String(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Shape::String(Cow::Owned(text)) => visitor.visit_string(text),
            Shape::Null => visitor.visit_borrowed_str(""),
            _ => Err(DecodeError::mismatch(value, "a string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        match self.since_null() {
            Some(field) => visitor.visit_some(field),
            None => visitor.visit_none(),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let values = match self.last.shape() {
            Shape::Array(values) => Some(values),
            Shape::Null => None,
            _ => return Err(DecodeError::mismatch(self.last, "an array")),
        };
        visitor.visit_seq(Array {
            values,
            index: 0,
            depth: self.depth,
        })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let depth = self.depth;
        let objects = self.since_null();
        let objects = objects.iter().flat_map(Self::all).map(members);
        let objects: Vec<_> = objects.collect::<Result<_, _>>()?;
        let entries = objects
            .into_iter()
            .flatten()
            .map(|(key, value)| (key, Self::inside(depth, value)));
        visitor.visit_map(Object {
            entries,
            current: None,
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let entries = self
            .fields(names)?
            .into_iter()
            .map(|(key, field)| (key, Ok(field)));
        visitor.visit_map(Object {
            entries,
            current: None,
        })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        if name == VERBATIM {
            return visitor.visit_borrowed_bytes(self.last.text());
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.value().shape() {
            Shape::String(variant) => visitor.visit_enum(
                IntoDeserializer::<DecodeError>::into_deserializer(&*variant),
            ),
            _ => Err(DecodeError::mismatch(self.value(), "a string")),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 f32 char bytes byte_buf unit unit_struct tuple_struct identifier ignored_any
    }
}

struct Array<'de> {
    values: Option<Elements<'de>>,
    index: usize,
    depth: u8,
}

impl<'de> SeqAccess<'de> for Array<'de> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        let Some(value) = self.values.as_mut().and_then(Iterator::next) else {
            return Ok(None);
        };
        let decoded = Field::inside(self.depth, value).and_then(|field| seed.deserialize(field));
        let decoded = decoded.map_err(|e| e.below(&format!("[{}]", self.index)))?;
        self.index += 1;
        Ok(Some(decoded))
    }
}

struct Object<'de, I> {
    entries: I,
    current: Option<(Cow<'de, str>, Result<Field<'de>, DecodeError>)>,
}

impl<'de, I> MapAccess<'de> for Object<'de, I>
where
    I: Iterator<Item = (Cow<'de, str>, Result<Field<'de>, DecodeError>)>,
{
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, DecodeError> {
        self.current = self.entries.next();
        let Some((key, _)) = &self.current else {
            return Ok(None);
        };
        seed.deserialize(IntoDeserializer::<DecodeError>::into_deserializer(&**key))
            .map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, DecodeError> {
        let (key, field) = self
            .current
            .take()
            .ok_or_else(|| DecodeError::new("value without a key".to_owned()))?;
        field
            .and_then(|field| seed.deserialize(field))
            .map_err(|e| e.below(&key))
    }
}
