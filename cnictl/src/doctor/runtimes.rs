//! The network settings of containerd and CRI-O: the folders of configurations and plugins.

use super::finding::{Report, Severity};
use crate::paths::Paths;
use cni_runtime::read_plain;
use serde_json::Value;
use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// The paths of the CNI section in containerd's configuration of the versions 3, 2 and 1.
const CONTAINERD_CNI: [&[&str]; 3] = [
    &["plugins", "io.containerd.cri.v1.runtime", "cni"],
    &["plugins", "io.containerd.grpc.v1.cri", "cni"],
    &["plugins", "cri", "cni"],
];

/// The names of containerd's plugins that serve the CRI, in all versions of its configuration.
const CRI_PLUGINS: [&str; 4] = [
    "cri",
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.runtime",
    "io.containerd.cri.v1.images",
];

/// The network settings of one runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Settings {
    name: &'static str,
    conf_dir: Option<PathBuf>,
    bin_dirs: Vec<PathBuf>,
    default_network: Option<String>,
    /// True for containerd, which runs the plugin loopback for every pod, unless
    /// `use_internal_loopback` is set; false for CRI-O.
    runs_loopback: bool,
    /// The number of networks that each pod gets (containerd's `max_conf_num`); `None` if the
    /// configuration does not set it.
    networks_per_pod: Option<usize>,
}

/// The default folder of configurations of all runtimes.
const CONF_DIR: &str = "/etc/cni/net.d";

/// The configuration files of containerd, of k3s and of RKE2.
const CONTAINERD_FILES: [&str; 3] = [
    "/etc/containerd/config.toml",
    "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
    "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
];

impl Settings {
    /// Returns the folder of configurations, which may be the default one.
    fn conf_dir(&self) -> &Path {
        self.conf_dir.as_deref().unwrap_or(Path::new(CONF_DIR))
    }
}

/// Returns true if the machine has files of a kubelet, so is a node of a Kubernetes cluster.
pub(super) fn has_kubelet(paths: &Paths) -> bool {
    ["/var/lib/kubelet", "/etc/kubernetes"]
        .iter()
        .any(|path| paths.file(path).exists())
}

/// The settings of all runtimes that were found.
#[derive(Clone, Debug, Default)]
pub(super) struct Runtimes(Vec<Settings>);

impl Runtimes {
    /// Sets the folders that neither an option nor a variable names to those of the first runtime.
    pub(super) fn apply_to(&self, paths: &mut Paths) {
        let Some(first) = self.0.first() else { return };
        let root = paths.root.clone();
        let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        if paths.conf_dir.is_none() {
            paths.conf_dir = first.conf_dir.as_deref().map(below);
        }
        if paths.bin_dirs.is_none() && !first.bin_dirs.is_empty() {
            paths.bin_dirs = Some(first.bin_dirs.iter().map(|path| below(path)).collect());
        }
    }

    /// Returns true if a runtime runs the plugin loopback for every pod; `None` if no runtime's
    /// configuration was found.
    pub(super) fn run_loopback(&self) -> Option<bool> {
        (!self.0.is_empty()).then(|| self.0.iter().any(|runtime| runtime.runs_loopback))
    }

    /// Returns CRI-O's `cni_default_network`, if CRI-O reads the folder that is examined.
    pub(super) fn default_network(&self) -> Option<String> {
        let first = self.0.first()?;
        self.0
            .iter()
            .filter(|runtime| runtime.conf_dir() == first.conf_dir())
            .find_map(|runtime| runtime.default_network.clone())
    }

    /// Returns the number of networks that each pod gets, counted from the first of the folder. By
    /// default it is 1.
    pub(super) fn networks_per_pod(&self) -> usize {
        self.0
            .first()
            .and_then(|runtime| runtime.networks_per_pod)
            .unwrap_or(1)
    }
}

/// Reads the settings of the node's runtimes. Reports runtimes that read different folders, and
/// those that do not read the folder that was given. containerd's settings come first.
pub(super) fn examine(paths: &Paths, report: &mut Report) -> Runtimes {
    let crio = crio(paths, report);
    let containerd = containerd(paths, crio.is_some(), report);
    let runtimes: Vec<_> = [containerd, crio].into_iter().flatten().collect();
    if let [first, second] = &runtimes[..]
        && first.conf_dir() != second.conf_dir()
    {
        report.note(
            "runtimes-differ",
            format!(
                "{} and {} read different folders of networks",
                first.name, second.name
            ),
            format!(
                "only {}, which {} reads, is examined",
                first.conf_dir().display(),
                first.name
            ),
            format!(
                "use --conf-dir {} to examine the other",
                second.conf_dir().display()
            ),
        );
    }
    for runtime in &runtimes {
        report_other_folder(runtime, paths, report);
    }
    Runtimes(runtimes)
}

