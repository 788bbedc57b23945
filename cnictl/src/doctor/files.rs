//! The folder of network configurations: which file runtimes take, and what is wrong with the others.

use super::{
    finding::Report,
    scene::{ConfFile, Scene},
};
use cni_types::{Json, SpecVersion};
use conformance::runtime::{ConfigError, Network};
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

pub(super) fn examine(scene: &Scene, report: &mut Report) {
    let folder = scene.places.conf_dir();
    if scene.files.is_empty() {
        report.error(
            "conf-none",
            format!("{} has no network configuration (*.conflist, *.conf, *.json)", folder.display()),
            "runtimes say \"cni plugin not initialized\", and the node stays NotReady",
            "let the network's installer write its conflist there, or write one; if it is there already, the runtime \
             looks elsewhere: see conf_dir (containerd) or network_dir (CRI-O)",
        );
    }
    for (index, file) in scene.files.iter().enumerate() {
        match &file.network {
            Ok(network) => usable(file, network, report),
            Err(e) => unusable(file, e, index == 0, report),
        }
    }
    shadowed(scene, report);
    passed_over(scene, report);
    chosen(scene, report);
}

fn unusable(file: &ConfFile, error: &ConfigError, is_first: bool, report: &mut Report) {
    let name = file.name();
    let consequence = if is_first {
        "it is the first file: containerd goes no further, and has no network; CRI-O passes it over and takes the next"
    } else {
        "its network does not exist"
    };
    if let ConfigError::Read { source, .. } = error
        && source.kind() == std::io::ErrorKind::PermissionDenied
    {
        return report.unseen(format!("{name}: {source}"));
    }
    if let Err(e) = serde_json::from_slice::<IgnoredAny>(&file.bytes) {
        let text = String::from_utf8_lossy(&file.bytes);
        let line = text.lines().nth(e.line().saturating_sub(1)).unwrap_or_default().trim();
        return report.error(
            "conf-json",
            format!("{name}, line {}, column {}: not JSON: {}", e.line(), e.column(), reason(&e)),
            consequence,
            format!("correct this line: {line}"),
        );
    }
    let text = error.to_string();
    let text = text.strip_prefix(&format!("{}: ", file.path.display())).unwrap_or(&text).to_owned();
    report.error("conf-invalid", format!("{name}: {text}"), consequence, "correct the file, or take it away");
}

/// serde_json's words without the place, which has been told.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.split(" at line ").next().unwrap_or_default().to_owned()
}

fn usable(file: &ConfFile, network: &Network, report: &mut Report) {
    let name = file.name();
    let Ok(json) = Json::parse(&file.bytes) else { return };
    let is_list = json.lookup("plugins").is_some();
    let is_conflist = name.ends_with(".conflist");
    if is_list != is_conflist && (is_list || json.lookup("type").is_some()) {
        let (is, wanted) =
            if is_list { ("a list of plugins", "conflist") } else { ("a single plugin", "conf") };
        report.error(
            "conf-extension",
            format!("{name} holds {is}"),
            "libcni tells lists and single plugins apart by the file's extension, and refuses this one",
            format!("rename it to .{wanted}"),
        );
    }
    if json.lookup("cniVersion").is_none() && json.lookup("cniVersions").is_none() {
        report.warning(
            "version-missing",
            format!("{name} has no cniVersion"),
            "it counts as 0.1.0: no CHECK, no chain of results, one address of each family",
            r#"write "cniVersion": "1.1.0", or the highest version that the runtime and all plugins support"#,
        );
    } else if network.version < SpecVersion::V1_1_0 {
        report.note(
            "version-no-gc",
            format!("{name} says cniVersion {}", network.version),
            "runtimes call GC and STATUS only for 1.1.0: nothing cleans up after lost pods, and a broken network looks ready",
            r#"write "cniVersion": "1.1.0" where the runtime (containerd 2, CRI-O 1.30) and all plugins support it"#,
        );
    }
    if network.disable_gc && network.version.has_gc_and_status() {
        report.note(
            "gc-disabled",
            format!("{name} says disableGC"),
            "nothing cleans up after lost pods",
            "take the key away",
        );
    }
}

