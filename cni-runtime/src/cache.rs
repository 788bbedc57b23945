//! The results of ADDs, kept for CHECK and DEL (spec section 3).
//!
//! The files have the place and format of libcni's, so that one runtime can detach what another
//! attached: `<folder>/results/<network>-<container id>-<interface>`.

use super::{error::Error, network::Network, parameters::Parameters, plain::read_plain};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use cni_types::{Json, NetworkName};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The `kind` of libcni's cache files.
const KIND: &str = "cniCacheV1";

/// The encoding of byte strings in Go's JSON (`base64.StdEncoding`): padded; unused bits of the
/// last symbol are ignored when read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// The folder in which a runtime keeps the results of its ADDs.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The subfolder with the files.
    results: PathBuf,
}

/// An attachment as its ADD left it.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedAttachment {
    /// The network's name.
    pub network: NetworkName,
    /// The network configuration that the ADD used.
    pub config: Vec<u8>,
    /// The parameters of the ADD.
    pub parameters: Parameters,
    /// The result that the last plugin printed.
    pub result: Json,
}

/// One file of the cache.
#[derive(Debug)]
pub struct CacheEntry {
    /// The path of the file.
    pub path: PathBuf,
    /// The time of the ADD, at which the file was written; `None` if it cannot be determined.
    pub written: Option<SystemTime>,
    /// Its content, or the reason why it cannot be read.
    pub attachment: io::Result<CachedAttachment>,
}

/// The content of a file as it is written, with the keys in libcni's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    kind: &'a str,
    container_id: &'a str,
    config: String,
    if_name: &'a str,
    network_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    netns: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cni_args: &'a [(String, String)],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    capability_args: BTreeMap<&'a str, &'a Json>,
    result: &'a Json,
}

/// The content of a file as it is read: other writers may leave out keys.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Read {
    kind: String,
    container_id: String,
    config: String,
    if_name: String,
    network_name: String,
    netns: String,
    cni_args: Vec<(String, String)>,
    capability_args: Option<Json>,
    result: Option<Json>,
}

impl Cache {
    /// Returns the cache in `folder`, for instance `/var/lib/cni`. Creates nothing.
    #[must_use]
    pub fn new(folder: &Path) -> Self {
        Self {
            results: folder.join("results"),
        }
    }

    /// Returns the cache in `/var/lib/cni`, which libcni and the runtimes built on it use.
    #[must_use]
    pub fn of_system() -> Self {
        Self::new(Path::new("/var/lib/cni"))
    }

    /// Stores the result of an ADD, in place of an earlier one of the same attachment. The file is
    /// replaced in one step: a reader never sees half a result, even if the writer is killed.
    ///
    /// # Errors
    /// Fails if the file or its folder cannot be written.
    pub fn store(
        &self,
        network: &Network,
        parameters: &Parameters,
        result: &Json,
    ) -> Result<(), Error> {
        let path = self.path(&network.name, parameters);
        let written = Written {
            kind: KIND,
            container_id: parameters.container_id.as_str(),
            config: BASE64.encode(network.source().to_string().as_bytes()),
            if_name: parameters.if_name.as_str(),
            network_name: network.name.as_str(),
            netns: parameters.netns.as_ref().map_or("", |path| path.as_str()),
            cni_args: &parameters.args,
            capability_args: parameters
                .capability_args
                .iter()
                .map(|(name, value)| (name.as_str(), value))
                .collect(),
            result,
        };
        let write = || {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.results)?;
            replace(&path, &serde_json::to_vec(&written)?)
        };
        write().map_err(|source| Error::Cache {
            operation: "write",
            path: path.clone(),
            source,
        })
    }

    /// Returns the attachment, or `None` if it has no file. Of `parameters`, only the container id
    /// and the interface's name count.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is damaged.
    pub fn load(
        &self,
        network: &NetworkName,
        parameters: &Parameters,
    ) -> Result<Option<CachedAttachment>, Error> {
        let path = self.path(network, parameters);
        match read_plain(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            bytes => bytes
                .and_then(|bytes| CachedAttachment::parse(&bytes))
                .map(Some)
                .map_err(|source| Error::Cache {
                    operation: "read",
                    path,
                    source,
                }),
        }
    }

    /// Returns every attachment that has a result: its ADD succeeded, and no DEL since. Files that
    /// cannot be read or are damaged are skipped; a missing folder is an empty one.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn attachments(&self) -> Result<Vec<CachedAttachment>, Error> {
        Ok(self
            .entries()?
            .into_iter()
            .filter_map(|entry| entry.attachment.ok())
            .collect())
    }

    /// Returns every file of the cache, sorted by name, also those that cannot be read or are
    /// damaged. A missing folder is an empty one.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn entries(&self) -> Result<Vec<CacheEntry>, Error> {
        let failed = |source| Error::Cache {
            operation: "list",
            path: self.results.clone(),
            source,
        };
        let mut paths = match std::fs::read_dir(&self.results) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries
                .and_then(|entries| {
                    entries
                        .map(|e| Ok(e?.path()))
                        .collect::<io::Result<Vec<_>>>()
                })
                .map_err(failed)?,
        };
        // The temporary file of a writer that was killed is no attachment.
        paths.retain(|path| {
            !path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        });
        paths.sort();
        Ok(paths.into_iter().map(CacheEntry::read).collect())
    }

    /// Removes an attachment's file; succeeds also if the file does not exist.
    ///
    /// # Errors
    /// Fails if the file exists and cannot be removed.
    pub fn remove(&self, network: &NetworkName, parameters: &Parameters) -> Result<(), Error> {
        let path = self.path(network, parameters);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => Err(Error::Cache {
                operation: "remove",
                path,
                source,
            }),
            _ => Ok(()),
        }
    }

    /// Returns the path of an attachment's file. The types of the three parts exclude a slash, so
    /// the file is always in the folder.
    fn path(&self, network: &NetworkName, parameters: &Parameters) -> PathBuf {
        let Parameters {
            container_id,
            if_name,
            ..
        } = parameters;
        self.results.join(format!(
            "{network}-{}-{}",
            container_id.as_str(),
            if_name.as_str()
        ))
    }
}

