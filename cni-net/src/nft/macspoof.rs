//! The check of source MAC addresses, in the reference's own table, chains, rules and comments, so that either can remove
//! what the other added.
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
//! The base chain is not ours alone: ebtables-nft keeps its own rules in a chain of this name and kind. So it is made where
//! it is missing and else left as it is, with its policy.
//!
//! The chains' names hold no network. Whose they are is told by the interface that the jump names.

use super::{
    Nft,
    batch::{BaseChain, Table, Transaction, chain_request, rules_request},
    expression::{came_by, sent_by, verdict},
    listed::{ListedRule, Step, is_base_chain},
    naming::{quotable, word},
};
use crate::error::NetError;
use cni_types::{IfName, MacAddr};
use netlink_packet_netfilter::{
    NetfilterProtoFamily,
    nftables::{InetHookNumber, Verdict},
};
use nix::errno::Errno;

const TABLE: Table = Table {
    family: NetfilterProtoFamily::Bridge,
    name: "nat",
};
const PREROUTING: &str = MacCheck::BASE_CHAIN;

/// `dstnat` of the bridge family in nft(8): NF_BR_PRI_NAT_DST_BRIDGED of include/uapi/linux/netfilter_bridge.h. The number of
/// the hook is that of the inet families.
const PREROUTING_CHAIN: BaseChain = BaseChain {
    kind: "filter",
    hook: InetHookNumber::PreRouting,
    priority: (-300_i32).cast_unsigned(),
};

/// include/uapi/linux/netfilter.h
const NF_DROP: u32 = 0;

const CHAIN_PREFIX: &str = "cni-br-iface-";
const MAC_CHAIN_SUFFIX: &str = "-mac";

/// NFT_NAME_MAXLEN of include/uapi/linux/netfilter/nf_tables.h, less the closing NUL.
const MAX_CHAIN_NAME: usize = 255;

/// The chains of one attachment, which let its frames pass with its own MAC address only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacCheck {
    chain: String,
    mac_chain: String,
    comment: String,
}

impl MacCheck {
    /// How many bytes container id and interface name may have together.
    pub const MAX_IDENTITY: usize =
        MAX_CHAIN_NAME - CHAIN_PREFIX.len() - "-".len() - MAC_CHAIN_SUFFIX.len();

    /// The chain of the bridge family's table `nat` from which frames are led to all checks.
    pub const BASE_CHAIN: &str = "PREROUTING";

    /// The chains for the interface `if_name` of a container; `None` if the kernel would refuse
    /// their names as too long. They are the reference's, unless nft(8) could not read back what it
    /// prints of them.
    #[must_use]
    pub fn of(container_id: &str, if_name: &str) -> Option<Self> {
        Self::named(container_id, &word(if_name), &quotable(if_name))
    }

    /// The chains that the reference makes for such an interface, if they have other names.
    #[must_use]
    pub fn of_reference(container_id: &str, if_name: &str) -> Option<Self> {
        let reference = Self::named(container_id, if_name, if_name)?;
        (word(if_name) != if_name).then_some(reference)
    }

    fn named(container_id: &str, in_chain: &str, in_comment: &str) -> Option<Self> {
        let chain = format!("{CHAIN_PREFIX}{container_id}-{in_chain}");
        let mac_chain = format!("{chain}{MAC_CHAIN_SUFFIX}");
        let comment = format!("macspoofchk-{container_id}-{in_comment}");
        (mac_chain.len() <= MAX_CHAIN_NAME).then_some(Self {
            chain,
            mac_chain,
            comment,
        })
    }

    /// The chains that a jump leads to.
    #[must_use]
    pub fn behind(jump: &MacCheckJump) -> Self {
        let chain = jump.chain.clone();
        Self {
            mac_chain: format!("{chain}{MAC_CHAIN_SUFFIX}"),
            chain,
            comment: jump.comment.clone(),
        }
    }

    /// The chain that the base chain jumps to.
    #[must_use]
    pub fn chain(&self) -> &str {
        &self.chain
    }
}

/// A rule of the base chain that leads the frames of one interface to an attachment's chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacCheckJump {
    /// The host's end of the pair, by its name.
    pub host_end: String,
    handle: u64,
    chain: String,
    comment: String,
}

impl MacCheckJump {
    pub(super) fn of(rule: ListedRule) -> Option<Self> {
        let ListedRule {
            handle,
            comment,
            steps,
        } = rule;
        match <[Step; 3]>::try_from(steps).ok()? {
            [
                Step::LoadInputName,
                Step::Equals(name),
                Step::Verdict(_, Some(chain)),
            ] if chain.starts_with(CHAIN_PREFIX) => Some(Self {
                host_end: crate::netlink::c_string(&name),
                handle,
                chain,
                comment,
            }),
            _ => None,
        }
    }

