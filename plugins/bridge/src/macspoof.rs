//! `macspoofchk`: a container's frames pass the bridge with its own MAC address only.
//!
//! The kernel's chains are named by container id and interface, as the reference names them, and not by the network. So before
//! anything is removed, the interface that leads to them is looked at: where it lives and its alias names another
//! attachment, it stays. That is the DEL after an ADD that was refused because another network has the interface.
//!
//! DEL does not ask the configuration: one look-up by name tells whether there is anything.

use cni_attachment::{mark::Mark, stale::Stale};
use cni_net::{
    Errno, Link, NetError, Rtnl,
    nft::{MacCheck, MacCheckJump, Nft},
};
use cni_types::{AttachmentId, Code, Error, IfName, MacAddr};

/// How often a removal is tried again because another process removed a part of it in between.
const REMOVE_ATTEMPTS: u32 = 64;

/// Refuses, before anything is touched, an attachment whose chains the kernel would refuse.
pub(crate) fn require_nameable(id: AttachmentId<'_>) -> Result<(), Error> {
    check_of(id).map(drop).ok_or_else(|| too_long(id))
}

fn too_long(id: AttachmentId<'_>) -> Error {
    let cause = Error::new(
        Code::INVALID_ENVIRONMENT,
        "the name of the nftables chain would be too long",
    );
    setup_failure(cause).with_details(format!(
        "CNI_CONTAINERID and CNI_IFNAME have {} bytes together, and may have {} with macspoofchk",
        id.container_id.len() + id.if_name.len(),
        MacCheck::MAX_IDENTITY
    ))
}

fn check_of(id: AttachmentId<'_>) -> Option<MacCheck> {
    MacCheck::of(id.container_id, id.if_name)
}

/// Lets frames pass with this address only. What an earlier attachment of the same name left is replaced.
pub(crate) fn create(
    host: &mut Rtnl,
    id: AttachmentId<'_>,
    host_end: &IfName,
    mac: Option<MacAddr>,
) -> Result<(), Error> {
    let check = check_of(id).ok_or_else(|| too_long(id))?;
    require_quotable(host_end)?;
    let mac = mac.ok_or_else(|| {
        setup_failure(Error::new(Code::KERNEL, "the interface has no MAC address"))
    })?;
    let mut nft = Nft::open().map_err(|e| setup_failure(e.into()))?;
    let outcome = match nft.create_mac_check(&check, host_end, mac) {
        Err(e) if e.is_exists() => {
            remove_found(&mut nft, host, id, &check).map_err(setup_failure)?;
            nft.create_mac_check(&check, host_end, mac)
        }
        // Somebody removed the base chain since it was looked up.
        Err(e) if e.is_absent() => nft.create_mac_check(&check, host_end, mac),
        outcome => outcome,
    };
    outcome.map_err(|e| refused(&mut nft, &check, e))
}

/// nft(8) prints the name of the interface between quotes, without any escape, and could not read
/// its own list back.
fn require_quotable(host_end: &IfName) -> Result<(), Error> {
    if !host_end.as_str().contains('"') {
        return Ok(());
    }
    let cause = Error::new(
        Code::INVALID_CONFIG,
        format!("interface name {host_end} contains a quote"),
    );
    Err(setup_failure(cause)
        .with_details("nft could not read back rules that name it; rename the interface"))
}

fn setup_failure(cause: Error) -> Error {
    cause.context("failed to setup spoof-check")
}

/// Says why, where the kernel's error number does not.
fn refused(nft: &mut Nft, check: &MacCheck, cause: NetError) -> Error {
    // Linux 6.1 says EEXIST of a base chain of another kind, where later ones say EOPNOTSUPP.
    let of_base = cause.object() == Some(MacCheck::BASE_CHAIN);
    let details = match cause.errno() {
        Some(Errno::EEXIST) if !of_base => Some(in_use(nft, check)),
        Some(Errno::EEXIST | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::ENOENT) => {
            Some(lack_of_support(nft).to_owned())
        }
        _ => None,
    };
    let error = setup_failure(cause.into());
    details.map_or(error.clone(), |details| error.with_details(details))
}

fn in_use(nft: &mut Nft, check: &MacCheck) -> String {
    let jumps = nft.mac_check_jumps().unwrap_or_default().into_iter();
    let holders: Vec<String> = jumps
        .filter(|jump| jump.leads_to(check))
        .map(|jump| jump.host_end)
        .collect();
    format!(
        "chain {} of table bridge nat is in use for another attachment, by [{}]; container id and interface name must differ from \
         those of others",
        check.chain(),
        holders.join(" ")
    )
}

fn lack_of_support(nft: &mut Nft) -> &'static str {
    if nft.has_mac_check_base().unwrap_or_default() {
        "table bridge nat has a chain PREROUTING of another kind, wanted type filter hook prerouting priority -300; remove or \
         rename it"
    } else {
        "macspoofchk needs nf_tables for the bridge family in the kernel (CONFIG_NF_TABLES_BRIDGE)"
    }
}

/// Removes the attachment's rules and chains, if there are any. One look-up if there are none.
pub(crate) fn remove(nft: &mut Nft, id: AttachmentId<'_>) -> Result<(), Error> {
    let checks = [
        check_of(id),
        MacCheck::of_reference(id.container_id, id.if_name),
    ];
    let outcomes: Vec<_> = checks
        .iter()
        .flatten()
        .map(|check| remove_if_there(nft, id, check))
        .collect();
    Error::join(outcomes).map_err(teardown_failure)
}

