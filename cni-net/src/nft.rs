//! nf_tables over netlink: no `nft` program, no C library, and one transaction for changes that
//! belong together. This module is mechanism only: the content and the ownership of rules belong to
//! the plugins.

mod attribute;
mod condition;
mod expr;
mod feature;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod message;
mod rule;
mod ruleset;
mod set;
mod table;
mod text;
mod transaction;

pub use condition::{Condition, Step, steps};
pub use expr::{
    CmpOp, CtKey, Direction, Expr, Extension, FibFlags, FibResult, MetaKey, Nat, NatKind,
    PayloadBase, Range, Register, Verdict,
};
pub use rule::{ListedRule, Rule, UserData};
pub use set::{DataType, Element, ElementData, MapData, Set};
pub use table::{BaseChain, Chain, Hook, ListedBase, Policy, Table, TableFamily};
pub use text::cut;
pub use transaction::Transaction;

use crate::{
    error::{Feature, NetError},
    netlink::{Answer, NetlinkSocket, Request},
};
use attribute::Attributes;
use message::{HEADER_LEN, Kind, Message};
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use set::{ElementList, elements_of};

/// The errors of a kernel without nf_tables: the first two of socket(2) without nfnetlink, the
/// others of nfnetlink without nf_tables.
const NF_TABLES_MISSING: [Errno; 4] = [
    Errno::EPROTONOSUPPORT,
    Errno::EAFNOSUPPORT,
    Errno::EINVAL,
    Errno::EOPNOTSUPP,
];

/// `NFTA_GEN_ID` of include/uapi/linux/netfilter/nf_tables.h
const GENERATION_ID: u16 = 1;

/// The most attempts at a change while others change the ruleset.
const ATTEMPTS: u32 = 16;

/// Names the missing feature if the kernel has no nf_tables. For requests that every nf_tables
/// supports.
fn named_if_lacking(error: NetError) -> NetError {
    match error.errno() {
        Some(errno) if NF_TABLES_MISSING.contains(&errno) => NetError::Lacking {
            feature: Feature::NfTables,
            source: Box::new(error),
        },
        _ => error,
    }
}

/// A connection to the nf_tables of the thread's namespace.
pub struct Nft {
    socket: NetlinkSocket,
}

impl Nft {
    /// Connects to nf_tables.
    ///
    /// # Errors
    /// Fails with [`NetError::Lacking`] if the kernel has no nfnetlink.
    pub fn open() -> Result<Self, NetError> {
        let socket = NetlinkSocket::open(NETLINK_NETFILTER).map_err(named_if_lacking)?;
        Ok(Self { socket })
    }

