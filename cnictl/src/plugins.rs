//! STATUS of a network, and VERSION of its plugins.

use crate::{arguments::Arguments, failure::Failure, networks, screen::Screen, trace};
use cni_runtime::{Asked, Network, PluginConfig};
use cni_types::{Json, SpecVersion};
use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// How long a plugin may take to answer what needs no work. In the folder there may be programs
/// that are no plugins.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Asks every plugin of a network if an ADD could succeed. In versions without STATUS, looks if the
/// plugins are there and answer VERSION.
///
/// # Errors
/// Fails with the first plugin's error, or with those of all that give no answer to VERSION.
pub(crate) fn status(arguments: &Arguments, name: &str, screen: &Screen) -> Result<(), Failure> {
    let network = networks::find(&arguments.places, name, screen)?;
    networks::refuse_own_delegate(&network)?;
    let runtime = trace::runtime(arguments);
    match runtime.status(&network)? {
        Asked::None(why) => {
            // A script takes success for ready, so at least the programs must be there and start.
            let runtime = runtime.with_patience(PATIENCE);
            let asked = names(&network)
                .into_iter()
                .map(|name| runtime.versions(&name));
            Failure::join(asked.filter_map(Result::err).collect())?;
            screen.complain(&format!(
                "no plugin was asked: {why}; all plugins are there, and start"
            ));
        }
        Asked::All if screen.is_for_a_person() => screen.print("ready\n"),
        Asked::All => {}
    }
    Ok(())
}

/// The plugins that a network needs: those of the list, and the IPAM plugins that they delegate to.
pub(crate) fn names(network: &Network) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for plugin in &network.plugins {
        for name in std::iter::once(plugin.kind().to_owned()).chain(ipam(plugin)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names
}

/// The `type` of a plugin's `ipam`.
pub(crate) fn ipam(plugin: &PluginConfig) -> Option<String> {
    match plugin.json().lookup("ipam")?.lookup("type")? {
        Json::String(kind) if !kind.is_empty() => Some(kind.clone()),
        _ => None,
    }
}

/// The first plugin that names itself as its IPAM plugin. One without a limit to delegation starts
/// itself without end, so nothing but VERSION may be asked of it.
pub(crate) fn own_delegate(network: &Network) -> Option<&str> {
    let is_own = |plugin: &&PluginConfig| ipam(plugin).as_deref() == Some(plugin.kind());
    network.plugins.iter().find(is_own).map(PluginConfig::kind)
}

/// Shows the versions that plugins support: those of one network, or all programs in the folders.
///
/// # Errors
/// Where one of a network's plugins gives no answer.
pub(crate) fn version(
    arguments: &Arguments,
    network: Option<&str>,
    screen: &Screen,
) -> Result<(), Failure> {
    let runtime = trace::runtime(arguments).with_patience(PATIENCE);
    let (names, all_must_answer) = match network {
        Some(name) => (
            names(&networks::find(&arguments.places, name, screen)?),
            true,
        ),
        None => (programs(&arguments.places.bin_dirs()), false),
    };
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        match runtime.versions(&name) {
            Ok(versions) => rows.push((name, versions)),
            Err(e) if all_must_answer => errors.push(e),
            // Not every program there need be a plugin.
            Err(e) => screen.complain(&e.to_string()),
        }
    }
    // One document: where something fails it is the one with the errors.
    if errors.is_empty() || !screen.is_json() {
        show(&rows, screen);
    }
    Failure::join(errors)
}

fn show(rows: &[(String, Vec<String>)], screen: &Screen) {
    if screen.is_json() {
        let plugins: serde_json::Map<_, _> = rows
            .iter()
            .map(|(name, versions)| (name.clone(), serde_json::json!(versions)))
            .collect();
        return screen.json(&serde_json::json!({
            "cnictl": env!("CARGO_PKG_VERSION"),
            "supportedVersions": SpecVersion::ALL.map(SpecVersion::as_str),
            "plugins": plugins,
        }));
    }
    let own = SpecVersion::ALL.map(SpecVersion::as_str).join(" ");
    screen.print(&format!("cnictl {}: {own}\n\n", env!("CARGO_PKG_VERSION")));
    let rows: Vec<_> = rows
        .iter()
        .map(|(name, versions)| [name.clone(), versions.join(" ")])
        .collect();
    screen.table(["PLUGIN", "VERSIONS"], &rows);
}

/// The names of all programs in the folders.
fn programs(folders: &[impl AsRef<Path>]) -> Vec<String> {
    let entries = folders
        .iter()
        .filter_map(|folder| std::fs::read_dir(folder).ok())
        .flatten()
        .flatten();
    let is_program = |path: &Path| {
        path.metadata()
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let names: BTreeSet<String> = entries
        .filter(|entry| is_program(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.into_iter().collect()
}
