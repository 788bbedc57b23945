//! The configuration: the `ipam` section, and the keys that runtimes pass beside it.
//!
//! ADD, CHECK and STATUS need a valid one. DEL and GC must work with any that still names the
//! directory of the records, so they read nothing else.

pub(crate) mod resolv_conf;

use crate::alloc::{Range, RangeSet, RangeSpec, Span, Spans, first_conflict};
use cni_types::{
    AddResult, Call, Cidr, Code, Error, InvalidCidr, Key, KeyKind, Route, SpecVersion,
    ipam::{RequestedAddress, RequestedIps, ip_of_cni_args, missing_section, optional_address},
};
use serde::Deserialize;
use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

/// The default of `dataDir`.
const DEFAULT_DATA_DIR: &str = "/var/lib/cni/networks";

/// The limit of the number of range sets, and so of the addresses of an attachment: a record of
/// each is written in one ADD, under the lock.
const MAX_RANGE_SETS: usize = 256;

/// The keys of the section `ipam`.
pub const KEYS: &[Key] = &[
    Key::new(
        "ranges",
        KeyKind::List(&KeyKind::List(&KeyKind::Object(RANGE_KEYS))),
    ),
    Key::text("subnet"),
    Key::text("rangeStart"),
    Key::text("rangeEnd"),
    Key::text("gateway"),
    Key::new("routes", KeyKind::ROUTES),
    Key::text("resolvConf"),
    Key::text("dataDir"),
    Key::texts("exclude"),
    Key::text("statusWhenFull"),
];

