//! host-local's ranges and reservations: full ranges, dead reservations, and ranges that collide.

use super::{
    finding::{Report, Severity, number},
    node::Node,
    schema,
};
use crate::reservations::PoolUsage;
use cni_runtime::PluginConfig;
use cni_types::{Cidr, Json, NetworkName};
use host_local::{FileSystem, Liveness, Owner, Pool};
use std::net::IpAddr;

/// The part of a range set in use, from which on it is reported as nearly full.
const NEARLY_FULL: f64 = 0.9;

/// The ranges and reservations of one network.
pub(super) struct NetworkPools {
    pub(super) network: NetworkName,
    pub(super) usage: PoolUsage,
}

pub(super) fn examine(node: &Node, report: &mut Report) -> Vec<NetworkPools> {
    let mut all = Vec::new();
    for (file, network) in node.networks() {
        match PoolUsage::of(network, &node.paths.root) {
            Ok(usages) => {
                all.extend(usages.into_iter().map(|usage| NetworkPools {
                    network: network.name.clone(),
                    usage,
                }));
            }
            Err(e) => report.unseen(format!("{}: {e}", file.name())),
        }
    }
    for NetworkPools { network, usage } in &all {
        match &usage.inspection.pools {
            Ok(pools) => {
                for pool in pools {
                    free_addresses(network, pool, dead(usage), report);
                    gateways(network, &usage.user, pool, report);
                }
            }
            Err(e) => unusable(network, &usage.user, e, report),
        }
        reservations(network, usage, report);
        file_system(network, &usage.inspection.file_system, report);
    }
    collisions(&all, report);
    all
}

/// Reports ranges that host-local refuses, unless they are only known at run time: plugins such as
/// calico and antrea write them into the section when they delegate, and a runtime may pass them.
fn unusable(
    network: &NetworkName,
    user: &PluginConfig,
    error: &cni_types::Error,
    report: &mut Report,
) {
    let capability = user
        .json()
        .lookup("capabilities")
        .and_then(|map| map.lookup("ipRanges"));
    if schema::of_plugin(user.kind()).is_none() || capability == Some(&Json::Bool(true)) {
        return report.unseen(format!(
            "the ranges of {network}: {} gets them at run time, not from its configuration",
            user.kind()
        ));
    }
    report.error(
        "ranges-invalid",
        format!("{network}: {error}"),
        "every ADD fails",
        "correct the ranges in the network's ipam section",
    );
}

