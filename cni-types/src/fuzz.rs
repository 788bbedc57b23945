//! Entry functions for the fuzzer: arbitrary bytes, and the properties that must hold for all of
//! them.
//!
//! A request is given as text that a mutator can work on: one `NAME=value` a line, an empty line,
//! and the configuration. Compiled with the feature `fuzzing` only.

use crate::{
    AddResult, Cidr, CniArgs, Code, Command, ContainerId, Environment, IfName, Json, MacAddr,
    NetnsPath, NetworkName, Plugin, Reply, SpecVersion, Stop, VlanId, answer,
};

/// The end of the environment in a request.
const BLANK_LINE: &[u8] = b"\n\n";

/// Splits a request into the environment and the configuration.
#[must_use]
pub fn request(data: &[u8]) -> (Environment, Vec<u8>) {
    let blank = data
        .windows(BLANK_LINE.len())
        .position(|window| window == BLANK_LINE);
    let (head, stdin) = match blank.and_then(|at| data.split_at_checked(at)) {
        Some((head, rest)) => (head, rest.get(BLANK_LINE.len()..).unwrap_or_default()),
        None => (data, &[][..]),
    };
    let head = String::from_utf8_lossy(head);
    (
        head.lines()
            .filter_map(|line| line.split_once('='))
            .collect(),
        stdin.to_vec(),
    )
}

/// Answers a request as a plugin's process would, and checks the answer.
///
/// # Panics
/// Panics if the answer violates spec section 5.
pub fn serve(plugin: &dyn Plugin, environment: Environment, stdin: Vec<u8>) -> Reply {
    let reply = answer(plugin, environment, Stop::never(), |_| Ok(stdin));
    assert!(
        reply.success || reply.stdout.is_some(),
        "a failure without a document: {reply:?}"
    );
    let Some(text) = &reply.stdout else {
        return reply;
    };
    let document = Json::parse(text.as_bytes());
    assert!(
        document.as_ref().is_ok_and(Json::is_object),
        "not one JSON object: {text}"
    );
    if !reply.success {
        let document = document.unwrap_or(Json::Null);
        for key in ["cniVersion", "code", "msg"] {
            assert!(
                document.lookup(key).is_some(),
                "an error without {key}: {text}"
            );
        }
        let code = Json::Number(Code::OTHER.0.into());
        assert_ne!(document.lookup("code"), Some(&code), "a panic: {text}");
    }
    reply
}

/// Reads a result and writes it in the shape of each version. The written text must read back, and
/// be written the same again.
///
/// # Panics
/// Panics if it does not.
pub fn result(data: &[u8]) {
    let Ok(json) = Json::parse(data) else { return };
    let read_back = Json::parse(json.to_string().as_bytes());
    assert_eq!(
        read_back.as_ref(),
        Ok(&json),
        "a document changes when it is printed"
    );
    let Ok(result) = AddResult::from_json(&json) else {
        return;
    };
    for version in SpecVersion::ALL {
        let Ok(encoded) = result.encode(version) else {
            continue;
        };
        let text = encoded.to_string();
        let again = Json::parse(text.as_bytes())
            .map_err(|e| e.to_string())
            .and_then(|json| AddResult::from_json(&json).map_err(|e| e.to_string()))
            .and_then(|result| result.encode(version).map_err(|e| e.to_string()));
        assert_eq!(
            again.map(|encoded| encoded.to_string()),
            Ok(text),
            "version {version}"
        );
    }
}

/// Reads a text with every reader of variables and keys. An accepted text must be printed as it was
/// read, and a name must not be able to leave its folder.
///
/// # Panics
/// Panics if either does not hold.
pub fn values(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let _ = (Command::parse(text), SpecVersion::of_config(text));
    if let Ok(args) = CniArgs::parse(text) {
        let _ = (args.require_known(&["MAC", "IP"]), args.value("MAC"));
    }
    let names = [
        ContainerId::parse(text).map(|id| id.to_string()),
        IfName::parse(text).map(|name| name.to_string()),
        NetworkName::parse(text).map(|name| name.to_string()),
    ];
    for name in names.into_iter().flatten() {
        assert_eq!(name, text);
        let leaves = name.contains(['/', '\0', '\n']) || ["", ".", ".."].contains(&name.as_str());
        assert!(!leaves, "{name:?} is accepted as a name");
    }
    if let Ok(cidr) = text.parse::<Cidr>() {
        assert_eq!(cidr.to_string().parse(), Ok(cidr));
        assert!(
            cidr.contains(cidr.network().address()) && cidr.contains(cidr.last()),
            "{cidr}"
        );
    }
    if let Ok(mac) = text.parse::<MacAddr>() {
        assert_eq!(mac.to_string().parse(), Ok(mac));
    }
    if let Some(netns) = NetnsPath::new(text) {
        assert_eq!(netns.as_str(), text);
    }
    if let Some(id) = text.parse::<u16>().ok().and_then(VlanId::new) {
        assert!((1..=4094).contains(&id.number()), "VLAN {id}");
    }
}
