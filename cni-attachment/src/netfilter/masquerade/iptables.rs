//! Masquerading by iptables, in the reference's own chains, rules and comments.
//!
//! ```text
//! -A POSTROUTING -s 10.1.0.5/32 COMMENT -j CNI-0123456789abcdef01234567
//! -A CNI-0123456789abcdef01234567 -d 10.1.0.0/16 COMMENT -j ACCEPT
//! -A CNI-0123456789abcdef01234567 ! -d 224.0.0.0/4 COMMENT -j MASQUERADE
//! ```
//! with `-m comment --comment "name: \"NETWORK\" id: \"ID\""` for COMMENT.
//!
//! A chain belongs to a network and a container, not to an interface: two attachments of a
//! container to one network share it. So jumps to it are removed by address, and the chain after
//! its last jump.

mod plan;

use super::{
    super::{Leaving, RuleSet, names::xt_chain, refusal},
    Masqueraded,
};
use crate::stale::Stale;
use cni_net::{
    Family, NetError,
    iptables::{Contents, HostTable, Iptables, Table},
};
use cni_types::{AttachmentId, AttachmentList, Cidr, Error};
use plan::{POSTROUTING, addition, masquerades, owners, removal, stale_removal};

/// Masquerade rules in iptables.
pub struct IptablesRules<'a> {
    iptables: Iptables<'a>,
}

impl RuleSet for IptablesRules<'_> {
    type Spec = [Cidr];

    /// Masquerades packets from these addresses that leave their networks, by one run of
    /// `iptables-restore` for each family. After a failure, the rules of one family may exist.
    fn create(&mut self, id: AttachmentId<'_>, addresses: &[Cidr]) -> Result<(), Error> {
        for family in [Family::V4, Family::V6] {
            let of_family = |address: &Cidr| Family::of(*address) == family;
            let own: Vec<Cidr> = addresses.iter().copied().filter(of_family).collect();
            if own.is_empty() {
                continue;
            }
            let mut present = Contents::default();
            let tables = HostTable::all(Table::Nat).into_iter();
            for table in tables.filter(|table| table.family == family) {
                present.rules.extend(self.around(table, id)?.rules);
            }
            self.iptables
                .restore(family, addition(id, family, &own, &present))
                .map_err(refusal)?;
        }
        Ok(())
    }

    fn differences(
        &mut self,
        id: AttachmentId<'_>,
        addresses: &[Cidr],
    ) -> Result<Vec<String>, Error> {
        let missing = self.missing(id, addresses)?;
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = addresses.len();
        let found = addresses.len() - missing.len();
        let missing: Vec<String> = missing.iter().map(Cidr::to_string).collect();
        Ok(vec![format!(
            "masquerade rules missing: found {found}, wanted {wanted}; iptables has none for {}",
            missing.join(", ")
        )])
    }

    /// Removes the jumps from leaving addresses to the attachment's chain, and the chain after its
    /// last jump.
    fn remove(&mut self, id: AttachmentId<'_>, leaving: Leaving<'_>) -> Result<(), Error> {
        let chain = xt_chain(id);
        let plan = |iptables: &mut Iptables<'_>, table| {
            let contents = iptables.read_around(table, &chain, &[POSTROUTING])?;
            Ok(removal(&contents, &chain, leaving))
        };
        self.iptables.remove(Table::Nat, plan).map_err(refusal)
    }

    /// Removes the chains of the network's containers without a valid attachment, and the jumps to
    /// them.
    fn remove_stale(&mut self, stale: &Stale<'_>) -> Result<(), Error> {
        let plan = |iptables: &mut Iptables<'_>, table| {
            Ok(stale_removal(&iptables.read(table)?, stale.valid()))
        };
        self.iptables.remove(Table::Nat, plan).map_err(refusal)
    }
}

impl<'a> IptablesRules<'a> {
    /// Gives access to the rules in these tables.
    #[must_use]
    pub fn new(iptables: Iptables<'a>) -> Self {
        Self { iptables }
    }

    /// Returns the reason why a legacy table could not be read, if that was no error.
    #[must_use]
    pub fn unread(&self) -> Option<&NetError> {
        self.iptables.unread()
    }

    /// Returns the addresses that a network's rules masquerade, with their attachments.
    ///
    /// # Errors
    /// Fails if a table cannot be read.
    pub fn masqueraded<'v>(
        &mut self,
        valid: &'v AttachmentList,
    ) -> Result<Masqueraded<'v>, NetError> {
        let mut found = Masqueraded::default();
        for table in HostTable::all(Table::Nat) {
            found = found.merged(owners(&self.iptables.read(table)?, valid));
        }
        Ok(found)
    }

    /// Returns the addresses that the attachment's rules do not masquerade.
    fn missing(&mut self, id: AttachmentId<'_>, addresses: &[Cidr]) -> Result<Vec<Cidr>, NetError> {
        let chain = xt_chain(id);
        let mut missing = addresses.to_vec();
        for table in HostTable::all(Table::Nat) {
            let is_of_table = |address: &Cidr| Family::of(*address) == table.family;
            if missing.iter().any(is_of_table) {
                let contents = self.around(table, id)?;
                missing.retain(|address| !masquerades(&contents, &chain, *address));
            }
        }
        Ok(missing)
    }

    fn around(&mut self, table: HostTable, id: AttachmentId<'_>) -> Result<Contents, NetError> {
        self.iptables
            .read_around(table, &xt_chain(id), &[POSTROUTING])
    }
}
