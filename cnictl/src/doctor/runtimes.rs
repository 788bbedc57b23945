//! What containerd and CRI-O are told about networks: where configurations and plugins are.

use super::finding::Report;
use crate::places::Places;
use serde_json::Value;
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Where the CNI section is in containerd's configuration of version 3, 2 and 1.
const CONTAINERD_CNI: [&[&str]; 3] = [
    &["plugins", "io.containerd.cri.v1.runtime", "cni"],
    &["plugins", "io.containerd.grpc.v1.cri", "cni"],
    &["plugins", "cri", "cni"],
];

/// The names of the plugin that serves the CRI.
const CRI_PLUGINS: [&str; 4] =
    ["cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images"];

/// What one runtime is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Settings {
    name: &'static str,
    conf_dir: Option<PathBuf>,
    bin_dirs: Vec<PathBuf>,
    default_network: Option<String>,
}

/// What all runtimes are told.
#[derive(Clone, Debug, Default)]
pub(super) struct Runtimes(Vec<Settings>);

impl Runtimes {
    /// Puts the runtime's folders in the place of those by custom, unless somebody asked for others.
    pub(super) fn settle(&self, places: &mut Places) {
        let below = |path: &PathBuf, root: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        let root = places.root.clone();
        if places.conf_dir.is_none() {
            places.conf_dir =
                self.0.iter().find_map(|runtime| runtime.conf_dir.as_ref()).map(|path| below(path, &root));
        }
        if places.bin_dirs.is_none() {
            let dirs = self.0.iter().map(|runtime| &runtime.bin_dirs).find(|dirs| !dirs.is_empty());
            places.bin_dirs = dirs.map(|dirs| dirs.iter().map(|path| below(path, &root)).collect());
        }
    }

    /// The network that a runtime is to take, whichever file is first.
    pub(super) fn default_network(&self) -> Option<String> {
        self.0.iter().find_map(|runtime| runtime.default_network.clone())
    }
}

pub(super) fn examine(places: &Places, report: &mut Report) -> Runtimes {
    let runtimes: Vec<_> = [containerd(places, report), crio(places, report)].into_iter().flatten().collect();
    if let [first, second] = &runtimes[..]
        && first.conf_dir.as_deref().unwrap_or(Path::new("/etc/cni/net.d"))
            != second.conf_dir.as_deref().unwrap_or(Path::new("/etc/cni/net.d"))
    {
        report.note(
            "runtimes-differ",
            format!("{} and {} read different folders of networks", first.name, second.name),
            "only the first one's is examined",
            "say --conf-dir for the other",
        );
    }
    for runtime in &runtimes {
        elsewhere(runtime, places, report);
    }
    Runtimes(runtimes)
}

/// Somebody asked for a folder that the runtime does not read.
fn elsewhere(runtime: &Settings, places: &Places, report: &mut Report) {
    let (Some(examined), Some(read)) = (&places.conf_dir, &runtime.conf_dir) else { return };
    if examined != read {
        report.note(
            "runtime-elsewhere",
            format!("{} reads {}, not {}", runtime.name, read.display(), examined.display()),
            "what is examined here is not what it uses",
            "leave --conf-dir and NETCONFPATH out to examine what it reads",
        );
    }
}

fn containerd(places: &Places, report: &mut Report) -> Option<Settings> {
    let main = document(&places.file("/etc/containerd/config.toml"), report)?;
    let mut documents = vec![main.clone()];
    for pattern in texts(main.get("imports")) {
        documents
            .extend(matching(places, Path::new(&pattern)).iter().filter_map(|path| document(path, report)));
    }
    let mut settings = Settings { name: "containerd", ..Settings::default() };
    for document in &documents {
        let disabled = texts(document.get("disabled_plugins"));
        if let Some(plugin) = disabled.iter().find(|plugin| CRI_PLUGINS.contains(&plugin.as_str())) {
            report.error(
                "containerd-no-cri",
                format!("containerd's configuration disables the plugin {plugin:?}"),
                "containerd serves no kubelet and no crictl (the package docker ships it so)",
                "take it out of disabled_plugins in /etc/containerd/config.toml, and restart containerd",
            );
        }
        for path in CONTAINERD_CNI {
            if let Some(section) = path.iter().try_fold(document, |value, key| value.get(key)) {
                cni_section(section, &mut settings, report);
            }
        }
    }
    Some(settings)
}

fn cni_section(section: &Value, settings: &mut Settings, report: &mut Report) {
    let dirs = [texts(section.get("bin_dirs")), texts(section.get("bin_dir"))].concat();
    if !dirs.is_empty() {
        settings.bin_dirs = dirs.into_iter().filter(|dir| !dir.is_empty()).map(PathBuf::from).collect();
    }
    if let Some(dir) = texts(section.get("conf_dir")).first().filter(|dir| !dir.is_empty()) {
        settings.conf_dir = Some(dir.into());
    }
    if let Some(template) = texts(section.get("conf_template")).first().filter(|text| !text.is_empty()) {
        report.note(
            "containerd-template",
            format!("containerd writes its network configuration from {template}"),
            "what is written by hand into its folder may be used instead, or be overwritten",
            "change the template",
        );
    }
}