/// Reports if the runtime does not read the folder of configurations that was given.
fn report_other_folder(runtime: &Settings, paths: &Paths, report: &mut Report) {
    let Some(examined) = &paths.conf_dir else {
        return;
    };
    let read = runtime.conf_dir();
    if examined != read && *examined != paths.file(&read.to_string_lossy()) {
        report.note(
            "runtime-elsewhere",
            format!(
                "{} reads {}, not {}",
                runtime.name,
                read.display(),
                examined.display()
            ),
            "the runtime does not use the files that are examined here",
            "omit --conf-dir and NETCONFPATH to examine the runtime's folder",
        );
    }
}

/// Returns containerd's settings; `None` if it has no configuration, or does not serve the CRI.
fn containerd(paths: &Paths, has_crio: bool, report: &mut Report) -> Option<Settings> {
    let path = CONTAINERD_FILES
        .iter()
        .find(|path| paths.file(path).exists())?;
    let mut settings = Settings {
        name: "containerd",
        runs_loopback: true,
        ..Settings::default()
    };
    for document in containerd_documents(paths, path, report)? {
        let disabled = texts(document.get("disabled_plugins"));
        let is_cri = |plugin: &&String| CRI_PLUGINS.contains(&plugin.as_str());
        if let Some(plugin) = disabled.iter().find(is_cri) {
            // Docker, nerdctl and CRI-O do not need containerd's CRI plugin.
            let severity = if has_kubelet(paths) && !has_crio {
                Severity::Error
            } else {
                Severity::Note
            };
            report_disabled_cri(plugin, path, severity, report);
            return None;
        }
        for keys in CONTAINERD_CNI {
            let section = keys.iter().try_fold(&document, |value, key| value.get(key));
            if let Some(section) = section {
                read_cni_section(section, &mut settings, report);
            }
        }
    }
    Some(settings)
}

/// Returns containerd's configuration file `path`, followed by the files that it imports; `None` if
/// the first cannot be read.
fn containerd_documents(paths: &Paths, path: &str, report: &mut Report) -> Option<Vec<Value>> {
    let main = document(&paths.file(path), report)?;
    let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
    let mut imported = Vec::new();
    for pattern in texts(main.get("imports")) {
        // A relative path is relative to the file's folder.
        let found = matching(paths, &folder.join(pattern));
        imported.extend(found.iter().filter_map(|path| document(path, report)));
    }
    Some([vec![main], imported].concat())
}

fn report_disabled_cri(plugin: &str, path: &str, severity: Severity, report: &mut Report) {
    report.add(
        severity,
        "containerd-no-cri",
        format!("containerd's configuration disables the plugin {plugin:?}"),
        "kubelet and crictl cannot use containerd (docker's package ships it so)",
        format!(
            "if they should: remove it from disabled_plugins in {path}, and restart containerd"
        ),
    );
}

/// Overwrites the settings that a CNI section of containerd's configuration names; reports a
/// template.
fn read_cni_section(section: &Value, settings: &mut Settings, report: &mut Report) {
    let dirs = [
        texts(section.get("bin_dirs")),
        texts(section.get("bin_dir")),
    ]
    .concat();
    if !dirs.is_empty() {
        settings.bin_dirs = dirs
            .into_iter()
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
            .collect();
    }
    if let Some(dir) = texts(section.get("conf_dir"))
        .first()
        .filter(|dir| !dir.is_empty())
    {
        settings.conf_dir = Some(dir.into());
    }
    if let Some(number) = section.get("max_conf_num").and_then(Value::as_u64) {
        // 0 means all.
        settings.networks_per_pod = Some(
            usize::try_from(number)
                .ok()
                .filter(|number| *number > 0)
                .unwrap_or(usize::MAX),
        );
    }
    if let Some(is_internal) = section
        .get("use_internal_loopback")
        .and_then(Value::as_bool)
    {
        settings.runs_loopback = !is_internal;
    }
    if let Some(template) = texts(section.get("conf_template"))
        .first()
        .filter(|text| !text.is_empty())
    {
        report.note(
            "containerd-template",
            format!("containerd writes its network configuration from {template}"),
            "a file written by hand into its folder may be used instead, or be overwritten",
            "change the template",
        );
    }
}

