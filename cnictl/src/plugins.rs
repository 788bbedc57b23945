//! The commands `status` and `version`: STATUS of a network, and VERSION of plugins.

use crate::{
    arguments::Arguments, failure::Failure, networks, required_plugins, screen::Screen, trace,
};
use cni_runtime::Asked;
use cni_types::SpecVersion;
use std::{collections::BTreeSet, os::unix::fs::PermissionsExt, path::Path, time::Duration};

/// The time that a plugin may take for VERSION, STATUS or CHECK. The folder may hold programs that
/// are not plugins and never answer.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks every plugin of a network if an ADD could succeed. For versions without STATUS, checks that
/// the plugins are installed and answer VERSION.
///
/// # Errors
/// Fails if the network is not found or delegates to itself. Fails with the error of the first
/// plugin whose STATUS fails, or with those of all plugins that do not answer VERSION.
pub(crate) fn status(arguments: &Arguments, name: &str, screen: &Screen) -> Result<(), Failure> {
    let network = networks::find(&arguments.paths, name, screen)?;
    networks::refuse_self_delegation(&network)?;
    let runtime = trace::runtime(arguments);
    match runtime.status(&network)? {
        Asked::None(why) => {
            // Scripts take the exit status 0 for "ready", so at least the programs must exist and
            // start.
            let runtime = runtime.with_timeout(QUERY_TIMEOUT);
            let asked = required_plugins::names(&network)
                .into_iter()
                .map(|name| runtime.versions(&name));
            Failure::join(asked.filter_map(Result::err).collect())?;
            screen.message(&format!(
                "unknown: {why}; all plugins are installed and answer VERSION"
            ));
        }
        Asked::All if screen.is_interactive() => screen.print("ready\n"),
        Asked::All => {}
    }
    Ok(())
}

/// Shows the versions that plugins support: the plugins of one network, or all programs in the
/// folders of plugins.
///
/// # Errors
/// Fails if the network is not found, or if one of its plugins does not answer. Without a network,
/// programs that do not answer are only reported.
pub(crate) fn version(
    arguments: &Arguments,
    network: Option<&str>,
    screen: &Screen,
) -> Result<(), Failure> {
    let runtime = trace::runtime(arguments).with_timeout(QUERY_TIMEOUT);
    let names = match network {
        Some(name) => required_plugins::names(&networks::find(&arguments.paths, name, screen)?),
        None => programs(&arguments.paths.bin_dirs()),
    };
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    for name in names {
        match runtime.versions(&name) {
            Ok(versions) => rows.push((name, versions)),
            Err(e) if network.is_some() => errors.push(e),
            // A program in the folders need not be a plugin.
            Err(e) => screen.message(&e.to_string()),
        }
    }
    // With --json only one document is printed; after a failure it is that of the errors.
    if errors.is_empty() || !screen.is_json() {
        show(&rows, screen);
    }
    Failure::join(errors)
}

/// Prints the versions of cnictl and of the plugins, as a table or as JSON.
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

/// Returns the names of all executable files in the folders, sorted, each once.
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
