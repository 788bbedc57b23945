//! Masquerading by nf_tables, with the reference's own table, chains, rules and comments.
//!
//! ```text
//! table inet cni_plugins_masquerade {
//!     chain masq_checks {
//!         ip saddr 10.1.0.5 ip daddr != 10.1.0.0/16 masquerade comment "HASH-HASH, net: …"
//!     }
//!     chain postrouting {
//!         type nat hook postrouting priority srcnat;
//!         ip daddr 224.0.0.0/4 return
//!         ip6 daddr ff00::/8 return
//!         goto masq_checks
//!     }
//! }
//! ```
//! Adding a rule deletes none from a table that is in order: a deletion makes closing the socket
//! wait for RCU (10 ms). A rule belongs to an attachment, identified by the hashes at the start of
//! its comment; never to an address, which may be in use again.

use super::{
    super::{
        Leaving, RuleSet,
        names::{attachment_tag, network_tag, nft_comment},
        refusal,
    },
    Masqueraded, multicast,
};
use crate::stale::Stale;
use cni_net::{
    Family, NetError,
    nft::{
        BaseChain, Condition, Expr, Hook, ListedRule, Nft, Rule, Step, Table, TableFamily,
        Transaction, Verdict, steps,
    },
};
use cni_types::{AttachmentId, AttachmentList, Cidr, Error};
use std::{collections::BTreeMap, net::IpAddr};

const TABLE: Table = Table {
    family: TableFamily::INET,
    name: "cni_plugins_masquerade",
};
const MASQ_CHECKS: &str = "masq_checks";
const POSTROUTING: &str = "postrouting";

/// `srcnat` in nft(8).
const POSTROUTING_CHAIN: BaseChain = BaseChain {
    kind: "nat",
    hook: Hook::Postrouting,
    priority: 100,
};

/// The families, in the order of their rules in the base chain.
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// The most attempts at a removal while others delete some of the same rules.
const REMOVE_ATTEMPTS: u32 = 64;

/// Masquerade rules in nf_tables.
pub struct NftRules<'a> {
    nft: &'a mut Nft,
}

impl RuleSet for NftRules<'_> {
    type Spec = [Cidr];

    /// Masquerades packets from these addresses that leave their networks.
    fn create(&mut self, id: AttachmentId<'_>, addresses: &[Cidr]) -> Result<(), Error> {
        self.add(id, addresses).map_err(refusal)
    }

    fn differences(
        &mut self,
        id: AttachmentId<'_>,
        addresses: &[Cidr],
    ) -> Result<Vec<String>, Error> {
        let tag = attachment_tag(id);
        let rules = self.rules()?;
        let is_own = |rule: &&ListedRule| rule.comment().starts_with(&tag);
        let found = rules.iter().filter(is_own).count();
        let wanted = addresses.len();
        let leads_there = self.leads_to_checks()?;
        Ok(describe(found, wanted, leads_there))
    }

    fn remove(&mut self, id: AttachmentId<'_>, _: Leaving<'_>) -> Result<(), Error> {
        let tag = attachment_tag(id);
        Ok(self.remove_all(|comment| comment.starts_with(&tag))?)
    }

    fn remove_stale(&mut self, stale: &Stale<'_>) -> Result<(), Error> {
        let tags = Tags::of(stale.valid());
        Ok(self.remove_all(|comment| tags.owner(comment) == Owner::Stale)?)
    }
}

impl<'a> NftRules<'a> {
    /// Gives access to the rules over this connection.
    #[must_use]
    pub fn new(nft: &'a mut Nft) -> Self {
        Self { nft }
    }

    /// Returns the differences if the kernel has no nf_tables: all rules are missing.
    pub(super) fn all_missing(addresses: &[Cidr]) -> Vec<String> {
        describe(0, addresses.len(), false)
    }

    /// Masquerades packets from these addresses that leave their networks.
    ///
    /// # Errors
    /// Fails with [`NetError::Lacking`] if the kernel has no nf_tables or no nat in inet tables,
    /// and with its other refusals.
    pub fn add(&mut self, id: AttachmentId<'_>, addresses: &[Cidr]) -> Result<(), NetError> {
        match self.try_add(id, addresses) {
            // After another kind of failure, answers may still arrive on the connection.
            Err(refusal @ NetError::Kernel { .. }) => {
                let lacking = self.nft.probe().and_then(|()| self.nft.probe_inet_nat());
                Err(lacking
                    .err()
                    .filter(NetError::is_missing_feature)
                    .unwrap_or(refusal))
            }
            outcome => outcome,
        }
    }

