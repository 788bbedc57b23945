//! The chains and rules of MAC checks in the kernel, of all attachments.

use super::{
    super::names::{MAC_CHECK_PREFIX, MacCheckNames},
    MacCheck,
};
use cni_net::{
    NetError,
    nft::{
        BaseChain, Condition, Expr, Hook, ListedRule, Nft, Rule, Step, Table, TableFamily,
        Transaction, Verdict, steps,
    },
};
use cni_types::MacAddr;

const TABLE: Table = Table {
    family: TableFamily::BRIDGE,
    name: "nat",
};

/// The chain that jumps to all checks.
pub(super) const BASE_CHAIN: &str = "PREROUTING";

/// `dstnat` of the bridge family in nft(8): NF_BR_PRI_NAT_DST_BRIDGED of
/// include/uapi/linux/netfilter_bridge.h.
const BASE: BaseChain = BaseChain {
    kind: "filter",
    hook: Hook::Prerouting,
    priority: -300,
};

/// A rule of the base chain that jumps from one interface to an attachment's chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Jump {
    /// The name of the pair's host end.
    pub(super) host_end: String,
    handle: u64,
    chain: String,
    comment: String,
}

impl Jump {
    fn read(rule: &ListedRule) -> Option<Self> {
        let (host_end, chain) = jump(&rule.expressions())?;
        Some(Self {
            host_end,
            handle: rule.handle,
            chain,
            comment: rule.comment(),
        })
    }

    /// Returns the names of the chains to which it jumps.
    pub(super) fn names(&self) -> MacCheckNames {
        MacCheckNames::behind(&self.chain, &self.comment)
    }

    /// Returns true if it jumps to these chains.
    pub(super) fn leads_to(&self, names: &MacCheckNames) -> bool {
        self.chain == names.chain
    }
}

/// Reads the interface of a jump and the chain to which it jumps; returns `None` for a jump with
/// other conditions, which belongs to no attachment.
fn jump(expressions: &[Expr]) -> Option<(String, String)> {
    match <[Step; 2]>::try_from(steps(None, expressions)).ok()? {
        [
            Step::Is(Condition::InputInterface(name)),
            Step::Other(Expr::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain))),
        ] if chain.starts_with(MAC_CHECK_PREFIX) => Some((name, chain)),
        _ => None,
    }
}

/// The existing parts of an attachment's check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The interfaces that jump to the chains.
    pub(super) host_ends: Vec<String>,
    /// If true, the first chain jumps to the second.
    pub(super) leads_on: bool,
    /// The source addresses with which frames pass.
    pub(super) allowed: Vec<MacAddr>,
    /// If true, frames with other source addresses are dropped.
    pub(super) drops_others: bool,
}

/// Access to the chains over one connection.
pub(super) struct Chains<'a> {
    nft: &'a mut Nft,
}

impl<'a> Chains<'a> {
    pub(super) fn new(nft: &'a mut Nft) -> Self {
        Self { nft }
    }

    /// Creates the chains, and a jump to them.
    ///
    /// # Errors
    /// Fails with `EEXIST` if the chains exist, with `EOPNOTSUPP` without the bridge family or if
    /// the base chain is of another kind, and with [`NetError::Lacking`] without nf_tables.
    pub(super) fn create(
        &mut self,
        names: &MacCheckNames,
        check: &MacCheck,
    ) -> Result<(), NetError> {
        match self.try_create(names, check) {
            Err(refusal @ NetError::Kernel { .. }) => Err(self.nft.explained(refusal)),
            outcome => outcome,
        }
    }

    fn try_create(&mut self, names: &MacCheckNames, check: &MacCheck) -> Result<(), NetError> {
        let mut transaction = Transaction::new();
        // Looked up first: ensuring a base chain that exists counts as a change, after which
        // closing the socket waits for RCU as after a deletion (8 ms).
        let base = self
            .nft
            .chain(TABLE, BASE_CHAIN)?
            .and_then(|chain| chain.base);
        if !base.is_some_and(|base| base.is(BASE)) {
            ensure_base(&mut transaction);
        }
        append_chains(&mut transaction, names, check);
        self.nft.commit(transaction)
    }

    /// Returns true if there is a chain of this name, by one request.
    pub(super) fn has(&mut self, chain: &str) -> Result<bool, NetError> {
        Ok(self.nft.chain(TABLE, chain)?.is_some())
    }

    /// Returns all jumps to the chains of attachments.
    pub(super) fn jumps(&mut self) -> Result<Vec<Jump>, NetError> {
        let rules = self.nft.rules(TABLE, BASE_CHAIN)?;
        Ok(rules.iter().filter_map(Jump::read).collect())
    }

    /// Returns the jumps to these chains.
    pub(super) fn jumps_to(&mut self, names: &MacCheckNames) -> Result<Vec<Jump>, NetError> {
        let mut jumps = self.jumps()?;
        jumps.retain(|jump| jump.leads_to(names));
        Ok(jumps)
    }

