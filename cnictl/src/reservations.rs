//! `cnictl ipam`: host-local's reservations, their holders, and the free addresses.

use crate::{
    arguments::{Arguments, IpamTask},
    attachments::NetnsState,
    failure::Failure,
    networks,
    paths::Paths,
    required_plugins,
    screen::Screen,
};
use cni_runtime::{CachedAttachment, Network, PluginConfig};
use cni_types::{Call, Environment, Json, Plugin, Stop};
use host_local::{Count, HostLocal, Inspection, Liveness, Owner, Pool, Reservation, SystemPaths};
use serde::Serialize;
use std::{path::Path, time::SystemTime};

/// The name of host-local in `ipam.type`.
const HOST_LOCAL: &str = "host-local";

/// The ranges and reservations of one plugin that delegates to host-local.
pub(crate) struct PoolUsage {
    call: Call,
    plugin: HostLocal,
    /// The plugin that delegates to host-local.
    pub(crate) user: PluginConfig,
    /// The state of host-local's data folder.
    pub(crate) inspection: Inspection,
}

impl PoolUsage {
    /// Returns a report for each plugin of the network that delegates to host-local.
    ///
    /// # Errors
    /// Fails if the records cannot be read.
    pub(crate) fn of(network: &Network, root: &Path) -> Result<Vec<Self>, cni_types::Error> {
        let plugin = HostLocal {
            system: SystemPaths {
                machine_id: root.join("etc/machine-id"),
                ..SystemPaths::default()
            },
            ..HostLocal::default()
        };
        calls(network)
            .into_iter()
            .map(|(user, call)| {
                let call = call?;
                let inspection = Inspection::of(&plugin, &call)?;
                Ok(Self {
                    call,
                    plugin: plugin.clone(),
                    user: user.clone(),
                    inspection,
                })
            })
            .collect()
    }
}

/// Returns the request that host-local would get from each plugin of the network.
fn calls(network: &Network) -> Vec<(&PluginConfig, Result<Call, cni_types::Error>)> {
    let uses = network
        .plugins
        .iter()
        .filter(|plugin| required_plugins::ipam_type(plugin).as_deref() == Some(HOST_LOCAL));
    let call = |config: &Json| {
        let mut config = config.clone();
        config.insert("cniVersion", network.version.as_str().into());
        config.insert("name", network.name.as_str().into());
        Call::new(
            Environment::default(),
            config.to_string().into_bytes(),
            Stop::never(),
        )
    };
    uses.map(|plugin| (plugin, call(plugin.json()))).collect()
}

/// Returns container id and interface of all holders of addresses that are not known to be dead.
///
/// # Errors
/// Fails if the records cannot be read: a GC without their holders would free them all.
pub(crate) fn possible_holders(
    network: &Network,
    root: &Path,
) -> Result<Vec<(String, String)>, cni_types::Error> {
    let held = PoolUsage::of(network, root)?
        .into_iter()
        .flat_map(|usage| usage.inspection.reservations);
    let living = held.filter(|reservation| !reservation.is_dead());
    Ok(living
        .filter_map(|reservation| holder(&reservation.owner))
        .collect())
}

fn holder(owner: &Owner) -> Option<(String, String)> {
    match owner {
        Owner::Attachment {
            container_id,
            if_name,
        } => Some((container_id.clone(), if_name.clone())),
        Owner::Container(id) => Some((id.clone(), String::new())),
        Owner::Nobody | Owner::Unknown => None,
    }
}

/// The origin of a reservation. The names are for programs, and stay when texts change.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Origin {
    /// A record without content: its writer was killed, or the disk was full.
    Empty,
    EarlierBoot,
    NetnsGone,
    ThisBoot,
    /// Another boot of this machine, or of a clone of it.
    OtherBoot,
    OtherMachine,
    Unknown,
}

impl Origin {
    fn of(reservation: &Reservation) -> Self {
        match reservation.liveness {
            _ if reservation.owner == Owner::Nobody => Self::Empty,
            Liveness::EarlierBoot => Self::EarlierBoot,
            Liveness::NetnsGone => Self::NetnsGone,
            Liveness::ThisBoot => Self::ThisBoot,
            Liveness::OtherBoot => Self::OtherBoot,
            Liveness::OtherMachine => Self::OtherMachine,
            Liveness::Unknown => Self::Unknown,
        }
    }

    fn as_text(self) -> &'static str {
        match self {
            Self::Empty => "without content",
            Self::EarlierBoot => Liveness::EarlierBoot.as_text(),
            Self::NetnsGone => Liveness::NetnsGone.as_text(),
            Self::ThisBoot => Liveness::ThisBoot.as_text(),
            Self::OtherBoot => Liveness::OtherBoot.as_text(),
            Self::OtherMachine => Liveness::OtherMachine.as_text(),
            Self::Unknown => Liveness::Unknown.as_text(),
        }
    }
}

