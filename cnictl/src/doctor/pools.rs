//! host-local's ranges and reservations: room, what nobody gave back, and ranges that collide.

use super::{
    finding::{Report, Severity, number},
    scene::Scene,
    schema,
};
use crate::reservations::Books;
use cni_runtime::PluginConfig;
use cni_types::{Cidr, Json, NetworkName};
use host_local::{Fate, FileSystem, Owner, Pool};
use std::net::IpAddr;

/// The part of a range set in use from which on a person should know of it.
const NEARLY_FULL: f64 = 0.9;

/// The books of one network.
pub(super) struct NetworkBooks {
    pub(super) network: NetworkName,
    pub(super) books: Books,
}

pub(super) fn examine(scene: &Scene, report: &mut Report) -> Vec<NetworkBooks> {
    let mut all = Vec::new();
    for (file, network) in scene.networks() {
        match Books::of(network, &scene.places.root) {
            Ok(books) => {
                all.extend(books.into_iter().map(|books| NetworkBooks {
                    network: network.name.clone(),
                    books,
                }));
            }
            Err(e) => report.unseen(format!("{}: {e}", file.name())),
        }
    }
    for NetworkBooks { network, books } in &all {
        match &books.inspection.pools {
            Ok(pools) => {
                for pool in pools {
                    room(network, pool, dead(books), report);
                    gateways(network, &books.user, pool, report);
                }
            }
            Err(e) => unusable(network, &books.user, e, report),
        }
        reservations(network, books, report);
        file_system(network, &books.inspection.file_system, report);
    }
    collisions(&all, report);
    all
}

/// Ranges that host-local refuses. Others, as calico and antrea, write theirs into the section when
/// they delegate; or the runtime gives them.
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
            "the ranges of {network}: they are not in the configuration of {}, which gets them elsewhere",
            user.kind()
        ));
    }
    report.error(
        "ranges-invalid",
        format!("{network}: {error}"),
        "every ADD fails",
        "correct ranges in the network's ipam section",
    );
}

/// Gateways that pods cannot reach.
fn gateways(network: &NetworkName, user: &PluginConfig, pool: &Pool, report: &mut Report) {
    let kinds = ["bridge", "ptp", "macvlan", "ipvlan", "vlan"];
    for (gateway, subnet) in pool.gateways.iter().zip(&pool.subnets) {
        if kinds.contains(&user.kind()) && !subnet.contains(*gateway) && !is_link_local(*gateway) {
            report.warning(
                "gateway-outside",
                format!("{network}: the gateway {gateway} is not in its subnet {subnet}"),
                "no route by way of it can be set: an ADD whose network has routes, or isDefaultGateway, fails",
                format!("write a gateway in {subnet}, or leave the key out: the first address of the subnet"),
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

fn dead(books: &Books) -> usize {
    books
        .inspection
        .reservations
        .iter()
        .filter(|held| held.is_dead())
        .count()
}

fn room(network: &NetworkName, pool: &Pool, dead: usize, report: &mut Report) {
    let Pool {
        ranges,
        capacity,
        used,
        ..
    } = pool;
    let why = "an ADD without a free address fails with \"no IP addresses available in range set\"";
    let remedy = if dead > 0 {
        format!("cnictl ipam {network} --gc frees {dead}; also: a larger range")
    } else {
        format!("give the network a larger range; cnictl ipam {network} shows who holds what")
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

fn reservations(network: &NetworkName, books: &Books, report: &mut Report) {
    let held = &books.inspection.reservations;
    let count =
        |is: &dyn Fn(&host_local::Reservation) -> bool| held.iter().filter(|held| is(held)).count();
    let kinds = [
        (
            count(&|held| held.fate == Fate::EarlierBoot),
            "of an earlier boot",
        ),
        (
            count(&|held| held.fate == Fate::NetnsGone),
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
            "addresses that nobody gave back: the pool runs out of them some day",
            format!("cnictl ipam {network} --gc (--dry-run shows which)"),
        );
    }
    let outside = count(&|held| held.pool.is_none());
    if outside > 0 && books.inspection.pools.is_ok() {
        report.warning(
            "reservations-outside",
            format!("{network}: {} outside the configured ranges", number(outside, "reservation")),
            "the ranges were changed while attachments used them: those keep addresses that routes no longer lead to",
            "restart the pods that have them, or put the old range back",
        );
    }
}

/// Records that other machines can write, or may be able to. host-local cannot tell the boots of
/// machines with one machine-id apart, as images make them, so there it takes nothing back by itself.
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
        "what an earlier boot left is never taken back by itself; on a network, ADD and DEL wait for it",
        "put dataDir on a file system of this machine, unless nodes are to share the ranges",
    );
}

/// Networks that hand out the same addresses; each is told once. That they have a subnet in common
/// is usual on a LAN.
fn collisions(all: &[NetworkBooks], report: &mut Report) {
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
                "each keeps its own books, so two pods get the same address",
                "give them ranges of their own",
            );
        }
    }
}

/// The first addresses that both networks hand out, if there are any.
pub(super) fn shared(first: &NetworkBooks, second: &NetworkBooks) -> Option<(IpAddr, IpAddr)> {
    let mut both =
        rows(first).flat_map(|a| rows(second).map(move |b| (a.0.max(b.0), a.1.min(b.1))));
    both.find(|(from, to)| from <= to)
}

fn rows(books: &NetworkBooks) -> impl Iterator<Item = (IpAddr, IpAddr)> {
    books
        .books
        .inspection
        .pools
        .iter()
        .flatten()
        .flat_map(|pool| pool.rows.iter().copied())
}

/// The subnets of all pools; none where the ranges cannot be used.
pub(super) fn subnets(books: &Books) -> impl Iterator<Item = Cidr> {
    books
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
    fn room_is_told_before_it_is_gone() {
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
            room(&NetworkName::parse("n").unwrap(), &pool, 0, &mut report);
            assert_eq!(report.ids(), wanted, "{used}");
        }
    }
}
