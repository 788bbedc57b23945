//! The things that a plugin may change, read from the kernel and the file system as lines of text.
//!
//! Values that change by themselves as time passes are left out: duplicate address detection,
//! states of ports, reachability.

use cni_net::{InstalledRoute, Link, LinkKind, NetError, Rtnl};
use cni_types::MacAddr;
use std::{fmt, net::IpAddr, os::unix::fs::PermissionsExt, path::Path};

/// Returns sorted lines about the thread's network namespace: links, addresses, routes, neighbours,
/// rules that choose a routing table, queueing disciplines, and static entries of the bridges'
/// forwarding tables.
///
/// # Errors
/// Fails if the kernel refuses one of the lists.
pub fn network() -> Result<Vec<String>, NetError> {
    let mut rtnl = Rtnl::open()?;
    let links = rtnl.links()?;
    let mut lines: Vec<String> = links
        .iter()
        .map(|link| describe_link(link, &links))
        .collect();
    for link in &links {
        let name = &link.name;
        lines.extend(
            rtnl.addresses(link.index)?
                .iter()
                .map(|a| format!("address {} dev {name}", a.cidr)),
        );
        let neighbours = rtnl
            .neighbours(link.index)?
            .into_iter()
            .filter(|n| is_unicast(n.address));
        lines.extend(
            neighbours.map(|n| format!("neighbour {} dev {name} {}", n.address, or_dash(n.mac))),
        );
    }
    lines.extend(
        rtnl.routes()?
            .iter()
            .map(|route| describe_route(route, &links)),
    );
    lines.extend(rtnl.policy_rules()?);
    for link in &links {
        let control = rtnl.traffic_control(link.index)?.into_iter();
        lines.extend(control.map(|line| format!("{line} dev {}", link.name)));
    }
    let own: Vec<MacAddr> = links.iter().filter_map(|link| link.mac).collect();
    for (link, mac) in rtnl.static_forwarding(&own)? {
        lines.push(format!("forwarding {mac} dev {}", name_of(link, &links)));
    }
    lines.sort();
    Ok(lines)
}

fn describe_link(link: &Link, links: &[Link]) -> String {
    let kind = match &link.kind {
        LinkKind::Bridge => "bridge",
        LinkKind::Veth => "veth",
        LinkKind::Other(kind) => kind,
    };
    let Link { name, mac, mtu, .. } = link;
    let mut text = format!("link {name} {kind} mtu {mtu} {}", or_dash(*mac));
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
    let InstalledRoute {
        dst,
        table,
        priority,
        ..
    } = route;
    let via = or_dash(route.gateway);
    let dev = route
        .link
        .map(|index| name_of(index, links))
        .unwrap_or_default();
    format!(
        "route {dst} via {via} dev {dev} table {table} priority {priority} source {}",
        or_dash(route.source)
    )
}

/// Returns the name of the link with this index, or the index if no link has it.
fn name_of(index: u32, links: &[Link]) -> String {
    links
        .iter()
        .find(|link| link.index == index)
        .map_or_else(|| index.to_string(), |link| link.name.to_string())
}

/// Returns the value as text, `-` for `None`.
fn or_dash(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Returns false for the addresses whose neighbour entries the kernel makes by itself.
fn is_unicast(address: IpAddr) -> bool {
    !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
}

/// The names of files that host-local derives from its records for speed. They can be deleted at
/// any time, so they are no part of the state.
const DERIVED: [&str; 2] = [".index", ".origin"];

/// Adds a line for each file and folder below `folder`, sorted by path: its mode, path and content.
/// A missing folder adds no lines, as an empty one.
pub fn files(folder: &Path, lines: &mut Vec<String>) {
    files_besides(&[], folder, lines);
}

/// Does the same as [`files`], without the files and folders at the paths `excluded`.
pub fn files_besides(excluded: &[&str], folder: &Path, lines: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| !DERIVED.iter().any(|name| path.ends_with(name)));
    paths.retain(|path| !excluded.iter().any(|other| path == Path::new(other)));
    paths.sort();
    for path in paths {
        let mode = path
            .symlink_metadata()
            .map(|m| m.permissions().mode())
            .unwrap_or_default();
        if path.is_dir() {
            lines.push(format!("{mode:o} {}/", path.display()));
            files_besides(excluded, &path, lines);
        } else {
            let content = std::fs::read(&path).unwrap_or_default();
            lines.push(format!(
                "{mode:o} {} {:?}",
                path.display(),
                String::from_utf8_lossy(&content)
            ));
        }
    }
}