    fn try_add(&mut self, id: AttachmentId<'_>, addresses: &[Cidr]) -> Result<(), NetError> {
        let mut transaction = Transaction::new();
        if !self.leads_to_checks()? {
            ensure_skeleton(&mut transaction);
        }
        append_rules(&mut transaction, id, addresses);
        self.nft.commit(transaction)
    }

    /// Returns the addresses that a network's rules masquerade, with their attachments.
    ///
    /// # Errors
    /// Fails if the rules cannot be listed.
    pub fn masqueraded<'v>(
        &mut self,
        valid: &'v AttachmentList,
    ) -> Result<Masqueraded<'v>, NetError> {
        let tags = Tags::of(valid);
        let mut found = Masqueraded::default();
        for rule in self.rules()? {
            let owner = tags.owner(&rule.comment());
            let Some(address) = source(&rule) else {
                continue;
            };
            match owner {
                Owner::Valid(id) => {
                    found.valid.insert(address);
                    found.known.insert(id);
                }
                Owner::Stale => {
                    found.stale.insert(address);
                }
                Owner::OtherNetwork => {}
            }
        }
        Ok(found)
    }

    fn rules(&mut self) -> Result<Vec<ListedRule>, NetError> {
        self.nft.rules(TABLE, MASQ_CHECKS)
    }

    fn remove_all(&mut self, is_leaving: impl Fn(&str) -> bool) -> Result<(), NetError> {
        // Another process may delete one of the rules between the list and the transaction, which
        // then fails as a whole; the next list does not have that rule.
        for _ in 0..REMOVE_ATTEMPTS {
            match self.remove_listed(&is_leaving) {
                Err(e) if e.is_absent() => {}
                outcome => return outcome,
            }
        }
        let text = format!("rules of {MASQ_CHECKS} that no other process removes at the same time");
        Err(NetError::TimedOut(text))
    }

    /// Removes rules by their comments, as many in one transaction as the kernel can answer.
    fn remove_listed(&mut self, is_leaving: impl Fn(&str) -> bool) -> Result<(), NetError> {
        let mut leaving = self.rules()?;
        leaving.retain(|rule| is_leaving(&rule.comment()));
        for some in leaving.chunks(Transaction::MAX) {
            let mut transaction = Transaction::new();
            for rule in some {
                transaction.delete_rule(TABLE, MASQ_CHECKS, rule.handle);
            }
            self.nft.commit(transaction)?;
        }
        Ok(())
    }

    /// Returns true if the base chain leads to `masq_checks`: its last rule is the `goto`, behind
    /// the multicast rules.
    fn leads_to_checks(&mut self) -> Result<bool, NetError> {
        let rules = self.nft.rules(TABLE, POSTROUTING)?;
        let last = rules.last().map(ListedRule::effect);
        Ok(rules.len() > FAMILIES.len()
            && matches!(
                last.as_deref(),
                Some([Expr::Verdict(Verdict::Goto(chain) | Verdict::Jump(chain))])
                    if chain == MASQ_CHECKS
            ))
    }
}

fn describe(found: usize, wanted: usize, leads_there: bool) -> Vec<String> {
    let mut differences = Vec::new();
    if found < wanted {
        differences.push(format!(
            "masquerade rules missing: found {found}, wanted {wanted}"
        ));
    }
    if !leads_there {
        differences.push(format!(
            "table inet {}: chain {POSTROUTING} does not lead to {MASQ_CHECKS}",
            TABLE.name
        ));
    }
    differences
}

/// The attachment of a rule, as seen by one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner<'a> {
    Valid(AttachmentId<'a>),
    /// An invalid attachment of the network.
    Stale,
    OtherNetwork,
}

/// The starts of the comments of a network's rules.
struct Tags<'a> {
    network: String,
    valid: BTreeMap<String, AttachmentId<'a>>,
}

