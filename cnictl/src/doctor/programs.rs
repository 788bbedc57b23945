//! The programs that networks need: there, able to run, of a version that fits, and ready.

use super::{
    finding::{Report, Severity},
    runtimes::has_kubelet,
    scene::{ConfFile, Scene},
};
use crate::{networks, plugins};
use cni_runtime::{Network, Runtime};
use cni_types::Code;
use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What a program answered to VERSION.
type Versions = BTreeMap<String, Result<Vec<String>, String>>;

pub(super) fn examine(scene: &Scene, report: &mut Report) {
    let runtime = Runtime::new(&scene.places.bin_dirs(), networks::cache(&scene.places))
        .with_patience(plugins::PATIENCE);
    let mut versions = Versions::new();
    for (file, network) in scene.networks() {
        let severity = if scene.is_taken(file) {
            Severity::Error
        } else {
            Severity::Warning
        };
        let mut complete = true;
        for name in plugins::names(network) {
            complete &= program(scene, file, &name, severity, report)
                && version(
                    &runtime,
                    &mut versions,
                    file,
                    network,
                    &name,
                    severity,
                    report,
                );
        }
        // The plugin would start itself, and might not stop.
        if complete && plugins::own_delegate(network).is_none() {
            status(scene, &runtime, network, severity, report);
        }
    }
    loopback(scene, report);
}

/// Whether the program is there and may be run.
fn program(
    scene: &Scene,
    file: &ConfFile,
    name: &str,
    severity: Severity,
    report: &mut Report,
) -> bool {
    let candidates: Vec<PathBuf> = scene
        .places
        .bin_dirs()
        .iter()
        .map(|folder| folder.join(name))
        .collect();
    let found: Vec<_> = candidates
        .iter()
        .filter_map(|path| Some((path, path.metadata().ok().filter(|meta| meta.is_file())?)))
        .collect();
    let unreadable: Vec<_> = candidates
        .iter()
        .filter_map(|path| Some((path, cannot_look(path)?)))
        .collect();
    if let ([], [(path, e), ..]) = (&found[..], &unreadable[..]) {
        report.unseen(format!("{}: {e}", path.display()));
        return false;
    }
    let Some((first, meta)) = found.first() else {
        report_missing(&candidates, file, name, severity, report);
        return false;
    };
    if meta.permissions().mode() & 0o111 == 0 {
        report.add(
            severity,
            "binary-not-executable",
            format!("{} may not be executed", first.display()),
            "runtimes pass it over, and every ADD fails with \"failed to find plugin\"",
            format!("chmod 0755 {}", first.display()),
        );
        return false;
    }
    if let Some((second, _)) = found.get(1) {
        report.note(
            "binary-twice",
            format!("{} hides {}", first.display(), second.display()),
            "the first is run, the second never",
            "take the one away that is not meant",
        );
    }
    true
}

/// Reports that the plugin is in none of the folders, and a dangling link if there is one.
fn report_missing(
    candidates: &[PathBuf],
    file: &ConfFile,
    name: &str,
    severity: Severity,
    report: &mut Report,
) {
    let folders: Vec<_> = candidates
        .iter()
        .filter_map(|path| Some(path.parent()?.display().to_string()))
        .collect();
    let folders = folders.join(" and ");
    let dangles = candidates.iter().any(|path| path.is_symlink());
    let link = if dangles {
        ": the symbolic link there leads nowhere"
    } else {
        ""
    };
    report.add(
        severity,
        "binary-missing",
        format!(
            "{}: the plugin {name} is not in {folders}{link}",
            file.name()
        ),
        "every ADD fails with \"failed to find plugin\"",
        "install it there; if it is somewhere else, the runtime's bin_dir is wrong",
    );
}

/// Returns the error for which it is not known if the file is there.
fn cannot_look(path: &Path) -> Option<io::Error> {
    path.metadata()
        .err()
        .filter(|e| e.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether it speaks the network's version.
fn version(
    runtime: &Runtime,
    known: &mut Versions,
    file: &ConfFile,
    network: &Network,
    name: &str,
    severity: Severity,
    report: &mut Report,
) -> bool {
    let versions = known.entry(name.to_owned()).or_insert_with(|| {
        runtime.versions(name).map_err(|e| {
            e.plugin_error()
                .map_or_else(|| e.to_string(), ToString::to_string)
        })
    });
    match versions {
        Ok(versions)
            if versions
                .iter()
                .any(|version| version == network.version.as_str()) =>
        {
            true
        }
        Ok(versions) => {
            report.add(
                severity,
                "binary-version",
                format!(
                    "{} says cniVersion {}, and {name} supports {}",
                    file.name(),
                    network.version,
                    versions.join(" ")
                ),
                "every ADD fails with \"incompatible CNI versions\"",
                format!("install a newer {name}, or write a version that it supports"),
            );
            false
        }
        Err(e) => {
            report.add(
                severity,
                "binary-broken",
                format!("{name} gives no answer to VERSION: {e}"),
                "a program that cannot start attaches no pod (another architecture? a library that is missing?)",
                "install it again",
            );
            false
        }
    }
}

fn status(
    scene: &Scene,
    runtime: &Runtime,
    network: &Network,
    severity: Severity,
    report: &mut Report,
) {
    let Err(e) = runtime.status(network) else {
        return;
    };
    let code = e.plugin_error().map(|error| error.code);
    if !scene.privileged && code != Some(Code::INVALID_CONFIG) {
        return report.unseen(format!(
            "STATUS of {}: not judged without CAP_NET_ADMIN ({e})",
            network.name
        ));
    }
    let why = match code {
        Some(Code::LIMITED_CONNECTIVITY) => {
            "no pod can be attached, and existing ones may be cut off"
        }
        _ => "no pod can be attached, and runtimes tell the node as NotReady",
    };
    report.add(
        severity,
        "status",
        format!("{}: {e}", network.name),
        why,
        "see what the plugin says",
    );
}

/// containerd runs it for every pod, whichever networks there are. Where no runtime's configuration
/// is found, a kubelet's is probably containerd.
fn loopback(scene: &Scene, report: &mut Report) {
    let paths: Vec<_> = scene
        .places
        .bin_dirs()
        .iter()
        .map(|folder| folder.join("loopback"))
        .collect();
    let may_be_there = paths
        .iter()
        .any(|path| path.is_file() || cannot_look(path).is_some());
    if may_be_there || scene.files.is_empty() || scene.runs_loopback == Some(false) {
        return;
    }
    let is_needed = scene.runs_loopback == Some(true) || has_kubelet(&scene.places);
    report.add(
        if is_needed { Severity::Warning } else { Severity::Note },
        "loopback-missing",
        "the plugin loopback is not installed",
        "containerd runs it for every pod, beside the network's own plugins; without it no pod starts",
        "install it with the other plugins, or tell containerd 2 use_internal_loopback = true",
    );
}
