//! The traces of an attachment, which are leftovers after its end.

use crate::{error::Error, outside::UPLINK};
use cni_net::{
    LinkKind, Rtnl,
    nft::{ListedRule, Nft, Table, TableFamily},
};
use sandbox::Netns;
use std::net::IpAddr;

const RESERVATIONS: &str = "/var/lib/cni/networks/quickstart";

/// Returns the names of the host's ends of veth pairs.
pub(crate) fn host_interfaces() -> Result<Vec<String>, Error> {
    let links = Rtnl::open()?.links()?.into_iter();
    Ok(links
        .filter(|link| link.kind == LinkKind::Veth && link.name != UPLINK)
        .map(|link| link.name.to_string())
        .collect())
}

/// Returns the names of a pod's interfaces, without `lo`.
pub(crate) fn pod_interfaces(pod: &Netns) -> Result<Vec<String>, Error> {
    let links = pod.run(|| Rtnl::open()?.links())??.into_iter();
    Ok(links
        .map(|link| link.name.to_string())
        .filter(|name| name != "lo")
        .collect())
}

/// Returns the addresses that host-local has reserved.
pub(crate) fn reservations() -> Result<Vec<String>, Error> {
    let mut addresses = Vec::new();
    for entry in std::fs::read_dir(RESERVATIONS)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        // The folder also has the lock and the position of the last search.
        if name.parse::<IpAddr>().is_ok() {
            addresses.push(name);
        }
    }
    addresses.sort();
    Ok(addresses)
}

/// Returns the comments of the masquerade rules.
pub(crate) fn masquerade_rules() -> Result<Vec<String>, Error> {
    let table = Table {
        family: TableFamily::INET,
        name: "cni_plugins_masquerade",
    };
    let rules = Nft::open()?.rules(table, "masq_checks")?;
    Ok(rules.iter().map(ListedRule::comment).collect())
}