/// Returns CRI-O's settings; `None` if it has no configuration. A later file overrides an earlier.
fn crio(paths: &Paths, report: &mut Report) -> Option<Settings> {
    let mut files = vec![paths.file("/etc/crio/crio.conf")];
    // CRI-O reads every file in this folder, of any name.
    files.extend(matching(paths, Path::new("/etc/crio/crio.conf.d/*")));
    let documents: Vec<Value> = files
        .iter()
        .filter_map(|path| document(path, report))
        .collect();
    if documents.is_empty() {
        return None;
    }
    let mut settings = Settings {
        name: "CRI-O",
        ..Settings::default()
    };
    let sections = documents
        .iter()
        .filter_map(|document| document.get("crio")?.get("network"));
    for section in sections {
        let text = |key| {
            texts(section.get(key))
                .into_iter()
                .next()
                .filter(|text| !text.is_empty())
        };
        settings.conf_dir = text("network_dir").map(PathBuf::from).or(settings.conf_dir);
        settings.default_network = text("cni_default_network").or(settings.default_network);
        // Older versions of CRI-O call it plugin_dir.
        let dirs = [
            texts(section.get("plugin_dirs")),
            texts(section.get("plugin_dir")),
        ]
        .concat();
        let dirs: Vec<_> = dirs.into_iter().filter(|dir| !dir.is_empty()).collect();
        if !dirs.is_empty() {
            settings.bin_dirs = dirs.into_iter().map(PathBuf::from).collect();
        }
    }
    Some(settings)
}

/// Returns the strings of a string or of a list of strings; an empty list for anything else.
fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(values)) => values
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

/// Returns the files of the node that match `pattern`, an absolute path with at most one `*` in its
/// last part, sorted by name. A path without `*` is returned even if there is no such file.
fn matching(paths: &Paths, pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().unwrap_or_default().to_string_lossy();
    let Some((start, end)) = name.split_once('*') else {
        return vec![paths.file(&pattern.to_string_lossy())];
    };
    let folder = paths.file(&pattern.parent().unwrap_or(Path::new("/")).to_string_lossy());
    let entries = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(start) && name.ends_with(end) && !path.is_dir()
    };
    let mut found: Vec<_> = entries.filter(fits).collect();
    found.sort();
    found
}

