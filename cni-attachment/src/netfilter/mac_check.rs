//! The check of source MAC addresses (`macspoofchk`): only frames with the container's own address
//! pass the bridge. Table, chains, rules and comments are the reference's.
//!
//! ```text
//! table bridge nat {
//!     chain PREROUTING {
//!         type filter hook prerouting priority dstnat; policy accept;
//!         iifname "veth1" jump cni-br-iface-ID-eth0 comment "macspoofchk-ID-eth0"
//!     }
//!     chain cni-br-iface-ID-eth0 {
//!         jump cni-br-iface-ID-eth0-mac comment "macspoofchk-ID-eth0"
//!     }
//!     chain cni-br-iface-ID-eth0-mac {
//!         ether saddr 2e:42:1f:b1:d0:b4 return comment "macspoofchk-ID-eth0"
//!         drop comment "macspoofchk-ID-eth0"
//!     }
//! }
//! ```
//! The base chain is shared: ebtables-nft keeps its own rules in a chain of this name and kind. So
//! it is created if it is missing, and else left unchanged with its policy.
//!
//! As in the reference, the chains are named by container id and interface, without the network. So
//! before a removal, the interface that jumps to them is looked up: if it exists and its alias
//! names another attachment, the chains stay. That is the case in the DEL after an ADD that was
//! refused because another network has the interface. DEL ignores the configuration: one look-up by
//! name shows if there is anything to remove.

mod chains;

use super::{Leaving, RuleSet, names::MacCheckNames, refusal};
use crate::{mark::Mark, stale::Stale};
use chains::{BASE_CHAIN, Chains, Jump};
use cni_net::{Errno, NetError, Rtnl, nft::Nft};
use cni_types::{AttachmentId, Code, Error, IfName, MacAddr};

/// The most attempts at a removal while others remove parts of the same.
const REMOVE_ATTEMPTS: u32 = 64;

/// The content of an attachment's check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacCheck {
    /// The host's end of the pair.
    pub host_end: IfName,
    /// The only source address with which its frames pass.
    pub mac: MacAddr,
}

impl MacCheck {
    /// Describes the check of a port.
    ///
    /// # Errors
    /// Fails if the container's interface has no address, or if the port's name contains a quote:
    /// nft(8) prints names between quotes without any escape, and could not read the rule back.
    pub fn new(host_end: &IfName, mac: Option<MacAddr>) -> Result<Self, Error> {
        if host_end.as_str().contains('"') {
            let msg = format!("interface name {host_end} contains a quote");
            return Err(setup_failure(Error::new(Code::INVALID_CONFIG, msg))
                .with_details("nft could not read back rules that name it; rename the interface"));
        }
        let no_mac = || Error::new(Code::KERNEL, "the interface has no MAC address");
        Ok(Self {
            host_end: host_end.clone(),
            mac: mac.ok_or_else(|| setup_failure(no_mac()))?,
        })
    }
}

/// Refuses an attachment whose chains the kernel would refuse, before anything is changed.
///
/// # Errors
/// Fails with code 4 if the names of the chains would be too long.
pub fn require_nameable(id: AttachmentId<'_>) -> Result<(), Error> {
    names_of(id).map(drop)
}

fn names_of(id: AttachmentId<'_>) -> Result<MacCheckNames, Error> {
    MacCheckNames::of(id).ok_or_else(|| {
        let cause = Error::new(
            Code::INVALID_ENVIRONMENT,
            "the name of the nftables chain would be too long",
        );
        setup_failure(cause).with_details(format!(
            "CNI_CONTAINERID and CNI_IFNAME have {} bytes together, and may have {} with \
             macspoofchk",
            id.container_id.len() + id.if_name.len(),
            MacCheckNames::MAX_IDENTITY
        ))
    })
}

/// Checks of source MAC addresses in nf_tables.
pub struct MacChecks<'a> {
    chains: Chains<'a>,
}

