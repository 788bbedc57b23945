//! The content of masquerade rules in iptables, and plans to add and remove them. Pure functions,
//! no I/O.

use super::super::{
    super::{
        Leaving,
        names::{is_xt_chain, xt_chain, xt_comment, xt_comment_prefixes},
    },
    Masqueraded, multicast,
};
use cni_net::{
    Family,
    iptables::{Action, Contents, Match, Removal, Rule, Script, Table, quoted},
    nft::Condition,
};
use cni_types::{AttachmentId, AttachmentList, Cidr};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The chain that jumps to all others.
pub(super) const POSTROUTING: &str = "POSTROUTING";

/// Returns the script that adds the rules for these addresses of one family to the existing ones.
/// Naming a chain creates or empties it, so the rules that other attachments of the container have
/// in it are written again.
pub(super) fn addition(
    id: AttachmentId<'_>,
    family: Family,
    addresses: &[Cidr],
    present: &Contents,
) -> Script {
    let chain = xt_chain(id);
    let comment = format!("-m comment --comment {}", quoted(&xt_comment(id)));
    let mut script = Script::new(Table::Nat);
    script.chain(&chain);
    let is_new = |address: IpAddr| sources(present, &chain).all(|source| source != address);
    for address in addresses.iter().map(|address| address.address()) {
        if is_new(address) {
            let source = Cidr::host(address);
            script.append(
                POSTROUTING,
                format_args!("-s {source} {comment} -j {chain}"),
            );
        }
    }
    let mut networks: Vec<Cidr> = spared(present, &chain).collect();
    for network in addresses.iter().map(|address| address.network()) {
        networks.push(network);
    }
    let mut written = Vec::new();
    for network in networks {
        if !written.contains(&network) {
            script.append(&chain, format_args!("-d {network} {comment} -j ACCEPT"));
            written.push(network);
        }
    }
    let multicast = multicast(family);
    script.append(
        &chain,
        format_args!("! -d {multicast} {comment} -j MASQUERADE"),
    );
    script
}

fn jumps_to(rule: &Rule, chain: &str) -> bool {
    rule.chain == POSTROUTING && matches!(&rule.action, Action::Jump(to) if to == chain)
}

/// Returns the addresses from which packets jump to the chain.
fn sources(contents: &Contents, chain: &str) -> impl Iterator<Item = IpAddr> {
    contents
        .rules
        .iter()
        .filter(move |rule| jumps_to(rule, chain))
        .filter_map(source)
}

/// Returns the networks to which a chain lets packets pass without masquerading.
fn spared(contents: &Contents, chain: &str) -> impl Iterator<Item = Cidr> {
    let spares = move |rule: &&Rule| rule.chain == chain && rule.action == Action::Accept;
    contents.rules.iter().filter(spares).filter_map(destination)
}

/// Returns true if the chain masquerades packets from this address that leave its network.
pub(super) fn masquerades(contents: &Contents, chain: &str, address: Cidr) -> bool {
    let is_masquerade = |rule: &Rule| rule.chain == chain && rule.action == Action::Masquerade;
    sources(contents, chain).any(|source| source == address.address())
        && spared(contents, chain).any(|network| network == address.network())
        && contents.rules.iter().any(is_masquerade)
}

/// Returns the removal for these leaving addresses. A jump without an address belongs to no other
/// attachment, and is removed too.
pub(super) fn removal(contents: &Contents, chain: &str, leaving: Leaving<'_>) -> Removal {
    let is_jump = |rule: &&Rule| jumps_to(rule, chain);
    let (gone, kept): (Vec<&Rule>, Vec<&Rule>) = contents
        .rules
        .iter()
        .filter(is_jump)
        .partition(|rule| source(rule).is_none_or(leaving));
    let is_last = kept.is_empty() && contents.chains.contains(chain);
    Removal {
        rules: gone.into_iter().map(|rule| rule.place.clone()).collect(),
        chains: is_last.then(|| chain.to_owned()).into_iter().collect(),
    }
}

/// Returns the rules of a network's attachments, found by their comments, since the chain's name is
/// a hash.
fn rules_of<'a>(contents: &'a Contents, network: &str) -> impl Iterator<Item = &'a Rule> {
    let prefixes = xt_comment_prefixes(network);
    let is_of_network = move |rule: &&Rule| {
        let mut prefixes = prefixes.iter();
        prefixes.any(|prefix| rule.comment.starts_with(prefix))
    };
    contents.rules.iter().filter(is_of_network)
}

/// Returns the attachment's chain that a rule is in or jumps to.
fn attachment_chain(rule: &Rule) -> Option<&str> {
    let to = match &rule.action {
        Action::Jump(to) => to,
        _ => "",
    };
    let mut chains = [rule.chain.as_str(), to].into_iter();
    chains.find(|chain| is_xt_chain(chain))
}

/// Returns the addresses that a network's rules masquerade, with their attachments. The attachments
/// of a container share a chain, so an address belongs to a known attachment only if there is just
/// one.
pub(super) fn owners<'a>(contents: &Contents, valid: &'a AttachmentList) -> Masqueraded<'a> {
    let mut owners: BTreeMap<String, Vec<AttachmentId<'a>>> = BTreeMap::new();
    for id in valid.iter() {
        owners.entry(xt_chain(id)).or_default().push(id);
    }
    let mut found = Masqueraded::default();
    let rules = rules_of(contents, valid.network());
    for rule in rules.filter(|rule| rule.chain == POSTROUTING) {
        let (Some(chain), Some(address)) = (attachment_chain(rule), source(rule)) else {
            continue;
        };
        let Some(owners) = owners.get(chain) else {
            found.stale.insert(address);
            continue;
        };
        found.valid.insert(address);
        if let [only] = owners.as_slice() {
            found.known.insert(*only);
        }
    }
    found
}

/// Returns the removal of the rules of containers without a valid attachment.
pub(super) fn stale_removal(contents: &Contents, valid: &AttachmentList) -> Removal {
    let living: BTreeSet<String> = valid.iter().map(xt_chain).collect();
    let stale: BTreeSet<&str> = rules_of(contents, valid.network())
        .filter_map(attachment_chain)
        .filter(|chain| !living.contains(*chain))
        .collect();
    let leads_there = |rule: &&Rule| {
        let chain = attachment_chain(rule);
        rule.chain == POSTROUTING && chain.is_some_and(|chain| stale.contains(chain))
    };
    let jumps = contents.rules.iter().filter(leads_there);
    Removal {
        rules: jumps.map(|rule| rule.place.clone()).collect(),
        chains: stale.into_iter().map(str::to_owned).collect(),
    }
}

/// Returns the single address that a rule is for.
fn source(rule: &Rule) -> Option<IpAddr> {
    let source = rule.matches.iter().find_map(|found| match found {
        Match::Is(Condition::Source(source)) => Some(*source),
        _ => None,
    })?;
    (source == Cidr::host(source.address())).then(|| source.address())
}

fn destination(rule: &Rule) -> Option<Cidr> {
    rule.matches.iter().find_map(|found| match found {
        Match::Is(Condition::Destination(destination)) => Some(*destination),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
