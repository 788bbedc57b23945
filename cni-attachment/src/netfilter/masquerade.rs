//! Masquerading by either of two backends, nf_tables and iptables.
//!
//! Rules are added by the configured backend, and searched and removed in both: the node may have
//! run the reference, which uses iptables if that is installed, or may have been configured
//! otherwise. On a node without iptables rules, that costs two requests and two files, and runs no
//! program.

mod iptables;
mod leaving;
mod nft;

pub use iptables::IptablesRules;
pub use nft::NftRules;

use super::{RuleSet, refusal};
use crate::{Rollback, stale::Stale};
use cni_net::{
    Family, NetError,
    iptables::{Iptables, Tables},
    nft::Nft,
};
use cni_types::{AttachmentId, AttachmentList, Call, Cidr, Detachment, Error, Stop, log};
use leaving::LeavingAddresses;
use std::{collections::BTreeSet, net::IpAddr};

/// The name of the rollback step.
const REMOVING: &str = "removing masquerade rules";

/// The backend of masquerading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// nf_tables, over netlink.
    Nftables,
    /// The program `iptables-restore`.
    Iptables,
}

impl Backend {
    fn other(self) -> Self {
        match self {
            Self::Nftables => Self::Iptables,
            Self::Iptables => Self::Nftables,
        }
    }

    /// Returns the tables in which iptables rules may be. With nf_tables configured, there are
    /// probably none, so unreadable legacy rules of another program are no reason to fail, which
    /// would keep the pod.
    #[must_use]
    pub fn tables(self) -> Tables {
        match self {
            Self::Nftables => Tables::Readable,
            Self::Iptables => Tables::All,
        }
    }
}

/// The configured choice of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendChoice {
    /// This backend.
    Only(Backend),
    /// No choice: nf_tables, or iptables if the kernel's nf_tables lacks a feature and iptables is
    /// installed.
    Automatic,
}

impl BackendChoice {
    /// Returns the backend that is tried first.
    #[must_use]
    pub fn first(self) -> Backend {
        match self {
            Self::Only(backend) => backend,
            Self::Automatic => Backend::Nftables,
        }
    }

    /// Returns true if iptables replaces nf_tables: the kernel lacks a feature that nf_tables
    /// needs, no backend is configured, and iptables is installed.
    pub fn falls_back(self, refusal: &NetError, has_iptables: impl FnOnce() -> bool) -> bool {
        self == Self::Automatic && refusal.is_missing_feature() && has_iptables()
    }
}

/// The masqueraded addresses of a network, compared with its valid attachments: they relate an
/// address to an attachment that left no other record of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Masqueraded<'a> {
    /// Addresses whose rules belong to stale attachments.
    pub stale: BTreeSet<IpAddr>,
    /// Addresses whose rules belong to valid attachments.
    pub valid: BTreeSet<IpAddr>,
    /// The valid attachments whose addresses the rules show unambiguously.
    pub known: BTreeSet<AttachmentId<'a>>,
}

impl Masqueraded<'_> {
    /// Returns the union of both.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        self.stale.extend(other.stale);
        self.valid.extend(other.valid);
        self.known.extend(other.known);
        self
    }
}

/// Returns the multicast network, packets to which are not masqueraded.
#[expect(clippy::expect_used, reason = "the texts are networks")]
fn multicast(family: Family) -> Cidr {
    let text = match family {
        Family::V4 => "224.0.0.0/4",
        Family::V6 => "ff00::/8",
    };
    text.parse().expect("a network")
}

/// The masquerade rules of a request, in both backends.
#[derive(Clone, Copy)]
pub struct Masquerade<'a> {
    plugin: &'static str,
    call: &'a Call,
}

impl<'a> Masquerade<'a> {
    /// Gives access to the rules for a request to this plugin.
    #[must_use]
    pub fn new(plugin: &'static str, call: &'a Call) -> Self {
        Self { plugin, call }
    }

