//! The keys that a result may have in each version, by the released specifications. Stricter than
//! reading: other plugins may print more, ours print only these keys.

use cni_types::{Cidr, SpecVersion};
use serde_json::Value;
use std::net::IpAddr;

/// A key of an object: its name, if it is required, and the kind of its value.
struct Key(&'static str, Need, Kind);

#[derive(PartialEq)]
enum Need {
    Required,
    Optional,
}
use Need::{Optional, Required};

enum Kind {
    Text,
    Texts,
    Unsigned,
    /// The kernel's scope of a route, an octet.
    Scope,
    /// An address with a prefix length.
    Cidr,
    /// An address.
    Ip,
    /// "4" or "6".
    Family,
    Object(&'static [Key]),
    List(&'static [Key]),
}
use Kind::{Family, Ip, List, Object, Text, Texts, Unsigned};

const VERSION: Key = Key("cniVersion", Required, Text);

const DNS: &[Key] = &[
    Key("nameservers", Optional, Texts),
    Key("domain", Optional, Text),
    Key("search", Optional, Texts),
    Key("options", Optional, Texts),
];

const ROUTE: &[Key] = &[Key("dst", Required, Kind::Cidr), Key("gw", Optional, Ip)];

/// `ip4` and `ip6`.
const OF_FAMILY: &[Key] = &[
    Key("ip", Required, Kind::Cidr),
    Key("gateway", Optional, Ip),
    Key("routes", Optional, List(ROUTE)),
];

const RESULT_0_1_0: &[Key] = &[
    VERSION,
    Key("ip4", Optional, Object(OF_FAMILY)),
    Key("ip6", Optional, Object(OF_FAMILY)),
    Key("dns", Required, Object(DNS)),
];

const INTERFACE: &[Key] = &[
    Key("name", Required, Text),
    Key("mac", Optional, Text),
    Key("sandbox", Optional, Text),
];

const RESULT_0_3_0: &[Key] = &[
    VERSION,
    Key("interfaces", Optional, List(INTERFACE)),
    Key(
        "ips",
        Optional,
        List(&[
            Key("version", Required, Family),
            Key("address", Required, Kind::Cidr),
            Key("gateway", Optional, Ip),
            Key("interface", Optional, Unsigned),
        ]),
    ),
    Key("routes", Optional, List(ROUTE)),
    Key("dns", Required, Object(DNS)),
];

const IP_1_0_0: &[Key] = &[
    Key("address", Required, Kind::Cidr),
    Key("gateway", Optional, Ip),
    Key("interface", Optional, Unsigned),
];

const RESULT_1_0_0: &[Key] = &[
    VERSION,
    Key("interfaces", Optional, List(INTERFACE)),
    Key("ips", Optional, List(IP_1_0_0)),
    Key("routes", Optional, List(ROUTE)),
    Key("dns", Optional, Object(DNS)),
];

const RESULT_1_1_0: &[Key] = &[
    VERSION,
    Key(
        "interfaces",
        Optional,
        List(&[
            Key("name", Required, Text),
            Key("mac", Optional, Text),
            Key("mtu", Optional, Unsigned),
            Key("sandbox", Optional, Text),
            Key("socketPath", Optional, Text),
            Key("pciID", Optional, Text),
        ]),
    ),
    Key("ips", Optional, List(IP_1_0_0)),
    Key(
        "routes",
        Optional,
        List(&[
            Key("dst", Required, Kind::Cidr),
            Key("gw", Optional, Ip),
            Key("mtu", Optional, Unsigned),
            Key("advmss", Optional, Unsigned),
            Key("priority", Optional, Unsigned),
            Key("table", Optional, Unsigned),
            Key("scope", Optional, Kind::Scope),
        ]),
    ),
    Key("dns", Optional, Object(DNS)),
];

/// Returns the faults of a result of `version`; empty if it conforms to the specification.
pub(crate) fn problems(version: SpecVersion, result: &Value) -> Vec<String> {
    let keys = match version {
        SpecVersion::V0_1_0 | SpecVersion::V0_2_0 => RESULT_0_1_0,
        SpecVersion::V0_3_0 | SpecVersion::V0_3_1 | SpecVersion::V0_4_0 => RESULT_0_3_0,
        SpecVersion::V1_0_0 => RESULT_1_0_0,
        SpecVersion::V1_1_0 => RESULT_1_1_0,
    };
    let mut problems = Vec::new();
    check_object("result", keys, result, &mut problems);
    if result["cniVersion"] != version.as_str() {
        problems.push(format!(
            "result.cniVersion: {} is not {version}",
            result["cniVersion"]
        ));
    }
    let interfaces = result["interfaces"].as_array().map_or(0, Vec::len);
    for ip in result["ips"].as_array().into_iter().flatten() {
        if ip["interface"]
            .as_u64()
            .is_some_and(|index| index >= interfaces as u64)
        {
            problems.push(format!(
                "result.ips: {ip} is at none of {interfaces} interfaces"
            ));
        }
    }
    problems
}

fn check_object(path: &str, keys: &[Key], value: &Value, problems: &mut Vec<String>) {
    let Value::Object(members) = value else {
        problems.push(format!("{path}: not an object"));
        return;
    };
    for name in members
        .keys()
        .filter(|name| !keys.iter().any(|Key(known, ..)| known == name))
    {
        problems.push(format!("{path}.{name}: unknown to this version"));
    }
    for Key(name, need, kind) in keys {
        match members.get(*name) {
            Some(value) => check(&format!("{path}.{name}"), kind, value, problems),
            None if *need == Required => problems.push(format!("{path}.{name}: missing")),
            None => {}
        }
    }
}

fn check(path: &str, kind: &Kind, value: &Value, problems: &mut Vec<String>) {
    let text = value.as_str();
    let fits = match kind {
        Object(keys) => return check_object(path, keys, value, problems),
        List(keys) => match value.as_array().filter(|list| !list.is_empty()) {
            Some(list) => {
                return list
                    .iter()
                    .for_each(|item| check_object(path, keys, item, problems));
            }
            None => false,
        },
        Text => text.is_some_and(|text| !text.is_empty()),
        Texts => value
            .as_array()
            .is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_string)),
        Unsigned => value
            .as_u64()
            .is_some_and(|number| u32::try_from(number).is_ok()),
        Kind::Scope => value
            .as_u64()
            .is_some_and(|number| u8::try_from(number).is_ok()),
        Kind::Cidr => text.is_some_and(|text| text.parse::<Cidr>().is_ok()),
        Ip => text.is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        Family => matches!(text, Some("4" | "6")),
    };
    if !fits {
        problems.push(format!("{path}: {value} does not fit"));
    }
}
