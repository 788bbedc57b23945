//! Go's rules, one by one, and arbitrary text.

use super::*;
use proptest::prelude::*;
use serde::Deserialize;
use std::{collections::BTreeMap, time::Instant};

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "camelCase")]
struct Conf {
    is_gateway: bool,
    mtu: Option<u32>,
    vlan: i64,
    bridge: String,
    ipam: Option<Ipam>,
    dns: Dns,
    labels: BTreeMap<String, String>,
    other: Option<Json>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Ipam {
    #[serde(rename = "type")]
    kind: String,
    routes: Vec<String>,
    ranges: Vec<Option<Vec<Dns>>>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(default)]
struct Dns {
    domain: String,
}

fn decode(text: impl AsRef<[u8]>) -> Result<Conf, DecodeError> {
    Document::parse(text.as_ref())?.decode()
}

#[track_caller]
fn conf(text: impl AsRef<[u8]>) -> Conf {
    decode(text).unwrap()
}

#[track_caller]
fn refusal(text: impl AsRef<[u8]>) -> String {
    decode(text).unwrap_err().to_string()
}

#[test]
fn keys_match_without_regard_to_case() {
    assert!(conf(r#"{"isgateway": true}"#).is_gateway);
    assert_eq!(
        conf(r#"{"IPAM": {"Type": "host-local"}}"#)
            .ipam
            .unwrap()
            .kind,
        "host-local"
    );
    assert_eq!(conf(r#"{"\u0062ridge": "br0"}"#).bridge, "br0");
}

#[test]
fn null_is_absent() {
    let parsed =
        conf(r#"{"isGateway":null,"mtu":null,"bridge":null,"ipam":{"type":"x","routes":null}}"#);
    assert_eq!(parsed.bridge, "");
    assert_eq!(parsed.ipam.unwrap().routes, Vec::<String>::new());
}

#[test]
fn null_in_a_list_is_an_empty_value() {
    let ipam = conf(r#"{"ipam":{"routes":[null,"a"],"ranges":[null,[null]]}}"#)
        .ipam
        .unwrap();
    assert_eq!(ipam.routes, ["", "a"]);
    assert_eq!(ipam.ranges, [None, Some(vec![Dns::default()])]);
}

#[test]
fn the_last_of_repeated_values_wins_whatever_its_case() {
    assert_eq!(conf(r#"{"bridge":"a","Bridge":"b"}"#).bridge, "b");
    assert_eq!(conf(r#"{"Bridge":"b","bridge":"a"}"#).bridge, "a");
    assert_eq!(conf(r#"{"bridge":"a","bridge":null}"#).bridge, "a");
    assert_eq!(
        conf(r#"{"mtu":1,"mtu":null}"#).mtu,
        None,
        "a pointer is emptied"
    );
}

#[test]
fn a_repeated_object_is_merged_key_by_key() {
    for (first, second) in [("ipam", "ipam"), ("IPAM", "ipam"), ("ipam", "Ipam")] {
        let text = format!(
            r#"{{"{first}":{{"type":"a","routes":["x","y"]}},"{second}":{{"routes":["z"]}}}}"#
        );
        let ipam = conf(text).ipam.unwrap();
        assert_eq!(
            (ipam.kind.as_str(), ipam.routes),
            ("a", vec!["z".to_owned()])
        );
    }
    let ipam = conf(r#"{"ipam":{"routes":["x"]},"ipam":{"type":"a"},"ipam":{"type":"b"}}"#)
        .ipam
        .unwrap();
    assert_eq!(
        (ipam.kind.as_str(), ipam.routes),
        ("b", vec!["x".to_owned()])
    );
}

#[test]
fn a_repeated_map_is_merged() {
    let labels = conf(r#"{"labels":{"a":"1","b":"2"},"labels":{"b":"3","B":"4"}}"#).labels;
    let wanted = [("B", "4"), ("a", "1"), ("b", "3")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(labels, BTreeMap::from(wanted));
}

#[test]
fn a_null_after_an_object_empties_a_pointer_and_a_map_but_no_struct() {
    let emptied = conf(r#"{"ipam":{"type":"a"},"ipam":null,"labels":{"a":"1"},"labels":null}"#);
    assert_eq!((emptied.ipam, emptied.labels.len()), (None, 0));
    assert_eq!(conf(r#"{"dns":{"domain":"a"},"dns":null}"#).dns.domain, "a");
    let again = conf(r#"{"ipam":{"type":"a","routes":["x"]},"ipam":null,"ipam":{"type":"b"}}"#)
        .ipam
        .unwrap();
    assert_eq!((again.kind.as_str(), again.routes.len()), ("b", 0));
}

#[test]
fn a_repeated_object_of_another_type_is_refused() {
    assert_eq!(
        refusal(r#"{"dns":7,"dns":{}}"#),
        "dns: found the number 7, expected an object"
    );
}

#[test]
fn unknown_keys_are_ignored_whatever_is_in_them() {
    let deep = format!("{}{}", "[".repeat(9_000), "]".repeat(9_000));
    for value in [
        r#"{"bar":[1,2.5,-3,"x",null,true]}"#,
        r#""\ud800""#,
        "1e400",
        &deep,
    ] {
        assert_eq!(
            conf(format!(r#"{{"foo":{value},"bridge":"b"}}"#)).bridge,
            "b"
        );
    }
    assert_eq!(conf(b"{\"foo\":\"f\xfcr\",\"bridge\":\"b\"}").bridge, "b");
}

#[test]
fn what_is_no_character_becomes_u_fffd_byte_by_byte_as_in_go() {
    for (text, wanted) in [
        (&b"f\xfcr"[..], "f\u{fffd}r"),
        (b"\xe2\x82", "\u{fffd}\u{fffd}"),
        (br"\ud800", "\u{fffd}"),
        (br"\ud800x", "\u{fffd}x"),
        (br"\udc00\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (br"\ud800\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (br"\ud800\u0041", "\u{fffd}A"),
        (br#"\"\\\/\b\f\n\r\t\u00e9"#, "\"\\/\u{8}\u{c}\n\r\t\u{e9}"),
    ] {
        let document = [b"{\"bridge\":\"", text, b"\"}"].concat();
        assert_eq!(
            conf(document).bridge,
            wanted,
            "{}",
            String::from_utf8_lossy(text)
        );
    }
}

#[test]
fn keys_of_maps_are_kept_as_they_are() {
    assert_eq!(conf(r#"{"labels":{"App":"x","app":"y"}}"#).labels.len(), 2);
}

#[test]
fn a_value_of_a_wrong_type_is_named_in_the_words_of_json() {
    for (text, wanted) in [
        (
            r#"{"ipam":{"routes":["a",7]}}"#,
            "ipam.routes[1]: found the number 7, expected a string",
        ),
        (
            r#"{"ipam":"host-local"}"#,
            "ipam: found the string \"host-local\", expected an object",
        ),
        (
            r#"{"ipam":{"ranges":[[],{}]}}"#,
            "ipam.ranges[1]: found an object, expected an array",
        ),
        (
            r#"{"ipam":{"ranges":[[[]]]}}"#,
            "ipam.ranges[0][0]: found an array, expected an object",
        ),
        (
            r#"{"vlan":"1"}"#,
            "vlan: found the string \"1\", expected an integer",
        ),
        (
            r#"{"vlan":1.5}"#,
            "vlan: found the number 1.5, expected an integer",
        ),
        (
            r#"{"vlan":1e3}"#,
            "vlan: found the number 1e3, expected an integer",
        ),
        (
            r#"{"mtu":-1}"#,
            "mtu: found the number -1, expected an integer from 0 to 4294967295",
        ),
        (
            r#"{"isGateway":"true"}"#,
            "isGateway: found the string \"true\", expected true or false",
        ),
        (
            r#"{"bridge":true}"#,
            "bridge: found true, expected a string",
        ),
        (
            r#"{"labels":{"a":{}}}"#,
            "labels.a: found an object, expected a string",
        ),
        ("[]", "found an array, expected an object"),
        (
            r#"[true,1500,"cni0"]"#,
            "found an array, expected an object",
        ),
        ("7", "found the number 7, expected an object"),
    ] {
        assert_eq!(refusal(text), wanted, "{text}");
    }
}

#[test]
fn what_types_refuse_by_themselves_is_in_the_words_of_json_too() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only decoded")]
    struct Strict {
        name: String,
        pair: Option<(String, String)>,
        address: Option<std::net::IpAddr>,
        kind: Option<Kind>,
    }
    #[derive(Debug, Deserialize)]
    enum Kind {
        A,
    }
    for (text, wanted) in [
        ("{}", "the key \"name\" is missing"),
        (
            r#"{"name":"","pair":["a"]}"#,
            "pair: found 1 elements, expected a tuple of size 2",
        ),
        (
            r#"{"name":"","kind":"b"}"#,
            "kind: found the string \"b\", expected one of \"A\"",
        ),
        (
            r#"{"name":"","kind":7}"#,
            "kind: found the number 7, expected a string",
        ),
        (
            r#"{"name":"","address":7}"#,
            "address: found the number 7, expected a string",
        ),
    ] {
        let error = Document::parse(text)
            .unwrap()
            .decode::<Strict>()
            .unwrap_err()
            .to_string();
        assert_eq!(error, wanted, "{text}");
    }
    let json = r#"{"name":"","pair":["a","b"],"address":"10.0.0.1","kind":"A"}"#;
    Document::parse(json).unwrap().decode::<Strict>().unwrap();
}

#[test]
fn an_error_shows_no_more_than_the_beginning_of_a_long_value() {
    for text in [
        format!(r#"{{"vlan":"{}"}}"#, "x".repeat(1_000_000)),
        format!("{{\"vlan\":1{}}}", "0".repeat(1_000_000)),
    ] {
        assert!(refusal(text).len() < 200);
    }
}

#[test]
fn a_string_of_more_than_a_megabyte_is_refused_where_it_is_decoded() {
    let of_len = |key: &str, len: usize| format!(r#"{{"{key}":"{}"}}"#, "x".repeat(len - 2));
    assert_eq!(conf(of_len("bridge", 1 << 20)).bridge.len(), (1 << 20) - 2);
    let too_long = (1 << 20) + 1;
    assert_eq!(
        refusal(of_len("bridge", too_long)),
        "bridge: found a string of 1048577 bytes, expected at most 1048576"
    );
    // A string that is not decoded has no limit.
    assert_eq!(conf(of_len("unknown", too_long)), Conf::default());
}

#[test]
fn an_error_of_syntax_is_gos_with_line_and_column() {
    for (text, wanted) in [
        ("", "unexpected end of JSON input at line 1 column 1"),
        (
            "{\n \"a\": ",
            "unexpected end of JSON input at line 2 column 7",
        ),
        (
            "{} {}",
            "invalid character '{' after top-level value at line 1 column 4",
        ),
        (
            "{'a':1}",
            "invalid character '\\'' looking for beginning of object key string at line 1 column 2",
        ),
        (
            r#"{"a" 1}"#,
            "invalid character '1' after object key at line 1 column 6",
        ),
        (
            r#"{"a":1 "b":2}"#,
            "invalid character '\"' after object key:value pair at line 1 column 8",
        ),
        (
            r#"{"a":1,}"#,
            "invalid character '}' looking for beginning of object key string at line 1 column 8",
        ),
        (
            "[1 2]",
            "invalid character '2' after array element at line 1 column 4",
        ),
        (
            "[1,]",
            "invalid character ']' looking for beginning of value at line 1 column 4",
        ),
        (
            "[01]",
            "invalid character '1' after array element at line 1 column 3",
        ),
        (
            "[-]",
            "invalid character ']' in numeric literal at line 1 column 3",
        ),
        (
            "[1.]",
            "invalid character ']' after decimal point in numeric literal at line 1 column 4",
        ),
        (
            "[1e]",
            "invalid character ']' in exponent of numeric literal at line 1 column 4",
        ),
        (
            "[trie]",
            "invalid character 'i' in literal true (expecting 'u') at line 1 column 4",
        ),
        (
            "[\"\n\"]",
            "invalid character '\\n' in string literal at line 1 column 3",
        ),
        (
            "[\x01]",
            "invalid character '\\x01' looking for beginning of value at line 1 column 2",
        ),
        (
            r#"["\x"]"#,
            "invalid character 'x' in string escape code at line 1 column 4",
        ),
        (
            r#"["\u12g4"]"#,
            "invalid character 'g' in \\u hexadecimal character escape at line 1 column 7",
        ),
    ] {
        assert_eq!(refusal(text), wanted, "{text}");
    }
}

#[test]
fn a_byte_order_mark_is_named() {
    assert_eq!(
        refusal(b"\xef\xbb\xbf{}"),
        "invalid character 'ï' looking for beginning of value at line 1 column 1: the document begins with a \
         byte order mark (EF BB BF); save it as UTF-8 without one"
    );
    for utf16 in [b"\xff\xfe{\0}\0", b"\xfe\xff\0{\0}"] {
        assert!(refusal(utf16).contains("a byte order mark of UTF-16"));
    }
}

#[test]
fn depth_is_refused_where_go_refuses_it_and_costs_no_stack() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(Document::parse(nested(10_000)).is_ok());
    for depth in [10_001, 1_000_000] {
        assert!(
            refusal(nested(depth))
                .starts_with("invalid character '[' exceeded max depth at line 1")
        );
    }
    assert!(Json::parse(&nested(256)).is_ok());
    assert!(
        Json::parse(&nested(5000))
            .unwrap_err()
            .to_string()
            .starts_with("exceeded max depth")
    );
    let deep = format!(
        r#"{{"other":{}}}"#,
        String::from_utf8(nested(5000)).unwrap()
    );
    assert!(refusal(deep).starts_with("other: exceeded max depth"));
    let open = Document::parse(nested(5000))
        .unwrap()
        .decode::<serde_json::Value>();
    assert!(
        open.unwrap_err()
            .to_string()
            .ends_with("nested deeper than 128 levels")
    );
}

#[test]
fn a_key_that_is_repeated_without_end_is_refused() {
    let repeated = |count| format!("{{{}\"bridge\":\"b\"}}", r#""ipam":{},"#.repeat(count));
    assert_eq!(conf(repeated(1000)).bridge, "b");
    assert_eq!(
        refusal(repeated(100_000)),
        "ipam: the key is repeated more than 1000 times"
    );
}

#[test]
fn an_input_of_many_megabytes_is_decoded_in_a_moment() {
    let start = Instant::now();
    for unit in ["0,", "[],", "\"a\",", "{\"a\":0},"] {
        let noise = unit.repeat((2 << 20) / unit.len());
        assert_eq!(
            conf(format!(r#"{{"x":[{noise}0],"bridge":"b"}}"#)).bridge,
            "b"
        );
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}

#[test]
fn a_tree_keeps_numbers_as_they_are_written() {
    let text = r#"{"a":[1e400,-0.10,123456789012345678901234567890],"a":null}"#;
    let tree = Json::parse(text.as_bytes()).unwrap();
    assert_eq!(tree.to_string(), text);
    let inside: Json = Document::parse(format!(r#"{{"other":{text}}}"#))
        .unwrap()
        .decode::<Conf>()
        .unwrap()
        .other
        .unwrap();
    assert_eq!(inside, tree);
}

fn tree() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        any::<i64>().prop_map(|n| Json::from(serde_json::Value::from(n))),
        any::<String>().prop_map(Json::String),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let key = prop_oneof![
            any::<String>(),
            "(ipam|IPAM|type|dns|bridge|labels|routes|vlan)"
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::Array),
            prop::collection::vec((key, inner), 0..6).prop_map(Json::Object),
        ]
    })
}

/// Returns bytes mostly of characters that JSON consists of.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        prop::sample::select(br#"{}[]:,"\ 0123456789-+.eEtrufalsn"#.to_vec()),
        any::<u8>(),
    ];
    prop::collection::vec(byte, 0..40)
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

    #[test]
    fn what_serde_json_accepts_is_accepted_with_the_same_values(bytes in nearly_json()) {
        if let Ok(wanted) = serde_json::from_slice::<serde_json::Value>(&bytes) {
            let read: serde_json::Value = Document::parse(&bytes).unwrap().decode().unwrap();
            prop_assert_eq!(read, wanted);
        }
    }

    #[test]
    fn what_is_accepted_prints_as_what_serde_json_accepts(bytes in nearly_json()) {
        if let Ok(tree) = Json::parse(&bytes) {
            let printed = tree.to_string();
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&printed).is_ok(), "{}", printed);
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
        let _ = decode(bytes);
    }
}
