//! What an attachment leaves behind if nobody cleans up, each kind looked for where it would be.

use crate::{error::Error, outside::UPLINK};
use cni_net::{LinkKind, Rtnl, nft::Nft};
use sandbox::Netns;
use std::net::IpAddr;

const RESERVATIONS: &str = "/var/lib/cni/networks/quickstart";

/// Host ends of veth pairs, by name.
pub(crate) fn host_interfaces() -> Result<Vec<String>, Error> {
    let links = Rtnl::open()?.links()?.into_iter();
    Ok(links
        .filter(|link| link.kind == LinkKind::Veth && link.name != UPLINK)
        .map(|link| link.name)
        .collect())
}

/// Interfaces of a pod beside `lo`.
pub(crate) fn pod_interfaces(pod: &Netns) -> Result<Vec<String>, Error> {
    let links = pod.run(|| Rtnl::open()?.links())??.into_iter();
    Ok(links
        .map(|link| link.name)
        .filter(|name| name != "lo")
        .collect())
}

/// Addresses that host-local keeps for somebody.
pub(crate) fn reservations() -> Result<Vec<String>, Error> {
    let mut addresses = Vec::new();
    for entry in std::fs::read_dir(RESERVATIONS)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // Beside the records there are the lock and the place where the search goes on.
        if name.parse::<IpAddr>().is_ok() {
            addresses.push(name);
        }
    }
    addresses.sort();
    Ok(addresses)
}

/// Comments of the masquerade rules.
pub(crate) fn masquerade_rules() -> Result<Vec<String>, Error> {
    Ok(Nft::open()?
        .masquerade_entries()?
        .into_iter()
        .map(|entry| entry.comment)
        .collect())
}
