//! Everything that a plugin may change, as text: two of them are compared to show that nothing was left.

use cni_net::{InstalledRoute, Link, LinkKind, NetError, Rtnl, nft::Nft};
use std::{fmt, net::IpAddr, os::unix::fs::PermissionsExt, path::Path};

/// A snapshot. Two that are equal print the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State(String);

impl State {
    pub(super) fn of(pods: &[&Path]) -> Self {
        let mut text = format!("host\n{}", network());
        for pod in pods {
            let inside = cni_net::Netns::open(pod).and_then(|netns| netns.run(network));
            text += &format!("pod {}\n{}", pod.display(), inside.unwrap_or_else(|e| format!("  {e}\n")));
        }
        for folder in ["/run/cni-data", "/var/lib/cni"] {
            list(Path::new(folder), &mut text);
        }
        Self(text)
    }

    /// The state with all pods that are there.
    pub(super) fn of_everything() -> Self {
        let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let mut pods: Vec<_> = entries.map(|entry| entry.path()).collect();
        pods.sort();
        Self::of(&pods.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// The lines that are in `self` and not in `before`, and the other way round: empty for equal states.
    #[must_use]
    pub fn difference(&self, before: &Self) -> String {
        let only = |sign: &str, these: &Self, those: &Self| -> String {
            let new = these.0.lines().filter(|line| !those.0.lines().any(|other| other == *line));
            new.map(|line| format!("{sign}{line}\n")).collect()
        };
        if self == before {
            return String::new();
        }
        let lines = only("-", before, self) + &only("+", self, before);
        if lines.is_empty() { "the same lines, in another order or number".to_owned() } else { lines }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Links, addresses, routes, neighbours, masquerade and macspoofchk rules of the thread's namespace. What the kernel changes by
/// itself as time passes (duplicate address detection, port states, reachability) is left out.
fn network() -> String {
    let read = || -> Result<Vec<String>, NetError> {
        let mut rtnl = Rtnl::open()?;
        let links = rtnl.links()?;
        let mut lines: Vec<String> = links.iter().map(|link| describe_link(link, &links)).collect();
        for link in &links {
            let name = &link.name;
            lines
                .extend(rtnl.addresses(link.index)?.iter().map(|a| format!("address {} dev {name}", a.cidr)));
            let neighbours = rtnl.neighbours(link.index)?.into_iter().filter(|n| is_unicast(n.address));
            lines
                .extend(neighbours.map(|n| format!("neighbour {} dev {name} {}", n.address, or_none(n.mac))));
        }
        lines.extend(rtnl.routes()?.iter().map(|route| describe_route(route, &links)));
        let rules = Nft::open().and_then(|mut nft| nft.masquerade_entries());
        lines.extend(rules.into_iter().flatten().map(|rule| format!("masquerade {:?}", rule.comment)));
        let checks = Nft::open().and_then(|mut nft| nft.mac_check_jumps());
        let checks = checks.into_iter().flatten();
        lines.extend(checks.map(|jump| format!("macspoofchk {} {}", jump.host_end, jump.chain())));
        lines.sort();
        Ok(lines)
    };
    match read() {
        Ok(lines) => lines.iter().map(|line| format!("  {line}\n")).collect(),
        Err(e) => format!("  cannot be read: {e}\n"),
    }
}

fn describe_link(link: &Link, links: &[Link]) -> String {
    let kind = match &link.kind {
        LinkKind::Bridge => "bridge",
        LinkKind::Veth => "veth",
        LinkKind::Other(kind) => kind,
    };
    let Link { name, mac, mtu, .. } = link;
    let mut text = format!("link {name} {kind} mtu {mtu} {}", or_none(*mac));
    text += if link.up { " up" } else { " down" };
    text += if link.promiscuous { " promiscuous" } else { "" };
    if let Some(master) = link.master {
        text += &format!(" master {}", name_of(master, links));
    }
    if let Some(port) = link.port {
        text += &format!(" hairpin {} isolated {}", port.hairpin, port.isolated);
    }
    if let Some(alias) = &link.alias {
        text += &format!(" alias {alias:?}");
    }
    text
}

fn describe_route(route: &InstalledRoute, links: &[Link]) -> String {
    let InstalledRoute { dst, table, priority, .. } = route;
    let via = or_none(route.gateway);
    let dev = route.link.map(|index| name_of(index, links)).unwrap_or_default();
    format!(
        "route {dst} via {via} dev {dev} table {table} priority {priority} source {}",
        or_none(route.source)
    )
}

fn name_of(index: u32, links: &[Link]) -> String {
    links.iter().find(|link| link.index == index).map_or_else(|| index.to_string(), |link| link.name.clone())
}

fn or_none(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn is_unicast(address: IpAddr) -> bool {
    !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
}

/// What host-local keeps beside its records, to be fast: it can be deleted at any time and is no part of the state.
const DERIVED: [&str; 2] = [".index", ".origin"];

/// Files with modes and contents, folders in order. A folder that is missing and an empty one are different.
fn list(folder: &Path, text: &mut String) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| !DERIVED.iter().any(|name| path.ends_with(name)));
    paths.sort();
    for path in paths {
        let mode = path.symlink_metadata().map(|m| m.permissions().mode()).unwrap_or_default();
        *text += &format!("{mode:o} {}", path.display());
        if path.is_dir() {
            *text += "/\n";
            list(&path, text);
        } else {
            let content = std::fs::read(&path).unwrap_or_default();
            *text += &format!(" {:?}\n", String::from_utf8_lossy(&content));
        }
    }
}