/// The keys of a range.
const RANGE_KEYS: &[Key] = &[
    Key::text("subnet"),
    Key::text("rangeStart"),
    Key::text("rangeEnd"),
    Key::text("gateway"),
    Key::texts("exclude"),
];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wire {
    ipam: Option<WireIpam>,
    runtime_config: WireRuntimeConfig,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireIpam {
    /// The older way to write one range set of one range, with the three keys below.
    subnet: Option<String>,
    range_start: String,
    range_end: String,
    gateway: String,
    ranges: Vec<Option<Vec<WireRange>>>,
    routes: Vec<Route>,
    data_dir: String,
    resolv_conf: String,
    /// Networks and addresses that no range gives away.
    exclude: Option<Vec<String>>,
    status_when_full: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireRange {
    subnet: Option<String>,
    range_start: String,
    range_end: String,
    gateway: String,
    /// Networks and addresses that this range does not give away.
    exclude: Option<Vec<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireRuntimeConfig {
    ip_ranges: Vec<Option<Vec<WireRange>>>,
}

/// The part that DEL and GC need.
#[derive(Default, Deserialize)]
#[serde(default)]
struct WireLocation {
    ipam: Option<WireDataDir>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireDataDir {
    data_dir: String,
}

/// A checked configuration.
#[derive(Debug)]
pub(crate) struct Config {
    /// The directory of the networks' folders.
    pub(crate) data_dir: PathBuf,
    /// The pools, one address from each. Never empty, never overlapping. The order matters on disk:
    /// the index of a set is in the name of its `last_reserved_ip` file.
    pub(crate) range_sets: Vec<RangeSet>,
    /// The routes of the result.
    pub(crate) routes: Vec<Route>,
    /// The file that the result's `dns` comes from.
    pub(crate) resolv_conf: Option<PathBuf>,
    /// The answer of STATUS for a set without a free address.
    pub(crate) when_full: WhenFull,
    /// The addresses that `args.cni.ips` and `runtimeConfig.ips` ask for, in this order.
    requested: Vec<IpAddr>,
}

/// The answer of STATUS for a set without a free address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// The node is ready: a full set has room as soon as a pod ends. A line on stderr reports it.
    Ready,
    /// Code 50, to the letter of the specification (section 2, "STATUS").
    Error,
}

impl WhenFull {
    fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "" | "ready" => Ok(Self::Ready),
            "error" => Ok(Self::Error),
            other => Err(invalid(format!("invalid statusWhenFull {other:?}"))
                .with_details("\"ready\" or \"error\" is expected")),
        }
    }
}

/// The directory of the records, from a configuration that may be invalid otherwise.
///
/// # Errors
/// Code 6 if it cannot be decoded, 7 if there is no `ipam` section.
pub(crate) fn data_dir(call: &Call) -> Result<PathBuf, Error> {
    let wire: WireLocation = call.config()?;
    Ok(data_dir_or_default(
        wire.ipam.ok_or_else(missing_section)?.data_dir,
    ))
}

/// Fails if the configuration wants more addresses than its version allows. One that is invalid in
/// another way passes.
///
/// # Errors
/// Code 7, for 0.1.0 and 0.2.0.
pub(crate) fn require_one_address_per_family(call: &Call) -> Result<(), Error> {
    let wire = call.config::<Wire>().unwrap_or_default();
    wire.range_sets()
        .map_or(Ok(()), |sets| require_expressible(call.version, &sets))
}

impl Wire {
    /// The range sets, in the reference's order.
    fn range_sets(&self) -> Result<Vec<RangeSet>, Error> {
        let ipam = self.ipam.as_ref().ok_or_else(missing_section)?;
        let old_style = ipam.subnet.is_some().then(|| {
            vec![WireRange {
                subnet: ipam.subnet.clone(),
                range_start: ipam.range_start.clone(),
                range_end: ipam.range_end.clone(),
                gateway: ipam.gateway.clone(),
                exclude: None,
            }]
        });
        let everywhere: Spans = excluded(ipam.exclude.as_deref())?.into_iter().collect();
        self.require_few_sets(ipam)?;
        let by_runtime = self.runtime_config.ip_ranges.iter().map(Option::as_deref);
        let sets = by_runtime
            .chain(old_style.as_deref().map(Some))
            .chain(ipam.ranges.iter().map(Option::as_deref))
            .enumerate()
            .map(|(index, ranges)| range_set(index, ranges.unwrap_or_default(), &everywhere));
        let sets: Vec<RangeSet> = sets.collect::<Result<_, _>>()?;
        if sets.is_empty() {
            return Err(invalid("no IP ranges specified")
                .with_details("give ipam.ranges, ipam.subnet, or the capability ipRanges"));
        }
        Ok(sets)
    }

    /// Fails if there are too many sets.
    fn require_few_sets(&self, ipam: &WireIpam) -> Result<(), Error> {
        let count = self.runtime_config.ip_ranges.len()
            + usize::from(ipam.subnet.is_some())
            + ipam.ranges.len();
        if count <= MAX_RANGE_SETS {
            return Ok(());
        }
        let details =
            "an attachment gets an address from each; ranges of one pool belong in one set";
        Err(invalid(format!(
            "{count} range sets, and at most {MAX_RANGE_SETS} are allowed"
        ))
        .with_details(details))
    }
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// Code 6 if it cannot be decoded, 7 if it is invalid.
    pub(crate) fn load(call: &Call) -> Result<Self, Error> {
        let wire: Wire = call.config()?;
        let requested = RequestedIps::of(call)?;
        let range_sets = wire.range_sets()?;
        require_expressible(call.version, &range_sets)?;
        require_disjoint(&range_sets)?;
        let requested = requested.by_args().iter().chain(requested.by_capability());
        let requested = requested
            .map(|text| requested_address(text))
            .collect::<Result<_, _>>()?;
        let ipam = wire.ipam.ok_or_else(missing_section)?;
        Ok(Self {
            data_dir: data_dir_or_default(ipam.data_dir),
            range_sets,
            routes: ipam.routes,
            when_full: WhenFull::parse(&ipam.status_when_full)?,
            resolv_conf: (!ipam.resolv_conf.is_empty()).then(|| ipam.resolv_conf.into()),
            requested,
        })
    }

    /// For each range set the address that the runtime asks for, from `CNI_ARGS`, `args.cni.ips`
    /// and `runtimeConfig.ips`. Repeats count once: podman sends the same in two places.
    ///
    /// # Errors
    /// Code 4 for an invalid address in `CNI_ARGS`, 103 for addresses that no set can serve, or
    /// that are a second one of a set.
    pub(crate) fn requested(&self, call: &Call) -> Result<Vec<Option<IpAddr>>, Error> {
        let by_args = requested_by_args(call)?;
        let mut seen = BTreeSet::new();
        let mut distinct: Vec<IpAddr> = by_args
            .into_iter()
            .chain(self.requested.iter().copied())
            .collect();
        distinct.retain(|address| seen.insert(*address));
        let owners = Owners::of(&self.range_sets);
        let mut requested = vec![None; self.range_sets.len()];
        distinct.retain(|address| {
            let place = owners
                .set_of(*address)
                .and_then(|set| requested.get_mut(set));
            // The first address of a set is taken out of the list; the rest cannot be served.
            match place {
                Some(place @ None) => {
                    *place = Some(*address);
                    false
                }
                _ => true,
            }
        });
        if distinct.is_empty() {
            return Ok(requested);
        }
        let list: Vec<String> = distinct.iter().map(IpAddr::to_string).collect();
        Err(Error::new(
            Code::ADDRESS_UNAVAILABLE,
            format!("failed to allocate all requested IPs: {}", list.join(" ")),
        )
        .with_details("each range set gives one address, and only one that is in its ranges"))
    }
}

/// The sets by their spans: the set of an address is found by binary search.
struct Owners(Vec<(Span, usize)>);

impl Owners {
    fn of(sets: &[RangeSet]) -> Self {
        let spans = sets
            .iter()
            .enumerate()
            .flat_map(|(set, ranges)| ranges.range_spans().map(move |s| (s, set)));
        let mut spans: Vec<(Span, usize)> = spans.collect();
        spans.sort_unstable_by_key(|(span, _)| span.first);
        Self(spans)
    }

    fn set_of(&self, address: IpAddr) -> Option<usize> {
        let later = self.0.partition_point(|(span, _)| span.first <= address);
        let (span, set) = self.0.get(later.checked_sub(1)?)?;
        span.contains(address).then_some(*set)
    }
}

fn invalid(msg: impl Into<String>) -> Error {
    Error::new(Code::INVALID_CONFIG, msg)
}

fn data_dir_or_default(text: String) -> PathBuf {
    if text.is_empty() {
        DEFAULT_DATA_DIR.into()
    } else {
        text.into()
    }
}

fn range_set(index: usize, wire: &[WireRange], everywhere: &Spans) -> Result<RangeSet, Error> {
    let make = || {
        let mut excluded = Vec::new();
        let mut ranges = Vec::with_capacity(wire.len());
        for wire in wire {
            let range = range(wire)?;
            excluded.extend(excluded_from(&range, wire.exclude.as_deref())?);
            excluded.extend(everywhere.within(range.span()));
            ranges.push(range);
        }
        RangeSet::new(ranges, &excluded.into_iter().collect()).map_err(|e| invalid(e.to_string()))
    };
    make().map_err(|e| e.context(format_args!("invalid range set {index}")))
}

/// The part of a range that its own `exclude` names.
fn excluded_from(range: &Range, list: Option<&[String]>) -> Result<Vec<Span>, Error> {
    let subnet = range.subnet();
    let subnet_span = Span {
        first: subnet.address(),
        last: subnet.last(),
    };
    let spans = excluded(list)?;
    match spans
        .iter()
        .find(|span| span.overlap(subnet_span) != Some(**span))
    {
        Some(Span { first, last }) => Err(invalid(format!(
            "exclude {first}-{last} not in network {subnet}"
        ))),
        None => Ok(spans
            .into_iter()
            .filter_map(|span| span.overlap(range.span()))
            .collect()),
    }
}

fn excluded(list: Option<&[String]>) -> Result<Vec<Span>, Error> {
    list.unwrap_or_default()
        .iter()
        .map(|text| exclusion(text))
        .collect()
}

/// One entry of `exclude`: a network, or a single address.
fn exclusion(text: &str) -> Result<Span, Error> {
    if let Ok(address) = text.parse::<IpAddr>() {
        let address = address.to_canonical();
        return Ok(Span {
            first: address,
            last: address,
        });
    }
    let cidr: Cidr = text.parse().map_err(|_| {
        invalid(format!(
            "invalid exclude {text:?}: expected a network such as 10.1.0.0/28, or an address"
        ))
    })?;
    if cidr != cidr.network() {
        let network = cidr.network();
        return Err(invalid(format!(
            "invalid exclude {text:?}: it has host bits set, the network is {network}"
        )));
    }
    Ok(Span {
        first: cidr.address(),
        last: cidr.last(),
    })
}

fn require_expressible(version: SpecVersion, sets: &[RangeSet]) -> Result<(), Error> {
    AddResult::require_one_address_per_family(version, sets.iter().map(RangeSet::first_address))
}

fn range(wire: &WireRange) -> Result<Range, Error> {
    let subnet: Cidr = match &wire.subnet {
        Some(text) => subnet(text)?,
        None => return Err(invalid("a range without a subnet")),
    };
    let spec = RangeSpec {
        subnet,
        start: optional_address(&wire.range_start)?,
        end: optional_address(&wire.range_end)?,
        gateway: optional_address(&wire.gateway)?,
    };
    Range::new(spec).map_err(|e| {
        let error = invalid(e.to_string());
        match e.details() {
            Some(details) => error.with_details(details),
            None => error,
        }
    })
}

/// Reads the value of `subnet`. The details of the error for a bare address are the remedy.
fn subnet(text: &str) -> Result<Cidr, Error> {
    text.parse().map_err(|e: InvalidCidr| {
        let error = invalid(e.to_string());
        match text.parse::<IpAddr>() {
            Ok(address) => {
                let prefix = if address.is_ipv4() { 24 } else { 64 };
                error.with_details(format!(
                    "\"subnet\" has no prefix length: write it as in {address}/{prefix}"
                ))
            }
            Err(_) => error,
        }
    })
}

fn require_disjoint(sets: &[RangeSet]) -> Result<(), Error> {
    let owned: Vec<(usize, Span)> = sets
        .iter()
        .enumerate()
        .flat_map(|(set, ranges)| ranges.range_spans().map(move |s| (set, s)))
        .collect();
    match first_conflict(&owned) {
        Some((first, second)) => Err(invalid(format!("range set {first} overlaps with {second}"))),
        None => Ok(()),
    }
}

fn requested_address(text: &str) -> Result<IpAddr, Error> {
    let requested: Result<RequestedAddress, _> = text.parse();
    requested.map(RequestedAddress::address).map_err(|_| {
        if text.is_empty() {
            return invalid("cannot understand ip: a requested address is empty");
        }
        invalid(format!("invalid IP address {text}"))
    })
}

/// The address that `IP` in `CNI_ARGS` asks for.
fn requested_by_args(call: &Call) -> Result<Option<IpAddr>, Error> {
    let args = call.args(&["IP"])?;
    let Some(text) = ip_of_cni_args(&args) else {
        return Ok(None);
    };
    let requested: Result<RequestedAddress, _> = text.parse();
    requested
        .map(|requested| Some(requested.address()))
        .map_err(|_| {
            let pair = format!("\"IP={text}\"");
            let msg =
                format!("ARGS: error parsing value of pair {pair}: invalid IP address {text}");
            Error::new(Code::INVALID_ENVIRONMENT, msg)
        })
}

#[cfg(test)]
mod tests;