fn remove_if_there(nft: &mut Nft, id: AttachmentId<'_>, check: &MacCheck) -> Result<(), Error> {
    if !nft.has_mac_check(check)? {
        return Ok(());
    }
    remove_found(nft, &mut Rtnl::open()?, id, check)
}

fn teardown_failure(cause: Error) -> Error {
    cause.context("failed to teardown spoof-check")
}

fn remove_found(
    nft: &mut Nft,
    host: &mut Rtnl,
    id: AttachmentId<'_>,
    check: &MacCheck,
) -> Result<(), Error> {
    for _ in 0..REMOVE_ATTEMPTS {
        let (mut own, mut others) = (Vec::new(), Vec::new());
        for jump in nft
            .mac_check_jumps()?
            .into_iter()
            .filter(|jump| jump.leads_to(check))
        {
            if is_anothers(host, &jump, id)? {
                others.push(jump)
            } else {
                own.push(jump)
            }
        }
        match remove_jumps(nft, check, &own, !others.is_empty()) {
            Err(e) if e.is_absent() => {}
            outcome => return Ok(outcome?),
        }
    }
    Err(NetError::TimedOut(format!(
        "rules of {} that nobody else removes at the same time",
        check.chain()
    ))
    .into())
}

/// Removes jumps, and the chains too unless others lead to them.
fn remove_jumps(
    nft: &mut Nft,
    check: &MacCheck,
    jumps: &[MacCheckJump],
    shared: bool,
) -> Result<(), NetError> {
    if shared {
        return nft.remove_mac_check_jumps(jumps);
    }
    match nft.remove_mac_check(check, jumps) {
        // A rule that is no attachment's leads there. Whose it is, is not known, so all stays.
        Err(e) if e.errno() == Some(Errno::EBUSY) => Ok(()),
        outcome => outcome,
    }
}

/// Whether the interface that a jump names lives and says that it is another attachment's. The reference's interfaces say
/// nothing; then the chain's name alone counts.
fn is_anothers(host: &mut Rtnl, jump: &MacCheckJump, id: AttachmentId<'_>) -> Result<bool, Error> {
    let Ok(name) = IfName::parse(&jump.host_end) else {
        return Ok(false);
    };
    let link = host.find_link(&name)?;
    Ok(link
        .as_ref()
        .and_then(Mark::of)
        .is_some_and(|mark| !mark.is_of(id)))
}

/// Removes what belongs to attachments of this network that are not valid any more, and what leads from interfaces that are gone.
/// An interface that lives and does not say whose it is keeps its rules: it is the reference's, of any network.
pub(crate) fn remove_stale(nft: &mut Nft, stale: &Stale<'_>) -> Result<(), Error> {
    // Rules before links: an interface is made before its rules.
    let jumps = nft.mac_check_jumps()?;
    if jumps.is_empty() {
        return Ok(());
    }
    let links = Rtnl::open()?.links()?;
    let is_stale = |jump: &MacCheckJump| {
        let link = links
            .iter()
            .find(|link| link.name == jump.host_end.as_str());
        link.is_none_or(|link| Mark::of(link).is_some_and(|mark| stale.has(&mark)))
    };
    let (mut doomed, living): (Vec<_>, Vec<_>) = jumps.into_iter().partition(is_stale);
    let mut failures = Vec::new();
    while let Some(check) = doomed.first().map(MacCheck::behind) {
        let (of_one, rest): (Vec<_>, Vec<_>) =
            doomed.into_iter().partition(|jump| jump.leads_to(&check));
        doomed = rest;
        let shared = living.iter().any(|jump| jump.leads_to(&check));
        failures.extend(
            remove_jumps(nft, &check, &of_one, shared)
                .err()
                .filter(|e| !e.is_absent()),
        );
    }
    Error::join(failures.into_iter().map(Err)).map_err(teardown_failure)
}

/// What is not as ADD left it, for CHECK.
pub(crate) fn differences(
    container_id: &str,
    if_name: &IfName,
    host_end: &Link,
    container: &Link,
) -> Result<Vec<String>, Error> {
    let Some(check) = MacCheck::of(container_id, if_name.as_str()) else {
        return Ok(Vec::new());
    };
    let state = Nft::open()?.mac_check_state(&check)?;
    let mut differences = Vec::new();
    let mut require =
        |holds: bool, difference: String| differences.extend((!holds).then_some(difference));
    require(
        state
            .host_ends
            .iter()
            .any(|end| host_end.name == end.as_str()),
        format!(
            "macspoofchk rules missing: frames from [{}] are checked by chain {}, wanted {}",
            state.host_ends.join(" "),
            check.chain(),
            host_end.name
        ),
    );
    require(
        state.leads_on && state.drops_others,
        format!(
            "macspoofchk rules missing: chain {} drops no frame",
            check.chain()
        ),
    );
    let allowed: Vec<String> = state.allowed.iter().map(MacAddr::to_string).collect();
    let own = container.mac.map(|mac| mac.to_string()).unwrap_or_default();
    require(
        allowed == [own.as_str()],
        format!(
            "macspoofchk lets frames from [{}] pass, wanted [{own}] of interface {if_name}",
            allowed.join(" ")
        ),
    );
    Ok(differences)
}
