//! The check of source MAC addresses (`macspoofchk`): a container's frames pass the bridge with its
//! own address only. In the reference's own table, chains, rules and comments.
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
//! The base chain is not ours alone: ebtables-nft keeps its own rules in a chain of this name and
//! kind. So it is made if it is missing and else left as it is, with its policy.
//!
//! The chains are named by container id and interface, as the reference names them, and not by the
//! network. So before anything is removed, the interface that leads to them is looked at: if it
//! lives and its alias names another attachment, it stays. That is the DEL after an ADD that was
//! refused because another network has the interface. DEL does not ask the configuration: one
//! look-up by name says if there is anything.

mod chains;

use super::{Leaving, RuleSet, names::MacCheckNames, refusal};
use crate::{mark::Mark, stale::Stale};
use chains::{BASE_CHAIN, Chains, Jump};
use cni_net::{Errno, NetError, Rtnl, nft::Nft};
use cni_types::{AttachmentId, Code, Error, IfName, MacAddr};

/// The most attempts at a removal while others remove parts of the same, too.
const REMOVE_ATTEMPTS: u32 = 64;

/// The content of an attachment's check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacCheck {
    /// The host's end of the pair.
    pub host_end: IfName,
    /// The address with which its frames pass.
    pub mac: MacAddr,
}

impl MacCheck {
    /// The check of a port.
    ///
    /// # Errors
    /// Fails if the container's interface has no address, or if nft(8) could not read back a rule
    /// that names the port: it prints the name between quotes, without any escape.
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

/// Refuses, before anything is touched, an attachment whose chains the kernel would refuse.
///
/// # Errors
/// Code 4 if the names of the chains would be too long.
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

    /// Lets frames pass with this address only. What an earlier attachment of the same name left is
    /// replaced. Deletes nothing else, so nothing waits for RCU.
    fn create(&mut self, id: AttachmentId<'_>, check: &MacCheck) -> Result<(), Error> {
        let names = names_of(id)?;
        let outcome = match self.chains.create(&names, check) {
            Err(e) if e.is_exists() => {
                self.remove_present(id, &names).map_err(setup_failure)?;
                self.chains.create(&names, check)
            }
            // Somebody removed the base chain since it was looked up.
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

    /// One look-up if there are none.
    fn remove(&mut self, id: AttachmentId<'_>, _: Leaving<'_>) -> Result<(), Error> {
        let all = [MacCheckNames::of(id), MacCheckNames::of_reference(id)];
        let remove = |names| self.remove_if_present(id, names);
        Error::join(all.iter().flatten().map(remove)).map_err(teardown_failure)
    }

    /// Removes what leads from interfaces that are gone, too. An interface that lives and does not
    /// say whose it is keeps its rules: it is the reference's, of any network.
    fn remove_stale(&mut self, stale: &Stale<'_>) -> Result<(), Error> {
        // Rules before links: an interface is made before its rules.
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

/// Adds the check of an attachment, over a connection of its own.
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

/// Finds out if checks could be added, and changes nothing.
///
/// # Errors
/// Fails if the kernel has no nf_tables.
pub fn require() -> Result<(), Error> {
    open()?.probe().map_err(refusal)
}

/// Removes the check of an attachment, if there is one.
///
/// # Errors
/// Fails if some of it may be left.
pub fn remove(nft: &mut Nft, id: AttachmentId<'_>) -> Result<(), Error> {
    MacChecks::new(nft).remove(id, &|_| true)
}

impl<'a> MacChecks<'a> {
    /// The checks that this connection reaches.
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
            "rules of {} that nobody else removes at the same time",
            names.chain
        );
        Err(NetError::TimedOut(text).into())
    }

    /// Removes jumps, and the chains too unless others lead to them.
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
            // A rule that is no attachment's leads there. Whose it is, is not known, so all stays.
            Err(e) if e.errno() == Some(Errno::EBUSY) => Ok(()),
            outcome => outcome,
        }
    }

    /// Returns a refusal with its reason, if the kernel's error number does not say it.
    fn refused(&mut self, names: &MacCheckNames, cause: NetError) -> Error {
        // Linux 6.1 says EEXIST of a base chain of another kind, where later ones say EOPNOTSUPP.
        let of_base = cause.object() == Some(BASE_CHAIN);
        let details = match cause.errno() {
            Some(Errno::EEXIST) if !of_base => Some(self.in_use(names)),
            Some(Errno::EEXIST | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::ENOENT) => {
                Some(self.lack_of_support().to_owned())
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

    fn lack_of_support(&mut self) -> &'static str {
        if self.chains.has(BASE_CHAIN).unwrap_or_default() {
            "table bridge nat has a chain PREROUTING of another kind, wanted type filter hook \
             prerouting priority -300; remove or rename it"
        } else {
            "macspoofchk needs nf_tables for the bridge family in the kernel \
             (CONFIG_NF_TABLES_BRIDGE)"
        }
    }
}

/// Returns true if the interface that a jump names lives and says that it is another attachment's.
/// The reference's interfaces say nothing; then the chain's name alone counts.
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