impl RuleSet for MacChecks<'_> {
    type Spec = MacCheck;

    /// Creates the check, and replaces that of an earlier attachment of the same name. Deletes
    /// nothing else, so nothing waits for RCU.
    fn create(&mut self, id: AttachmentId<'_>, check: &MacCheck) -> Result<(), Error> {
        let names = names_of(id)?;
        let outcome = match self.chains.create(&names, check) {
            Err(e) if e.is_exists() => {
                self.remove_present(id, &names).map_err(setup_failure)?;
                self.chains.create(&names, check)
            }
            // The base chain was removed by another program since it was looked up.
            Err(e) if e.is_absent() => self.chains.create(&names, check),
            outcome => outcome,
        };
        outcome.map_err(|e| self.refused(&names, e))
    }

    fn differences(
        &mut self,
        id: AttachmentId<'_>,
        check: &MacCheck,
    ) -> Result<Vec<String>, Error> {
        let Some(names) = MacCheckNames::of(id) else {
            return Ok(Vec::new());
        };
        let state = self.chains.state(&names)?;
        let chain = &names.chain;
        let host_end = check.host_end.as_str();
        let mut differences = Vec::new();
        if !state.host_ends.iter().any(|name| name == host_end) {
            differences.push(format!(
                "macspoofchk rules missing: frames from [{}] are checked by chain {chain}, wanted \
                 {host_end}",
                state.host_ends.join(" ")
            ));
        }
        if !(state.leads_on && state.drops_others) {
            differences.push(format!(
                "macspoofchk rules missing: chain {chain} drops no frame"
            ));
        }
        if state.allowed != [check.mac] {
            let allowed: Vec<String> = state.allowed.iter().map(MacAddr::to_string).collect();
            differences.push(format!(
                "macspoofchk lets frames from [{}] pass, wanted [{}] of interface {}",
                allowed.join(" "),
                check.mac,
                id.if_name
            ));
        }
        Ok(differences)
    }

    /// Removes the check; a single look-up if none exists.
    fn remove(&mut self, id: AttachmentId<'_>, _: Leaving<'_>) -> Result<(), Error> {
        let all = [MacCheckNames::of(id), MacCheckNames::of_reference(id)];
        let remove = |names| self.remove_if_present(id, names);
        Error::join(all.iter().flatten().map(remove)).map_err(teardown_failure)
    }

    /// Removes stale checks, including jumps from interfaces that are gone. An existing interface
    /// without an alias keeps its rules: it is the reference's, of an unknown network.
    fn remove_stale(&mut self, stale: &Stale<'_>) -> Result<(), Error> {
        // The rules are read before the links, since an interface exists before its rules.
        let jumps = self.chains.jumps()?;
        if jumps.is_empty() {
            return Ok(());
        }
        let links = Rtnl::open()?.links()?;
        let is_stale = |jump: &Jump| {
            let link = links
                .iter()
                .find(|link| link.name == jump.host_end.as_str());
            link.is_none_or(|link| Mark::of(link).is_some_and(|mark| stale.has(&mark)))
        };
        let (mut leaving, living): (Vec<_>, Vec<_>) = jumps.into_iter().partition(is_stale);
        let mut outcomes = Vec::new();
        while let Some(names) = leaving.first().map(Jump::names) {
            let leads_there = |jump: &Jump| jump.leads_to(&names);
            let (of_one, rest): (Vec<_>, Vec<_>) = leaving.into_iter().partition(leads_there);
            leaving = rest;
            let shared = living.iter().any(|jump| jump.leads_to(&names));
            let outcome = self.remove_jumps(&names, &of_one, shared);
            outcomes.push(NetError::absent_is_ok(outcome));
        }
        Error::join(outcomes).map_err(teardown_failure)
    }
}

/// Adds the check of an attachment, with a connection of its own.
///
/// # Errors
/// Fails if it cannot be written, as [`MacChecks::create`] does.
pub fn create(id: AttachmentId<'_>, check: &MacCheck) -> Result<(), Error> {
    let mut nft = open().map_err(setup_failure)?;
    MacChecks::new(&mut nft).create(id, check)
}

/// Connects to the kernel's nf_tables.
///
/// # Errors
/// Fails if the kernel has no nf_tables.
pub fn open() -> Result<Nft, Error> {
    Nft::open().map_err(refusal)
}

/// Checks that a check could be added, and changes nothing.
///
/// # Errors
/// Fails if the kernel has no nf_tables.
pub fn require() -> Result<(), Error> {
    open()?.probe().map_err(refusal)
}

/// Removes the check of an attachment, if there is one.
///
/// # Errors
/// Fails if a part of it may be left.
pub fn remove(nft: &mut Nft, id: AttachmentId<'_>) -> Result<(), Error> {
    MacChecks::new(nft).remove(id, &|_| true)
}

