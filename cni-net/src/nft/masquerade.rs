//! Masquerading, in the reference's own table, chains, rules and comments, so that either can remove what the
//! other added.
//!
//! ```text
//! table inet cni_plugins_masquerade {
//!     chain masq_checks {
//!         ip saddr 10.1.0.5 ip daddr != 10.1.0.0/16 masquerade comment "HASH-HASH, net: N, if: I, id: C"
//!     }
//!     chain postrouting {
//!         type nat hook postrouting priority srcnat;
//!         ip daddr 224.0.0.0/4 return
//!         ip6 daddr ff00::/8 return
//!         goto masq_checks
//!     }
//! }
//! ```
//! Adding a rule never deletes one on a table that is in order: a delete makes the closing of the socket wait for
//! RCU (10 ms). A rule belongs to an attachment, by the hashes at the start of its comment; never to an
//! address, which may be in use again.

use super::{
    Nft,
    batch::{BaseChain, Table, Transaction, rules_request},
    expression::{Field, is_family, masquerade, matches, verdict},
    listed::{expressions, handle_and_comment},
    naming::{hash16, quotable},
    nat,
};
use crate::{
    error::{Feature, NetError},
    masqueraded::Masqueraded,
    netlink::{Answer, REQUESTS_AT_ONCE},
    sysctl::Family,
};
use cni_types::{AttachmentId, AttachmentList, Cidr, ValidAttachments};
use netlink_packet_netfilter::{
    NetfilterProtoFamily,
    nftables::{InetHookNumber, Operator, Verdict},
};
use nix::errno::Errno;
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

const TABLE: Table = Table {
    family: NetfilterProtoFamily::Inet,
    name: "cni_plugins_masquerade",
};
const MASQ_CHECKS: &str = "masq_checks";
const POSTROUTING: &str = "postrouting";

/// `srcnat` in nft(8).
const POSTROUTING_CHAIN: BaseChain = BaseChain {
    kind: "nat",
    hook: InetHookNumber::PostRouting,
    priority: 100,
};

/// Multicast is not masqueraded.
const MULTICAST: [(IpAddr, u8); 2] = [
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 0)), 4),
    (IpAddr::V6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0)), 8),
];

/// The longest comment that nft(8) takes, in bytes.
const MAX_COMMENT: usize = 128;

/// How often a list of rules is taken again because another process deleted some of them.
const REMOVE_ATTEMPTS: u32 = 64;

/// Returns the text that the comments of the attachment's rules begin with.
fn mark(id: AttachmentId<'_>) -> String {
    format!(
        "{}-{}",
        hash16(id.network),
        hash16(&format!("{}:{}", id.if_name, id.container_id))
    )
}

fn comment(id: AttachmentId<'_>) -> String {
    let mut comment = format!(
        "{}, net: {}, if: {}, id: {}",
        mark(id),
        id.network,
        quotable(id.if_name),
        id.container_id
    );
    // An interface name need not be ASCII.
    let end = (0..=MAX_COMMENT)
        .rev()
        .find(|at| comment.is_char_boundary(*at))
        .unwrap_or(0);
    comment.truncate(end);
    comment
}

/// True for kernels since 5.2, which have nat in inet tables (net/netfilter/nft_chain_nat.c).
fn has_inet_nat(release: &str) -> bool {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|n| n.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(2))
}

/// A rule of `masq_checks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MasqueradeEntry {
    /// The kernel's number for it.
    pub handle: u64,
    /// Its comment; empty where it has none.
    pub comment: String,
}

impl Nft {
    /// Masquerades what leaves the networks of these addresses, coming from them.
    ///
    /// # Errors
    /// [`NetError::Lacking`] if the kernel has no nf_tables or no nat in inet tables; its other
    /// refusals.
    pub fn create_masquerade(
        &mut self,
        id: AttachmentId<'_>,
        addresses: &[Cidr],
    ) -> Result<(), NetError> {
        match self.add_masquerade(id, addresses) {
            // Nothing is known of the answers that are still to come after another failure.
            Err(refusal @ NetError::Kernel { .. }) => {
                let lacking = self.probe().and_then(|()| self.probe_inet_nat());
                Err(lacking.err().filter(NetError::is_lack).unwrap_or(refusal))
            }
            outcome => outcome,
        }
    }