    /// Removes these jumps, and the chains.
    ///
    /// # Errors
    /// Fails with absence if another process removed one of them since they were listed, and with
    /// `EBUSY` if another rule jumps to the chains. Nothing is removed then.
    pub(super) fn remove(&mut self, names: &MacCheckNames, jumps: &[Jump]) -> Result<(), NetError> {
        let mut transaction = deletion_of(jumps);
        // The first chain goes first, since its rule jumps to the second.
        for chain in [&names.chain, &names.mac_chain] {
            if self.has(chain)? {
                transaction.delete_chain(TABLE, chain);
            }
        }
        self.nft.commit(transaction)
    }

    /// Removes these jumps, and leaves the chains.
    ///
    /// # Errors
    /// Fails with absence if another process removed one of them since they were listed. Nothing is
    /// removed then.
    pub(super) fn remove_jumps(&mut self, jumps: &[Jump]) -> Result<(), NetError> {
        self.nft.commit(deletion_of(jumps))
    }

    /// Returns the existing parts of a check.
    pub(super) fn state(&mut self, names: &MacCheckNames) -> Result<State, NetError> {
        let jumps = self.jumps_to(names)?;
        let first = self.nft.rules(TABLE, &names.chain)?;
        let second = self.nft.rules(TABLE, &names.mac_chain)?;
        let on = [Expr::Verdict(Verdict::Jump(names.mac_chain.clone()))];
        let drop = [Expr::Verdict(Verdict::Drop)];
        Ok(State {
            host_ends: jumps.into_iter().map(|jump| jump.host_end).collect(),
            leads_on: first.iter().any(|rule| rule.effect() == on),
            allowed: second
                .iter()
                .map_while(|rule| allowed(&rule.expressions()))
                .collect(),
            drops_others: second.last().is_some_and(|rule| rule.effect() == drop),
        })
    }
}

fn ensure_base(transaction: &mut Transaction) {
    transaction.ensure_table(TABLE);
    transaction.ensure_chain(TABLE, BASE_CHAIN, Some(BASE));
}

fn append_chains(transaction: &mut Transaction, names: &MacCheckNames, check: &MacCheck) {
    let rule = |expressions| Rule::with_comment(expressions, &names.comment);
    let jump = |chain: &str| vec![Expr::Verdict(Verdict::Jump(chain.to_owned()))];
    let host_end = Condition::InputInterface(check.host_end.as_str().to_owned());
    let enters = [host_end.holds(), jump(&names.chain)].concat();
    let has_own = Condition::EtherSource(check.mac).holds();
    let passes = [has_own, vec![Expr::Verdict(Verdict::Return)]].concat();
    let others = vec![Expr::Verdict(Verdict::Drop)];
    transaction.create_chain(TABLE, &names.chain);
    transaction.create_chain(TABLE, &names.mac_chain);
    transaction.append_rule(TABLE, BASE_CHAIN, &rule(enters));
    transaction.append_rule(TABLE, &names.chain, &rule(jump(&names.mac_chain)));
    transaction.append_rule(TABLE, &names.mac_chain, &rule(passes));
    transaction.append_rule(TABLE, &names.mac_chain, &rule(others));
}

fn deletion_of(jumps: &[Jump]) -> Transaction {
    let mut transaction = Transaction::new();
    for jump in jumps {
        transaction.delete_rule(TABLE, BASE_CHAIN, jump.handle);
    }
    transaction
}

/// Returns the source address that a rule lets pass.
fn allowed(expressions: &[Expr]) -> Option<MacAddr> {
    match steps(None, expressions).as_slice() {
        [
            Step::Is(Condition::EtherSource(mac)),
            Step::Other(Expr::Verdict(Verdict::Return)),
        ] => Some(*mac),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cni_types::{AttachmentId, IfName};

    const ID: AttachmentId<'_> = AttachmentId {
        network: "net",
        container_id: "a",
        if_name: "eth0",
    };

    /// The bytes that earlier versions sent, so that nodes can be upgraded and downgraded.
    #[cfg(target_endian = "little")]
    #[test]
    fn rules_are_the_same_bytes_as_ever() {
        let names = MacCheckNames::of(ID).unwrap();
        let check = MacCheck {
            host_end: IfName::parse("veth0").unwrap(),
            mac: MacAddr([2, 0, 0, 0, 0, 0xab]),
        };
        let mut transaction = Transaction::new();
        ensure_base(&mut transaction);
        append_chains(&mut transaction, &names, &check);
        transaction.delete_chain(TABLE, &names.chain);
        assert_eq!(transaction.to_hex(), include_str!("chains.hex"));
    }

    #[test]
    fn a_jump_with_another_condition_is_nobodys() {
        let from = Condition::InputInterface("veth0".to_owned()).holds();
        let to = |chain: &str| vec![Expr::Verdict(Verdict::Jump(chain.to_owned()))];
        let own = to("cni-br-iface-a-eth0");
        let whole = jump(&[from.clone(), own.clone()].concat()).unwrap();
        assert_eq!(whole.0, "veth0");
        let more = Condition::Protocol(6).holds();
        for nobodys in [
            [from.clone(), to("mine")].concat(),
            [from.clone(), more.clone(), own.clone()].concat(),
            [more, own.clone()].concat(),
            own,
            from,
        ] {
            assert_eq!(jump(&nobodys), None, "{nobodys:?}");
        }
    }
}