impl<'a> MacChecks<'a> {
    /// Gives access to the checks over this connection.
    #[must_use]
    pub fn new(nft: &'a mut Nft) -> Self {
        Self {
            chains: Chains::new(nft),
        }
    }

    fn remove_if_present(
        &mut self,
        id: AttachmentId<'_>,
        names: &MacCheckNames,
    ) -> Result<(), Error> {
        if !self.chains.has(&names.chain)? {
            return Ok(());
        }
        self.remove_present(id, names)
    }

    fn remove_present(&mut self, id: AttachmentId<'_>, names: &MacCheckNames) -> Result<(), Error> {
        let mut host = Rtnl::open()?;
        for _ in 0..REMOVE_ATTEMPTS {
            let mut own = Vec::new();
            let mut others = Vec::new();
            for jump in self.chains.jumps_to(names)? {
                if is_anothers(&mut host, &jump, id)? {
                    others.push(jump)
                } else {
                    own.push(jump)
                }
            }
            match self.remove_jumps(names, &own, !others.is_empty()) {
                Err(e) if e.is_absent() => {}
                outcome => return Ok(outcome?),
            }
        }
        let text = format!(
            "rules of {} that no other process removes at the same time",
            names.chain
        );
        Err(NetError::TimedOut(text).into())
    }

    /// Removes jumps, and the chains unless other rules jump to them.
    fn remove_jumps(
        &mut self,
        names: &MacCheckNames,
        jumps: &[Jump],
        shared: bool,
    ) -> Result<(), NetError> {
        if shared {
            return self.chains.remove_jumps(jumps);
        }
        match self.chains.remove(names, jumps) {
            // A rule of unknown owner jumps to the chains, so they stay.
            Err(e) if e.errno() == Some(Errno::EBUSY) => Ok(()),
            outcome => outcome,
        }
    }

    /// Returns a refusal with its reason, which the kernel's error number may not show.
    fn refused(&mut self, names: &MacCheckNames, cause: NetError) -> Error {
        // For a base chain of another kind, Linux 6.1 reports EEXIST, and later ones EOPNOTSUPP.
        let of_base = cause.object() == Some(BASE_CHAIN);
        let details = match cause.errno() {
            Some(Errno::EEXIST) if !of_base => Some(self.in_use(names)),
            Some(Errno::EEXIST | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::ENOENT) => {
                Some(self.unsupported_reason().to_owned())
            }
            _ => None,
        };
        let error = setup_failure(refusal(cause));
        match details {
            Some(details) => error.with_details(details),
            None => error,
        }
    }

    fn in_use(&mut self, names: &MacCheckNames) -> String {
        let jumps = self.chains.jumps_to(names).unwrap_or_default();
        let holders: Vec<String> = jumps.into_iter().map(|jump| jump.host_end).collect();
        format!(
            "chain {} of table bridge nat is in use for another attachment, by [{}]; container id \
             and interface name must differ from those of others",
            names.chain,
            holders.join(" ")
        )
    }

    fn unsupported_reason(&mut self) -> &'static str {
        if self.chains.has(BASE_CHAIN).unwrap_or_default() {
            "table bridge nat has a chain PREROUTING of another kind, wanted type filter hook \
             prerouting priority -300; remove or rename it"
        } else {
            "macspoofchk needs nf_tables for the bridge family in the kernel \
             (CONFIG_NF_TABLES_BRIDGE)"
        }
    }
}

/// Returns true if the interface of a jump exists and its alias names another attachment. The
/// reference's interfaces have no alias; then the chain's name alone decides.
fn is_anothers(host: &mut Rtnl, jump: &Jump, id: AttachmentId<'_>) -> Result<bool, Error> {
    let Ok(name) = IfName::parse(&jump.host_end) else {
        return Ok(false);
    };
    let link = host.find_link(&name)?;
    let mark = link.as_ref().and_then(Mark::of);
    Ok(mark.is_some_and(|mark| !mark.is_of(id)))
}

fn setup_failure(cause: Error) -> Error {
    cause.context("failed to setup spoof-check")
}

fn teardown_failure(cause: Error) -> Error {
    cause.context("failed to teardown spoof-check")
}
