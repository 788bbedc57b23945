//! The protocol, from environment and stdin to the document on stdout, with a plugin that records
//! the calls that reach it.

use super::*;
use serde_json::{Value, json};
use std::cell::RefCell;

const ALL_VARIABLES: [&str; 4] = ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"];

/// The behaviour of the recording plugin, after it recorded the call.
type Action = fn(&Call) -> Result<(), Error>;

/// A plugin that records every call, and then runs its action.
struct Recorder {
    calls: RefCell<Vec<String>>,
    then: Action,
}

impl Recorder {
    fn new(then: Action) -> Self {
        Self {
            calls: RefCell::default(),
            then,
        }
    }

    fn note(&self, call: &Call, what: String) -> Result<(), Error> {
        self.calls.borrow_mut().push(what);
        (self.then)(call)
    }
}

impl Plugin for Recorder {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn add(&self, call: &Call, attachment: &Attachment) -> Result<Encoded, Error> {
        let Attachment {
            container_id,
            if_name,
            netns,
        } = attachment;
        self.note(call, format!("ADD {container_id} {if_name} {netns}"))?;
        crate::AddResult::default().encode(call.version)
    }

    fn del(&self, call: &Call, detachment: &Detachment) -> Result<(), Error> {
        let Detachment {
            container_id,
            if_name,
            netns,
        } = detachment;
        self.note(call, format!("DEL {container_id} {if_name} {netns:?}"))
    }

    fn check(&self, call: &Call, attachment: &Attachment) -> Result<(), Error> {
        self.note(call, format!("CHECK {}", attachment.container_id))
    }

    fn status(&self, call: &Call) -> Result<(), Error> {
        self.note(call, "STATUS".to_owned())
    }

    fn gc(&self, call: &Call) -> Result<(), Error> {
        self.note(call, "GC".to_owned())
    }
}

fn environment(command: &str) -> Environment {
    Environment::from_iter([
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "c1"),
        ("CNI_NETNS", "/run/netns/c1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_PATH", "/opt/cni/bin"),
    ])
}

fn conf(version: &str) -> String {
    json!({"cniVersion": version, "name": "n", "type": "recorder"}).to_string()
}

/// Sends a request to a plugin with the action `then`; returns the reply and the recorded calls.
fn ask_to(then: Action, environment: Environment, stdin: &str) -> (Reply, Vec<String>) {
    let recorder = Recorder::new(then);
    let reply = answer(&recorder, environment, Stop::never(), |_| Ok(stdin.into()));
    (reply, recorder.calls.into_inner())
}

fn ask(environment: Environment, stdin: &str) -> (Reply, Vec<String>) {
    ask_to(|_| Ok(()), environment, stdin)
}

/// Returns the only document of a reply.
#[track_caller]
fn document(reply: &Reply) -> Value {
    let text = reply.stdout.as_deref().unwrap();
    let documents: Vec<Value> = serde_json::Deserializer::from_str(text)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(documents.len(), 1, "{text}");
    documents[0].clone()
}

/// Returns the error of a reply, which must be one error object of `version`.
#[track_caller]
fn error(reply: &Reply, version: &str) -> Error {
    assert!(!reply.success);
    assert_eq!(document(reply)["cniVersion"], version);
    Error::from_json(reply.stdout.as_deref().unwrap().as_bytes()).unwrap()
}

/// Returns the error of a request that must not reach the plugin.
#[track_caller]
fn refused(environment: Environment, stdin: &str) -> Error {
    let (reply, calls) = ask(environment, stdin);
    assert_eq!(calls, [""; 0], "the plugin was called");
    assert!(!reply.success);
    assert!(
        SpecVersion::ALL
            .iter()
            .any(|version| document(&reply)["cniVersion"] == version.as_str())
    );
    Error::from_json(reply.stdout.as_deref().unwrap().as_bytes()).unwrap()
}

#[track_caller]
fn assert_environment_error(error: &Error, msg: &str, details: &str) {
    assert_eq!(
        (error.code, error.msg.as_str()),
        (Code::INVALID_ENVIRONMENT, msg)
    );
    assert_eq!(error.details, details);
}

#[test]
fn without_a_command_the_plugin_describes_itself_and_succeeds() {
    let recorder = Recorder::new(|_| Ok(()));
    for environment in [
        Environment::default(),
        Environment::default().with("CNI_COMMAND", ""),
    ] {
        let reply = answer(&recorder, environment, Stop::never(), |_| {
            panic!("stdin may be a terminal")
        });
        assert_eq!((reply.success, reply.stdout), (true, None));
        let about = reply.stderr.unwrap();
        assert!(about.contains("CNI recorder plugin v"), "{about}");
        assert!(about.contains(
            "CNI protocol versions supported: 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"
        ));
    }
}

