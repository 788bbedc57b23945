//! The description of a plugin for the suite: a small JSON file. Those of the reference's plugins
//! are part of the program.
//!
//! The format is described in conformance/README.md.

use super::kind::Kind;
use cni_types::{Command, SpecVersion};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// A plugin, and how it is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The plugin's name: that of its file, and `type` in configurations.
    pub name: String,
    /// Its role in a network.
    pub kind: Kind,
    /// The file below the folder of plugins; the name, if a profile gives no file.
    pub binary: String,
    /// A configuration that works, without `cniVersion`, `name` and `type`.
    pub config: Map<String, Value>,
    /// `CNI_IFNAME`.
    pub ifname: String,
    /// The things that a successful ADD makes.
    pub makes: Vec<Made>,
    /// Lines of the state that may be there after DEL and were not before ADD, as patterns.
    pub stays: Vec<String>,
    /// The operations that it serves.
    pub verbs: Vec<Command>,
    /// The versions that it speaks.
    pub versions: Vec<SpecVersion>,
    /// Programs that must be in `PATH`.
    pub needs: Vec<String>,
    /// Folders in which it keeps state, besides `/run` and `/var/lib/cni`: absolute, and there.
    pub state_dirs: Vec<PathBuf>,
}

/// A thing that a plugin's ADD makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Made {
    /// The interface `CNI_IFNAME` in the container.
    Interface,
    /// Interfaces on the host.
    HostInterface,
    /// Addresses in the container.
    Address,
    /// Routes in the container.
    Route,
    /// A reservation of an address, for IPAM plugins.
    Reservation,
    /// Rules of nf_tables or iptables.
    Rule,
    /// Values of kernel parameters.
    Sysctl,
}

/// A profile that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("profile {origin}: {reason}")]
pub struct ProfileError {
    origin: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    name: String,
    kind: Kind,
    binary: Option<String>,
    config: Map<String, Value>,
    ifname: Option<String>,
    #[serde(default)]
    makes: Vec<Made>,
    #[serde(default)]
    stays: Vec<String>,
    verbs: Option<Vec<String>>,
    versions: Option<Vec<String>>,
    #[serde(default)]
    needs: Vec<String>,
    #[serde(default)]
    state_dirs: Vec<PathBuf>,
    #[serde(default, rename = "description")]
    _description: String,
}

/// The built-in profiles, by the names of their files in profiles/ (build.rs).
const BUILT_IN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// All operations of the newest version.
const VERBS: [Command; 6] = [
    Command::Add,
    Command::Del,
    Command::Check,
    Command::Gc,
    Command::Status,
    Command::Version,
];

impl Profile {
    /// The built-in profiles.
    ///
    /// # Errors
    /// Fails if one of them has a mistake; a test shows that they have none.
    pub fn built_in() -> Result<Vec<Self>, ProfileError> {
        BUILT_IN
            .iter()
            .map(|(name, text)| Self::parse(name, text))
            .collect()
    }

    /// Reads a profile; `origin` is for errors.
    ///
    /// # Errors
    /// Fails if the text is no profile.
    pub fn parse(origin: &str, text: &str) -> Result<Self, ProfileError> {
        let fail = |reason: String| ProfileError {
            origin: origin.to_owned(),
            reason,
        };
        let wire: Wire = serde_json::from_str(text).map_err(|e| fail(e.to_string()))?;
        let verb = |name: String| {
            Command::parse(&name).ok_or_else(|| fail(format!("no operation {name:?}")))
        };
        let version = |text: String| {
            text.parse()
                .map_err(|_| fail(format!("no version {text:?}")))
        };
        let verbs = wire
            .verbs
            .map(|names| names.into_iter().map(verb).collect())
            .transpose()?;
        let versions = wire
            .versions
            .map(|texts| texts.into_iter().map(version).collect())
            .transpose()?;
        let default_versions = || {
            let chained = wire.kind == Kind::Chained;
            let all = SpecVersion::ALL.into_iter();
            all.filter(|version| !chained || *version >= SpecVersion::V0_3_0)
                .collect()
        };
        Ok(Self {
            binary: wire.binary.unwrap_or_else(|| wire.name.clone()),
            name: wire.name,
            kind: wire.kind,
            config: wire.config,
            ifname: wire.ifname.unwrap_or_else(|| "eth0".to_owned()),
            makes: wire.makes,
            stays: wire.stays,
            verbs: verbs.unwrap_or_else(|| VERBS.to_vec()),
            versions: versions.unwrap_or_else(default_versions),
            needs: wire.needs,
            state_dirs: wire.state_dirs,
        })
    }

