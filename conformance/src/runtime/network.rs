//! A network configuration: a name, a version, and the plugins to run one after the other (spec section 1).

use cni_types::{Json, NetworkName, SpecVersion};
use std::{io, path::PathBuf};

/// Why a network configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or folder that cannot be read.
    #[error("error reading {}: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file whose content is not a usable configuration.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: Box<ConfigError>,
    },
    /// Not JSON, a value of a wrong type, a key that is missing.
    #[error("error parsing configuration list: {0}")]
    Content(String),
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
        /// What is wrong with the files that could not be read, one a line; empty where all could.
        unusable: String,
    },
}

/// One entry of `plugins`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    kind: String,
    json: Json,
}

impl PluginConfig {
    /// Takes an object with a usable `type`.
    pub(super) fn new(json: Json) -> Result<Self, ConfigError> {
        if !json.is_object() {
            return Err(content("a plugin's configuration must be an object"));
        }
        match json.lookup("type") {
            Some(Json::String(kind)) if !kind.is_empty() && !kind.contains(['/', '\\', '\0']) => {
                Ok(Self { kind: kind.clone(), json })
            }
            None | Some(Json::Null) => Err(content("missing 'type'")),
            Some(other) => Err(content(&format!("invalid 'type' {other}, the name of a plugin is wanted"))),
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
    /// Whether plugins may come from the folder beside the file.
    pub(super) extensible: bool,
}

impl Network {
    /// Reads a configuration list, or a single plugin's configuration as 0.x had it, which becomes a list of one.
    ///
    /// # Errors
    /// Where it is not usable by itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        Draft::parse(bytes)?.finish()
    }

    /// The configuration list as JSON, which results are cached with.
    #[must_use]
    pub fn source(&self) -> &Json {
        &self.source
    }
}

impl Draft {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let source = Json::parse(bytes).map_err(|e| content(&e.to_string()))?;
        if !source.is_object() {
            return Err(content("a JSON object is wanted"));
        }
        let is_single = source.lookup("plugins").is_none() && source.lookup("type").is_some();
        let source = if is_single { list_of_one(source) } else { source };
        let only_inlined = flag(&source, "loadOnlyInlinedPlugins")?;
        if only_inlined && source.lookup("plugins").is_none() {
            return Err(content("`loadOnlyInlinedPlugins` is true, and no 'plugins' key"));
        }
        let network = Network {
            name: NetworkName::parse(text(&source, "name")?.unwrap_or_default())?,
            version: version(&source)?,
            disable_check: flag(&source, "disableCheck")?,
            disable_gc: flag(&source, "disableGC")?,
            plugins: inlined_plugins(&source)?,
            source,
        };
        Ok(Self { network, extensible: !only_inlined && !is_single })
    }

    pub(super) fn finish(self) -> Result<Network, ConfigError> {
        if self.network.plugins.is_empty() { Err(content("no plugins in list")) } else { Ok(self.network) }
    }
}

/// A single plugin's configuration as a list. The plugin keeps all its keys.
fn list_of_one(plugin: Json) -> Json {
    let mut members = Vec::new();
    for key in ["cniVersion", "name"] {
        members.extend(plugin.lookup(key).map(|value| (key.to_owned(), value.clone())));
    }
    members.push(("plugins".to_owned(), Json::Array(vec![plugin])));
    Json::Object(members)
}

fn inlined_plugins(source: &Json) -> Result<Vec<PluginConfig>, ConfigError> {
    match source.lookup("plugins") {
        None => Ok(Vec::new()),
        Some(Json::Array(plugins)) if plugins.is_empty() => Err(content("no plugins in list")),
        Some(Json::Array(plugins)) => {
            let numbered = plugins.iter().enumerate();
            numbered
                .map(|(at, plugin)| {
                    PluginConfig::new(plugin.clone())
                        .map_err(|e| content(&format!("failed to parse plugin config {at}: {e}")))
                })
                .collect()
        }
        Some(other) => Err(content(&format!("invalid 'plugins' {other}, a list is wanted"))),
    }
}

/// The highest version of `cniVersion` and `cniVersions` that is supported. Unknown ones are passed over, as
/// long as there is another.
fn version(source: &Json) -> Result<SpecVersion, ConfigError> {
    let single = text(source, "cniVersion")?.unwrap_or_default();
    let mut listed = match source.lookup("cniVersions") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(versions)) => versions
            .iter()
            .map(|v| if let Json::String(v) = v { Ok(v.as_str()) } else { Err(v) })
            .collect::<Result<_, _>>()
            .map_err(|v| content(&format!("invalid entry {v} in cniVersions, a string is wanted")))?,
        Some(other) => return Err(content(&format!("invalid 'cniVersions' {other}, a list is wanted"))),
    };
    if !single.is_empty() {
        listed.push(single);
    }
    match listed.iter().filter_map(|v| v.parse::<SpecVersion>().ok()).max() {
        Some(version) => Ok(version),
        None => Ok(SpecVersion::of_config(listed.last().copied().unwrap_or_default())?),
    }
}

fn text<'a>(source: &'a Json, key: &str) -> Result<Option<&'a str>, ConfigError> {
    match source.lookup(key) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => Ok(Some(text)),
        Some(other) => Err(content(&format!("invalid '{key}' {other}, a string is wanted"))),
    }
}

/// A boolean, which the reference also takes as text.
fn flag(source: &Json, key: &str) -> Result<bool, ConfigError> {
    match source.lookup(key) {
        None | Some(Json::Null) => Ok(false),
        Some(Json::Bool(value)) => Ok(*value),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Json::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(content(&format!("invalid value {other} for {key}"))),
    }
}

fn content(what: &str) -> ConfigError {
    ConfigError::Content(what.to_owned())
}

#[cfg(test)]
mod tests;
