//! STATUS of a network, and VERSION of its plugins.

use crate::{arguments::Arguments, failure::Failure, networks, screen::Screen, trace};
use cni_types::{Json, SpecVersion};
use conformance::runtime::{Asked, Network, PluginConfig};
use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// How long a plugin may take to answer what needs no work. In the folder there may be programs that are no plugins.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Asks every plugin of a network whether an ADD could succeed.
///
/// # Errors
/// The first plugin's that fails.
pub(crate) fn status(arguments: &Arguments, name: &str, screen: &Screen) -> Result<(), Failure> {
    let network = networks::find(&arguments.places, name, screen)?;
    let asked = trace::runtime(arguments).status(&network)?;
    match asked {
        Asked::None(why) => screen.complain(&format!("no plugin was asked: {why}")),
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

/// Shows the versions that plugins support: those of one network, or all programs in the folders.
///
/// # Errors
/// Where one of a network's plugins gives no answer.
pub(crate) fn version(arguments: &Arguments, network: Option<&str>, screen: &Screen) -> Result<(), Failure> {
    let runtime = trace::runtime(arguments).with_patience(PATIENCE);
    let (names, all_must_answer) = match network {
        Some(name) => (names(&networks::find(&arguments.places, name, screen)?), true),
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
        let plugins: serde_json::Map<_, _> =
            rows.iter().map(|(name, versions)| (name.clone(), serde_json::json!(versions))).collect();
        return screen.json(&serde_json::json!({
            "cnictl": env!("CARGO_PKG_VERSION"),
            "supportedVersions": SpecVersion::ALL.map(SpecVersion::as_str),
            "plugins": plugins,
        }));
    }
    let own = SpecVersion::ALL.map(SpecVersion::as_str).join(" ");
    let first = [concat!("cnictl ", env!("CARGO_PKG_VERSION")).to_owned(), own];
    let rest = rows.iter().map(|(name, versions)| [name.clone(), versions.join(" ")]);
    screen.table(["PLUGIN", "VERSIONS"], &std::iter::once(first).chain(rest).collect::<Vec<_>>());
}

/// The names of all programs in the folders.
fn programs(folders: &[impl AsRef<Path>]) -> Vec<String> {
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let names: BTreeSet<String> = entries
        .filter(|entry| is_program(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.into_iter().collect()
}