/// One reservation, for people and programs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    address: String,
    container_id: Option<String>,
    if_name: Option<String>,
    /// The time since ADD, in seconds.
    age: u64,
    /// The boot and namespace of its ADD, as far as they are known.
    origin: Origin,
    netns: Option<String>,
    netns_state: NetnsState,
    /// True if a GC would free it.
    dead: bool,
    /// True if the address is in no configured range.
    outside: bool,
}

impl Row {
    fn of(reservation: &Reservation, known: &[&CachedAttachment]) -> Self {
        let holder = holder(&reservation.owner);
        // The reference keeps no origin; the runtime's cache may know the namespace.
        let cached = || {
            let (id, if_name) = holder.as_ref()?;
            let is_its = |cached: &&&CachedAttachment| {
                cached.parameters.container_id.as_str() == id
                    && cached.parameters.if_name.as_str() == if_name
            };
            Some(
                known
                    .iter()
                    .find(is_its)?
                    .parameters
                    .netns
                    .as_ref()?
                    .as_path()
                    .to_owned(),
            )
        };
        let netns = reservation.netns.clone().or_else(cached);
        Self {
            address: reservation.address.to_string(),
            age: SystemTime::now()
                .duration_since(reservation.written)
                .unwrap_or_default()
                .as_secs(),
            origin: Origin::of(reservation),
            netns_state: match reservation.liveness {
                Liveness::EarlierBoot | Liveness::NetnsGone => NetnsState::Stale,
                _ => NetnsState::of(netns.as_deref()),
            },
            netns: netns.map(|path| path.display().to_string()),
            dead: reservation.is_dead(),
            outside: reservation.pool.is_none(),
            container_id: holder.as_ref().map(|(id, _)| id.clone()),
            if_name: holder
                .map(|(_, if_name)| if_name)
                .filter(|if_name| !if_name.is_empty()),
        }
    }

    fn cells(&self) -> [String; 7] {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
        let mut remarks = vec![self.origin.as_text()];
        remarks.extend(self.outside.then_some("outside the configured ranges"));
        remarks.extend(self.dead.then_some("a GC frees it"));
        [
            self.address.clone(),
            text(&self.container_id),
            text(&self.if_name),
            host_local::age(self.age),
            self.netns_state.as_str().to_owned(),
            remarks.join(", "),
            text(&self.netns),
        ]
    }
}

/// A range set, for programs.
#[derive(Debug, Serialize)]
struct PoolRow {
    ranges: String,
    capacity: Count,
    used: Count,
    free: Count,
    excluded: Count,
}

impl PoolRow {
    fn of(pool: &Pool) -> Self {
        let Pool {
            ranges,
            capacity,
            used,
            excluded,
            ..
        } = pool.clone();
        Self {
            ranges,
            capacity,
            used,
            free: capacity.saturating_sub(used),
            excluded,
        }
    }

    fn describe(&self) -> String {
        let Self {
            ranges,
            capacity,
            used,
            free,
            excluded,
        } = self;
        let excluded = if excluded.is_zero() {
            String::new()
        } else {
            format!(", {excluded} excluded")
        };
        format!("{ranges}: {used} of {capacity} in use, {free} free{excluded}\n")
    }
}

/// Shows the reservations of one network, or of all that use host-local; or frees the dead ones.
/// Goes on after a network that cannot be read.
///
/// # Errors
/// Fails if records cannot be read or freed.
pub(crate) fn ipam(
    arguments: &Arguments,
    name: Option<&str>,
    task: IpamTask,
    screen: &Screen,
) -> Result<(), Failure> {
    let known = networks::cache(&arguments.paths)
        .attachments()
        .unwrap_or_default();
    let networks = match name {
        Some(name) => {
            let cached = known.iter().find(|cached| cached.network.as_str() == name);
            vec![networks::find_or_cached(
                &arguments.paths,
                name,
                cached,
                screen,
            )?]
        }
        None => networks::all(&arguments.paths, screen)?,
    };
    let mut documents = Vec::new();
    let mut failures = Vec::new();
    for network in &networks {
        let known: Vec<_> = known
            .iter()
            .filter(|cached| cached.network == network.name)
            .collect();
        match of_network(network, &arguments.paths.root, &known, task, screen) {
            Ok(more) => documents.extend(more),
            Err(e) => failures.push(format!("{}: {e}", network.name)),
        }
    }
    if !failures.is_empty() {
        return Err(Failure::texts(failures));
    }
    if screen.is_json() {
        screen.json(&documents);
    } else if documents.is_empty() {
        screen.message(&nothing_there(name, &arguments.paths));
    }
    Ok(())
}

