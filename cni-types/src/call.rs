//! One invocation of a plugin: environment and stdin, parsed into checked values (spec section 2).

use crate::{
    args::CniArgs,
    attachment::{AttachmentList, ValidAttachments},
    environment::Environment,
    error::{Code, Error},
    json::{DecodeError, Document},
    result::AddResult,
    stop::Stop,
    value::NetworkName,
    version::SpecVersion,
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

/// The key of GC's list, and its name before the release of 1.1.0.
const VALID_ATTACHMENTS: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// The operation that the runtime requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of spec section 2")]
pub enum Command {
    Add,
    Del,
    Check,
    Status,
    Gc,
    Version,
}

impl Command {
    /// Returns the command named by `CNI_COMMAND`, or `None` for an unknown one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "ADD" => Self::Add,
            "DEL" => Self::Del,
            "CHECK" => Self::Check,
            "STATUS" => Self::Status,
            "GC" => Self::Gc,
            "VERSION" => Self::Version,
            _ => return None,
        })
    }

    /// Returns the name as in `CNI_COMMAND`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }

    /// Returns the variables that the command requires, in the reference's order.
    #[must_use]
    pub fn required_variables(self) -> &'static [&'static str] {
        match self {
            Self::Add | Self::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
            Self::Del => &["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
            Self::Gc | Self::Status => &["CNI_PATH"],
            Self::Version => &[],
        }
    }
}

/// The keys of every network configuration, of any plugin.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Base {
    #[serde(rename = "cniVersion")]
    cni_version: String,
    name: String,
    #[serde(rename = "type", deserialize_with = "text_or_nothing")]
    kind: String,
}

/// Reads a string; anything else reads as empty text, which names no program.
fn text_or_nothing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(String::deserialize(deserializer).unwrap_or_default())
}

/// Checks that `stdin` is a configuration: one JSON object.
pub(crate) fn document(stdin: Vec<u8>) -> Result<Document<Vec<u8>>, Error> {
    let document = Document::parse(stdin).map_err(undecodable)?;
    document.require_object().map_err(undecodable)?;
    Ok(document)
}

fn undecodable(e: DecodeError) -> Error {
    Error::new(
        Code::DECODE,
        format!("error unmarshall network config: {e}"),
    )
}

/// A checked request: the configuration and the environment. The parameters of ADD, CHECK and DEL
/// are in [`Attachment`](crate::Attachment) and [`Detachment`](crate::Detachment).
#[derive(Debug)]
pub struct Call {
    /// The protocol version of the configuration, in which the reply is written.
    pub version: SpecVersion,
    /// The network's name.
    pub network: NetworkName,
    /// The runtime's request to stop this plugin.
    pub stop: Stop,
    environment: Environment,
    config: Document<Vec<u8>>,
    /// The names by which a delegate would be this plugin again: its own name, and the `type` in
    /// the configuration, which differs if the plugin is installed under another name.
    own_kinds: [String; 2],
}

impl Call {
    /// Reads a configuration. The name is checked before the version, as the reference does.
    ///
    /// # Errors
    /// Fails with code 6 if `stdin` is not one JSON object, with 7 for the name, and with 1 for the
    /// version.
    pub fn new(environment: Environment, stdin: Vec<u8>, stop: Stop) -> Result<Self, Error> {
        Self::of_document(environment, document(stdin)?, stop)
    }

    /// Reads a configuration whose syntax was checked.
    pub(crate) fn of_document(
        environment: Environment,
        config: Document<Vec<u8>>,
        stop: Stop,
    ) -> Result<Self, Error> {
        let base: Base = config.decode().map_err(undecodable)?;
        let network = NetworkName::parse(&base.name)?;
        let version = SpecVersion::of_config(&base.cni_version)?;
        let own_kinds = [String::new(), base.kind];
        Ok(Self {
            version,
            network,
            stop,
            environment,
            config,
            own_kinds,
        })
    }

    /// Returns the call with this plugin's name.
    pub(crate) fn for_plugin(mut self, name: &str) -> Self {
        let [own, _] = &mut self.own_kinds;
        name.clone_into(own);
        self
    }

    /// Returns true if a delegate of this type would be the plugin itself.
    pub(crate) fn is_own_kind(&self, kind: &str) -> bool {
        !kind.is_empty() && self.own_kinds.iter().any(|own| own == kind)
    }