    /// The chain that it leads to.
    #[must_use]
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// Whether it leads to these chains.
    #[must_use]
    pub fn leads_to(&self, check: &MacCheck) -> bool {
        self.chain == check.chain
    }
}

/// What there is of an attachment's check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MacCheckState {
    /// The interfaces whose frames are led to the chains.
    pub host_ends: Vec<String>,
    /// The first chain leads to the second.
    pub leads_on: bool,
    /// The source addresses with which frames pass.
    pub allowed: Vec<MacAddr>,
    /// Frames with other source addresses are dropped.
    pub drops_others: bool,
}

impl Nft {
    /// Lets frames that come by `host_end` pass with the source address `mac` only. Deletes nothing, so nothing waits for RCU.
    ///
    /// # Errors
    /// `EEXIST` if the chains are there already, `EOPNOTSUPP` without the bridge family or if the
    /// base chain is of another kind, [`NetError::Lacking`] without nf_tables.
    pub fn create_mac_check(
        &mut self,
        check: &MacCheck,
        host_end: &IfName,
        mac: MacAddr,
    ) -> Result<(), NetError> {
        match self.add_mac_check(check, host_end, mac) {
            Err(refusal @ NetError::Kernel { .. }) => Err(self.explained(refusal)),
            outcome => outcome,
        }
    }

    fn add_mac_check(
        &mut self,
        check: &MacCheck,
        host_end: &IfName,
        mac: MacAddr,
    ) -> Result<(), NetError> {
        let MacCheck {
            chain,
            mac_chain,
            comment,
        } = check;
        let jump_to = |chain| verdict(Verdict::Jump, Some(chain));
        let enters = [came_by(host_end.as_str()), vec![jump_to(chain)]].concat();
        let is_own = [sent_by(mac.0), vec![verdict(Verdict::Return, None)]].concat();
        let mut transaction = Transaction::on(TABLE);
        if !self.prerouting_is_in_order()? {
            transaction.ensure_table();
            transaction.ensure_chain(PREROUTING, Some(PREROUTING_CHAIN));
        }
        transaction.create_chain(chain);
        transaction.create_chain(mac_chain);
        transaction.append_rule(PREROUTING, enters, Some(comment));
        transaction.append_rule(chain, vec![jump_to(mac_chain)], Some(comment));
        transaction.append_rule(mac_chain, is_own, Some(comment));
        transaction.append_rule(
            mac_chain,
            vec![verdict(Verdict::Other(NF_DROP), None)],
            Some(comment),
        );
        transaction.commit(self)
    }

    /// Whether the first of the chains is there. One request and one answer.
    ///
    /// # Errors
    /// Where nf_tables is not to be had.
    pub fn has_mac_check(&mut self, check: &MacCheck) -> Result<bool, NetError> {
        self.has_chain(&check.chain)
    }

    /// Whether there is a base chain to lead frames to checks, of whatever kind.
    ///
    /// # Errors
    /// Where nf_tables is not to be had.
    pub fn has_mac_check_base(&mut self) -> Result<bool, NetError> {
        self.has_chain(PREROUTING)
    }

    /// Looked up first: to ensure a base chain that is there is a change to the kernel, and makes the closing of the socket
    /// wait for RCU as a delete does (8 ms).
    fn prerouting_is_in_order(&mut self) -> Result<bool, NetError> {
        match self.socket.read(chain_request(TABLE, PREROUTING)) {
            Err(e) if is_missing(&e) => Ok(false),
            answer => Ok(is_base_chain(&answer?, PREROUTING_CHAIN)),
        }
    }

    fn has_chain(&mut self, chain: &str) -> Result<bool, NetError> {
        match self.socket.read(chain_request(TABLE, chain)) {
            Err(e) if is_missing(&e) => Ok(false),
            outcome => outcome.map(|_| true),
        }
    }

    /// All jumps to the chains of attachments.
    ///
    /// # Errors
    /// Where nf_tables is not to be had.
    pub fn mac_check_jumps(&mut self) -> Result<Vec<MacCheckJump>, NetError> {
        Ok(self
            .rules(PREROUTING)?
            .into_iter()
            .filter_map(MacCheckJump::of)
            .collect())
    }

    /// Removes these jumps, and the chains of the check.
    ///
    /// # Errors
    /// Absence where somebody else removed one of them since they were listed, `EBUSY` where another rule leads to the
    /// chains. Then nothing is removed.
    pub fn remove_mac_check(
        &mut self,
        check: &MacCheck,
        jumps: &[MacCheckJump],
    ) -> Result<(), NetError> {
        let mut transaction = Transaction::on(TABLE);
        jumps
            .iter()
            .for_each(|jump| transaction.delete_rule(PREROUTING, jump.handle));
        // The first chain goes first: with its rule, which leads to the second.
        for chain in [&check.chain, &check.mac_chain] {
            if self.has_chain(chain)? {
                transaction.delete_chain(chain);
            }
        }
        transaction.commit(self)
    }