    /// Connects if the kernel has nf_tables, built in or as a loadable module; returns `None` if it
    /// has not.
    ///
    /// # Errors
    /// Fails if that cannot be found out: no permission, no memory, no descriptor.
    pub fn open_if_there() -> Result<Option<Self>, NetError> {
        let opened = Self::open().and_then(|mut nft| nft.probe().map(|()| nft));
        match opened {
            Ok(nft) => Ok(Some(nft)),
            Err(NetError::Lacking { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Checks that rules can be read and written, by reading the ruleset's generation.
    ///
    /// # Errors
    /// Fails with `EPERM` without CAP_NET_ADMIN, and with [`NetError::Lacking`] without nf_tables.
    pub fn probe(&mut self) -> Result<(), NetError> {
        self.socket
            .execute(vec![generation_request()])
            .map(drop)
            .map_err(named_if_lacking)
    }

    /// Returns [`NetError::Lacking`] if the kernel has no nf_tables at all, else the refusal as it
    /// is.
    #[must_use]
    pub fn explained(&mut self, refusal: NetError) -> NetError {
        match self.probe() {
            Err(e @ NetError::Lacking { .. }) => e,
            _ => refusal,
        }
    }

    /// Returns the generation of the namespace's ruleset, a number that grows with each change.
    ///
    /// # Errors
    /// Fails as [`Self::probe`] does.
    pub fn generation(&mut self) -> Result<u32, NetError> {
        let request = generation_request();
        let operation = request.operation;
        let object = request.object.clone();
        let answer = self.socket.read(request).map_err(named_if_lacking)?;
        let attributes = answer.payload.get(HEADER_LEN..).unwrap_or_default();
        attribute::u32(attributes, GENERATION_ID).ok_or_else(|| NetError::Protocol {
            operation,
            object,
            reason: "the answer has no generation".to_owned(),
        })
    }

    /// Commits a transaction of at most [`Transaction::MAX`] changes.
    ///
    /// # Errors
    /// Returns the first refusal; nothing is changed then.
    pub fn commit(&mut self, transaction: Transaction) -> Result<(), NetError> {
        self.commit_at(transaction, None)
    }

    fn commit_at(
        &mut self,
        transaction: Transaction,
        generation: Option<u32>,
    ) -> Result<(), NetError> {
        self.socket.transact(
            Message::batch_begin(generation),
            transaction.into_requests(),
            Message::batch_end(),
        )
    }

    /// Plans a change by the present ruleset, and commits it only if the ruleset is unchanged
    /// since; else plans again. For additions that several processes must not make twice.
    ///
    /// # Errors
    /// Fails if the plan or the kernel does, and with [`NetError::TimedOut`] if others do not stop
    /// changing the ruleset.
    pub fn change(
        &mut self,
        mut plan: impl FnMut(&mut Self) -> Result<Transaction, NetError>,
    ) -> Result<(), NetError> {
        for _ in 0..ATTEMPTS {
            let generation = self.generation()?;
            let transaction = plan(self)?;
            match self.commit_at(transaction, Some(generation)) {
                Err(e) if e.errno() == Some(Errno::ERESTART) => {}
                outcome => return outcome,
            }
        }
        let text = "a ruleset that no other process changes at the same time";
        Err(NetError::TimedOut(text.to_owned()))
    }

    /// Looks a chain up in one request; returns `None` if there is no such chain.
    ///
    /// # Errors
    /// Fails if the kernel refuses.
    pub fn chain(&mut self, table: Table, chain: &str) -> Result<Option<Chain>, NetError> {
        let request = Request {
            message: Message::new(
                Kind::GetChain,
                table.family.number(),
                table.chain_attributes(chain),
            ),
            flags: 0,
            operation: "look up nftables chain",
            object: chain.to_owned(),
        };
        match self.socket.read(request) {
            Err(e) if is_missing(&e) => Ok(None),
            answer => Ok(Chain::parse(&answer?)),
        }
    }

    /// Returns the rules of a chain, in order; empty if there is no such chain.
    ///
    /// # Errors
    /// Fails if the kernel refuses.
    pub fn rules(&mut self, table: Table, chain: &str) -> Result<Vec<ListedRule>, NetError> {
        let attributes = rule::of_chain(table, chain);
        self.list_rules(table, attributes, "list nftables rules of", chain)
    }

    /// Returns the rules of all chains of a table; empty if there is no such table.
    ///
    /// # Errors
    /// Fails if the kernel refuses.
    pub fn table_rules(&mut self, table: Table) -> Result<Vec<ListedRule>, NetError> {
        let attributes = rule::of_table(table);
        let operation = "list nftables rules of table";
        self.list_rules(table, attributes, operation, table.name)
    }

    fn list_rules(
        &mut self,
        table: Table,
        attributes: Attributes,
        operation: &'static str,
        object: &str,
    ) -> Result<Vec<ListedRule>, NetError> {
        let message = Message::new(Kind::GetRule, table.family.number(), attributes);
        let answers = self.dump(message, operation, object)?;
        Ok(answers.into_iter().filter_map(ListedRule::parse).collect())
    }

    /// Returns the elements of a set or a map; empty if there is no such set. Ends of intervals,
    /// and elements with properties beside key and data, are left out.
    ///
    /// # Errors
    /// Fails if the kernel refuses.
    pub fn elements(&mut self, set: &Set) -> Result<Vec<Element>, NetError> {
        let attributes = elements_of(set.table.name, set.name);
        let message = Message::new(Kind::GetElements, set.table.family.number(), attributes);
        let answers = self.dump(message, "list nftables set", set.name)?;
        let lists = answers.iter().filter_map(ElementList::parse);
        Ok(lists
            .flat_map(|list| list.plain().collect::<Vec<_>>())
            .collect())
    }

    fn dump(
        &mut self,
        message: Message,
        operation: &'static str,
        object: &str,
    ) -> Result<Vec<Answer>, NetError> {
        let request = Request {
            message,
            flags: 0,
            operation,
            object: object.to_owned(),
        };
        match self.socket.dump(&request) {
            Err(e) if is_missing(&e) => Ok(Vec::new()),
            answers => answers,
        }
    }
}

/// Returns true if the error reports a missing object. Kernels before 4.17 that have nf_tables
/// without the bridge family answer every request for that family so.
fn is_missing(error: &NetError) -> bool {
    error.is_absent() || error.errno() == Some(Errno::EAFNOSUPPORT)
}

fn generation_request() -> Request<Message> {
    Request {
        message: Message::new(
            Kind::GetGeneration,
            TableFamily::ANY.number(),
            Attributes::new(),
        ),
        flags: 0,
        operation: "reach",
        object: "nf_tables".to_owned(),
    }
}
