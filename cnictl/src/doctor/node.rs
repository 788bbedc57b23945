//! The state of the node, read once for all examinations.

use super::{finding::Report, runtimes::Runtimes};
use crate::{paths::Paths, required_plugins};
use cni_net::{Address, InstalledRoute, Link, NetError, Rtnl};
use cni_runtime::{ConfigError, Network, PluginConfig, read_plain};
use cni_types::Json;
use std::path::{Path, PathBuf};

/// The number of CAP_NET_ADMIN: include/uapi/linux/capability.h.
const NET_ADMIN: u32 = 12;

/// A file in the folder of network configurations.
pub(super) struct ConfFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    /// The network as a runtime reads it, or its error.
    pub(super) network: Result<Network, ConfigError>,
}

/// A link and its addresses.
pub(super) struct Interface {
    pub(super) link: Link,
    pub(super) addresses: Vec<Address>,
}

/// The state of the node.
pub(super) struct Node {
    pub(super) paths: Paths,
    /// The configuration files, in the order of runtimes.
    pub(super) files: Vec<ConfFile>,
    /// False if the folder of the files exists but cannot be read.
    pub(super) folder_was_read: bool,
    pub(super) interfaces: Vec<Interface>,
    pub(super) routes: Vec<InstalledRoute>,
    /// The value of CRI-O's `cni_default_network`, which overrides the order of files.
    pub(super) default_network: Option<String>,
    /// The number of networks that each pod gets, counted from the first usable file.
    networks_per_pod: usize,
    /// Some(true) if a runtime runs the plugin loopback for every pod; `None` if no runtime's
    /// configuration was found.
    pub(super) runs_loopback: Option<bool>,
    /// True if this process has CAP_NET_ADMIN, without which plugins fail STATUS and CHECK.
    pub(super) privileged: bool,
}

impl ConfFile {
    /// Returns the file's name without its folder, on one line whatever the name.
    pub(super) fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .replace('\n', "\\n")
    }

    /// Returns true if its extension is that of a list of plugins.
    pub(super) fn is_list(&self) -> bool {
        self.path
            .extension()
            .is_some_and(|extension| extension == "conflist")
    }

    /// Returns a description of the content and the right extension for it; `None` if the file has
    /// that extension, or if the content is neither a list nor a plugin.
    pub(super) fn misnamed(&self) -> Option<(&'static str, &'static str)> {
        let json = Json::parse(&self.bytes).ok()?;
        let is_list = json.lookup("plugins").is_some();
        let has_type = json.lookup("type").is_some();
        match (is_list, self.is_list()) {
            (true, false) if !has_type => Some(("a list of plugins", "conflist")),
            (false, true) if has_type => Some(("a single plugin", "conf")),
            _ => None,
        }
    }

    /// Returns true if runtimes can use it.
    fn is_usable(&self) -> bool {
        self.network.is_ok()
    }
}

impl Node {
    /// Reads the configuration files and the kernel's state; reports what cannot be read.
    pub(super) fn gather(paths: Paths, runtimes: &Runtimes, report: &mut Report) -> Self {
        let files = conf_files(&paths.conf_dir(), report);
        let mut node = Self {
            folder_was_read: files.is_some(),
            files: files.unwrap_or_default(),
            paths,
            interfaces: Vec::new(),
            routes: Vec::new(),
            default_network: runtimes.default_network(),
            networks_per_pod: runtimes.networks_per_pod(),
            runs_loopback: runtimes.run_loopback(),
            privileged: is_privileged(),
        };
        if let Err(e) = node.read_kernel() {
            report.unseen(format!("interfaces and routes of this namespace: {e}"));
        }
        node
    }

    fn read_kernel(&mut self) -> Result<(), NetError> {
        let mut rtnl = Rtnl::open()?;
        for link in rtnl.links()? {
            let addresses = rtnl.addresses(link.index)?;
            self.interfaces.push(Interface { link, addresses });
        }
        self.routes = rtnl.routes()?;
        Ok(())
    }

    /// Returns the networks of all usable files, each with its file.
    pub(super) fn networks(&self) -> impl Iterator<Item = (&ConfFile, &Network)> {
        self.files
            .iter()
            .filter_map(|file| Some((file, file.network.as_ref().ok()?)))
    }

    /// Returns the plugins of all usable networks, each with its network.
    pub(super) fn plugins(&self) -> impl Iterator<Item = (&Network, &PluginConfig)> {
        self.networks()
            .flat_map(|(_, network)| network.plugins.iter().map(move |plugin| (network, plugin)))
    }