    fn add_masquerade(&mut self, id: AttachmentId<'_>, addresses: &[Cidr]) -> Result<(), NetError> {
        let mut transaction = Transaction::on(TABLE);
        if !self.postrouting_is_in_order()? {
            ensure_skeleton(&mut transaction);
        }
        let comment = comment(id);
        for address in addresses {
            transaction.append_rule(MASQ_CHECKS, rule(*address), Some(&comment));
        }
        transaction.commit(self)
    }

    /// Finds out if [`Self::create_masquerade`] can have its chain, and changes nothing.
    ///
    /// # Errors
    /// [`NetError::Lacking`] if the kernel has no nat in inet tables.
    pub fn require_inet_nat(&mut self) -> Result<(), NetError> {
        // Unknown, the release may be any.
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        if has_inet_nat(&release) {
            Ok(())
        } else {
            self.probe_inet_nat()
        }
    }

    /// A distribution's kernel may have more than its version says. So a chain is made in a
    /// transaction that the kernel takes back, because its last request makes the same chain once
    /// more.
    fn probe_inet_nat(&mut self) -> Result<(), NetError> {
        // A table of its own, since another chain of that name may be the reason.
        let mut transaction = Transaction::on(Table {
            name: "cni_plugins_probe",
            ..TABLE
        });
        transaction.ensure_table();
        transaction.ensure_chain(POSTROUTING, Some(POSTROUTING_CHAIN));
        transaction.create_chain(POSTROUTING);
        match transaction.commit(self) {
            Err(e) if e.is_exists() => Ok(()),
            // nf_tables_api.c: no such chain type (ENOENT), or not for this family (EOPNOTSUPP).
            Err(e) if matches!(e.errno(), Some(Errno::ENOENT | Errno::EOPNOTSUPP)) => {
                Err(NetError::Lacking {
                    feature: Feature::InetNat,
                    source: Box::new(e),
                })
            }
            outcome => outcome,
        }
    }

    /// Removes the owner's rules, and returns how many there were.
    ///
    /// # Errors
    /// Where nf_tables is not to be had, or refuses.
    pub fn remove_masquerade(&mut self, id: AttachmentId<'_>) -> Result<usize, NetError> {
        let mark = mark(id);
        self.remove_entries(|entry| entry.comment.starts_with(&mark))
    }

    /// Removes the rules of a network's attachments that are not among the valid ones.
    ///
    /// # Errors
    /// Where nf_tables is not to be had, or refuses.
    pub fn remove_stale_masquerade(&mut self, valid: &ValidAttachments) -> Result<usize, NetError> {
        let ValidAttachments::Only(valid) = valid else {
            return Ok(0);
        };
        let marks = Marks::of(valid);
        self.remove_entries(|entry| marks.owner(&entry.comment) == RuleOwner::Stale)
    }