/// Reports gateways that pods cannot reach.
fn gateways(network: &NetworkName, user: &PluginConfig, pool: &Pool, report: &mut Report) {
    let kinds = ["bridge", "ptp", "macvlan", "ipvlan", "vlan"];
    for (gateway, subnet) in pool.gateways.iter().zip(&pool.subnets) {
        if kinds.contains(&user.kind()) && !subnet.contains(*gateway) && !is_link_local(*gateway) {
            report.warning(
                "gateway-outside",
                format!("{network}: the gateway {gateway} is not in its subnet {subnet}"),
                "no route through it can be installed: ADD fails if the network has routes or \
                 isDefaultGateway",
                format!(
                    "set a gateway in {subnet}, or remove the key to use the subnet's first address"
                ),
            );
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn dead(usage: &PoolUsage) -> usize {
    usage
        .inspection
        .reservations
        .iter()
        .filter(|held| held.is_dead())
        .count()
}

/// Reports a range set that is full or nearly full.
fn free_addresses(network: &NetworkName, pool: &Pool, dead: usize, report: &mut Report) {
    let Pool {
        ranges,
        capacity,
        used,
        ..
    } = pool;
    let why = "without a free address, ADD fails with \"no IP addresses available in range set\"";
    let remedy = if dead > 0 {
        format!("run cnictl ipam {network} --gc, which frees {dead}, or use a larger range")
    } else {
        format!("use a larger range; cnictl ipam {network} lists the holders of addresses")
    };
    if used >= capacity {
        report.error(
            "pool-full",
            format!("{network}: all {capacity} addresses of {ranges} are in use"),
            why,
            remedy,
        );
    } else if used.approximate() >= capacity.approximate() * NEARLY_FULL {
        let what = format!("{network}: {used} of {capacity} addresses of {ranges} are in use");
        report.warning("pool-nearly-full", what, why, remedy);
    }
}

fn reservations(network: &NetworkName, usage: &PoolUsage, report: &mut Report) {
    let held = &usage.inspection.reservations;
    let count =
        |is: &dyn Fn(&host_local::Reservation) -> bool| held.iter().filter(|held| is(held)).count();
    let kinds = [
        (
            count(&|held| held.liveness == Liveness::EarlierBoot),
            "of an earlier boot",
        ),
        (
            count(&|held| held.liveness == Liveness::NetnsGone),
            "whose network namespace is gone",
        ),
        (
            count(&|held| held.owner == Owner::Nobody),
            "without content",
        ),
    ];
    for (count, kind) in kinds.into_iter().filter(|(count, _)| *count > 0) {
        report.warning(
            "reservations-dead",
            format!("{network}: {} {kind}", number(count, "reservation")),
            "their addresses were never freed, and the pool will eventually run out",
            format!("run cnictl ipam {network} --gc (first with --dry-run to see which)"),
        );
    }
    let outside = count(&|held| held.pool.is_none());
    if outside > 0 && usage.inspection.pools.is_ok() {
        report.warning(
            "reservations-outside",
            format!(
                "{network}: {} outside the configured ranges",
                number(outside, "reservation")
            ),
            "the ranges were changed while pods used them; those pods keep addresses to which no \
             route leads any more",
            "restart those pods, or restore the old range",
        );
    }
}

/// Reports records on a file system that other machines can write, or may be able to. Machines from
/// one image may share a machine-id, so host-local cannot tell their boots apart, and does not
/// reclaim addresses there by itself.
fn file_system(network: &NetworkName, found: &std::io::Result<FileSystem>, report: &mut Report) {
    let kind = match found {
        Ok(FileSystem::Local) => return,
        Ok(kind) => kind,
        Err(e) => {
            let what = format!("the file system of the reservations of {network}: {e}");
            return report.unseen(what);
        }
    };
    let is_shared = matches!(kind, FileSystem::Shared(_));
    report.add(
        if is_shared { Severity::Warning } else { Severity::Note },
        "data-shared",
        format!(
            "{network}: the reservations are on {kind}, which other machines {} write",
            if is_shared { "can" } else { "may be able to" }
        ),
        "reservations of an earlier boot are not freed automatically; on a network file system, ADD \
         and DEL wait for the network",
        "put dataDir on a local file system, unless nodes must share the ranges",
    );
}

/// Reports networks that hand out the same addresses, each network once. A common subnet alone is
/// usual on a LAN.
fn collisions(all: &[NetworkPools], report: &mut Report) {
    for (index, first) in all.iter().enumerate() {
        let others = all
            .iter()
            .skip(index + 1)
            .filter(|second| second.network != first.network);
        let shared = others
            .filter_map(|second| Some((second, shared(first, second)?)))
            .next();
        if let Some((second, (from, to))) = shared {
            report.warning(
                "pools-overlap",
                format!(
                    "networks {} and {} share addresses: {from}-{to}",
                    first.network, second.network
                ),
                "each network keeps its own reservations, so two pods can get the same address",
                "give each network a range of its own",
            );
        }
    }
}

/// Returns the first and last address of the first range that both networks hand out; `None` if
/// they have none in common.
pub(super) fn shared(first: &NetworkPools, second: &NetworkPools) -> Option<(IpAddr, IpAddr)> {
    let mut both =
        rows(first).flat_map(|a| rows(second).map(move |b| (a.0.max(b.0), a.1.min(b.1))));
    both.find(|(from, to)| from <= to)
}

fn rows(of_network: &NetworkPools) -> impl Iterator<Item = (IpAddr, IpAddr)> {
    of_network
        .usage
        .inspection
        .pools
        .iter()
        .flatten()
        .flat_map(|pool| pool.rows.iter().copied())
}

/// Returns the subnets of all pools; none if the ranges are invalid.
pub(super) fn subnets(usage: &PoolUsage) -> impl Iterator<Item = Cidr> {
    usage
        .inspection
        .pools
        .iter()
        .flatten()
        .flat_map(|pool| pool.subnets.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use host_local::Count;

    #[test]
    fn reservations_on_a_network_file_system_are_found() {
        let network = NetworkName::parse("n").unwrap();
        let found = |of: std::io::Result<FileSystem>| {
            let mut report = Report::default();
            file_system(&network, &of, &mut report);
            report.severities()
        };
        assert_eq!(found(Ok(FileSystem::Shared("NFS"))), [Severity::Warning]);
        assert_eq!(found(Ok(FileSystem::Unknown(1))), [Severity::Note]);
        assert_eq!(found(Ok(FileSystem::Local)), []);
    }

    #[test]
    fn a_nearly_full_range_is_reported_before_it_is_full() {
        for (used, wanted) in [
            (89_u64, vec![]),
            (90, vec!["pool-nearly-full"]),
            (100, vec!["pool-full"]),
        ] {
            let pool = Pool {
                ranges: "r".into(),
                subnets: vec![],
                gateways: vec![],
                rows: vec![],
                capacity: 100_u64.into(),
                excluded: Count::default(),
                used: Count::from(used),
            };
            let mut report = Report::default();
            free_addresses(&NetworkName::parse("n").unwrap(), &pool, 0, &mut report);
            assert_eq!(report.ids(), wanted, "{used}");
        }
    }
}
