//! JSON as the reference reads it.
//!
//! Configurations in the field were only ever read by Go's `encoding/json`: keys match struct fields without
//! regard to case, `null` is the same as no key, the last of several equal keys wins, unknown keys are
//! ignored. serde's defaults differ in the first three. So input is first read into [`Json`], which keeps
//! every key in its order, and decoded from there by a deserializer that follows Go wherever the target is a
//! struct. Maps and [`Json`] itself are taken verbatim.

mod decode;

pub use decode::DecodeError;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use std::fmt;

/// A JSON value that keeps keys in their order, duplicates and all.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are those of RFC 8259")]
pub enum Json {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads one document. Nesting deeper than 128 levels is refused.
    ///
    /// # Errors
    /// Where the text is not one JSON document, with line and column.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice(bytes).map_err(|e| DecodeError::new(e.to_string()))
    }

    /// Decodes into `T`, with Go's rules for structs.
    ///
    /// # Errors
    /// Where a value is of another type than the field, with the path to it.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        T::deserialize(decode::Decoder(self))
    }

    /// The value of `key` in an object, by the rules for structs, but telling `null` from absence.
    #[must_use]
    pub fn lookup(&self, key: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        members.iter().rev().find(|(k, _)| k.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    /// True for an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// Replaces the value of `key`, however it is spelt, or adds it at the end. Nothing for a non-object.
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

/// Writes a value as the reference does: one document, four spaces of indentation, a final newline.
pub(crate) fn pretty(value: &impl Serialize) -> String {
    let mut bytes = Vec::with_capacity(512);
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, format);
    // Fails only for maps whose keys are not strings; none of our types holds one.
    if value.serialize(&mut serializer).is_err() {
        bytes.clear();
    }
    bytes.push(b'\n');
    String::from_utf8(bytes).unwrap_or_default()
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Number(value) => value.serialize(serializer),
            Self::String(value) => serializer.serialize_str(value),
            Self::Array(values) => serializer.collect_seq(values),
            Self::Object(members) => serializer.collect_map(members.iter().map(|(k, v)| (k, v))),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(decode::TreeVisitor)
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
            serde_json::Value::Number(value) => Self::Number(value),
            serde_json::Value::String(value) => Self::String(value),
            serde_json::Value::Array(values) => Self::Array(values.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(members) => {
                Self::Object(members.into_iter().map(|(k, v)| (k, Self::from(v))).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, rename_all = "camelCase")]
    struct Conf {
        is_gateway: bool,
        mtu: Option<u32>,
        bridge: String,
        ipam: Option<Ipam>,
        labels: BTreeMap<String, String>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default)]
    struct Ipam {
        #[serde(rename = "type")]
        kind: String,
        routes: Vec<String>,
    }

    fn conf(text: &str) -> Conf {
        Json::parse(text.as_bytes()).unwrap().decode().unwrap()
    }

    #[test]
    fn keys_match_without_regard_to_case() {
        assert!(conf(r#"{"isgateway": true}"#).is_gateway);
        assert_eq!(conf(r#"{"IPAM": {"Type": "host-local"}}"#).ipam.unwrap().kind, "host-local");
    }

    #[test]
    fn null_is_absent() {
        let parsed = conf(r#"{"isGateway":null,"mtu":null,"bridge":null,"ipam":{"type":"x","routes":null}}"#);
        assert_eq!(parsed.bridge, "");
        assert_eq!(parsed.ipam.unwrap().routes, Vec::<String>::new());
    }

    #[test]
    fn the_last_duplicate_wins_whatever_its_case() {
        assert_eq!(conf(r#"{"bridge":"a","Bridge":"b"}"#).bridge, "b");
        assert_eq!(conf(r#"{"Bridge":"b","bridge":"a"}"#).bridge, "a");
        assert_eq!(conf(r#"{"bridge":"a","bridge":null}"#).bridge, "a");
    }

    #[test]
    fn unknown_keys_are_ignored() {
        assert_eq!(conf(r#"{"foo":{"bar":[1,2.5,-3,"x",null,true]}}"#), Conf::default());
    }

    #[test]
    fn keys_of_maps_are_kept_as_they_are() {
        let labels = conf(r#"{"labels":{"App":"x","app":"y"}}"#).labels;
        assert_eq!(labels.len(), 2);
    }

    #[test]
    fn a_type_error_names_the_path() {
        let json = Json::parse(br#"{"ipam":{"routes":["a",7]}}"#).unwrap();
        let error = json.decode::<Conf>().unwrap_err().to_string();
        assert_eq!(error, "ipam.routes[1]: invalid type: integer `7`, expected a string");
    }

    #[test]
    fn an_array_is_not_taken_for_a_struct() {
        for text in ["[]", r#"[true,1500,"cni0"]"#] {
            let error = Json::parse(text.as_bytes()).unwrap().decode::<Conf>().unwrap_err();
            assert_eq!(error.to_string(), "invalid type: sequence, expected struct Conf");
        }
    }

    #[test]
    fn hostile_depth_is_refused_without_a_crash() {
        let deep = "[".repeat(100_000);
        assert!(Json::parse(deep.as_bytes()).unwrap_err().to_string().contains("recursion limit"));
    }

    #[test]
    fn a_document_followed_by_something_else_is_refused() {
        assert!(Json::parse(b"{} {}").is_err());
        assert!(Json::parse(b"").is_err());
    }

    fn tree() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::Bool),
            any::<i64>().prop_map(|n| Json::Number(n.into())),
            any::<String>().prop_map(Json::String),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
                prop::collection::vec((any::<String>(), inner), 0..4).prop_map(Json::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_printed_tree_reads_back_with_order_and_duplicates(json in tree()) {
            prop_assert_eq!(Json::parse(json.to_string().as_bytes()).unwrap(), json);
        }

        #[test]
        fn any_tree_is_decoded_or_refused(json in tree()) {
            let _ = json.decode::<Conf>();
        }
    }
}
