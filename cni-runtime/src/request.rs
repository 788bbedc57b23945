//! Deriving a request configuration from a plugin configuration (spec section 3).

use super::parameters::Parameters;
use cni_types::{Json, NetworkName, SpecVersion};

/// The part of a request that is about attachments.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject<'a> {
    /// One attachment, and the result before this plugin (ADD) or of the whole chain (CHECK, DEL).
    Attachment {
        parameters: &'a Parameters,
        prev_result: Option<&'a Json>,
    },
    /// All that are still valid, as container id and interface name: GC.
    Valid(&'a [(String, String)]),
    /// None: STATUS.
    Nothing,
}

/// The configuration that the plugin gets. Everything is passed on as it is written, but for what
/// the spec reserves to the runtime: a file can set neither `prevResult` nor anything below
/// `cni.dev/`.
pub(super) fn derive(
    plugin: &Json,
    network: &NetworkName,
    version: SpecVersion,
    subject: Subject<'_>,
) -> Json {
    let mut request = plugin.clone();
    if let Json::Object(members) = &mut request {
        members.retain(|(key, _)| !key.to_ascii_lowercase().starts_with("cni.dev/"));
    }
    request.remove("prevResult");
    request.insert("cniVersion", version.as_str().into());
    request.insert("name", network.as_str().into());
    match subject {
        Subject::Attachment {
            parameters,
            prev_result,
        } => {
            insert_runtime_config(&mut request, plugin, parameters);
            request.remove("capabilities");
            if let Some(result) = prev_result {
                request.insert("prevResult", result.clone());
            }
        }
        Subject::Valid(attachments) => {
            let list = attachments
                .iter()
                .map(|(id, ifname)| attachment(id, ifname))
                .collect();
            request.insert("cni.dev/valid-attachments", Json::Array(list));
        }
        Subject::Nothing => {}
    }
    request
}

/// The capability arguments whose capability the plugin declares as `true`. Without any, a
/// `runtimeConfig` in the file is left alone, as the reference does.
fn insert_runtime_config(request: &mut Json, plugin: &Json, parameters: &Parameters) {
    let declared = |name: &str| match plugin.lookup("capabilities") {
        Some(Json::Object(members)) => members
            .iter()
            .any(|(key, value)| key == name && *value == Json::Bool(true)),
        _ => false,
    };
    let wanted: Vec<_> = parameters
        .capability_args
        .iter()
        .filter(|(name, _)| declared(name))
        .cloned()
        .collect();
    if !wanted.is_empty() {
        request.insert("runtimeConfig", Json::Object(wanted));
    }
}

fn attachment(container_id: &str, if_name: &str) -> Json {
    Json::Object(vec![
        ("containerID".to_owned(), container_id.into()),
        ("ifname".to_owned(), if_name.into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn derived(plugin: &str, subject: Subject<'_>) -> String {
        derive(
            &json(plugin),
            &NetworkName::parse("n").unwrap(),
            SpecVersion::V1_1_0,
            subject,
        )
        .to_string()
    }

    fn parameters() -> Parameters {
        Parameters::new("c1", "eth0", "/run/netns/a").unwrap()
    }

    #[test]
    fn everything_else_is_passed_on_in_its_order() {
        let plugin = r#"{"z":[1.50,{"b":null,"a":1}],"type":"x","a":{"CNI.DEV":0},"name":"other","cniVersion":"0.1.0"}"#;
        assert_eq!(
            derived(plugin, Subject::Nothing),
            r#"{"z":[1.50,{"b":null,"a":1}],"type":"x","a":{"CNI.DEV":0},"cniVersion":"1.1.0","name":"n"}"#
        );
    }

    #[test]
    fn a_number_with_a_fraction_is_passed_on_to_the_last_digit() {
        for number in [
            "-1.8446744073123584e+19",
            "0.1",
            "5e-324",
            "1.7976931348623157e+308",
        ] {
            let plugin = format!(r#"{{"x":{number},"type":"x"}}"#);
            let sent = derived(&plugin, Subject::Nothing);
            assert!(
                sent.starts_with(&format!(r#"{{"x":{number},"#)),
                "{number}: {sent}"
            );
        }
    }

    #[test]
    fn runtime_config_is_what_is_both_declared_and_given() {
        let plugin = r#"{"type":"x","capabilities":{"mac":true,"ips":false,"portMappings":true}}"#;
        let parameters = parameters()
            .with_capability_arg("mac", "02:00:00:00:00:01".into())
            .with_capability_arg("ips", json(r#"["10.0.0.9"]"#))
            .with_capability_arg("bandwidth", json("{}"));
        assert_eq!(
            derived(
                plugin,
                Subject::Attachment {
                    parameters: &parameters,
                    prev_result: None
                }
            ),
            r#"{"type":"x","cniVersion":"1.1.0","name":"n","runtimeConfig":{"mac":"02:00:00:00:00:01"}}"#
        );
    }

    #[test]
    fn a_file_cannot_set_what_is_the_runtimes() {
        let plugin = r#"{"type":"x","prevResult":{},"cni.dev/valid-attachments":[],"CNI.dev/attachments":null}"#;
        let parameters = parameters();
        let first = Subject::Attachment {
            parameters: &parameters,
            prev_result: None,
        };
        assert_eq!(
            derived(plugin, first),
            r#"{"type":"x","cniVersion":"1.1.0","name":"n"}"#
        );
        let result = json(r#"{"ips":[]}"#);
        let later = Subject::Attachment {
            parameters: &parameters,
            prev_result: Some(&result),
        };
        assert_eq!(
            derived(plugin, later),
            r#"{"type":"x","cniVersion":"1.1.0","name":"n","prevResult":{"ips":[]}}"#
        );
    }

    #[test]
    fn gc_lists_the_valid_attachments_even_when_there_are_none() {
        assert_eq!(
            derived(
                r#"{"type":"x","capabilities":{"mac":true}}"#,
                Subject::Valid(&[])
            ),
            r#"{"type":"x","capabilities":{"mac":true},"cniVersion":"1.1.0","name":"n","cni.dev/valid-attachments":[]}"#
        );
        let valid = [("c1".to_owned(), "eth0".to_owned())];
        assert!(
            derived(r#"{"type":"x"}"#, Subject::Valid(&valid)).ends_with(
                r#""cni.dev/valid-attachments":[{"containerID":"c1","ifname":"eth0"}]}"#
            )
        );
    }
}
