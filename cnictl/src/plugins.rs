//! STATUS of a network, and VERSION of its plugins.

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
/// Fails with the first plugin's error, or with the errors of all that do not answer VERSION.
pub(crate) fn status(arguments: &Arguments, name: &str, screen: &Screen) -> Result<(), Failure> {
    let network = networks::find(&arguments.paths, name, screen)?;
    networks::refuse_self_delegation(&network)?;
    let runtime = trace::runtime(arguments);
    match runtime.status(&network)? {
        Asked::None(why) => {
            // A script takes success for ready, so at least the programs must exist and start.
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

/// Shows the versions that plugins support: the plugins of one network, or all in the folders.
///
/// # Errors
/// Fails if one of a network's plugins does not answer.
pub(crate) fn version(
    arguments: &Arguments,
    network: Option<&str>,
    screen: &Screen,
) -> Result<(), Failure> {
    let runtime = trace::runtime(arguments).with_timeout(QUERY_TIMEOUT);
    let (names, all_must_answer) = match network {
        Some(name) => (
            required_plugins::names(&networks::find(&arguments.paths, name, screen)?),
            true,
        ),
        None => (programs(&arguments.paths.bin_dirs()), false),
    };
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    for name in names {
        match runtime.versions(&name) {
            Ok(versions) => rows.push((name, versions)),
            Err(e) if all_must_answer => errors.push(e),
            // Not every program in the folder need be a plugin.
            Err(e) => screen.message(&e.to_string()),
        }
    }
    // Only one document is printed: after a failure, that with the errors.
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

/// Returns the names of all programs in the folders.
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
