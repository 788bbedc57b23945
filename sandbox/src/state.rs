//! Everything that a plugin may change, as lines of text: the whole is compared, not a list of
//! known things.

mod legacy;

use super::inventory;
use cni_net::{NetError, Rtnl, nft::Nft};
use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// A snapshot of a host, of network namespaces on it and of folders. Each line begins with its
/// place: `host: link br0 …`, `pod c1: address …`, `file: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(Vec<String>);

/// The folder in which the namespaces of a host are bound.
const NETNS: &str = "/run/netns";

/// Paths in `/run` that are a suite's own or are read in another way, and the lock of iptables(8),
/// which never goes away.
const NOT_OF_PLUGINS: [&str; 3] = [NETNS, "/run/cni-conformance", "/run/xtables.lock"];

/// Kernel parameters that change by themselves, or are the same in all namespaces.
const VOLATILE: [&str; 4] = [
    "net.netfilter.nf_conntrack_count",
    "net.ipv4.fib_sync_mem",
    "net.ipv6.route.flush",
    "net.ipv4.route.flush",
];

impl State {
    /// Reads everything on the host that the calling thread has become: all its namespaces, mounts,
    /// `/run`, and these folders.
    ///
    /// # Errors
    /// Fails if the kernel refuses a request.
    pub fn read(folders: &[PathBuf]) -> Result<Self, NetError> {
        let mut state = Self::of_networks(&pods(), network)?;
        state.add("host", mounts());
        let mut files = Vec::new();
        inventory::files_besides(&NOT_OF_PLUGINS, Path::new("/run"), &mut files);
        state.add("file", files);
        state.add_folders(folders);
        Ok(state)
    }

    /// Reads the host's network and those of the given namespaces by `network`, which is called in
    /// each of them.
    ///
    /// # Errors
    /// Fails if `network` does, or a namespace cannot be entered.
    pub fn of_networks(
        pods: &[impl AsRef<Path>],
        network: impl Fn() -> Result<Vec<String>, NetError>,
    ) -> Result<Self, NetError> {
        let mut state = Self(Vec::new());
        state.add("host", network()?);
        for pod in pods {
            let pod = pod.as_ref();
            let place = format!("pod {}", pod.file_name().unwrap_or_default().display());
            // The name may outlive the namespace: as a plain file, or a mount that dangles.
            let lines = match cni_net::Netns::open(pod) {
                Ok(netns) => netns.run(&network)??,
                Err(_) => vec!["is no network namespace".to_owned()],
            };
            state.add(&place, lines);
        }
        Ok(state)
    }

    /// Adds the files below these folders.
    pub fn add_folders(&mut self, folders: &[impl AsRef<Path>]) {
        let mut files = Vec::new();
        for folder in folders {
            inventory::files(folder.as_ref(), &mut files);
        }
        self.add("file", files);
    }

    fn add(&mut self, place: &str, lines: Vec<String>) {
        self.0
            .extend(lines.into_iter().map(|line| format!("{place}: {line}")));
    }

