//! The folder of network configurations: the file that runtimes take, and faults of the others.

use super::{
    finding::Report,
    node::{ConfFile, Node},
};
use cni_runtime::{ConfigError, Network};
use cni_types::{Json, SpecVersion};
use serde::de::IgnoredAny;
use std::{collections::BTreeMap, io::ErrorKind};

pub(super) fn examine(node: &Node, report: &mut Report) {
    let folder = node.paths.conf_dir();
    if node.folder_was_read && node.files.is_empty() {
        let missing = if folder.is_dir() {
            ""
        } else {
            "; it does not exist"
        };
        report.error(
            "conf-none",
            format!(
                "{} has no network configuration (*.conflist, *.conf, *.json){missing}",
                folder.display()
            ),
            "runtimes report \"cni plugin not initialized\", and the node stays NotReady",
            "let the network's installer write a conflist there, or write one; if there is one in \
             another folder, set conf_dir (containerd) or network_dir (CRI-O)",
        );
    }
    for (index, file) in node.files.iter().enumerate() {
        match &file.network {
            Ok(network) => usable(file, network, report),
            Err(e) => unusable(file, e, index == 0, report),
        }
    }
    shadowed(node, report);
    ignored_files(node, report);
    chosen(node, report);
}

fn unusable(file: &ConfFile, error: &ConfigError, is_first: bool, report: &mut Report) {
    let name = file.name();
    let consequence = consequence(error, is_first);
    if let ConfigError::Read { source, .. } = error {
        match source.kind() {
            ErrorKind::PermissionDenied => return report.unseen(format!("{name}: {source}")),
            ErrorKind::InvalidInput => return not_a_file(&name, source, report),
            _ => {}
        }
    }
    if let Some((what, remedy)) = not_json(&file.bytes) {
        return report.error("conf-json", format!("{name}{what}"), consequence, remedy);
    }
    if let Some((is, wanted)) = file.misnamed() {
        return report.error(
            "conf-extension",
            format!("{name} holds {is}"),
            format!(
                "runtimes expect by its extension the other of list and single plugin, and refuse \
                 the file: {consequence}"
            ),
            format!("rename it to .{wanted}"),
        );
    }
    let text = error.to_string();
    let text = text
        .strip_prefix(&format!("{}: ", file.path.display()))
        .unwrap_or(&text);
    report.error(
        "conf-invalid",
        format!("{name}: {text}"),
        consequence,
        "correct the file, or remove it",
    );
}

/// Returns the consequence of an unusable file. libcni checks names and versions only at ADD, so
/// such a file is loaded all the same.
fn consequence(error: &ConfigError, is_first: bool) -> &'static str {
    match error {
        ConfigError::File { source, .. } => consequence(source, is_first),
        ConfigError::Spec(_) => "runtimes load it, and every ADD fails",
        _ if is_first => {
            "it is the first file: containerd stops here and has no network; CRI-O skips it and \
             takes the next"
        }
        _ => "runtimes do not know its network",
    }
}

/// Reports a FIFO, a device, a socket, or a symbolic link to a directory.
fn not_a_file(name: &str, error: &std::io::Error, report: &mut Report) {
    report.error(
        "conf-no-file",
        format!("{name}: {error}"),
        "runtimes open it like a file: a FIFO makes them hang, and they load no network",
        "remove it",
    );
}