    /// Returns the interface of this namespace called `name`.
    pub(super) fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.link.name == name)
    }

    /// Returns the value of a kernel parameter, for instance `net/ipv4/ip_forward`; `None` if it
    /// cannot be read.
    pub(super) fn sysctl(&self, name: &str) -> Option<String> {
        let own = self.paths.file("/proc/sys");
        let folder = if own.is_dir() {
            own
        } else {
            PathBuf::from("/proc/sys")
        };
        std::fs::read_to_string(folder.join(name))
            .ok()
            .map(|text| text.trim().to_owned())
    }

    /// Returns the networks and folders as text, with a remark on the networks that runtimes take.
    pub(super) fn describe(&self) -> String {
        let mut text = format!(
            "networks in {}, in the order of runtimes:\n",
            self.paths.conf_dir().display()
        );
        for (index, file) in self.files.iter().enumerate() {
            let content = match &file.network {
                Ok(network) => {
                    let plugins: Vec<String> = network.plugins.iter().map(name_with_ipam).collect();
                    format!(
                        "{} {} {}",
                        network.name,
                        network.version,
                        plugins.join(", ")
                    )
                }
                Err(ConfigError::Read { .. }) => "cannot be read".to_owned(),
                Err(_) => "cannot be used".to_owned(),
            };
            text += &format!("  {}: {content}{}\n", file.name(), self.remark(index, file));
        }
        if self.files.is_empty() {
            text += "  none\n";
        }
        let bins: Vec<_> = self
            .paths
            .bin_dirs()
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        text + &format!("plugins in {}\n", bins.join(":"))
    }

    /// Returns true if pods get this file's network: it is the default network or, if there is no
    /// default network, one of the first usable ones.
    pub(super) fn is_taken(&self, file: &ConfFile) -> bool {
        let Ok(network) = &file.network else {
            return false;
        };
        match &self.default_network {
            Some(default) => network.name.as_str() == default,
            None => {
                let mut usable = self
                    .files
                    .iter()
                    .filter(|file| file.is_usable())
                    .take(self.networks_per_pod);
                usable.any(|usable| usable.path == file.path)
            }
        }
    }

    /// Returns the remark on a file that a runtime takes, or at which it stops; empty for others.
    fn remark(&self, index: usize, file: &ConfFile) -> &'static str {
        let first_usable = self.files.iter().position(ConfFile::is_usable);
        match &file.network {
            _ if self.default_network.is_some() && self.is_taken(file) => {
                "  <- taken: CRI-O's cni_default_network"
            }
            _ if self.default_network.is_some() => "",
            Err(ConfigError::Read { .. }) if index == 0 => "  <- the first",
            _ if index == 0 && first_usable == Some(0) => "  <- taken: the first",
            _ if index == 0 => "  <- the first: containerd stops here",
            Ok(_) if index < self.networks_per_pod && first_usable == Some(0) => {
                "  <- taken too: containerd's max_conf_num"
            }
            Ok(_) if first_usable == Some(index) => "  <- the first usable file: CRI-O takes it",
            _ => "",
        }
    }

    /// Returns the networks and folders as JSON.
    pub(super) fn as_json(&self) -> serde_json::Value {
        let files: Vec<_> = self
            .files
            .iter()
            .map(|file| {
                let network = file.network.as_ref().ok();
                serde_json::json!({
                    "file": file.path,
                    "network": network.map(|network| network.name.as_str()),
                    "cniVersion": network.map(|network| network.version.as_str()),
                    "plugins": network.map(required_plugins::names),
                    "taken": self.is_taken(file),
                })
            })
            .collect();
        serde_json::json!({
            "confDir": self.paths.conf_dir(),
            "binDirs": self.paths.bin_dirs(),
            "cacheDir": self.paths.cache_dir,
            "files": files,
        })
    }
}

/// Returns the plugin's name, followed by its IPAM plugin's in parentheses.
fn name_with_ipam(plugin: &PluginConfig) -> String {
    match required_plugins::ipam_type(plugin) {
        Some(ipam) => format!("{} ({ipam})", plugin.kind()),
        None => plugin.kind().to_owned(),
    }
}

/// Returns the files of the folder, none if it does not exist. Reports a folder that cannot be read
/// and returns `None`.
fn conf_files(folder: &Path, report: &mut Report) -> Option<Vec<ConfFile>> {
    let paths = match Network::files(folder) {
        Ok(paths) => paths,
        Err(ConfigError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            Vec::new()
        }
        Err(e) => {
            report.unseen(e.to_string());
            return None;
        }
    };
    let read = |path: PathBuf| {
        // A file that cannot be read has its error in `network`.
        let bytes = read_plain(&path).unwrap_or_default();
        ConfFile {
            network: Network::load(&path),
            path,
            bytes,
        }
    };
    Some(paths.into_iter().map(read).collect())
}

/// Returns true if the value of `key` in a plugin's configuration is `true`.
pub(super) fn flag(plugin: &PluginConfig, key: &str) -> bool {
    plugin.json().lookup(key) == Some(&Json::Bool(true))
}

/// Returns the value of `key` in a plugin's configuration; `None` if it is no string, or empty.
pub(super) fn text<'a>(plugin: &'a PluginConfig, key: &str) -> Option<&'a str> {
    match plugin.json().lookup(key) {
        Some(Json::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// Returns true if this process has CAP_NET_ADMIN in effect (proc(5), `CapEff`).
fn is_privileged() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits >> NET_ADMIN & 1 == 1)
}