    /// Returns the addresses that a network's rules masquerade, and for whom.
    ///
    /// # Errors
    /// Fails if the rules cannot be listed.
    pub fn masqueraded<'a>(
        &mut self,
        valid: &'a AttachmentList,
    ) -> Result<Masqueraded<'a>, NetError> {
        let marks = Marks::of(valid);
        let answers = match self.socket.dump(&rules_request(TABLE, MASQ_CHECKS)) {
            Err(e) if e.errno() == Some(Errno::ENOENT) => Vec::new(),
            answers => answers?,
        };
        let mut found = Masqueraded::default();
        for answer in &answers {
            let Some((_, comment)) = handle_and_comment(answer) else {
                continue;
            };
            let Some(address) = source(answer) else {
                continue;
            };
            match marks.owner(&comment) {
                RuleOwner::Valid(id) => {
                    found.valid.insert(address);
                    found.known.insert(id);
                }
                RuleOwner::Stale => {
                    found.stale.insert(address);
                }
                RuleOwner::OtherNetwork => {}
            }
        }
        Ok(found)
    }

    /// How many rules the owner has, and whether packets are led to them at all.
    ///
    /// # Errors
    /// Where nf_tables is not to be had.
    pub fn count_masquerade(&mut self, id: AttachmentId<'_>) -> Result<(usize, bool), NetError> {
        let mark = mark(id);
        let count = self
            .masquerade_entries()?
            .iter()
            .filter(|entry| entry.comment.starts_with(&mark))
            .count();
        Ok((count, self.postrouting_is_in_order()?))
    }

    /// All rules of `masq_checks`.
    ///
    /// # Errors
    /// Where nf_tables is not to be had.
    pub fn masquerade_entries(&mut self) -> Result<Vec<MasqueradeEntry>, NetError> {
        let answers = self.socket.dump(&rules_request(TABLE, MASQ_CHECKS))?;
        Ok(answers.iter().filter_map(parse_entry).collect())
    }

    fn remove_entries(
        &mut self,
        mut is_stale: impl FnMut(&MasqueradeEntry) -> bool,
    ) -> Result<usize, NetError> {
        let mut removed = 0;
        // Another process may delete one of the rules between the list and the transaction, which then fails whole;
        // the next list is without it.
        for _ in 0..REMOVE_ATTEMPTS {
            match self.remove_listed(&mut is_stale, &mut removed) {
                Err(e) if e.is_absent() => {}
                outcome => return outcome.map(|()| removed),
            }
        }
        let text = format!("rules of {MASQ_CHECKS} that nobody else removes at the same time");
        Err(NetError::TimedOut(text))
    }

    /// Removes stale rules, as many in one transaction as can be answered, and counts them.
    fn remove_listed(
        &mut self,
        is_stale: impl FnMut(&MasqueradeEntry) -> bool,
        removed: &mut usize,
    ) -> Result<(), NetError> {
        let mut stale = self.masquerade_entries()?;
        stale.retain(is_stale);
        for some in stale.chunks(REQUESTS_AT_ONCE) {
            self.delete_rules(some)?;
            *removed += some.len();
        }
        Ok(())
    }

    fn delete_rules(&mut self, entries: &[MasqueradeEntry]) -> Result<(), NetError> {
        let mut transaction = Transaction::on(TABLE);
        entries
            .iter()
            .for_each(|entry| transaction.delete_rule(MASQ_CHECKS, entry.handle));
        transaction.commit(self)
    }

    /// Whether the base chain leads to `masq_checks`: its last rule is the `goto`, and the multicast rules are
    /// before it.
    fn postrouting_is_in_order(&mut self) -> Result<bool, NetError> {
        let rules = self.socket.dump(&rules_request(TABLE, POSTROUTING))?;
        Ok(rules.len() > MULTICAST.len() && rules.last().is_some_and(leads_to_checks))
    }
}

/// Whose a rule is, as seen by one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RuleOwner<'a> {
    Valid(AttachmentId<'a>),
    /// An attachment of the network that is not valid any more.
    Stale,
    OtherNetwork,
}

/// The marks of a network's valid attachments.
struct Marks<'a> {
    /// What the comments of the network's rules begin with.
    network: String,
    valid: BTreeMap<String, AttachmentId<'a>>,
}

impl<'a> Marks<'a> {
    fn of(valid: &'a AttachmentList) -> Self {
        Self {
            network: format!("{}-", hash16(valid.network())),
            valid: valid.iter().map(|id| (mark(id), id)).collect(),
        }
    }

    /// Returns the owner of a rule with this comment.
    fn owner(&self, comment: &str) -> RuleOwner<'a> {
        let mark = comment.split(',').next().unwrap_or_default();
        match self.valid.get(mark) {
            Some(id) => RuleOwner::Valid(*id),
            None if mark.starts_with(&self.network) => RuleOwner::Stale,
            None => RuleOwner::OtherNetwork,
        }
    }
}