/// Returns the problem and the remedy of a file that is not JSON; `None` if it is.
fn not_json(bytes: &[u8]) -> Option<(String, String)> {
    let problem = |what: &str, remedy: &str| Some((what.to_owned(), remedy.to_owned()));
    if bytes.trim_ascii().is_empty() {
        return problem(
            " is empty",
            "write it again, or remove it (was the disk full? was an installer interrupted?)",
        );
    }
    if [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"]
        .iter()
        .any(|mark| bytes.starts_with(mark))
    {
        return problem(
            ", line 1, column 1: not JSON: it begins with a byte order mark, which editors hide",
            "save it as UTF-8 without BOM",
        );
    }
    let e = serde_json::from_slice::<IgnoredAny>(bytes).err()?;
    // serde appends the position, which is reported before the reason.
    let text = e.to_string();
    let reason = text.split(" at line ").next().unwrap_or_default();
    let what = format!(
        ", line {}, column {}: not JSON: {reason}",
        e.line(),
        e.column()
    );
    let place = excerpt(bytes, e.line(), e.column());
    let remedy = if e.is_eof() {
        format!("the file ends too early; complete it after: {place}")
    } else if reason.starts_with("expected `,`") {
        format!("add a comma before: {place}")
    } else if place.starts_with(['}', ']']) {
        format!("remove the comma before: {place}")
    } else {
        format!("correct: {place}")
    };
    Some((what, remedy))
}

/// The part of a line that is shown, in bytes.
const EXCERPT: usize = 60;

/// Returns the text from a position on, or the end of its line if the line ends there.
fn excerpt(bytes: &[u8], line: usize, column: usize) -> String {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .nth(line.saturating_sub(1))
        .unwrap_or_default();
    let start = column.saturating_sub(1);
    let rest = line.get(start..).unwrap_or_default();
    let shown = if rest.trim_ascii().len() > 1 || rest.starts_with(b"}") || rest.starts_with(b"]") {
        rest.get(..EXCERPT).unwrap_or(rest)
    } else {
        line.get(line.len().saturating_sub(EXCERPT)..)
            .unwrap_or(line)
    };
    String::from_utf8_lossy(shown).trim().to_owned()
}

fn usable(file: &ConfFile, network: &Network, report: &mut Report) {
    let name = file.name();
    let Ok(json) = Json::parse(&file.bytes) else {
        return;
    };
    if json.lookup("cniVersion").is_none() && json.lookup("cniVersions").is_none() {
        report.warning(
            "version-missing",
            format!("{name} has no cniVersion"),
            "it counts as 0.1.0: no CHECK, no prevResult, one address of each family",
            r#"set "cniVersion": "1.1.0", or the highest that the runtime and all plugins support"#,
        );
    } else if network.version < SpecVersion::V1_1_0 {
        report.note(
            "version-no-gc",
            format!("{name} has cniVersion {}", network.version),
            "runtimes call GC and STATUS only from 1.1.0 on: leftovers of lost pods stay, and a \
             broken network looks ready",
            r#"set "cniVersion": "1.1.0" if the runtime (containerd 2, CRI-O 1.30) and all plugins support it"#,
        );
    }
    if network.disable_gc && network.version.has_gc_and_status() {
        report.note(
            "gc-disabled",
            format!("{name} sets disableGC"),
            "leftovers of lost pods stay",
            "remove the key",
        );
    }
}

/// Reports two files with the same network: runtimes and tools differ in the one they use.
fn shadowed(node: &Node, report: &mut Report) {
    let mut first: BTreeMap<&str, &ConfFile> = BTreeMap::new();
    for (file, network) in node.networks() {
        if let Some(earlier) = first.get(network.name.as_str()) {
            report.warning(
                "conf-shadowed",
                format!(
                    "{} and {} both define network {:?}",
                    earlier.name(),
                    file.name(),
                    network.name.as_str()
                ),
                "containerd and CRI-O use the first file, cnitool and multus the first conflist; \
                 changes to the other have no effect",
                "remove the unwanted file, or give its network another name",
            );
        } else {
            first.insert(network.name.as_str(), file);
        }
    }
}

/// Reports files that look like configurations but have another extension.
fn ignored_files(node: &Node, report: &mut Report) {
    let entries = std::fs::read_dir(node.paths.conf_dir())
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
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
            "rename it if it should be read, otherwise remove it",
        );
    }
}