    /// Makes a profile for a plugin that has none, from a configuration that works: an interface
    /// plugin, or a chained one if the configuration has a prevResult.
    ///
    /// # Errors
    /// Fails if the text is not a JSON object with a `type`.
    pub fn of_config(origin: &str, text: &str) -> Result<Self, ProfileError> {
        let fail = |reason: &str| ProfileError {
            origin: origin.to_owned(),
            reason: reason.to_owned(),
        };
        let config: Map<String, Value> =
            serde_json::from_str(text).map_err(|e| fail(&e.to_string()))?;
        let name = config
            .get("type")
            .and_then(Value::as_str)
            .ok_or_else(|| fail("it has no \"type\""))?;
        let kind = if config.contains_key("prevResult") {
            "chained"
        } else {
            "interface"
        };
        let makes = if kind == "interface" {
            "[\"interface\"]"
        } else {
            "[]"
        };
        let text = format!(r#"{{"name":{name:?},"kind":{kind:?},"config":{{}},"makes":{makes}}}"#);
        Ok(Self::parse(origin, &text)?.with_config(config))
    }

    /// The same plugin with another configuration; what belongs to the request is taken out of it.
    #[must_use]
    pub fn with_config(mut self, mut config: Map<String, Value>) -> Self {
        for key in ["cniVersion", "cniVersions", "name", "type", "prevResult"] {
            config.remove(key);
        }
        self.config = config;
        self
    }

    /// The same plugin; what its IPAM plugin's profile, if it is among these, says may stay may
    /// stay after its DEL.
    #[must_use]
    pub fn beside(mut self, others: &[Self]) -> Self {
        let ipam = self
            .ipam()
            .and_then(|name| others.iter().find(|other| other.name == name));
        let stays = ipam.map(|ipam| ipam.stays.clone()).unwrap_or_default();
        self.stays.extend(stays);
        self
    }

    /// The name of the IPAM plugin in the configuration.
    #[must_use]
    pub fn ipam(&self) -> Option<&str> {
        self.config
            .get("ipam")?
            .get("type")?
            .as_str()
            .filter(|_| self.kind != Kind::Ipam)
    }

    /// Returns true if the configuration has a folder for state.
    #[must_use]
    pub fn has_data_dir(&self) -> bool {
        Value::Object(self.config.clone())
            .to_string()
            .contains("${DATA_DIR}")
    }

    /// Returns true if a line of the state's difference may stay after DEL.
    #[must_use]
    pub fn may_stay(&self, line: &str) -> bool {
        self.stays
            .iter()
            .any(|pattern| super::glob::matches(pattern, line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profiles_can_be_read_and_bear_the_names_of_their_files() {
        let profiles = Profile::built_in().unwrap();
        let names: Vec<&str> = profiles
            .iter()
            .map(|profile| profile.name.as_str())
            .collect();
        let files: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, files);
    }

    #[test]
    fn every_plugin_of_the_workspace_has_a_profile() {
        for plugin in cni_plugins::names() {
            let has = BUILT_IN.iter().any(|(name, _)| *name == plugin);
            assert!(has, "no profiles/{plugin}.json");
        }
    }

    #[test]
    fn a_mistake_is_reported() {
        let error = |text: &str| Profile::parse("x.json", text).unwrap_err().to_string();
        assert!(error(r#"{"name":"a","kind":"b","config":{}}"#).contains("unknown variant `b`"));
        assert!(
            error(r#"{"name":"a","kind":"ipam","config":{},"verb":[]}"#)
                .contains("unknown field `verb`")
        );
        assert_eq!(
            error(r#"{"name":"a","kind":"ipam","config":{},"verbs":["PUT"]}"#),
            "profile x.json: no operation \"PUT\""
        );
    }

    #[test]
    fn what_a_profile_leaves_out_is_the_usual() {
        let profile = Profile::parse("x", r#"{"name":"a","kind":"chained","config":{}}"#).unwrap();
        assert_eq!(
            (profile.binary.as_str(), profile.ifname.as_str()),
            ("a", "eth0")
        );
        assert_eq!(profile.versions.first(), Some(&SpecVersion::V0_3_0));
        assert_eq!(profile.verbs.len(), 6);
    }

    #[test]
    fn a_configuration_alone_is_enough() {
        let text = r#"{"cniVersion":"1.0.0","name":"n","type":"x","ipam":{"type":"y"},"z":1}"#;
        let profile = Profile::of_config("c.json", text).unwrap();
        assert_eq!((profile.kind, profile.ipam()), (Kind::Interface, Some("y")));
        assert_eq!(profile.config.keys().collect::<Vec<_>>(), ["ipam", "z"]);
    }

    #[test]
    fn what_the_ipam_plugin_may_leave_may_stay() {
        let profile =
            Profile::of_config("c", r#"{"type":"x","ipam":{"type":"host-local"}}"#).unwrap();
        let lock = "file: 100640 /var/lib/cni/networks/conformance/lock \"\"";
        assert!(!profile.may_stay(lock));
        let profile = profile.beside(&Profile::built_in().unwrap());
        assert!(profile.may_stay(lock) && !profile.may_stay(&lock.replace("lock", "10.1.0.2")));
    }
}
