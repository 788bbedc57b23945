//! The names of the keys that a type is read from, for tests that hold a plugin's declared keys to
//! what it reads.

use serde::{
    Deserialize, Deserializer,
    de::{Visitor, value::Error},
    forward_to_deserialize_any,
};
use std::collections::BTreeSet;

/// Returns the names that the fields of a struct have in JSON; nothing for a type that is read from
/// anything but an object with named fields.
#[must_use]
pub fn fields_of<'de, T: Deserialize<'de>>() -> BTreeSet<&'static str> {
    let mut names = &[][..];
    // The type asks for its fields, and gets an error in place of an object.
    let _ = T::deserialize(Asked(&mut names));
    names.iter().copied().collect()
}

/// Keeps the names for which a type asks.
struct Asked<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("nothing is here to be read"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Wire {
        #[expect(dead_code, reason = "only its name is looked at")]
        is_it: bool,
        #[serde(rename = "ID")]
        #[expect(dead_code, reason = "only its name is looked at")]
        id: u8,
    }

    #[test]
    fn the_names_are_those_of_the_json() {
        assert_eq!(fields_of::<Wire>(), BTreeSet::from(["ID", "isIt"]));
        assert_eq!(fields_of::<Vec<Wire>>(), BTreeSet::new());
    }
}
