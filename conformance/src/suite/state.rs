//! Everything that a plugin may change, as lines of text: the whole is compared, not a list of known things.

mod legacy;

use super::failure::Failure;
use cni_net::{Rtnl, nft::Nft};
use sandbox::inventory;
use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// A snapshot of the host, of all its network namespaces and of the folders with state. Each line begins with where it
/// is from: `host: link br0 …`, `pod c1: address …`, `file: …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(Vec<String>);

/// Where each case's namespaces are bound.
const NETNS: &str = "/run/netns";

/// In `/run`, what is the suite's own, or looked at in another way; and the lock of iptables(8), which never goes away.
const NOT_OF_PLUGINS: [&str; 3] = [NETNS, "/run/cni-conformance", "/run/xtables.lock"];

/// Values that change by themselves, or say the same for all namespaces.
const VOLATILE: [&str; 4] = [
    "net.netfilter.nf_conntrack_count",
    "net.ipv4.fib_sync_mem",
    "net.ipv6.route.flush",
    "net.ipv4.route.flush",
];

impl State {
    /// Reads it all, on the host that the calling thread has become. `folders` are those with state.
    ///
    /// # Errors
    /// Fails if the kernel refuses to tell.
    pub fn read(folders: &[PathBuf]) -> Result<Self, Failure> {
        let mut lines = Vec::new();
        lines.extend(network()?.into_iter().map(|line| format!("host: {line}")));
        for pod in pods() {
            let name = pod.file_name().unwrap_or_default().display().to_string();
            // One that is gone although its name is there: a plain file, a dangling mount.
            let Ok(netns) = cni_net::Netns::open(&pod) else {
                lines.push(format!("pod {name}: is no network namespace"));
                continue;
            };
            lines.extend(
                netns
                    .run(network)??
                    .into_iter()
                    .map(|line| format!("pod {name}: {line}")),
            );
        }
        lines.extend(mounts().into_iter().map(|line| format!("host: {line}")));
        let mut files = Vec::new();
        inventory::files_besides(&NOT_OF_PLUGINS, Path::new("/run"), &mut files);
        folders
            .iter()
            .for_each(|folder| inventory::files(folder, &mut files));
        lines.extend(files.into_iter().map(|line| format!("file: {line}")));
        Ok(Self(lines))
    }

    /// All lines, in order.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The lines that went, with a minus sign, and those that came, with a plus sign. One that is there several times
    /// counts several times.
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

/// What is mounted where, but for the names of namespaces: each is a container of its own.
fn mounts() -> Vec<String> {
    let list = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let mount = |line: &str| {
        // proc(5): … mount point at the fifth place … a hyphen, the kind.
        let (place, kind) = (
            line.split(' ').nth(4)?,
            line.split(" - ").nth(1)?.split(' ').next()?,
        );
        let is_netns = Path::new(place).starts_with(NETNS);
        (!is_netns).then(|| format!("mount {place} {kind}"))
    };
    list.lines().filter_map(mount).collect()
}

/// All of the thread's network namespace.
fn network() -> Result<Vec<String>, Failure> {
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

/// The VLANs of bridges that tell them apart, and of their ports. Others have lists too, which mean nothing.
fn vlans(lines: &mut Vec<String>) -> Result<(), Failure> {
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

/// The kernel gives every interface such an address and its route some time after it came up.
fn is_link_local(line: &str) -> bool {
    line.starts_with("address fe80::") || line.starts_with("route fe80::/64 ")
}

/// The kernel parameters below `net`. Of an interface only those that differ from the defaults: each new interface
/// comes with a hundred of them.
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

/// For a parameter of one interface, the parameter with its default. Only the first namespace has defaults for
/// neighbours (neigh_sysctl_register in net/core/neighbour.c); elsewhere `lo` has what a new interface gets.
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

/// The kernel gives the whole value at the first read. There are hundreds in each namespace, so every call counts.
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
    fn what_came_and_went_is_told_with_its_number() {
        let (before, after) = (state("a\nb\nb\nc"), state("c\nb\nd\nd"));
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
