//! A network configuration: a name, a version, and the plugins to run one after the other (spec
//! section 1).

use cni_types::{Json, NetworkName, SpecVersion};
use serde::Deserialize;
use std::{collections::BTreeMap, io, path::PathBuf};

/// The reason for which a network configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder that cannot be read.
    #[error("error reading {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file whose content is not a usable configuration.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The mistake in it.
        source: Box<ConfigError>,
    },
    /// A list that is not JSON, a value of a wrong type, a key that is missing.
    #[error("error parsing configuration list: {0}")]
    Content(String),
    /// The same of the configuration of a single plugin.
    #[error("error parsing configuration: {0}")]
    Plugin(String),
    /// The same of an entry of a list's `plugins`.
    #[error("failed to parse plugin config {index}: {source}")]
    Entry {
        /// Its place in the list, from 0 on.
        index: usize,
        /// The mistake in it.
        source: Box<ConfigError>,
    },
    /// A name or a version that the spec does not allow.
    #[error(transparent)]
    Spec(#[from] cni_types::Error),
    /// No file in the folder holds a network of this name.
    #[error("no net configuration with name {name:?} in {}{unusable}", folder.display())]
    NotFound {
        /// The network.
        name: String,
        /// The folder.
        folder: PathBuf,
        /// The mistakes in the files that could not be read, one a line; empty if all could.
        unusable: String,
    },
}

/// One entry of `plugins`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    kind: String,
    json: Json,
}

/// The keys of a plugin's configuration that libcni decodes before any plugin is run. A value of
/// another type makes the whole network unusable.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "decoded for their types' sake")]
struct Decoded {
    cni_version: Option<String>,
    name: Option<String>,
    r#type: Option<String>,
    capabilities: Option<BTreeMap<String, Option<bool>>>,
    ipam: Option<DecodedIpam>,
    dns: Option<DecodedDns>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "decoded for their types' sake")]
struct DecodedIpam {
    r#type: Option<String>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "decoded for their types' sake")]
struct DecodedDns {
    nameservers: Option<Vec<Option<String>>>,
    domain: Option<String>,
    search: Option<Vec<Option<String>>>,
    options: Option<Vec<Option<String>>>,
}

impl PluginConfig {
    /// Takes an object with a usable `type`. Keys match without regard to case, and `null` is
    /// absence.
    pub(super) fn new(json: Json) -> Result<Self, ConfigError> {
        if !json.is_object() {
            return Err(plugin("a JSON object is wanted"));
        }
        json.decode::<Decoded>()
            .map_err(|e| plugin(&e.to_string()))?;
        match json.lookup("type") {
            Some(Json::String(kind)) if kind.contains(['/', '\\', '\0']) => {
                Err(plugin(&format!("invalid plugin name: {kind}")))
            }
            Some(Json::String(kind)) if !kind.is_empty() => Ok(Self {
                kind: kind.clone(),
                json,
            }),
            _ => Err(plugin("missing 'type'")),
        }
    }

    /// The plugin's name.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The configuration as it is written.
    #[must_use]
    pub fn json(&self) -> &Json {
        &self.json
    }
}

/// A network configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The name, unique on a host.
    pub name: NetworkName,
    /// The protocol version to speak: the highest that both the configuration and this crate know.
    pub version: SpecVersion,
    /// CHECK always succeeds, and no plugin is asked.
    pub disable_check: bool,
    /// GC does nothing.
    pub disable_gc: bool,
    /// The plugins, in the order of ADD. Never empty.
    pub plugins: Vec<PluginConfig>,
    source: Json,
}

/// A configuration that may yet get plugins from other files.
pub(super) struct Draft {
    pub(super) network: Network,
    /// True if plugins may come from the folder beside the file.
    pub(super) extensible: bool,
}

impl Network {
    /// Reads a configuration list, or a single plugin's configuration as 0.x had it, which becomes
    /// a list of one. For a file, whose name says which of the two it is, see [`Network::load`].
    ///
    /// # Errors
    /// Fails if it is not usable by itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let source = Json::parse(bytes).map_err(|e| content(&e.to_string()))?;
        let is_single = exact(&source, "plugins").is_none() && source.lookup("type").is_some();
        let draft = if is_single {
            Draft::of_single(source)
        } else {
            Draft::of_list(source)
        };
        draft?.finish()
    }

    /// The configuration list as JSON, which results are cached with.
    #[must_use]
    pub fn source(&self) -> &Json {
        &self.source
    }
}

impl Draft {
    pub(super) fn parse_list(bytes: &[u8]) -> Result<Self, ConfigError> {
        Self::of_list(Json::parse(bytes).map_err(|e| content(&e.to_string()))?)
    }

    pub(super) fn parse_single(bytes: &[u8]) -> Result<Self, ConfigError> {
        Self::of_single(Json::parse(bytes).map_err(|e| plugin(&e.to_string()))?)
    }