fn crio(places: &Places, report: &mut Report) -> Option<Settings> {
    let mut files = vec![places.file("/etc/crio/crio.conf")];
    files.extend(matching(places, Path::new("/etc/crio/crio.conf.d/*.conf")));
    let documents: Vec<Value> = files.iter().filter_map(|path| document(path, report)).collect();
    if documents.is_empty() {
        return None;
    }
    let mut settings = Settings { name: "CRI-O", ..Settings::default() };
    let sections = documents.iter().filter_map(|document| document.get("crio")?.get("network"));
    for section in sections {
        let text = |key| texts(section.get(key)).into_iter().next().filter(|text| !text.is_empty());
        settings.conf_dir = text("network_dir").map(PathBuf::from).or(settings.conf_dir);
        settings.default_network = text("cni_default_network").or(settings.default_network);
        let dirs = texts(section.get("plugin_dirs"));
        if !dirs.is_empty() {
            settings.bin_dirs = dirs.into_iter().map(PathBuf::from).collect();
        }
    }
    Some(settings)
}

/// A text as a list of one, a list of texts, or nothing.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// The files that a path with at most one `*`, in its last part, leads to; in the order of their names.
fn matching(places: &Places, pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    let Some((start, end)) = name.split_once('*') else {
        return vec![places.file(&pattern.to_string_lossy())];
    };
    let folder = places.file(&pattern.parent().unwrap_or(Path::new("/")).to_string_lossy());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(start) && name.ends_with(end)
    };
    let mut paths: Vec<_> = entries.filter(fits).collect();
    paths.sort();
    paths
}

fn document(path: &Path, report: &mut Report) -> Option<Value> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return None,
        Err(e) => {
            report.unseen(format!("{}: {e}", path.display()));
            return None;
        }
    };
    match basic_toml::from_slice(&bytes) {
        Ok(document) => Some(document),
        Err(e) => {
            report.error(
                "runtime-toml",
                format!("{}: {e}", path.display()),
                "the runtime does not start with it, or not again",
                "correct the file",
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Options;
    use cni_types::Environment;

    struct Root(PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("cnictl-{}-{name}", std::process::id()));
            for (path, content) in files {
                let path = root.join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, content).unwrap();
            }
            Self(root)
        }

        fn places(&self) -> Places {
            Places::of(Options { root: Some(self.0.clone()), ..Options::default() }, &Environment::default())
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn containerd_s_folders_are_found_in_every_version_of_its_configuration() {
        for (name, text) in [
            (
                "v3",
                "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['/b']\nconf_dir = '/c'\n",
            ),
            (
                "v2",
                "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/b\"\nconf_dir = \"/c\"\n",
            ),
            ("v1", "[plugins.cri.cni]\nbin_dir = \"/b\"\nconf_dir = \"/c\"\n"),
        ] {
            let root = Root::new(name, &[("etc/containerd/config.toml", text)]);
            let mut places = root.places();
            let mut report = Report::default();
            examine(&places, &mut report).settle(&mut places);
            assert_eq!(
                (places.conf_dir(), places.bin_dirs()),
                (root.0.join("c"), vec![root.0.join("b")]),
                "{name}"
            );
            assert_eq!(report.texts(), [""; 0]);
        }
    }

    #[test]
    fn what_is_imported_into_containerd_s_configuration_counts() {
        let root = Root::new(
            "imports",
            &[
                ("etc/containerd/config.toml", "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n"),
                (
                    "etc/containerd/conf.d/a.toml",
                    "[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/c'\n",
                ),
            ],
        );
        let mut places = root.places();
        examine(&places, &mut Report::default()).settle(&mut places);
        assert_eq!(places.conf_dir(), root.0.join("c"));
    }

    #[test]
    fn later_files_of_crio_beat_earlier_ones() {
        let root = Root::new(
            "crio",
            &[
                ("etc/crio/crio.conf", "[crio.network]\nnetwork_dir = '/old'\nplugin_dirs = ['/p', '/q']\n"),
                (
                    "etc/crio/crio.conf.d/10-x.conf",
                    "[crio.network]\nnetwork_dir = '/new'\ncni_default_network = 'pods'\n",
                ),
            ],
        );
        let mut places = root.places();
        let runtimes = examine(&places, &mut Report::default());
        runtimes.settle(&mut places);
        assert_eq!(places.conf_dir(), root.0.join("new"));
        assert_eq!(places.bin_dirs(), [root.0.join("p"), root.0.join("q")]);
        assert_eq!(runtimes.default_network().as_deref(), Some("pods"));
    }

    #[test]
    fn what_is_wrong_in_a_runtime_s_configuration_is_told() {
        for (name, text, wanted) in [
            ("disabled", "disabled_plugins = ['cri']\n", "containerd-no-cri"),
            ("broken", "version = \n", "runtime-toml"),
            ("template", "[plugins.cri.cni]\nconf_template = '/t'\n", "containerd-template"),
        ] {
            let root = Root::new(name, &[("etc/containerd/config.toml", text)]);
            let mut report = Report::default();
            examine(&root.places(), &mut report);
            assert_eq!(report.ids(), [wanted]);
        }
        let both = [
            ("etc/containerd/config.toml", "[plugins.cri.cni]\nconf_dir = '/a'\n"),
            ("etc/crio/crio.conf", ""),
        ];
        let root = Root::new("both", &both);
        let mut report = Report::default();
        examine(&root.places(), &mut report);
        assert_eq!(report.ids(), ["runtimes-differ"]);
    }
}