#[test]
fn every_command_reaches_the_plugin_with_its_values() {
    for (command, wanted) in [
        ("ADD", "ADD c1 eth0 /run/netns/c1"),
        ("DEL", r#"DEL c1 eth0 Some(NetnsPath("/run/netns/c1"))"#),
        ("CHECK", "CHECK c1"),
        ("STATUS", "STATUS"),
        ("GC", "GC"),
    ] {
        let (reply, calls) = ask(environment(command), &conf("1.1.0"));
        assert_eq!((reply.success, calls), (true, vec![wanted.to_owned()]));
    }
}

#[test]
fn missing_variables_are_named_in_the_order_of_the_reference_and_no_others_are() {
    for (command, required) in [
        ("ADD", &ALL_VARIABLES[..]),
        ("CHECK", &ALL_VARIABLES[..]),
        ("DEL", &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
        ("GC", &["CNI_PATH"]),
        ("STATUS", &["CNI_PATH"]),
    ] {
        // Every set of missing variables, by its bits.
        for set in 0..1_u32 << ALL_VARIABLES.len() {
            let missing = |(bit, _): &(usize, &&str)| set & (1 << bit) != 0;
            let removed = ALL_VARIABLES
                .iter()
                .enumerate()
                .filter(missing)
                .map(|(_, name)| *name);
            let named: Vec<&str> = removed
                .clone()
                .filter(|name| required.contains(name))
                .collect();
            // An empty variable counts as missing.
            let environment = removed.fold(environment(command), |environment, name| {
                environment.with(name, "")
            });
            if named.is_empty() {
                assert!(
                    ask(environment, &conf("1.1.0")).0.success,
                    "{command} {set:b}"
                );
                continue;
            }
            let msg = format!("required env variables [{}] missing", named.join(","));
            assert_environment_error(&refused(environment, &conf("1.1.0")), &msg, "");
        }
    }
    let bare = Environment::default().with("CNI_COMMAND", "ADD");
    let msg = "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH] missing";
    assert_environment_error(&refused(bare, &conf("1.1.0")), msg, "");
}

#[test]
fn del_without_a_namespace_reaches_the_plugin() {
    let (reply, calls) = ask(environment("DEL").with("CNI_NETNS", ""), &conf("0.4.0"));
    assert_eq!((reply.success, reply.stdout), (true, None));
    assert_eq!(calls, ["DEL c1 eth0 None"]);
}

#[test]
fn an_unknown_command_is_refused() {
    for name in ["UPDATE", "add", " ADD"] {
        let msg = format!("unknown CNI_COMMAND: {name}");
        assert_environment_error(&refused(environment(name), &conf("1.1.0")), &msg, "");
    }
}

#[test]
fn a_bad_container_id_is_refused_and_shown() {
    for command in ["ADD", "DEL", "CHECK"] {
        for id in ["../../etc", "a/b", "a b", "-a", ".a", "a\nb", "é"] {
            let error = refused(
                environment(command).with("CNI_CONTAINERID", id),
                &conf("1.1.0"),
            );
            let details = format!("{id}; the value of CNI_CONTAINERID");
            assert_environment_error(&error, "invalid characters in containerID", &details);
        }
    }
}

#[test]
fn a_bad_interface_name_is_refused() {
    for (name, msg, details) in [
        (".", "interface name is . or ..", ""),
        ("..", "interface name is . or ..", ""),
        (
            "a/b",
            "interface name contains / or : or whitespace characters",
            "",
        ),
        (
            "a:b",
            "interface name contains / or : or whitespace characters",
            "",
        ),
        (
            "a b",
            "interface name contains / or : or whitespace characters",
            "",
        ),
        (
            "a\tb",
            "interface name contains / or : or whitespace characters",
            "",
        ),
        (
            "sixteencharacter",
            "interface name is too long",
            "interface name should be less than 16 characters",
        ),
    ] {
        for command in ["ADD", "DEL", "CHECK"] {
            let error = refused(
                environment(command).with("CNI_IFNAME", name),
                &conf("1.1.0"),
            );
            let named = format!("CNI_IFNAME is {name:?}");
            let details = [details, &named]
                .into_iter()
                .filter(|text| !text.is_empty());
            assert_environment_error(&error, msg, &details.collect::<Vec<_>>().join("; "));
        }
    }
}

#[test]
fn a_missing_or_bad_network_name_is_code_7() {
    for command in ["ADD", "DEL", "CHECK", "STATUS", "GC"] {
        for stdin in [
            r#"{"cniVersion":"1.1.0"}"#,
            r#"{"cniVersion":"1.1.0","name":""}"#,
            r#"{"cniVersion":"1.1.0","name":null}"#,
        ] {
            let error = refused(environment(command), stdin);
            assert_eq!(
                (error.code, error.msg.as_str()),
                (Code::INVALID_CONFIG, "missing network name")
            );
        }
        for name in ["../../evil", "a/b", "-a", "a b"] {
            let stdin = json!({"cniVersion": "1.1.0", "name": name}).to_string();
            let error = refused(environment(command), &stdin);
            assert_eq!(error.code, Code::INVALID_CONFIG);
            assert_eq!(error.msg, "invalid characters found in network name");
            assert_eq!(error.details, name);
        }
    }
}

#[test]
fn an_unknown_version_is_refused_with_the_list_of_known_ones() {
    for command in ["ADD", "DEL", "CHECK", "STATUS", "GC"] {
        for version in ["9.8.7", "1.1", "v1.1.0", " 1.1.0"] {
            let error = refused(environment(command), &conf(version));
            assert_eq!(error.code, Code::INCOMPATIBLE_VERSION);
            assert_eq!(error.msg, "incompatible CNI versions");
            let list = r#"["0.1.0" "0.2.0" "0.3.0" "0.3.1" "0.4.0" "1.0.0" "1.1.0"]"#;
            assert_eq!(
                error.details,
                format!("config is {version:?}, plugin supports {list}")
            );
        }
    }
}

#[test]
fn a_command_that_came_later_than_the_version_is_refused() {
    for (command, first) in [
        ("CHECK", SpecVersion::V0_4_0),
        ("STATUS", SpecVersion::V1_1_0),
        ("GC", SpecVersion::V1_1_0),
    ] {
        for version in SpecVersion::ALL {
            let stdin = conf(version.as_str());
            if version >= first {
                assert!(
                    ask(environment(command), &stdin).0.success,
                    "{command} {version}"
                );
                continue;
            }
            let error = refused(environment(command), &stdin);
            assert_eq!(error.code, Code::INCOMPATIBLE_VERSION);
            assert_eq!(
                error.msg,
                format!("config version does not allow {command}")
            );
            assert_eq!(
                error.details,
                format!(
                    "the configuration's version is {version}; the first that allows {command} is \
                     {first}"
                )
            );
        }
        assert_eq!(
            refused(environment(command), r#"{"name":"n"}"#).msg,
            format!("config version does not allow {command}"),
            "no version means 0.1.0"
        );
    }
}

#[test]
fn what_is_not_a_json_object_is_code_6() {
    for stdin in [
        "",
        "{",
        "[]",
        "null",
        r#"{"name":"n"} {}"#,
        &"[".repeat(1_000_000),
    ] {
        let error = refused(environment("ADD"), stdin);
        assert_eq!(error.code, Code::DECODE);
        assert!(
            error.msg.starts_with("error unmarshall network config: "),
            "{error}"
        );
    }
}

/// The reference answers 1.1.0 to every request; the spec (section 5, "VERSION Success") demands
/// the version of the input.
#[test]
fn version_repeats_the_version_that_it_was_asked_in() {
    let versions: Vec<&str> = SpecVersion::ALL.map(SpecVersion::as_str).into();
    for (stdin, wanted) in [
        (r#"{"cniVersion":"0.4.0"}"#, "0.4.0"),
        (r#"{"CniVersion":"1.0.0","name":"../x"}"#, "1.0.0"),
        (r#"{"cniVersion":"9.8.7"}"#, "9.8.7"),
        ("{}", "1.1.0"),
        (r#"{"cniVersion":7}"#, "1.1.0"),
        ("", "1.1.0"),
        ("garbage", "1.1.0"),
    ] {
        for environment in [
            Environment::default().with("CNI_COMMAND", "VERSION"),
            environment("VERSION")
                .with("CNI_NETNS", "dummy")
                .with("CNI_PATH", "dummy"),
            environment("VERSION")
                .with("CNI_CONTAINERID", "a/b")
                .with("CNI_IFNAME", "a/b"),
        ] {
            let (reply, calls) = ask(environment, stdin);
            assert!(reply.success && calls.is_empty());
            assert_eq!(
                document(&reply),
                json!({"cniVersion": wanted, "supportedVersions": versions})
            );
        }
    }
}

#[test]
fn success_is_one_document_for_add_and_none_for_the_others() {
    for version in ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
        let (reply, _) = ask(environment("ADD"), &conf(version));
        assert!(reply.success);
        assert_eq!(document(&reply)["cniVersion"], version);
    }
    for command in ["DEL", "CHECK", "STATUS", "GC"] {
        let reply = ask(environment(command), &conf("1.1.0")).0;
        assert_eq!(
            reply,
            Reply {
                stdout: None,
                stderr: None,
                success: true
            }
        );
    }
}

#[test]
fn an_error_is_one_document_in_the_version_that_was_asked_for() {
    for command in ["ADD", "DEL"] {
        for version in SpecVersion::ALL.map(SpecVersion::as_str) {
            let fail = |_: &Call| Err(Error::new(Code(117), "no luck").with_details("at all"));
            let (reply, calls) = ask_to(fail, environment(command), &conf(version));
            assert_eq!(calls.len(), 1);
            assert_eq!(
                error(&reply, version),
                Error::new(Code(117), "no luck").with_details("at all")
            );
        }
    }
    let fail = |_: &Call| Err(Error::new(Code::OTHER, "no luck"));
    let (reply, _) = ask_to(fail, environment("ADD"), r#"{"name":"n"}"#);
    assert_eq!(
        error(&reply, "0.1.0").msg,
        "no luck",
        "no version means 0.1.0"
    );
    let (reply, _) = ask_to(
        fail,
        environment("ADD"),
        r#"{"name":"n","CniVersion":"0.3.0","cniVersion":null}"#,
    );
    assert_eq!(
        error(&reply, "0.3.0").msg,
        "no luck",
        "a null does not undo it"
    );
    let (reply, _) = ask(environment("ADD"), &conf("9.8.7"));
    assert_eq!(error(&reply, "1.1.0").code, Code::INCOMPATIBLE_VERSION);
}

#[test]
fn a_panic_is_one_error_document_that_names_the_plugin() {
    let panics: [(Action, &str); 3] = [
        (|_| panic!("at the disco"), "at the disco"),
        (|call| panic!("in {}", call.network), "in n"),
        (|_| std::panic::panic_any(7), "unknown cause"),
    ];
    for (panic, cause) in panics {
        for command in ["ADD", "DEL", "CHECK", "STATUS", "GC"] {
            let (reply, calls) = ask_to(panic, environment(command), &conf("1.1.0"));
            assert_eq!(calls.len(), 1);
            let error = error(&reply, "1.1.0");
            assert_eq!(error.code, Code::OTHER);
            assert_eq!(error.msg, format!("recorder plugin panicked: {cause}"));
        }
    }
}

#[test]
fn stdin_that_cannot_be_read_is_an_error_document() {
    let recorder = Recorder::new(|_| Ok(()));
    for cause in [
        Error::new(Code::IO, "error reading from stdin: x"),
        Stop::error(),
    ] {
        let reply = answer(&recorder, environment("ADD"), Stop::never(), |_| {
            Err(cause.clone())
        });
        assert_eq!(error(&reply, "1.1.0"), cause);
    }
    assert!(recorder.calls.into_inner().is_empty());
}

#[test]
fn keys_match_as_they_do_in_the_reference() {
    let stdin = r#"{"CNIVERSION":"0.3.1","cniVersion":null,"NAME":"x","name":"n","foo":{}}"#;
    let (reply, calls) = ask(environment("ADD"), stdin);
    assert_eq!(
        (document(&reply)["cniVersion"].as_str(), calls.len()),
        (Some("0.3.1"), 1)
    );
}

#[test]
fn unknown_cni_args_are_an_error_of_plugins_that_read_them() {
    let reads_mac = |call: &Call| call.args(&["MAC"]).map(drop);
    for (args, msg) in [
        ("FOO=bar", r#"ARGS: unknown args ["FOO=bar"]"#),
        ("mac=x", r#"ARGS: unknown args ["mac=x"]"#),
        ("FOO", r#"ARGS: invalid pair "FOO""#),
        ("IgnoreUnknown=1;FOO", r#"ARGS: invalid pair "FOO""#),
    ] {
        let (reply, _) = ask_to(
            reads_mac,
            environment("ADD").with("CNI_ARGS", args),
            &conf("1.1.0"),
        );
        let error = error(&reply, "1.1.0");
        assert_eq!(
            (error.code, error.msg.as_str()),
            (Code::INVALID_ENVIRONMENT, msg)
        );
    }
    for args in [
        "",
        "MAC=x",
        "IgnoreUnknown=1;FOO=bar;K8S_POD_NAME=p",
        "FOO=bar;IgnoreUnknown=true",
    ] {
        let environment = environment("ADD").with("CNI_ARGS", args);
        assert!(
            ask_to(reads_mac, environment, &conf("1.1.0")).0.success,
            "{args}"
        );
    }
    let reads_none = ask(environment("ADD").with("CNI_ARGS", "none"), &conf("1.1.0"));
    assert!(reads_none.0.success, "loopback takes any text");
}
