//! What the examination is of, gathered once.

use super::{finding::Report, runtimes::Runtimes};
use crate::{places::Places, plugins};
use cni_net::{Address, InstalledRoute, Link, NetError, Rtnl};
use cni_runtime::{ConfigError, Network, PluginConfig, read_plain};
use cni_types::Json;
use std::path::{Path, PathBuf};

/// CAP_NET_ADMIN, capability.h.
const NET_ADMIN: u32 = 12;

/// A file in the folder of network configurations.
pub(super) struct ConfFile {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
    /// What a runtime makes of it.
    pub(super) network: Result<Network, ConfigError>,
}

/// A link and its addresses.
pub(super) struct Interface {
    pub(super) link: Link,
    pub(super) addresses: Vec<Address>,
}

/// Everything.
pub(super) struct Scene {
    pub(super) places: Places,
    /// In the order in which runtimes see them.
    pub(super) files: Vec<ConfFile>,
    /// Whether the folder of the files could be looked into. One that is not there is empty.
    pub(super) folder_was_read: bool,
    pub(super) interfaces: Vec<Interface>,
    pub(super) routes: Vec<InstalledRoute>,
    /// The network that CRI-O is told to take, whichever file is first.
    pub(super) chosen: Option<String>,
    /// How many networks, from the first, each pod gets.
    taken: usize,
    /// Whether pods need the plugin loopback, as far as the runtimes' configuration tells.
    pub(super) runs_loopback: Option<bool>,
    /// Whether plugins may change the network here, and so judge whether they could.
    pub(super) privileged: bool,
}

impl ConfFile {
    /// Its name, on one line.
    pub(super) fn name(&self) -> String {
        self.path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .replace('\n', "\\n")
    }

    /// Returns true if its name says that it holds a list of plugins.
    pub(super) fn is_list(&self) -> bool {
        self.path
            .extension()
            .is_some_and(|extension| extension == "conflist")
    }

    /// What it holds, and the extension that this must have, where it has another.
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

impl Scene {
    /// Reads files and kernel.
    pub(super) fn gather(places: Places, runtimes: &Runtimes, report: &mut Report) -> Self {
        let files = conf_files(&places.conf_dir(), report);
        let mut scene = Self {
            folder_was_read: files.is_some(),
            files: files.unwrap_or_default(),
            places,
            interfaces: Vec::new(),
            routes: Vec::new(),
            chosen: runtimes.default_network(),
            taken: runtimes.networks(),
            runs_loopback: runtimes.run_loopback(),
            privileged: is_privileged(),
        };
        if let Err(e) = scene.read_kernel() {
            report.unseen(format!("interfaces and routes of this namespace: {e}"));
        }
        scene
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

    /// The networks that can be used.
    pub(super) fn networks(&self) -> impl Iterator<Item = (&ConfFile, &Network)> {
        self.files
            .iter()
            .filter_map(|file| Some((file, file.network.as_ref().ok()?)))
    }

    /// All plugins of all networks.
    pub(super) fn plugins(&self) -> impl Iterator<Item = (&Network, &PluginConfig)> {
        self.networks()
            .flat_map(|(_, network)| network.plugins.iter().map(move |plugin| (network, plugin)))
    }

    /// The interface called `name`.
    pub(super) fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces
            .iter()
            .find(|interface| interface.link.name == name)
    }

    /// A kernel parameter, `net/ipv4/ip_forward`; nothing where there is none.
    pub(super) fn sysctl(&self, name: &str) -> Option<String> {
        let own = self.places.file("/proc/sys");
        let folder = if own.is_dir() {
            own
        } else {
            PathBuf::from("/proc/sys")
        };
        std::fs::read_to_string(folder.join(name))
            .ok()
            .map(|text| text.trim().to_owned())
    }

    /// The node for people: which network wins, and what else there is.
    pub(super) fn describe(&self) -> String {
        let mut text = format!(
            "networks in {}, in the order of runtimes:\n",
            self.places.conf_dir().display()
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
            text += &format!(
                "  {}: {content}{}\n",
                file.name(),
                self.why_taken(index, file)
            );
        }
        if self.files.is_empty() {
            text += "  none\n";
        }
        let bins: Vec<_> = self
            .places
            .bin_dirs()
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        text + &format!("plugins in {}\n", bins.join(":"))
    }

    /// Whether pods get this file's network: the chosen one, else the first that can be used.
    pub(super) fn is_taken(&self, file: &ConfFile) -> bool {
        let Ok(network) = &file.network else {
            return false;
        };
        match &self.chosen {
            Some(chosen) => network.name.as_str() == chosen,
            None => {
                let mut usable = self
                    .files
                    .iter()
                    .filter(|file| file.is_usable())
                    .take(self.taken);
                usable.any(|usable| usable.path == file.path)
            }
        }
    }

    /// Whether a runtime takes this file's network, and why.
    fn why_taken(&self, index: usize, file: &ConfFile) -> &'static str {
        let first_usable = self.files.iter().position(ConfFile::is_usable);
        match &file.network {
            _ if self.chosen.is_some() && self.is_taken(file) => {
                "  <- taken: CRI-O's cni_default_network"
            }
            _ if self.chosen.is_some() => "",
            Err(ConfigError::Read { .. }) if index == 0 => "  <- the first",
            _ if index == 0 && first_usable == Some(0) => "  <- taken: the first",
            _ if index == 0 => "  <- the first: containerd stops here",
            Ok(_) if index < self.taken && first_usable == Some(0) => {
                "  <- taken too: containerd's max_conf_num"
            }
            Ok(_) if first_usable == Some(index) => {
                "  <- the first that can be used: CRI-O takes it"
            }
            _ => "",
        }
    }

    /// The same for programs.
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
                    "plugins": network.map(plugins::names),
                    "taken": self.is_taken(file),
                })
            })
            .collect();
        serde_json::json!({
            "confDir": self.places.conf_dir(),
            "binDirs": self.places.bin_dirs(),
            "cacheDir": self.places.cache_dir,
            "files": files,
        })
    }
}

fn name_with_ipam(plugin: &PluginConfig) -> String {
    match plugins::ipam(plugin) {
        Some(ipam) => format!("{} ({ipam})", plugin.kind()),
        None => plugin.kind().to_owned(),
    }
}

/// Nothing where the folder cannot be looked into.
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

/// Whether a flag of a plugin's configuration is set.
pub(super) fn flag(plugin: &PluginConfig, key: &str) -> bool {
    plugin.json().lookup(key) == Some(&Json::Bool(true))
}

/// A text of a plugin's configuration.
pub(super) fn text<'a>(plugin: &'a PluginConfig, key: &str) -> Option<&'a str> {
    match plugin.json().lookup(key) {
        Some(Json::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn is_privileged() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .is_some_and(|bits| bits >> NET_ADMIN & 1 == 1)
}
