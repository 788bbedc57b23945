//! The networks of the configuration folder, found by name.

use crate::{failure::Failure, paths::Paths, required_plugins, screen::Screen};
use cni_runtime::{Cache, CachedAttachment, ConfigError, Network};
use std::path::{Path, PathBuf};

/// Returns the configuration files of a folder in the order in which libcni looks for a network by
/// its name: lists of plugins first.
///
/// # Errors
/// Fails if the folder cannot be read.
fn files_in_search_order(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Network::files(folder)?;
    let is_list = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "conflist")
    };
    files.sort_by_key(|path| !is_list(path));
    Ok(files)
}

/// Returns the network called `name`. Files that cannot be used are reported and skipped.
///
/// # Errors
/// Fails if the folder cannot be read, or if no usable file has the name.
pub(crate) fn find(paths: &Paths, name: &str, screen: &Screen) -> Result<Network, Failure> {
    let folder = paths.conf_dir();
    for file in files_in_search_order(&folder).map_err(|e| not_found(paths, &e.to_string()))? {
        match Network::load(&file) {
            Ok(network) if network.name.as_str() == name => return Ok(network),
            Ok(_) => {}
            Err(e) => screen.message(&format!("skipped: {e}")),
        }
    }
    Err(not_found(
        paths,
        &format!(
            "no net configuration with name {name:?} in {}",
            folder.display()
        ),
    ))
}

/// Returns the error `what`, with a hint at `--conf-dir` unless the option was given: some
/// runtimes, such as k3s, read another folder than the usual one.
fn not_found(paths: &Paths, what: &str) -> Failure {
    let hint = match paths.conf_dir {
        Some(_) => "",
        None => {
            "; use --conf-dir for another folder (cnictl doctor shows which one the runtime reads)"
        }
    };
    Failure::text(format!("{what}{hint}"))
}

/// Returns all networks of the folder, in the order in which container runtimes take them. Files
/// that cannot be used are reported and skipped.
///
/// # Errors
/// Fails if the folder cannot be read.
pub(crate) fn all(paths: &Paths, screen: &Screen) -> Result<Vec<Network>, Failure> {
    let mut networks = Vec::new();
    let files = Network::files(&paths.conf_dir()).map_err(|e| not_found(paths, &e.to_string()))?;
    for file in files {
        match Network::load(&file) {
            Ok(network) => networks.push(network),
            Err(e) => screen.message(&format!("skipped: {e}")),
        }
    }
    Ok(networks)
}

/// Refuses a network with a plugin that names itself as its IPAM plugin.
///
/// # Errors
/// Fails if `network` has such a plugin.
pub(crate) fn refuse_self_delegation(network: &Network) -> Result<(), Failure> {
    match required_plugins::self_delegating(network) {
        None => Ok(()),
        Some(kind) => Err(Failure::text(format!(
            "{}: ipam.type of {kind} is {kind} itself, which would start itself without end; \
             name an IPAM plugin",
            network.name
        ))),
    }
}

/// Returns the network called `name`, or if no usable file has it any more, the network from the
/// cached configuration of the attachment.
///
/// # Errors
/// Fails if no file has the network, and there is no usable cached configuration either.
pub(crate) fn find_or_cached(
    paths: &Paths,
    name: &str,
    cached: Option<&CachedAttachment>,
    screen: &Screen,
) -> Result<Network, Failure> {
    let missing = match find(paths, name, screen) {
        Ok(network) => return Ok(network),
        Err(missing) => missing,
    };
    let from_cache = cached
        .and_then(|cached| Network::parse(&cached.config).ok())
        .ok_or(missing)?;
    screen.message(&format!(
        "no usable net configuration with name {name:?} in {}: using the cached configuration of \
         the attachment",
        paths.conf_dir().display()
    ));
    Ok(from_cache)
}

/// Returns the cache of results.
pub(crate) fn cache(paths: &Paths) -> Cache {
    Cache::new(&paths.cache_dir)
}