/// Table and chains as they should be, whatever is there now. Of several processes that do this at once each leaves
/// the same.
fn ensure_skeleton(transaction: &mut Transaction) {
    transaction.ensure_table();
    transaction.ensure_chain(MASQ_CHECKS, None);
    transaction.ensure_chain(POSTROUTING, Some(POSTROUTING_CHAIN));
    transaction.flush_chain(POSTROUTING);
    for network in MULTICAST
        .iter()
        .filter_map(|(address, prefix)| Cidr::new(*address, *prefix).ok())
    {
        let mut rule = is_family(network.address());
        rule.extend(matches(Field::Destination, Operator::Equal, network));
        rule.push(verdict(Verdict::Return, None));
        transaction.append_rule(POSTROUTING, rule, None);
    }
    transaction.append_rule(
        POSTROUTING,
        vec![verdict(Verdict::Goto, Some(MASQ_CHECKS))],
        None,
    );
}

fn rule(address: Cidr) -> super::batch::Expressions {
    let mut rule = is_family(address.address());
    rule.extend(matches(
        Field::Source,
        Operator::Equal,
        Cidr::host(address.address()),
    ));
    rule.extend(matches(Field::Destination, Operator::NotEqual, address));
    rule.push(masquerade());
    rule
}

pub(super) fn parse_entry(answer: &Answer) -> Option<MasqueradeEntry> {
    let (handle, comment) = handle_and_comment(answer)?;
    Some(MasqueradeEntry { handle, comment })
}

/// Returns the address from which a rule masquerades. A rule of either family reads as one of its
/// own only: the addresses are at other offsets.
fn source(answer: &Answer) -> Option<IpAddr> {
    let families = [Family::V4, Family::V6].into_iter();
    let mut sources = families.filter_map(|family| nat::parse(family, answer)?.source);
    sources
        .next()
        .filter(|source| *source == Cidr::host(source.address()))
        .map(Cidr::address)
}

/// The rule names the chain; in this table only a verdict can.
pub(super) fn leads_to_checks(answer: &Answer) -> bool {
    let name = MASQ_CHECKS.as_bytes();
    expressions(answer).is_some_and(|bytes| bytes.windows(name.len()).any(|w| w == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_answer_is_read_or_passed_over(payload: Vec<u8>) {
            let answer = Answer { payload };
            let _ = (parse_entry(&answer), leads_to_checks(&answer), source(&answer));
        }
    }

    #[test]
    fn kernels_since_5_2_have_nat_in_inet_tables() {
        for (release, has) in [
            ("6.1.0-18-amd64\n", true),
            ("5.2.0", true),
            ("5.10.0-28-cloud", true),
            ("5.1.21", false),
            ("4.18.0-553.el8_10.x86_64", false),
            ("3.10.0", false),
            ("", false),
        ] {
            assert_eq!(has_inet_nat(release), has, "{release:?}");
        }
    }

    #[test]
    fn a_comment_is_the_references() {
        let owner = AttachmentId {
            network: "mynet",
            container_id: "abc",
            if_name: "eth0",
        };
        // printf mynet | sha512sum | cut -c-16; printf eth0:abc | sha512sum | cut -c-16
        assert_eq!(hash16("abc"), "ddaf35a193617aba");
        assert_eq!(
            comment(owner),
            "d23676b4f2d9fe04-e65086f8a75535c6, net: mynet, if: eth0, id: abc"
        );
    }

    #[test]
    fn a_comment_can_stand_between_quotes() {
        let owner = AttachmentId {
            network: "n",
            container_id: "c",
            if_name: "a\"b",
        };
        assert!(
            comment(owner).ends_with(", net: n, if: a%22b, id: c"),
            "{}",
            comment(owner)
        );
    }

    #[test]
    fn a_long_comment_is_cut_between_characters() {
        let owner = AttachmentId {
            network: &"n".repeat(60),
            container_id: &"c".repeat(64),
            if_name: "ét\u{e9}0",
        };
        assert!(comment(owner).len() <= MAX_COMMENT);
        let owner = AttachmentId {
            network: &"n".repeat(81),
            container_id: "c",
            if_name: "éééé",
        };
        assert!(comment(owner).starts_with(&mark(owner)));
    }
}