    fn iptables<'b>(
        &self,
        nft: Option<&'b mut Nft>,
        tables: Tables,
        stop: &'b Stop,
    ) -> IptablesRules<'b>
    where
        'a: 'b,
    {
        IptablesRules::new(Iptables::new(nft, tables, self.call.environment(), stop))
    }

    /// Adds the rules of an attachment, which a rollback removes.
    ///
    /// # Errors
    /// Fails if they cannot be written.
    pub fn create(
        self,
        id: AttachmentId<'a>,
        choice: BackendChoice,
        addresses: &[Cidr],
        rollback: &mut Rollback<'a>,
    ) -> Result<(), Error> {
        if choice.first() == Backend::Iptables {
            return self.create_by_iptables(id, addresses, rollback);
        }
        match create_by_nftables(id, addresses, rollback) {
            Err(e) if choice.falls_back(&e, || self.has_iptables()) => {
                log::warn(
                    self.plugin,
                    format_args!("masquerading by iptables, for {e}"),
                );
                self.create_by_iptables(id, addresses, rollback)
            }
            outcome => outcome.map_err(refusal),
        }
    }

    fn create_by_iptables(
        self,
        id: AttachmentId<'a>,
        addresses: &[Cidr],
        rollback: &mut Rollback<'a>,
    ) -> Result<(), Error> {
        let mut nft = Nft::open_if_there()?;
        let wanted = addresses.to_vec();
        // Registered first: a creation that fails, is stopped or is killed may be done in part.
        rollback.on_failure(REMOVING, move || self.remove_created(id, &wanted));
        self.iptables(nft.as_mut(), Tables::All, &self.call.stop)
            .create(id, addresses)
    }

    fn has_iptables(&self) -> bool {
        self.require_program().is_ok()
    }

    /// Finds the program that adds rules by iptables, and does not run it.
    ///
    /// # Errors
    /// Fails if it is not installed.
    pub fn require_program(&self) -> Result<(), Error> {
        Iptables::require_program(self.call.environment()).map_err(refusal)
    }

    /// Checks that rules could be added, and changes nothing.
    ///
    /// # Errors
    /// Fails if the kernel or the host lacks a required part.
    pub fn require(&self, choice: BackendChoice) -> Result<(), Error> {
        if choice.first() == Backend::Iptables {
            return self.require_program();
        }
        match require_nftables() {
            Err(e) if choice.falls_back(&e, || self.has_iptables()) => Ok(()),
            outcome => outcome.map_err(refusal),
        }
    }

    fn remove_created(&self, id: AttachmentId<'_>, addresses: &[Cidr]) -> Result<(), Error> {
        let mut nft = Nft::open_if_there()?;
        let stop = Stop::never();
        let is_leaving = |address| addresses.iter().any(|own| own.address() == address);
        self.iptables(nft.as_mut(), Tables::All, &stop)
            .remove(id, &is_leaving)
    }

    /// Removes the rules of an attachment, in both backends.
    ///
    /// # Errors
    /// Fails if some of its rules may be left.
    pub fn remove(
        &self,
        mut nft: Option<&mut Nft>,
        detachment: &Detachment,
        tables: Tables,
    ) -> Result<(), Error> {
        let id = detachment.id(&self.call.network);
        let addresses = LeavingAddresses::of(self.call, detachment);
        let is_leaving = |address| addresses.contains(address);
        let by_nft = match &mut nft {
            Some(nft) => NftRules::new(nft).remove(id, &is_leaving),
            None => Ok(()),
        };
        let mut iptables = self.iptables(nft, tables, &self.call.stop);
        let by_iptables = iptables.remove(id, &is_leaving);
        if let Some(e) = iptables.unread() {
            let warning = format_args!("the legacy table nat was not looked into: {e}");
            log::warn(self.plugin, warning);
        }
        Error::join([by_nft, by_iptables])
    }

    /// Returns the deviations of the rules for these addresses. Rules of either backend suffice.
    ///
    /// # Errors
    /// Fails if the rules cannot be read.
    pub fn differences(
        &self,
        id: AttachmentId<'_>,
        backend: Backend,
        addresses: &[Cidr],
    ) -> Result<Vec<String>, Error> {
        let mut nft = Nft::open_if_there()?;
        let of_configured = self.differences_of(backend, &mut nft, id, backend, addresses)?;
        if of_configured.is_empty() {
            return Ok(Vec::new());
        }
        let of_other = self.differences_of(backend.other(), &mut nft, id, backend, addresses)?;
        Ok(if of_other.is_empty() {
            Vec::new()
        } else {
            of_configured
        })
    }

    fn differences_of(
        &self,
        way: Backend,
        nft: &mut Option<Nft>,
        id: AttachmentId<'_>,
        configured: Backend,
        addresses: &[Cidr],
    ) -> Result<Vec<String>, Error> {
        match (way, nft) {
            (Backend::Nftables, Some(nft)) => NftRules::new(nft).differences(id, addresses),
            (Backend::Nftables, None) => Ok(NftRules::all_missing(addresses)),
            (Backend::Iptables, nft) => self
                .iptables(nft.as_mut(), configured.tables(), &self.call.stop)
                .differences(id, addresses),
        }
    }

    /// Returns the addresses that the network's rules masquerade in either backend, with their
    /// attachments.
    ///
    /// # Errors
    /// Fails if rules cannot be read.
    pub fn masqueraded<'v>(
        &self,
        mut nft: Option<&mut Nft>,
        valid: &'v AttachmentList,
    ) -> Result<Masqueraded<'v>, Error> {
        let by_nft = match &mut nft {
            Some(nft) => NftRules::new(nft).masqueraded(valid)?,
            None => Masqueraded::default(),
        };
        let mut iptables = self.iptables(nft, Tables::All, &self.call.stop);
        Ok(by_nft.merged(iptables.masqueraded(valid)?))
    }

    /// Removes the rules of stale attachments, in both backends.
    ///
    /// # Errors
    /// Fails if some of these rules may be left.
    pub fn remove_stale(&self, mut nft: Option<&mut Nft>, stale: &Stale<'_>) -> Result<(), Error> {
        let by_nft = match &mut nft {
            Some(nft) => NftRules::new(nft).remove_stale(stale),
            None => Ok(()),
        };
        let by_iptables = self
            .iptables(nft, Tables::All, &self.call.stop)
            .remove_stale(stale);
        Error::join([by_nft, by_iptables])
    }
}

