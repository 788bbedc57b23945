//! The plugins that networks need: installed, executable, of a matching version, and ready.

use super::{
    finding::{Report, Severity},
    node::{ConfFile, Node},
    runtimes::has_kubelet,
};
use crate::{networks, plugins, required_plugins};
use cni_runtime::{Network, Runtime};
use cni_types::Code;
use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The answers of plugins to VERSION, by the plugin's name. An error is already a text.
type Versions = BTreeMap<String, Result<Vec<String>, String>>;

/// A network whose plugins are examined.
struct Subject<'a> {
    file: &'a ConfFile,
    network: &'a Network,
    /// The severity of a defect: an error only in a network that pods get.
    severity: Severity,
}

/// Examines the plugins of all usable networks, and the loopback plugin.
pub(super) fn examine(node: &Node, report: &mut Report) {
    let runtime = Runtime::new(&node.paths.bin_dirs(), networks::cache(&node.paths))
        .with_timeout(plugins::QUERY_TIMEOUT);
    let mut versions = Versions::new();
    for (file, network) in node.networks() {
        let severity = if node.is_taken(file) {
            Severity::Error
        } else {
            Severity::Warning
        };
        let subject = Subject {
            file,
            network,
            severity,
        };
        let mut complete = true;
        for name in required_plugins::names(network) {
            complete &= examine_program(node, &subject, &name, report)
                && examine_version(&runtime, &mut versions, &subject, &name, report);
        }
        // A plugin that delegates to itself might never stop.
        if complete && required_plugins::self_delegating(network).is_none() {
            examine_status(node, &runtime, &subject, report);
        }
    }
    examine_loopback(node, report);
}

/// Returns true if the program of the plugin `name` is installed and executable; otherwise reports
/// the defect.
fn examine_program(node: &Node, subject: &Subject<'_>, name: &str, report: &mut Report) -> bool {
    let candidates: Vec<PathBuf> = node
        .paths
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
        report_missing(&candidates, subject, name, report);
        return false;
    };
    if meta.permissions().mode() & 0o111 == 0 {
        report.add(
            subject.severity,
            "binary-not-executable",
            format!("{} is not executable", first.display()),
            "runtimes skip it, and every ADD fails with \"failed to find plugin\"",
            format!("chmod 0755 {}", first.display()),
        );
        return false;
    }
    if let Some((second, _)) = found.get(1) {
        report.note(
            "binary-twice",
            format!("{} hides {}", first.display(), second.display()),
            "runtimes run the first and never the second",
            "remove the unwanted one",
        );
    }
    true
}

/// Reports that the plugin is in none of the folders, and says so if a broken symbolic link is the
/// cause.
fn report_missing(candidates: &[PathBuf], subject: &Subject<'_>, name: &str, report: &mut Report) {
    let folders: Vec<_> = candidates
        .iter()
        .filter_map(|path| Some(path.parent()?.display().to_string()))
        .collect();
    let folders = folders.join(" and ");
    let dangles = candidates.iter().any(|path| path.is_symlink());
    let link = if dangles {
        ": the symbolic link there is broken"
    } else {
        ""
    };
    report.add(
        subject.severity,
        "binary-missing",
        format!(
            "{}: the plugin {name} is not installed in {folders}{link}",
            subject.file.name()
        ),
        "every ADD fails with \"failed to find plugin\"",
        "install it there; if it is in another folder, correct the runtime's bin_dir",
    );
}

/// Returns the error if this process lacks the permission to see if the file exists.
fn cannot_look(path: &Path) -> Option<io::Error> {
    path.metadata()
        .err()
        .filter(|e| e.kind() == io::ErrorKind::PermissionDenied)
}

/// Returns true if the plugin supports the network's version; otherwise reports the defect. Each
/// plugin is asked once, and its answer added to `known`.
fn examine_version(
    runtime: &Runtime,
    known: &mut Versions,
    subject: &Subject<'_>,
    name: &str,
    report: &mut Report,
) -> bool {
    let wanted = subject.network.version;
    let versions = known.entry(name.to_owned()).or_insert_with(|| {
        runtime.versions(name).map_err(|e| {
            e.plugin_error()
                .map_or_else(|| e.to_string(), ToString::to_string)
        })
    });
    match versions {
        Ok(versions) if versions.iter().any(|version| version == wanted.as_str()) => true,
        Ok(versions) => {
            report.add(
                subject.severity,
                "binary-version",
                format!(
                    "{} has cniVersion {wanted}, but {name} supports {}",
                    subject.file.name(),
                    versions.join(" ")
                ),
                "every ADD fails with \"incompatible CNI versions\"",
                format!("install a newer {name}, or set a cniVersion that it supports"),
            );
            false
        }
        Err(e) => {
            report.add(
                subject.severity,
                "binary-broken",
                format!("{name} does not answer VERSION: {e}"),
                "every ADD fails (is it built for another architecture? is a library missing?)",
                "install it again",
            );
            false
        }
    }
}

/// Reports the error of a network's STATUS. Without CAP_NET_ADMIN a plugin may report an error that
/// the runtime would not get, so only an invalid configuration counts then.
fn examine_status(node: &Node, runtime: &Runtime, subject: &Subject<'_>, report: &mut Report) {
    let network = subject.network;
    let Err(e) = runtime.status(network) else {
        return;
    };
    let code = e.plugin_error().map(|error| error.code);
    if !node.privileged && code != Some(Code::INVALID_CONFIG) {
        return report.unseen(format!(
            "STATUS of {}: it needs CAP_NET_ADMIN ({e})",
            network.name
        ));
    }
    let why = match code {
        Some(Code::LIMITED_CONNECTIVITY) => {
            "no pod can be attached, and existing pods may be cut off"
        }
        _ => "no pod can be attached, and the runtime reports the node as NotReady",
    };
    report.add(
        subject.severity,
        "status",
        format!("{}: {e}", network.name),
        why,
        "fix the cause that the plugin names",
    );
}

/// Reports a missing loopback plugin, which containerd runs for every pod, whatever the pod's
/// networks are. If no runtime's configuration is found but a kubelet's is, the runtime is probably
/// containerd.
fn examine_loopback(node: &Node, report: &mut Report) {
    let paths: Vec<_> = node
        .paths
        .bin_dirs()
        .iter()
        .map(|folder| folder.join("loopback"))
        .collect();
    let may_be_there = paths
        .iter()
        .any(|path| path.is_file() || cannot_look(path).is_some());
    if may_be_there || node.files.is_empty() || node.runs_loopback == Some(false) {
        return;
    }
    let is_needed = node.runs_loopback == Some(true) || has_kubelet(&node.paths);
    report.add(
        if is_needed { Severity::Warning } else { Severity::Note },
        "loopback-missing",
        "the plugin loopback is not installed",
        "containerd runs it for every pod, besides the network's own plugins; without it no pod starts",
        "install it with the other plugins, or set use_internal_loopback = true in containerd 2",
    );
}