    /// A list, whose keys libcni compares letter by letter, and takes no `null` for.
    fn of_list(source: Json) -> Result<Self, ConfigError> {
        if !source.is_object() {
            return Err(content("a JSON object is wanted"));
        }
        let only_inlined = flag(&source, "loadOnlyInlinedPlugins")?;
        if only_inlined && exact(&source, "plugins").is_none() {
            return Err(content(
                "`loadOnlyInlinedPlugins` is true, and no 'plugins' key",
            ));
        }
        let name = text(&source, "name")?.ok_or_else(|| content("no name"))?;
        let network = Network {
            name: NetworkName::parse(name)?,
            version: version(&source)?,
            disable_check: flag(&source, "disableCheck")?,
            disable_gc: flag(&source, "disableGC")?,
            plugins: inlined_plugins(&source)?,
            source,
        };
        Ok(Self {
            network,
            extensible: !only_inlined,
        })
    }

    /// A single plugin's configuration, to which nothing is added and which has no switches.
    fn of_single(source: Json) -> Result<Self, ConfigError> {
        let config = PluginConfig::new(source)?;
        let text = |key| match config.json().lookup(key) {
            Some(Json::String(text)) => text.as_str(),
            _ => "",
        };
        let network = Network {
            name: NetworkName::parse(text("name"))?,
            version: SpecVersion::of_config(text("cniVersion"))?,
            disable_check: false,
            disable_gc: false,
            source: list_of_one(config.json().clone()),
            plugins: vec![config],
        };
        Ok(Self {
            network,
            extensible: false,
        })
    }

    pub(super) fn finish(self) -> Result<Network, ConfigError> {
        if self.network.plugins.is_empty() {
            Err(content("no plugin configs found"))
        } else {
            Ok(self.network)
        }
    }
}

/// A single plugin's configuration as a list. The plugin keeps all its keys.
fn list_of_one(plugin: Json) -> Json {
    let mut members = Vec::new();
    for key in ["cniVersion", "name"] {
        members.extend(
            plugin
                .lookup(key)
                .map(|value| (key.to_owned(), value.clone())),
        );
    }
    members.push(("plugins".to_owned(), Json::Array(vec![plugin])));
    Json::Object(members)
}

fn inlined_plugins(source: &Json) -> Result<Vec<PluginConfig>, ConfigError> {
    match exact(source, "plugins") {
        None => Ok(Vec::new()),
        Some(Json::Array(plugins)) if plugins.is_empty() => Err(content("no plugins in list")),
        Some(Json::Array(plugins)) => {
            let numbered = plugins.iter().enumerate();
            numbered
                .map(|(index, plugin)| {
                    PluginConfig::new(plugin.clone()).map_err(|e| ConfigError::Entry {
                        index,
                        source: Box::new(e),
                    })
                })
                .collect()
        }
        Some(other) => Err(content(&format!(
            "invalid 'plugins' {other}, a list is wanted"
        ))),
    }
}

/// The highest version of `cniVersion` and `cniVersions` that is supported. Unknown ones are passed
/// over, as long as there is another.
fn version(source: &Json) -> Result<SpecVersion, ConfigError> {
    let single = text(source, "cniVersion")?.unwrap_or_default();
    let mut listed = match exact(source, "cniVersions") {
        None => Vec::new(),
        Some(Json::Array(versions)) => versions
            .iter()
            .map(|v| {
                if let Json::String(v) = v {
                    Ok(v.as_str())
                } else {
                    Err(v)
                }
            })
            .collect::<Result<_, _>>()
            .map_err(|v| {
                content(&format!(
                    "invalid entry {v} in cniVersions, a string is wanted"
                ))
            })?,
        Some(other) => {
            return Err(content(&format!(
                "invalid 'cniVersions' {other}, a list is wanted"
            )));
        }
    };
    if !single.is_empty() {
        listed.push(single);
    }
    match listed
        .iter()
        .filter_map(|v| v.parse::<SpecVersion>().ok())
        .max()
    {
        Some(version) => Ok(version),
        None => Ok(SpecVersion::of_config(
            listed.last().copied().unwrap_or_default(),
        )?),
    }
}

fn text<'a>(source: &'a Json, key: &str) -> Result<Option<&'a str>, ConfigError> {
    match exact(source, key) {
        None => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(content(&format!(
            "invalid '{key}' {other}, a string is wanted"
        ))),
    }
}

/// A boolean, which libcni also takes as text.
fn flag(source: &Json, key: &str) -> Result<bool, ConfigError> {
    match exact(source, key) {
        None => Ok(false),
        Some(Json::Bool(value)) => Ok(*value),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(content(&format!("invalid value {other} for {key}"))),
    }
}

/// Returns the value of a key that is written exactly so; of several, the last.
fn exact<'a>(source: &'a Json, key: &str) -> Option<&'a Json> {
    let Json::Object(members) = source else {
        return None;
    };
    members
        .iter()
        .rev()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value)
}

fn plugin(what: &str) -> ConfigError {
    ConfigError::Plugin(what.to_owned())
}

fn content(what: &str) -> ConfigError {
    ConfigError::Content(what.to_owned())
}

#[cfg(test)]
mod tests;