fn require_nftables() -> Result<(), NetError> {
    let mut nft = Nft::open()?;
    nft.probe()?;
    nft.require_inet_nat()
}

fn create_by_nftables<'a>(
    id: AttachmentId<'a>,
    addresses: &[Cidr],
    rollback: &mut Rollback<'a>,
) -> Result<(), NetError> {
    let mut nft = Nft::open()?;
    // Registered first: if the kernel's answer is lost, the rules may exist.
    rollback.on_failure(REMOVING, move || match Nft::open_if_there()? {
        Some(mut nft) => NftRules::new(&mut nft).remove(id, &|_| true),
        None => Ok(()),
    });
    NftRules::new(&mut nft).add(id, addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_net::Feature;

    #[test]
    fn iptables_is_taken_if_the_kernel_cannot_and_the_backend_is_left_out() {
        let refusal = || NetError::TimedOut("the kernel".to_owned());
        let automatic = BackendChoice::Automatic;
        for feature in [Feature::InetNat, Feature::NfTables] {
            let lacking = NetError::Lacking {
                feature,
                source: Box::new(refusal()),
            };
            assert!(automatic.falls_back(&lacking, || true));
            assert!(!automatic.falls_back(&lacking, || false));
            let only = BackendChoice::Only(Backend::Nftables);
            assert!(!only.falls_back(&lacking, || true));
        }
        assert!(!automatic.falls_back(&refusal(), || true));
    }
}