impl CacheEntry {
    fn read(path: PathBuf) -> Self {
        let attachment = read_plain(&path).and_then(|bytes| CachedAttachment::parse(&bytes));
        Self {
            written: path.metadata().and_then(|meta| meta.modified()).ok(),
            path,
            attachment,
        }
    }
}

impl CachedAttachment {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let invalid = |e: String| io::Error::new(ErrorKind::InvalidData, e);
        let json = Json::parse(bytes).map_err(|e| invalid(e.to_string()))?;
        let read: Read = json.decode().map_err(|e| invalid(e.to_string()))?;
        if read.kind != KIND {
            return Err(invalid(format!(
                "kind is {:?}, {KIND:?} is wanted",
                read.kind
            )));
        }
        let mut parameters = Parameters::new(&read.container_id, &read.if_name, &read.netns)
            .map_err(|e| invalid(e.to_string()))?;
        parameters.args = read.cni_args;
        if let Some(Json::Object(members)) = read.capability_args {
            parameters.capability_args = members;
        }
        Ok(Self {
            network: NetworkName::parse(&read.network_name).map_err(|e| invalid(e.to_string()))?,
            config: BASE64
                .decode(&read.config)
                .map_err(|_| invalid("config is not base64".to_owned()))?,
            parameters,
            result: read
                .result
                .ok_or_else(|| invalid("there is no result".to_owned()))?,
        })
    }
}

/// Writes a hidden file beside `path` and renames it to `path`.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // No network's name begins with a dot, so the hidden file is never read as a result.
    name.push(format!(".{}", std::process::id()));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let temporary = path.with_file_name(hidden);
    let mut file: File = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(bytes)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;
    use std::os::unix::fs::PermissionsExt;

    fn network() -> Network {
        Network::parse(br#"{"cniVersion":"1.1.0","name":"n","plugins":[{"type":"x"}]}"#).unwrap()
    }

    fn parameters() -> Parameters {
        Parameters::new("c1", "eth0", "/run/netns/a").unwrap()
    }

    fn result() -> Json {
        Json::parse(br#"{"cniVersion":"1.1.0","ips":[{"address":"10.0.0.2/24"}]}"#).unwrap()
    }

    #[test]
    fn the_file_is_libcnis() {
        let folder = Folder::new();
        let full = parameters()
            .with_arg("IgnoreUnknown", "1")
            .with_capability_arg("mac", "02:00:00:00:00:01".into());
        Cache::new(folder.path())
            .store(&network(), &full, &result())
            .unwrap();
        let path = folder.path().join("results/n-c1-eth0");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let config = BASE64.encode(network().source().to_string().as_bytes());
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!(
                r#"{{"kind":"cniCacheV1","containerId":"c1","config":"{config}","ifName":"eth0","networkName":"n","netns":"/run/netns/a","cniArgs":[["IgnoreUnknown","1"]],"capabilityArgs":{{"mac":"02:00:00:00:00:01"}},"result":{{"cniVersion":"1.1.0","ips":[{{"address":"10.0.0.2/24"}}]}}}}"#
            )
        );
    }

    #[test]
    fn what_was_stored_reads_back_and_is_forgotten() {
        let folder = Folder::new();
        let cache = Cache::new(folder.path());
        let full = parameters()
            .with_arg("A", "1")
            .with_capability_arg("ips", Json::Array(vec!["10.0.0.9".into()]));
        assert_eq!(cache.load(&network().name, &full).unwrap(), None);
        assert_eq!(cache.attachments().unwrap(), []);
        cache.store(&network(), &full, &result()).unwrap();
        let loaded = cache.load(&network().name, &parameters()).unwrap().unwrap();
        assert_eq!((&loaded.parameters, &loaded.result), (&full, &result()));
        assert_eq!(Network::parse(&loaded.config).unwrap(), network());
        assert_eq!(cache.attachments().unwrap(), [loaded]);
        cache.remove(&network().name, &full).unwrap();
        cache.remove(&network().name, &full).unwrap();
        assert_eq!(cache.attachments().unwrap(), []);
    }

    #[test]
    fn the_temporary_file_of_a_killed_writer_is_no_attachment() {
        let folder = Folder::new();
        folder.write("results/.n-c1-eth0.4711", "{");
        assert_eq!(Cache::new(folder.path()).entries().unwrap().len(), 0);
    }

    #[test]
    fn a_damaged_file_is_an_error_with_its_path() {
        let folder = Folder::new();
        for content in [
            "",
            "{",
            "{}",
            r#"{"kind":"cniCacheV2"}"#,
            r#"{"kind":"cniCacheV1","containerId":"/"}"#,
        ] {
            folder.write("results/n-c1-eth0", content);
            let cache = Cache::new(folder.path());
            let error = cache
                .load(&network().name, &parameters())
                .unwrap_err()
                .to_string();
            assert!(error.contains("results/n-c1-eth0: "), "{error}");
            assert_eq!(cache.attachments().unwrap(), []);
            assert!(cache.entries().unwrap()[0].attachment.is_err());
        }
    }
}