fn nothing_there(name: Option<&str>, paths: &Paths) -> String {
    match name {
        Some(name) => format!(
            "the configuration of {name} does not name host-local; if its plugin calls host-local \
             by itself, as flannel does, the reservations are in {}",
            paths.file("/var/lib/cni/networks").join(name).display()
        ),
        None => format!(
            "no network in {} uses host-local",
            paths.conf_dir().display()
        ),
    }
}

/// Shows or frees the reservations of a network, and returns them as JSON.
fn of_network(
    network: &Network,
    root: &Path,
    known: &[&CachedAttachment],
    task: IpamTask,
    screen: &Screen,
) -> Result<Vec<serde_json::Value>, cni_types::Error> {
    let one = |usage: PoolUsage| match task {
        IpamTask::Show => Ok(show(network, &usage.inspection, known, screen)),
        IpamTask::Free { dry_run } => free(network, &usage, dry_run, screen),
    };
    PoolUsage::of(network, root)?.into_iter().map(one).collect()
}

fn show(
    network: &Network,
    inspection: &Inspection,
    known: &[&CachedAttachment],
    screen: &Screen,
) -> serde_json::Value {
    let rows: Vec<Row> = inspection
        .reservations
        .iter()
        .map(|held| Row::of(held, known))
        .collect();
    let (pools, error): (Vec<_>, _) = match &inspection.pools {
        Ok(pools) => (pools.iter().map(PoolRow::of).collect(), None),
        Err(e) => (Vec::new(), Some(e.to_string())),
    };
    if !screen.is_json() {
        screen.print(&format!(
            "{} in {}\n",
            network.name,
            inspection.folder.display()
        ));
        pools.iter().for_each(|pool| screen.print(&pool.describe()));
        error
            .iter()
            .for_each(|error| screen.print(&format!("the ranges cannot be used: {error}\n")));
        if !rows.is_empty() {
            let heading = [
                "ADDRESS",
                "CONTAINER",
                "IFNAME",
                "AGE",
                "NETNS",
                "REMARKS",
                "PATH",
            ];
            screen.table(heading, &rows.iter().map(Row::cells).collect::<Vec<_>>());
        }
    }
    serde_json::json!({
        "network": network.name.as_str(),
        "folder": inspection.folder,
        "ranges": pools,
        "rangesError": error,
        "reservations": rows,
    })
}

fn free(
    network: &Network,
    usage: &PoolUsage,
    dry_run: bool,
    screen: &Screen,
) -> Result<serde_json::Value, cni_types::Error> {
    let dead: Vec<&Reservation> = usage
        .inspection
        .reservations
        .iter()
        .filter(|held| held.is_dead())
        .collect();
    if !dry_run {
        // Without a list of valid attachments, host-local frees what is dead when it has its lock.
        usage.plugin.gc(&usage.call)?;
    }
    if !screen.is_json() {
        let verb = if dry_run { "would free" } else { "freed" };
        for held in &dead {
            screen.print(&format!(
                "{verb} {} of {}: {}\n",
                held.address,
                held.owner,
                Origin::of(held).as_text()
            ));
        }
        if dead.is_empty() {
            screen.print(&format!("{}: nothing is certainly dead\n", network.name));
        }
    }
    let addresses: Vec<String> = dead.iter().map(|held| held.address.to_string()).collect();
    Ok(
        serde_json::json!({ "network": network.name.as_str(), "dryRun": dry_run, "dead": addresses }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_of_any_size_are_shown_and_written_as_json() {
        let row = |subnet: &str| {
            let network = serde_json::json!({
                "cniVersion": "1.1.0", "name": "n", "type": "bridge",
                "ipam": {"type": "host-local", "dataDir": "/nonexistent", "ranges": [[{"subnet": subnet}]]},
            });
            let call = Call::new(
                Environment::default(),
                network.to_string().into_bytes(),
                Stop::never(),
            );
            let seen = Inspection::of(&HostLocal::default(), &call.unwrap()).unwrap();
            PoolRow::of(&seen.pools.unwrap()[0])
        };
        for (subnet, text, free) in [
            (
                "10.1.0.0/29",
                "10.1.0.1-10.1.0.6: 0 of 5 in use, 5 free\n",
                "5",
            ),
            ("fd00::/64", "in use, 1.8e19 free\n", "18446744073709551614"),
            (
                "1100:200::/24",
                "in use, 2.0e31 free\n",
                "2.028240960365167e+31",
            ),
            ("::/0", "in use, 3.4e38 free\n", "3.402823669209385e+38"),
        ] {
            let row = row(subnet);
            assert!(row.describe().ends_with(text), "{}", row.describe());
            assert_eq!(
                serde_json::to_value(&row).unwrap()["free"].to_string(),
                free
            );
        }
    }
}
