//! Network configurations in a folder, `/etc/cni/net.d` by custom.

use super::{
    network::{ConfigError, Draft, Network, PluginConfig},
    plain::read_plain,
};
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

impl Network {
    /// Reads a file: a list of plugins if its name ends in `.conflist`, else a single plugin. The
    /// plugins of the files `<network name>/*.conf` below the same folder follow those of a list,
    /// sorted by file name, unless the list sets `loadOnlyInlinedPlugins`.
    ///
    /// # Errors
    /// Fails if a file cannot be read or is no valid configuration; the error names the file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let in_file = |e| ConfigError::File {
            path: path.to_owned(),
            source: Box::new(e),
        };
        let bytes = read(path)?;
        let is_list = path
            .extension()
            .is_some_and(|extension| extension == "conflist");
        let draft = if is_list {
            Draft::parse_list(&bytes)
        } else {
            Draft::parse_single(&bytes)
        };
        let mut draft = draft.map_err(in_file)?;
        if draft.extensible {
            let folder = path.with_file_name(draft.network.name.as_str());
            draft.network.plugins.extend(plugins_in(&folder)?);
        }
        draft.finish().map_err(in_file)
    }

    /// Returns the files `*.conf`, `*.conflist` and `*.json` of a folder, sorted by name. Container
    /// runtimes take the first.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn files(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
        files(folder, &["conf", "conflist", "json"])
    }

    /// Reads the files of a folder, sorted by name. A file that cannot be used has its error in the
    /// list.
    ///
    /// # Errors
    /// Fails if the folder cannot be read.
    pub fn load_all(folder: &Path) -> Result<Vec<Result<Self, ConfigError>>, ConfigError> {
        let paths = Self::files(folder)?;
        Ok(paths.iter().map(|path| Self::load(path)).collect())
    }

    /// Returns the first network in a folder that is called `name`.
    ///
    /// # Errors
    /// Fails if the folder cannot be read, or if no usable file has the network; the error then
    /// lists the files that could not be used.
    pub fn find(folder: &Path, name: &str) -> Result<Self, ConfigError> {
        let mut unusable = String::new();
        for loaded in Self::load_all(folder)? {
            match loaded {
                Ok(network) if network.name.as_str() == name => return Ok(network),
                Ok(_) => {}
                Err(e) => unusable += &format!("\n{e}"),
            }
        }
        Err(ConfigError::NotFound {
            name: name.to_owned(),
            folder: folder.to_owned(),
            unusable,
        })
    }
}

/// Returns the plugins of the folder's `*.conf`; none if the folder does not exist.
fn plugins_in(folder: &Path) -> Result<Vec<PluginConfig>, ConfigError> {
    let load = |path: PathBuf| {
        let in_file = |e| ConfigError::File {
            path: path.clone(),
            source: Box::new(e),
        };
        let bytes = read(&path)?;
        let json = cni_types::Json::parse(&bytes)
            .map_err(|e| in_file(ConfigError::Plugin(e.to_string())))?;
        PluginConfig::new(json).map_err(in_file)
    };
    match files(folder, &["conf"]) {
        Err(ConfigError::Read { source, .. })
            if matches!(
                source.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory
            ) =>
        {
            Ok(Vec::new())
        }
        paths => paths?.into_iter().map(load).collect(),
    }
}

/// Returns the folder's files with one of the extensions, sorted by name.
fn files(folder: &Path, extensions: &[&str]) -> Result<Vec<PathBuf>, ConfigError> {
    let failed = |source| ConfigError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        let wanted = path
            .extension()
            .is_some_and(|has| extensions.iter().any(|e| has == *e));
        // Only a directory itself is skipped. libcni tries to read a symbolic link to a directory,
        // and fails.
        if wanted && !entry.file_type().map_err(failed)?.is_dir() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    read_plain(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn kinds(network: &Network) -> Vec<&str> {
        network.plugins.iter().map(PluginConfig::kind).collect()
    }

    #[test]
    fn the_folder_beside_the_file_adds_plugins_in_order() {
        let folder = Folder::new();
        folder.write("n/20-b.conf", r#"{"type":"b"}"#);
        folder.write("n/10-a.conf", r#"{"type":"a"}"#);
        folder.write("n/15-not.conflist", "junk");
        let list = folder.write(
            "10-n.conflist",
            r#"{"name":"n","plugins":[{"type":"first"}]}"#,
        );
        assert_eq!(kinds(&Network::load(&list).unwrap()), ["first", "a", "b"]);
        let none = folder.write("10-n.conflist", r#"{"name":"n"}"#);
        assert_eq!(kinds(&Network::load(&none).unwrap()), ["a", "b"]);
        let closed = r#"{"name":"n","loadOnlyInlinedPlugins":true,"plugins":[{"type":"first"}]}"#;
        assert_eq!(
            kinds(&Network::load(&folder.write("10-n.conflist", closed)).unwrap()),
            ["first"]
        );
    }

    #[test]
    fn a_broken_file_beside_is_named() {
        let folder = Folder::new();
        let broken = folder.write("n/10-a.conf", r#"{"kind":"a"}"#);
        let list = folder.write("n.conflist", r#"{"name":"n","plugins":[{"type":"first"}]}"#);
        let error = Network::load(&list).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "{}: error parsing configuration: missing 'type'",
                broken.display()
            )
        );
    }

    #[test]
    fn the_first_file_with_the_name_is_found_and_broken_ones_are_passed_over() {
        let folder = Folder::new();
        folder.write("00-broken.conf", "{");
        folder.write(
            "20-late.conflist",
            r#"{"name":"n","plugins":[{"type":"late"}]}"#,
        );
        folder.write("10-early.conf", r#"{"name":"n","type":"early"}"#);
        folder.write("05-note.txt", "not a configuration");
        assert_eq!(
            kinds(&Network::find(folder.path(), "n").unwrap()),
            ["early"]
        );
        let error = Network::find(folder.path(), "m").unwrap_err().to_string();
        assert!(
            error.starts_with(r#"no net configuration with name "m" in "#),
            "{error}"
        );
        assert!(error.contains("00-broken.conf"), "{error}");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = Network::load_all(Path::new("/nonexistent/net.d"))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("error reading /nonexistent/net.d: "),
            "{error}"
        );
    }
}