    /// Decodes the configuration into `T`.
    ///
    /// # Errors
    /// Fails with code 6 and the path to a value that does not fit.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.config
            .decode()
            .map_err(|e| Error::new(Code::DECODE, format!("failed to load netconf: {e}")))
    }

    /// Returns the pairs of `CNI_ARGS`, whose keys must be in `known` (see
    /// [`CniArgs::require_known`]). They are parsed on demand: a plugin that takes no arguments
    /// accepts any text (`CNI_ARGS=none` to loopback).
    ///
    /// # Errors
    /// Fails with code 4 for a malformed pair or an unknown key.
    pub fn args(&self, known: &[&str]) -> Result<CniArgs, Error> {
        let args = CniArgs::parse(&self.environment.text("CNI_ARGS"))?;
        args.require_known(known)?;
        Ok(args)
    }

    /// Returns prevResult, of any version: the result of the previous plugin (ADD) or of the whole
    /// chain (CHECK, DEL). Returns `None` if the key is missing.
    ///
    /// # Errors
    /// Fails with code 6 if prevResult cannot be decoded.
    pub fn prev_result(&self) -> Result<Option<AddResult>, Error> {
        let undecodable =
            |e: DecodeError| Error::new(Code::DECODE, format!("could not parse prevResult: {e}"));
        let Some(field) = self.config.field("prevResult").map_err(undecodable)? else {
            return Ok(None);
        };
        field.decode().map_err(undecodable)
    }

    /// Returns prevResult, which CHECK requires.
    ///
    /// # Errors
    /// Fails with code 7 and the reference's text if the key is missing, and with 6 if prevResult
    /// cannot be decoded.
    pub fn require_prev_result(&self) -> Result<AddResult, Error> {
        let missing = || Error::new(Code::INVALID_CONFIG, "Required prevResult missing");
        self.prev_result()?.ok_or_else(missing)
    }

    /// Returns GC's list. A `null` is an empty list: CRI-O without pods sends that.
    ///
    /// # Errors
    /// Fails with code 6 for a value that is not a list of attachments.
    pub fn valid_attachments(&self) -> Result<ValidAttachments, Error> {
        #[derive(Deserialize)]
        struct Entry {
            #[serde(rename = "containerID")]
            container_id: String,
            ifname: String,
        }
        for key in VALID_ATTACHMENTS {
            let undecodable =
                |e: DecodeError| Error::new(Code::DECODE, format!("failed to decode {key}: {e}"));
            let Some(list) = self.config.field(key).map_err(undecodable)? else {
                continue;
            };
            let entries: Option<Vec<Entry>> = list.decode().map_err(undecodable)?;
            let names = entries
                .unwrap_or_default()
                .into_iter()
                .map(|entry| (entry.container_id, entry.ifname));
            let list = AttachmentList::new(self.network.as_str(), names);
            return Ok(ValidAttachments::Only(list));
        }
        Ok(ValidAttachments::Unknown)
    }

    /// Returns the environment of the request.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Returns the configuration as it was received, byte for byte.
    #[must_use]
    pub fn stdin(&self) -> &[u8] {
        self.config.text()
    }
}

impl SpecVersion {
    /// Parses the version of a configuration; empty text is 0.1.0.
    ///
    /// # Errors
    /// Fails with code 1, naming the requested version and the supported ones.
    pub fn of_config(text: &str) -> Result<Self, Error> {
        if text.is_empty() {
            return Ok(Self::V0_1_0);
        }
        text.parse().map_err(|_| {
            let supported = Self::ALL.map(|v| format!("{:?}", v.as_str())).join(" ");
            Error::new(Code::INCOMPATIBLE_VERSION, "incompatible CNI versions")
                .with_details(format!("config is {text:?}, plugin supports [{supported}]"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AttachmentId;

    fn call(stdin: &str) -> Result<Call, Error> {
        Call::new(Environment::default(), stdin.into(), Stop::never())
    }

    fn excludes(list: &ValidAttachments, container_id: &str, if_name: &str) -> bool {
        list.excludes(AttachmentId {
            network: "n",
            container_id,
            if_name,
        })
    }

    fn gc(list: &str) -> ValidAttachments {
        call(&format!(r#"{{"cniVersion":"1.1.0","name":"n"{list}}}"#))
            .unwrap()
            .valid_attachments()
            .unwrap()
    }

    #[test]
    fn what_is_not_a_json_object_is_code_6() {
        for stdin in ["", "{", "[]", "null", "7", r#"{"name":7}"#, "\u{feff}{}"] {
            let error = call(stdin).unwrap_err();
            assert_eq!(error.code, Code::DECODE, "{stdin:?}");
            assert!(
                error.msg.starts_with("error unmarshall network config: "),
                "{error}"
            );
        }
    }

    #[test]
    fn the_name_is_checked_before_the_version() {
        assert_eq!(
            call(r#"{"cniVersion":"9.8.7"}"#).unwrap_err().msg,
            "missing network name"
        );
        assert_eq!(
            call(r#"{"cniVersion":"9.8.7","name":"n"}"#)
                .unwrap_err()
                .msg,
            "incompatible CNI versions"
        );
    }

    #[test]
    fn gc_distinguishes_a_missing_list_from_an_empty_one() {
        assert_eq!(gc(""), ValidAttachments::Unknown);
        assert!(!excludes(&gc(""), "a", "eth0") && !gc("").excludes_container("a"));
        for empty in ["[]", "null"] {
            let list = gc(&format!(r#","cni.dev/valid-attachments":{empty}"#));
            assert!(excludes(&list, "a", "eth0") && list.excludes_container("a"));
        }
    }

    #[test]
    fn gc_reads_the_older_key_where_the_newer_is_missing() {
        let entry = r#"[{"containerID":"a","ifname":"eth0"}]"#;
        for keys in [
            format!(r#","cni.dev/attachments":{entry}"#),
            format!(r#","cni.dev/attachments":null,"cni.dev/valid-attachments":{entry}"#),
        ] {
            let list = gc(&keys);
            assert!(
                !excludes(&list, "a", "eth0")
                    && excludes(&list, "a", "eth1")
                    && excludes(&list, "b", "eth0")
            );
            assert!(!list.excludes_container("a") && list.excludes_container("b"));
        }
    }

    #[test]
    fn a_malformed_gc_list_is_an_error_and_not_an_empty_one() {
        let json = r#"{"cniVersion":"1.1.0","name":"n","cni.dev/valid-attachments":[{"containerID":"a"}]}"#;
        assert_eq!(
            call(json).unwrap().valid_attachments().unwrap_err().code,
            Code::DECODE
        );
    }
}