    /// All lines, in order.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Returns the lines that went, with a minus sign, and those that came, with a plus sign. A
    /// line that is there several times counts several times.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<String> {
        let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
        before
            .lines()
            .for_each(|line| *balance.entry(line).or_default() -= 1);
        self.lines()
            .for_each(|line| *balance.entry(line).or_default() += 1);
        let signed = |line: &str, n: i64| {
            let sign = if n < 0 { '-' } else { '+' };
            (0..n.abs())
                .map(move |_| format!("{sign} {line}"))
                .collect::<Vec<_>>()
        };
        balance
            .into_iter()
            .flat_map(|(line, n)| signed(line, n))
            .collect()
    }

    /// Returns the same as one text: empty if nothing changed.
    #[must_use]
    pub fn difference(&self, before: &Self) -> String {
        let changes = self.changes_since(before).into_iter();
        changes.map(|line| line + "\n").collect()
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn pods() -> Vec<PathBuf> {
    let mut pods: Vec<_> = fs::read_dir(NETNS)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    pods.sort();
    pods
}

/// The mounts, without those that are names of namespaces: each of these is a pod.
fn mounts() -> Vec<String> {
    let list = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let mount = |line: &str| {
        // proc(5): … mount point at the fifth place … a hyphen, the kind.
        let place = line.split(' ').nth(4)?;
        let kind = line.split(" - ").nth(1)?.split(' ').next()?;
        let is_netns = Path::new(place).starts_with(NETNS);
        (!is_netns).then(|| format!("mount {place} {kind}"))
    };
    list.lines().filter_map(mount).collect()
}

/// Reads all of the thread's network namespace.
fn network() -> Result<Vec<String>, NetError> {
    let mut lines = inventory::network()?;
    lines.retain(|line| !is_link_local(line));
    vlans(&mut lines)?;
    if let Some(mut nft) = Nft::open_if_there()? {
        lines.extend(nft.ruleset()?.into_iter().map(|line| format!("nft {line}")));
    }
    lines.extend(legacy::tables());
    sysctls(&mut lines);
    Ok(lines)
}

/// Adds the VLANs of bridges that filter them, and of their ports. Other bridges have lists, too,
/// which mean nothing.
fn vlans(lines: &mut Vec<String>) -> Result<(), NetError> {
    let mut rtnl = Rtnl::open()?;
    let links = rtnl.links()?;
    for link in &links {
        let bridge = links
            .iter()
            .find(|bridge| Some(bridge.index) == link.master)
            .unwrap_or(link);
        if bridge.vlans.is_some_and(|vlans| vlans.filtering) {
            lines.push(format!(
                "vlans {} dev {}",
                rtnl.port_vlans(link.index)?,
                link.name
            ));
        }
    }
    Ok(())
}

/// Returns true for an address or route that the kernel gives every interface some time after it
/// came up.
fn is_link_local(line: &str) -> bool {
    line.starts_with("address fe80::") || line.starts_with("route fe80::/64 ")
}

/// Adds the kernel parameters below `net`; of an interface only those that differ from the
/// defaults, since each new interface comes with a hundred of them.
fn sysctls(lines: &mut Vec<String>) {
    let mut values = BTreeMap::new();
    read_values(Path::new("/proc/sys/net"), "net", &mut values);
    for (name, value) in &values {
        // The last is the link's MTU once more.
        if VOLATILE.contains(&name.as_str())
            || name.starts_with("net.ipv6.conf.") && name.ends_with(".mtu")
        {
            continue;
        }
        if default_of(name).and_then(|name| values.get(&name)) != Some(value) {
            lines.push(format!("sysctl {name} = {value}"));
        }
    }
}

/// Returns the parameter that holds the default of an interface's parameter. Only the first
/// namespace has defaults for neighbours (neigh_sysctl_register in net/core/neighbour.c); elsewhere
/// `lo` has the values that a new interface gets.
fn default_of(name: &str) -> Option<String> {
    let (start, default, rest) = [
        ("net.ipv4.conf.", "default"),
        ("net.ipv6.conf.", "default"),
        ("net.ipv4.neigh.", "lo"),
        ("net.ipv6.neigh.", "lo"),
    ]
    .into_iter()
    .find_map(|(start, default)| Some((start, default, name.strip_prefix(start)?)))?;
    let (interface, key) = rest.rsplit_once('.')?;
    (!["all", "default"].contains(&interface)).then(|| format!("{start}{default}.{key}"))
}

fn read_values(folder: &Path, name: &str, values: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{name}.{}", entry.file_name().display());
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            read_values(&path, &name, values);
        } else if let Ok(value) = read_value(&path) {
            values.insert(name, value.trim_end().replace('\n', " "));
        }
    }
}

/// Reads a parameter by one read(2), which returns the whole value. There are hundreds in each
/// namespace, so every call counts.
fn read_value(path: &Path) -> io::Result<String> {
    let mut buffer = [0; 4096];
    let length = fs::File::open(path)?.read(&mut buffer)?;
    Ok(String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(text: &str) -> State {
        State(text.lines().map(str::to_owned).collect())
    }

    #[test]
    fn lines_that_came_and_went_are_counted() {
        let before = state("a\nb\nb\nc");
        let after = state("c\nb\nd\nd");
        assert_eq!(after.changes_since(&before), ["- a", "- b", "+ d", "+ d"]);
        assert_eq!(after.changes_since(&after), [""; 0]);
    }

    #[test]
    fn an_interfaces_parameter_is_compared_with_the_default() {
        let default = default_of("net.ipv4.conf.eth0.100.rp_filter");
        assert_eq!(default.as_deref(), Some("net.ipv4.conf.default.rp_filter"));
        assert_eq!(default_of("net.ipv4.conf.all.rp_filter"), None);
        assert_eq!(default_of("net.ipv4.ip_forward"), None);
    }
}