    /// Removes these jumps, and leaves the chains.
    ///
    /// # Errors
    /// Absence where somebody else removed one of them since they were listed. Then nothing is removed.
    pub fn remove_mac_check_jumps(&mut self, jumps: &[MacCheckJump]) -> Result<(), NetError> {
        let mut transaction = Transaction::on(TABLE);
        jumps
            .iter()
            .for_each(|jump| transaction.delete_rule(PREROUTING, jump.handle));
        transaction.commit(self)
    }

    /// What there is of a check.
    ///
    /// # Errors
    /// Where nf_tables is not to be had.
    pub fn mac_check_state(&mut self, check: &MacCheck) -> Result<MacCheckState, NetError> {
        let jumps = self
            .mac_check_jumps()?
            .into_iter()
            .filter(|jump| jump.leads_to(check));
        let on = [Step::Verdict(
            Verdict::Jump.into(),
            Some(check.mac_chain.clone()),
        )];
        let rules = self.rules(&check.mac_chain)?;
        Ok(MacCheckState {
            host_ends: jumps.map(|jump| jump.host_end).collect(),
            leads_on: self
                .rules(&check.chain)?
                .iter()
                .any(|rule| rule.steps == on),
            allowed: rules.iter().map_while(allowed).collect(),
            drops_others: rules
                .last()
                .is_some_and(|rule| rule.steps == [Step::Verdict(NF_DROP, None)]),
        })
    }

    fn rules(&mut self, chain: &str) -> Result<Vec<ListedRule>, NetError> {
        match self.socket.dump(&rules_request(TABLE, chain)) {
            Err(e) if is_missing(&e) => Ok(Vec::new()),
            answers => Ok(answers?.iter().filter_map(ListedRule::parse).collect()),
        }
    }
}

/// Kernels before 4.17 that have nf_tables without the bridge family say so at every request.
fn is_missing(error: &NetError) -> bool {
    error.is_absent() || error.errno() == Some(Errno::EAFNOSUPPORT)
}

/// The address that a rule lets pass.
fn allowed(rule: &ListedRule) -> Option<MacAddr> {
    match rule.steps.as_slice() {
        [
            Step::LoadEtherSource,
            Step::Equals(mac),
            Step::Verdict(code, None),
        ] if *code == u32::from(Verdict::Return) => {
            <[u8; 6]>::try_from(mac.as_slice()).ok().map(MacAddr)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_and_comment_are_the_references() {
        let check = MacCheck::of("abc", "eth0").unwrap();
        assert_eq!(check.chain(), "cni-br-iface-abc-eth0");
        assert_eq!(check.mac_chain, "cni-br-iface-abc-eth0-mac");
        assert_eq!(check.comment, "macspoofchk-abc-eth0");
    }

    #[test]
    fn chains_of_an_odd_interface_name_can_be_read_back_and_the_references_are_known() {
        let check = MacCheck::of("abc", "a;\"b").unwrap();
        assert!(
            check
                .chain()
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-'),
            "{check:?}"
        );
        assert_eq!(check.comment, "macspoofchk-abc-a;%22b");
        assert_eq!(
            MacCheck::of_reference("abc", "a;\"b").unwrap().chain(),
            "cni-br-iface-abc-a;\"b"
        );
        assert_eq!(MacCheck::of_reference("abc", "eth0"), None);
    }

    #[test]
    fn a_name_that_the_kernel_refuses_is_none() {
        let longest = MacCheck::MAX_IDENTITY - "eth0".len();
        let check = MacCheck::of(&"c".repeat(longest), "eth0").unwrap();
        assert_eq!(check.mac_chain.len(), 255);
        assert_eq!(MacCheck::of(&"c".repeat(longest + 1), "eth0"), None);
    }

    #[test]
    fn a_jump_with_another_condition_is_nobodys() {
        let jump = |steps: Vec<Step>| {
            MacCheckJump::of(ListedRule {
                handle: 7,
                comment: String::new(),
                steps,
            })
            .map(|jump| jump.host_end)
        };
        let to = |chain: &str| Step::Verdict(Verdict::Jump.into(), Some(chain.to_owned()));
        let (name, chain) = (Step::Equals(b"veth0\0\0".to_vec()), "cni-br-iface-a-eth0");
        assert_eq!(
            jump(vec![Step::LoadInputName, name.clone(), to(chain)]).as_deref(),
            Some("veth0")
        );
        assert_eq!(
            jump(vec![Step::LoadInputName, name.clone(), to("mine")]),
            None
        );
        assert_eq!(
            jump(vec![
                Step::LoadInputName,
                name.clone(),
                Step::Other,
                to(chain)
            ]),
            None
        );
        assert_eq!(jump(vec![Step::Other, name, to(chain)]), None);
        assert_eq!(jump(vec![to(chain)]), None);
    }
}
