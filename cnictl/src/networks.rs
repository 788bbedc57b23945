//! The network that a name means.

use crate::{failure::Failure, places::Places, plugins, screen::Screen};
use cni_runtime::{Cache, CachedAttachment, ConfigError, Network};
use std::path::{Path, PathBuf};

/// The files of a folder that are network configurations, in the order in which libcni looks for a
/// name: lists first.
///
/// # Errors
/// Where the folder cannot be read.
fn files(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let mut files = Network::files(folder)?;
    let is_list = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "conflist")
    };
    files.sort_by_key(|path| !is_list(path));
    Ok(files)
}

/// The network called `name`. Files that cannot be used are passed over, and named.
///
/// # Errors
/// Where there is none.
pub(crate) fn find(places: &Places, name: &str, screen: &Screen) -> Result<Network, Failure> {
    let folder = places.conf_dir();
    for file in files(&folder).map_err(|e| elsewhere(places, &e.to_string()))? {
        match Network::load(&file) {
            Ok(network) if network.name.as_str() == name => return Ok(network),
            Ok(_) => {}
            Err(e) => screen.complain(&format!("passed over: {e}")),
        }
    }
    Err(elsewhere(
        places,
        &format!(
            "no net configuration with name {name:?} in {}",
            folder.display()
        ),
    ))
}

/// A runtime may have its configurations in another folder than the usual one, as k3s does.
fn elsewhere(places: &Places, what: &str) -> Failure {
    let hint = match places.conf_dir {
        Some(_) => "",
        None => {
            "; --conf-dir names another folder, and cnictl doctor tells which one the runtime reads"
        }
    };
    Failure::text(format!("{what}{hint}"))
}

/// All networks of the folder, in the order in which container runtimes take them.
///
/// # Errors
/// Where the folder cannot be read.
pub(crate) fn all(places: &Places, screen: &Screen) -> Result<Vec<Network>, Failure> {
    let mut networks = Vec::new();
    let files =
        Network::files(&places.conf_dir()).map_err(|e| elsewhere(places, &e.to_string()))?;
    for file in files {
        match Network::load(&file) {
            Ok(network) => networks.push(network),
            Err(e) => screen.complain(&format!("passed over: {e}")),
        }
    }
    Ok(networks)
}

/// Refuses a network with a plugin that is its own IPAM plugin.
///
/// # Errors
/// Fails if there is one.
pub(crate) fn refuse_own_delegate(network: &Network) -> Result<(), Failure> {
    match plugins::own_delegate(network) {
        None => Ok(()),
        Some(kind) => Err(Failure::text(format!(
            "{}: ipam.type of {kind} is {kind} itself, which would start itself again and again; \
             name an IPAM plugin",
            network.name
        ))),
    }
}

/// The network called `name`; where no file has it any more, as it was when the attachment was
/// made.
///
/// # Errors
/// Where neither is there.
pub(crate) fn find_or_remember(
    places: &Places,
    name: &str,
    cached: Option<&CachedAttachment>,
    screen: &Screen,
) -> Result<Network, Failure> {
    let missing = match find(places, name, screen) {
        Ok(network) => return Ok(network),
        Err(missing) => missing,
    };
    let remembered = cached
        .and_then(|cached| Network::parse(&cached.config).ok())
        .ok_or(missing)?;
    screen.complain(&format!(
        "no usable net configuration with name {name:?} in {}: taking the one that the attachment was made with",
        places.conf_dir().display()
    ));
    Ok(remembered)
}

/// The cache.
pub(crate) fn cache(places: &Places) -> Cache {
    Cache::new(&places.cache_dir)
}