/// Two files with the same network: which is used depends on who looks.
fn shadowed(scene: &Scene, report: &mut Report) {
    let mut first: BTreeMap<&str, &ConfFile> = BTreeMap::new();
    for (file, network) in scene.networks() {
        if let Some(earlier) = first.get(network.name.as_str()) {
            report.warning(
                "conf-shadowed",
                format!(
                    "{} and {} both are network {:?}",
                    earlier.name(),
                    file.name(),
                    network.name.as_str()
                ),
                "the second is never used, but looks as if it were",
                "take the one away that is not meant, or give it another name",
            );
        } else {
            first.insert(network.name.as_str(), file);
        }
    }
}

/// Files that look like configurations and are none.
fn passed_over(scene: &Scene, report: &mut Report) {
    let entries = std::fs::read_dir(scene.places.conf_dir()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    let is_like = |name: &&String| {
        let stem = [".conflist", ".conf", ".json"]
            .iter()
            .find_map(|known| name.find(known).map(|at| at + known.len()));
        stem.is_some_and(|end| end < name.len()) && !name.starts_with('.')
    };
    for name in names.iter().filter(is_like) {
        report.note(
            "conf-ignored",
            format!("{name} is not read"),
            "only *.conflist, *.conf and *.json are network configurations",
            "rename it if it is meant, take it away if not",
        );
    }
}

/// CRI-O can be told which network to take.
fn chosen(scene: &Scene, report: &mut Report) {
    let Some(chosen) = &scene.chosen else { return };
    if !scene.networks().any(|(_, network)| network.name.as_str() == chosen) {
        report.error(
            "crio-default-network",
            format!("CRI-O's cni_default_network is {chosen:?}, and no file has a network of that name"),
            "CRI-O waits for it, and the node stays NotReady",
            "correct the name in /etc/crio, or the \"name\" in the conflist",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn examined(name: &str, text: &str) -> Report {
        let path = PathBuf::from("/etc/cni/net.d").join(name);
        let file =
            ConfFile { path, bytes: text.as_bytes().to_vec(), network: Network::parse(text.as_bytes()) };
        let mut report = Report::default();
        match &file.network {
            Ok(network) => usable(&file, network, &mut report),
            Err(e) => unusable(&file, e, true, &mut report),
        }
        report
    }

    #[test]
    fn what_is_not_json_is_told_with_line_and_column() {
        let report = examined("10-n.conflist", "{\n  \"name\": \"n\"\n  \"plugins\": []\n}");
        assert_eq!(report.texts(), ["10-n.conflist, line 3, column 3: not JSON: expected `,` or `}`"]);
    }

    #[test]
    fn a_configuration_is_judged_as_a_whole() {
        let list = r#"{"name":"n","cniVersion":"VERSION","plugins":[{"type":"bridge"}]}"#;
        for (name, text, wanted) in [
            ("a.conflist", list.replace("VERSION", "1.1.0"), vec![]),
            ("a.conflist", list.replace("VERSION", "1.0.0"), vec!["version-no-gc"]),
            ("a.conflist", list.replace(r#""cniVersion":"VERSION","#, ""), vec!["version-missing"]),
            ("a.conf", list.replace("VERSION", "1.1.0"), vec!["conf-extension"]),
            (
                "a.conflist",
                r#"{"name":"n","cniVersion":"1.1.0","type":"bridge"}"#.to_owned(),
                vec!["conf-extension"],
            ),
            (
                "a.conflist",
                r#"{"cniVersion":"1.1.0","plugins":[{"type":"bridge"}]}"#.to_owned(),
                vec!["conf-invalid"],
            ),
            ("a.conflist", list.replace("VERSION", "7.0.0"), vec!["conf-invalid"]),
        ] {
            assert_eq!(examined(name, &text).ids(), wanted, "{name} {text}");
        }
    }
}