/// Reports a `cni_default_network` of CRI-O that no file defines.
fn chosen(node: &Node, report: &mut Report) {
    let Some(chosen) = &node.default_network else {
        return;
    };
    if !node
        .networks()
        .any(|(_, network)| network.name.as_str() == chosen)
    {
        report.error(
            "crio-default-network",
            format!("CRI-O's cni_default_network is {chosen:?}, but no file defines that network"),
            "CRI-O waits for it, and the node stays NotReady",
            "correct the name in /etc/crio, or the \"name\" in the conflist",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(name: &str, text: &str) -> Report {
        let folder = std::env::temp_dir().join(format!("cnictl-{}-files", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        let network = Network::load(&path);
        std::fs::remove_file(&path).unwrap();
        let file = ConfFile {
            path,
            bytes: text.as_bytes().to_vec(),
            network,
        };
        let mut report = Report::default();
        match &file.network {
            Ok(network) => usable(&file, network, &mut report),
            Err(e) => unusable(&file, e, true, &mut report),
        }
        report
    }

    #[test]
    fn a_file_that_is_not_json_is_reported_with_line_and_column() {
        let report = examined(
            "10-n.conflist",
            "{\n  \"name\": \"n\"\n  \"plugins\": []\n}",
        );
        assert_eq!(
            report.texts(),
            ["10-n.conflist, line 3, column 3: not JSON: expected `,` or `}`"]
        );
    }

    #[test]
    fn the_remedy_for_a_file_that_is_not_json_shows_the_place() {
        let remedy = |text: &str| {
            not_json(text.as_bytes())
                .map(|(_, remedy)| remedy)
                .unwrap_or_default()
        };
        for (text, wanted) in [
            (
                "{\n  \"name\": \"n\"\n  \"plugins\": []\n}",
                "add a comma before: \"plugins\": []",
            ),
            ("{\n  \"name\": \"n\",\n}", "remove the comma before: }"),
            ("{\"a\":[1,]}", "remove the comma before: ]}"),
            (
                "{\"a\": tru",
                "the file ends too early; complete it after: {\"a\": tru",
            ),
            ("{\"a\": 'b'}", "correct: 'b'}"),
            ("\n", "write it again"),
            ("\u{feff}{}", "save it as UTF-8 without BOM"),
            ("{}", ""),
        ] {
            assert!(remedy(text).starts_with(wanted), "{text}: {}", remedy(text));
        }
        let long = format!("{{\"a\":\"{}\" x}}", "y".repeat(1_000_000));
        assert!(remedy(&long).len() < 200, "{}", remedy(&long));
    }

    #[test]
    fn the_consequence_of_an_unusable_file_is_what_runtimes_do() {
        for (text, wanted) in [
            (
                r#"{"name":"n","plugins":[{"type":"x","ipam":5}]}"#,
                "it is the first file: containerd",
            ),
            (
                r#"{"name":"n","cniVersion":"7.0.0","plugins":[{"type":"x"}]}"#,
                "runtimes load it, and every ADD",
            ),
            (
                r#"{"name":"a/b","plugins":[{"type":"x"}]}"#,
                "runtimes load it, and every ADD",
            ),
        ] {
            let report = examined("what.conflist", text);
            let why = report.whys().into_iter().next().unwrap_or_default();
            assert!(why.starts_with(wanted), "{text}: {why}");
        }
    }

    #[test]
    fn a_configuration_is_examined_as_a_whole() {
        let list = r#"{"name":"n","cniVersion":"VERSION","plugins":[{"type":"bridge"}]}"#;
        for (name, text, wanted) in [
            ("a.conflist", list.replace("VERSION", "1.1.0"), vec![]),
            (
                "a.conflist",
                list.replace("VERSION", "1.0.0"),
                vec!["version-no-gc"],
            ),
            (
                "a.conflist",
                list.replace(r#""cniVersion":"VERSION","#, ""),
                vec!["version-missing"],
            ),
            (
                "a.conf",
                list.replace("VERSION", "1.1.0"),
                vec!["conf-extension"],
            ),
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
            (
                "a.conflist",
                list.replace("VERSION", "7.0.0"),
                vec!["conf-invalid"],
            ),
        ] {
            assert_eq!(examined(name, &text).ids(), wanted, "{name} {text}");
        }
    }
}
