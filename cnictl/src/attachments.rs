//! `cnictl list`: the attachments in the cache, and if their namespaces still exist.

use crate::{arguments::Arguments, failure::Failure, networks, screen::Screen};
use cni_runtime::{CacheEntry, CachedAttachment};
use cni_types::AddResult;
use serde::Serialize;
use std::{fs::metadata, io::ErrorKind, os::unix::fs::MetadataExt, path::Path, time::SystemTime};

/// The state of an attachment's network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NetnsState {
    /// A namespace is mounted at the path.
    Alive,
    /// The path does not exist any more.
    Stale,
    /// Something else is at the path, the path cannot be reached, or no path is known.
    Unknown,
}

impl NetnsState {
    /// Returns the state of the namespace at `path`. It is stale only if that is certain: a process
    /// with other mounts, as in a container for debugging, sees the mount point of a living
    /// namespace as an empty file, or not even its folder; below `/proc` it may see other
    /// processes.
    pub(crate) fn of(path: Option<&Path>) -> Self {
        let Some(path) = path else {
            return Self::Unknown;
        };
        // All namespaces are on one file system of the kernel, nsfs.
        let namespaces = metadata("/proc/self/ns/net").map(|meta| meta.dev());
        match (metadata(path), namespaces) {
            (Ok(meta), Ok(device)) if meta.dev() == device => Self::Alive,
            (Err(e), _)
                if e.kind() == ErrorKind::NotFound && path.parent().is_some_and(Path::is_dir) =>
            {
                Self::Stale
            }
            _ => Self::Unknown,
        }
    }

    /// Returns the state of an attachment's namespace.
    pub(crate) fn of_attachment(attachment: &CachedAttachment) -> Self {
        Self::of(
            attachment
                .parameters
                .netns
                .as_ref()
                .map(|netns| netns.as_path()),
        )
    }

    /// Returns the state's name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Stale => "stale",
            Self::Unknown => "unknown",
        }
    }
}

/// One attachment, for people and programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    network: String,
    container_id: String,
    if_name: String,
    netns: String,
    state: NetnsState,
    addresses: Vec<String>,
    /// The time since ADD, in seconds.
    age: Option<u64>,
}

impl Row {
    fn of(attachment: &CachedAttachment, written: Option<SystemTime>) -> Self {
        let CachedAttachment {
            network,
            parameters,
            result,
            ..
        } = attachment;
        let ips = AddResult::from_json(result)
            .map(|result| result.ips)
            .unwrap_or_default();
        Self {
            network: network.to_string(),
            container_id: parameters.container_id.to_string(),
            if_name: parameters.if_name.to_string(),
            netns: parameters
                .netns
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            state: NetnsState::of_attachment(attachment),
            addresses: ips.iter().map(|ip| ip.address.to_string()).collect(),
            age: written.and_then(|written| {
                Some(SystemTime::now().duration_since(written).ok()?.as_secs())
            }),
        }
    }

    fn cells(&self) -> [String; 7] {
        [
            self.network.clone(),
            self.container_id.clone(),
            self.if_name.clone(),
            self.state.as_str().to_owned(),
            self.age.map_or_else(|| "?".to_owned(), host_local::age),
            self.addresses.join(","),
            self.netns.clone(),
        ]
    }
}

/// Shows the attachments of one network, or of all.
///
/// # Errors
/// Fails if the cache cannot be read, or if neither an attachment nor a file has a network of that
/// name.
pub(crate) fn list(
    arguments: &Arguments,
    network: Option<&str>,
    screen: &Screen,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for CacheEntry {
        path,
        written,
        attachment,
    } in networks::cache(&arguments.paths).entries()?
    {
        match attachment {
            Ok(attachment) => rows.push(Row::of(&attachment, written)),
            Err(e) => screen.message(&format!("skipped: {}: {e}", path.display())),
        }
    }
    let all = rows.len();
    rows.retain(|row| network.is_none_or(|wanted| row.network == wanted));
    if let Some(name) = network.filter(|_| rows.is_empty()) {
        networks::find(&arguments.paths, name, screen)?;
    }
    if screen.is_json() {
        screen.json(&rows);
    } else if rows.is_empty() {
        screen.message(&none_known(arguments, network, all));
    } else {
        let heading = [
            "NETWORK",
            "CONTAINER",
            "IFNAME",
            "STATE",
            "AGE",
            "ADDRESSES",
            "NETNS",
        ];
        screen.table(heading, &rows.iter().map(Row::cells).collect::<Vec<_>>());
    }
    Ok(())
}

fn none_known(arguments: &Arguments, network: Option<&str>, all: usize) -> String {
    let folder = arguments.paths.cache_dir.join("results");
    match network {
        Some(name) if all > 0 => {
            format!(
                "no attachment to {name} in {}; {all} to other networks",
                folder.display()
            )
        }
        _ => format!("no attachments in {}", folder.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_namespace_is_alive_and_only_a_name_that_is_gone_is_stale() {
        for (path, wanted) in [
            ("/proc/self/ns/net", NetnsState::Alive),
            ("/tmp/nonexistent-netns", NetnsState::Stale),
            ("/nonexistent/netns", NetnsState::Unknown),
            ("/proc/4194305/ns/net", NetnsState::Unknown),
            ("/etc/passwd", NetnsState::Unknown),
        ] {
            assert_eq!(NetnsState::of(Some(Path::new(path))), wanted, "{path}");
        }
        assert_eq!(NetnsState::of(None), NetnsState::Unknown);
    }
}