fn document(path: &Path, report: &mut Report) -> Option<Value> {
    let bytes = match read_plain(path) {
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
                "the runtime cannot start with it",
                "correct the file",
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::Options;
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

        fn paths(&self) -> Paths {
            Paths::new(
                Options {
                    root: Some(self.0.clone()),
                    ..Options::default()
                },
                &Environment::default(),
            )
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
            (
                "v1",
                "[plugins.cri.cni]\nbin_dir = \"/b\"\nconf_dir = \"/c\"\n",
            ),
        ] {
            let root = Root::new(name, &[("etc/containerd/config.toml", text)]);
            let mut paths = root.paths();
            let mut report = Report::default();
            examine(&paths, &mut report).apply_to(&mut paths);
            assert_eq!(
                (paths.conf_dir(), paths.bin_dirs()),
                (root.0.join("c"), vec![root.0.join("b")]),
                "{name}"
            );
            assert_eq!(report.texts(), [""; 0]);
        }
    }

    #[test]
    fn imports_of_containerd_s_configuration_count() {
        let root = Root::new(
            "imports",
            &[
                (
                    "etc/containerd/config.toml",
                    "version = 3\nimports = ['conf.d/*.toml', '/etc/containerd/b.toml']\n",
                ),
                (
                    "etc/containerd/b.toml",
                    "[plugins.'io.containerd.cri.v1.runtime'.cni]\nuse_internal_loopback = true\nmax_conf_num = 0\n",
                ),
                (
                    "etc/containerd/conf.d/a.toml",
                    "[plugins.'io.containerd.cri.v1.runtime'.cni]\nconf_dir = '/c'\n",
                ),
            ],
        );
        let mut paths = root.paths();
        let runtimes = examine(&paths, &mut Report::default());
        runtimes.apply_to(&mut paths);
        assert_eq!(paths.conf_dir(), root.0.join("c"));
        assert_eq!(runtimes.run_loopback(), Some(false));
        assert_eq!(runtimes.networks_per_pod(), usize::MAX, "all");
    }

    #[test]
    fn k3s_keeps_its_configuration_elsewhere() {
        let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".cni]\nconf_dir = \"/k\"\n";
        let root = Root::new(
            "k3s",
            &[("var/lib/rancher/k3s/agent/etc/containerd/config.toml", text)],
        );
        let mut paths = root.paths();
        let runtimes = examine(&paths, &mut Report::default());
        runtimes.apply_to(&mut paths);
        assert_eq!(
            (paths.conf_dir(), runtimes.run_loopback()),
            (root.0.join("k"), Some(true))
        );
    }

    #[test]
    fn docker_s_containerd_beside_crio_is_only_a_note() {
        let files = [
            (
                "etc/containerd/config.toml",
                "disabled_plugins = ['cri']\n[plugins.cri.cni]\nconf_dir = '/d'\n",
            ),
            (
                "etc/crio/crio.conf",
                "[crio.network]\nnetwork_dir = '/c'\nplugin_dir = '/p'\n",
            ),
            ("var/lib/kubelet/config.yaml", ""),
        ];
        let root = Root::new("docker", &files);
        let mut paths = root.paths();
        let mut report = Report::default();
        let runtimes = examine(&paths, &mut report);
        runtimes.apply_to(&mut paths);
        assert_eq!(
            (report.ids(), report.is_fine()),
            (vec!["containerd-no-cri"], true)
        );
        assert_eq!(
            (paths.conf_dir(), paths.bin_dirs()),
            (root.0.join("c"), vec![root.0.join("p")])
        );
        assert_eq!(runtimes.run_loopback(), Some(false));
        std::fs::remove_dir_all(root.0.join("etc/crio")).unwrap();
        let mut report = Report::default();
        assert_eq!(examine(&root.paths(), &mut report).run_loopback(), None);
        assert!(!report.is_fine(), "kubelet has no other runtime");
    }

    #[test]
    fn later_files_of_crio_beat_earlier_ones() {
        let root = Root::new(
            "crio",
            &[
                (
                    "etc/crio/crio.conf",
                    "[crio.network]\nnetwork_dir = '/old'\nplugin_dirs = ['/p', '/q']\n",
                ),
                (
                    "etc/crio/crio.conf.d/10-x.conf",
                    "[crio.network]\nnetwork_dir = '/new'\ncni_default_network = 'pods'\n",
                ),
            ],
        );
        let mut paths = root.paths();
        let runtimes = examine(&paths, &mut Report::default());
        runtimes.apply_to(&mut paths);
        assert_eq!(paths.conf_dir(), root.0.join("new"));
        assert_eq!(paths.bin_dirs(), [root.0.join("p"), root.0.join("q")]);
        assert_eq!(runtimes.default_network().as_deref(), Some("pods"));
    }

    #[test]
    fn faults_of_a_runtime_s_configuration_are_found() {
        for (name, text, wanted) in [
            (
                "disabled",
                "disabled_plugins = ['cri']\n",
                "containerd-no-cri",
            ),
            ("broken", "version = \n", "runtime-toml"),
            (
                "template",
                "[plugins.cri.cni]\nconf_template = '/t'\n",
                "containerd-template",
            ),
        ] {
            let root = Root::new(name, &[("etc/containerd/config.toml", text)]);
            let mut report = Report::default();
            examine(&root.paths(), &mut report);
            assert_eq!(report.ids(), [wanted]);
        }
        let both = [
            (
                "etc/containerd/config.toml",
                "[plugins.cri.cni]\nconf_dir = '/a'\n",
            ),
            (
                "etc/crio/crio.conf",
                "[crio.network]\nnetwork_dir = '/b'\ncni_default_network = 'n'\n",
            ),
        ];
        let root = Root::new("both", &both);
        let mut report = Report::default();
        let mut paths = root.paths();
        let runtimes = examine(&paths, &mut report);
        runtimes.apply_to(&mut paths);
        assert_eq!(
            (runtimes.default_network(), runtimes.networks_per_pod()),
            (None, 1),
            "not in containerd's folder"
        );
        assert_eq!(report.ids(), ["runtimes-differ"]);
        assert_eq!(paths.conf_dir(), root.0.join("a"), "the first one's");
    }
}