impl<'a> Tags<'a> {
    fn of(valid: &'a AttachmentList) -> Self {
        Self {
            network: network_tag(valid.network()),
            valid: valid.iter().map(|id| (attachment_tag(id), id)).collect(),
        }
    }

    /// Returns the owner of a rule with this comment.
    fn owner(&self, comment: &str) -> Owner<'a> {
        let tag = comment.split(',').next().unwrap_or_default();
        match self.valid.get(tag) {
            Some(id) => Owner::Valid(*id),
            None if tag.starts_with(&self.network) => Owner::Stale,
            None => Owner::OtherNetwork,
        }
    }
}

/// Brings table and chains into the wanted state from any other. Concurrent processes that do this
/// leave the same state.
fn ensure_skeleton(transaction: &mut Transaction) {
    transaction.ensure_table(TABLE);
    transaction.ensure_chain(TABLE, MASQ_CHECKS, None);
    transaction.ensure_chain(TABLE, POSTROUTING, Some(POSTROUTING_CHAIN));
    transaction.flush_chain(TABLE, POSTROUTING);
    for family in FAMILIES {
        let rule = [
            Condition::Family(family).holds(),
            Condition::Destination(multicast(family)).holds(),
            vec![Expr::Verdict(Verdict::Return)],
        ];
        transaction.append_rule(TABLE, POSTROUTING, &rule.concat().into());
    }
    let goto = Expr::Verdict(Verdict::Goto(MASQ_CHECKS.to_owned()));
    transaction.append_rule(TABLE, POSTROUTING, &vec![goto].into());
}

fn append_rules(transaction: &mut Transaction, id: AttachmentId<'_>, addresses: &[Cidr]) {
    let comment = nft_comment(id);
    for address in addresses {
        let rule = Rule::with_comment(expressions(*address), &comment);
        transaction.append_rule(TABLE, MASQ_CHECKS, &rule);
    }
}

fn expressions(address: Cidr) -> Vec<Expr> {
    let masquerade = Expr::Masquerade {
        flags: 0,
        ports: None,
    };
    [
        Condition::Family(Family::of(address)).holds(),
        Condition::Source(Cidr::host(address.address())).holds(),
        Condition::Destination(address.network()).fails(),
        vec![masquerade],
    ]
    .concat()
}

/// Returns the address from which a rule masquerades.
fn source(rule: &ListedRule) -> Option<IpAddr> {
    let steps = steps(None, &rule.expressions());
    let source = steps.iter().find_map(|step| match step {
        Step::Is(Condition::Source(source)) => Some(*source),
        _ => None,
    })?;
    (source == Cidr::host(source.address())).then(|| source.address())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: AttachmentId<'_> = AttachmentId {
        network: "net",
        container_id: "a",
        if_name: "eth0",
    };

    /// The bytes that earlier versions sent, so that nodes can be upgraded and downgraded.
    #[cfg(target_endian = "little")]
    #[test]
    fn rules_are_the_same_bytes_as_ever() {
        let mut transaction = Transaction::new();
        ensure_skeleton(&mut transaction);
        let addresses = [
            "10.1.0.5/16",
            "10.1.2.3/20",
            "10.1.2.3/32",
            "fd00::5/64",
            "fd00:1:2:3ff::5/61",
        ];
        append_rules(
            &mut transaction,
            ID,
            &addresses.map(|text| text.parse().unwrap()),
        );
        transaction.delete_rule(TABLE, MASQ_CHECKS, 7);
        assert_eq!(transaction.to_hex(), include_str!("nft.hex"));
    }

    #[test]
    fn a_rule_is_of_its_attachment_of_a_stale_one_or_of_another_network() {
        let list = AttachmentList::new("net", [("a", "eth0")]);
        let tags = Tags::of(&list);
        let owner = |id| tags.owner(&nft_comment(id));
        assert_eq!(owner(ID), Owner::Valid(ID));
        let stale = AttachmentId {
            if_name: "eth1",
            ..ID
        };
        assert_eq!(owner(stale), Owner::Stale);
        let elsewhere = AttachmentId {
            network: "net2",
            ..ID
        };
        assert_eq!(owner(elsewhere), Owner::OtherNetwork);
        assert_eq!(tags.owner(""), Owner::OtherNetwork);
    }
}
