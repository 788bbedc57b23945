//! Transactions: changes that take effect together or not at all.

use super::{
    message::{Kind, Message},
    rule::{Rule, of_chain, with_handle},
    set::{Element, Set},
    table::{BaseChain, Table},
};
use crate::netlink::{REQUESTS_AT_ONCE, Request};
use cni_types::hash::hex;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NetlinkSerializable};

/// The number of elements of a set that are sent in one message: an attribute ends at 64 KiB.
const ELEMENTS_AT_ONCE: usize = 100;

/// Changes to the ruleset, of any tables and families, in order.
#[derive(Default)]
pub struct Transaction {
    requests: Vec<Request<Message>>,
}

impl Transaction {
    /// The most changes that the kernel can answer at once; further ones need a transaction of
    /// their own.
    pub const MAX: usize = REQUESTS_AT_ONCE;

    /// Returns an empty transaction.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns true if there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Returns the number of changes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// Creates a table unless it exists.
    pub fn ensure_table(&mut self, table: Table) {
        let message = Message::new(Kind::NewTable, table.family.number(), table.attributes());
        self.push(message, NLM_F_CREATE, "create nftables table", table.name);
    }

    /// Removes a table with its content; `ENOENT` if there is no such table.
    pub fn delete_table(&mut self, table: Table) {
        let message = Message::new(Kind::DeleteTable, table.family.number(), table.attributes());
        self.push(message, 0, "delete nftables table", table.name);
    }

    /// Creates a chain unless it exists. An existing base chain must have the same hook and
    /// priority (`EEXIST`, `EOPNOTSUPP`).
    pub fn ensure_chain(&mut self, table: Table, chain: &str, base: Option<BaseChain>) {
        self.new_chain(table, chain, base, NLM_F_CREATE);
    }

    /// Creates a chain without a hook; `EEXIST` if the name is taken.
    pub fn create_chain(&mut self, table: Table, chain: &str) {
        self.new_chain(table, chain, None, NLM_F_CREATE | NLM_F_EXCL);
    }

    fn new_chain(&mut self, table: Table, chain: &str, base: Option<BaseChain>, flags: u16) {
        let plain = table.chain_attributes(chain);
        let attributes = match base {
            Some(base) => base.attributes(plain),
            None => plain,
        };
        let message = Message::new(Kind::NewChain, table.family.number(), attributes);
        self.push(message, flags, "create nftables chain", chain);
    }

    /// Deletes a chain with its rules (`nf_tables_delchain` in net/netfilter/nf_tables_api.c,
    /// without NLM_F_NONREC); `EBUSY` if rules of other chains jump to it.
    pub fn delete_chain(&mut self, table: Table, chain: &str) {
        let attributes = table.chain_attributes(chain);
        let message = Message::new(Kind::DeleteChain, table.family.number(), attributes);
        self.push(message, 0, "delete nftables chain", chain);
    }

    /// Deletes all rules of a chain.
    pub fn flush_chain(&mut self, table: Table, chain: &str) {
        let attributes = of_chain(table, chain);
        let message = Message::new(Kind::DeleteRule, table.family.number(), attributes);
        self.push(message, 0, "flush nftables chain", chain);
    }

    /// Appends a rule to a chain.
    pub fn append_rule(&mut self, table: Table, chain: &str, rule: &Rule) {
        self.new_rule(table, chain, rule, NLM_F_CREATE | NLM_F_APPEND);
    }

    /// Inserts a rule at the head of a chain.
    pub fn insert_rule(&mut self, table: Table, chain: &str, rule: &Rule) {
        self.new_rule(table, chain, rule, NLM_F_CREATE);
    }

    fn new_rule(&mut self, table: Table, chain: &str, rule: &Rule, flags: u16) {
        let attributes = rule.attributes(table, chain);
        let message = Message::new(Kind::NewRule, table.family.number(), attributes);
        self.push(message, flags, "add nftables rule to", chain);
    }

    /// Deletes a rule by its handle; `ENOENT` if there is no such rule.
    pub fn delete_rule(&mut self, table: Table, chain: &str, handle: u64) {
        let attributes = with_handle(table, chain, handle);
        let message = Message::new(Kind::DeleteRule, table.family.number(), attributes);
        self.push(message, 0, "delete nftables rule of", chain);
    }

    /// Creates a set or a map unless it exists.
    pub fn ensure_set(&mut self, set: &Set) {
        let message = Message::new(Kind::NewSet, set.table.family.number(), set.attributes());
        self.push(message, NLM_F_CREATE, "create nftables set", set.name);
    }

    /// Deletes a set or a map; `EBUSY` if rules use it.
    pub fn delete_set(&mut self, set: &Set) {
        let family = set.table.family.number();
        let message = Message::new(Kind::DeleteSet, family, set.name_attributes());
        self.push(message, 0, "delete nftables set", set.name);
    }

    /// Adds elements to a set or a map. Existing ones stay; `EEXIST` if a map leads from one of the
    /// keys to another value.
    pub fn add_elements(&mut self, set: &Set, elements: &[Element]) {
        let kind = Kind::NewElements;
        let operation = "add elements to nftables set";
        self.elements(set, elements, kind, NLM_F_CREATE, operation);
    }

    /// Deletes elements of a set or a map; `ENOENT` if one of them is missing.
    pub fn delete_elements(&mut self, set: &Set, elements: &[Element]) {
        let kind = Kind::DeleteElements;
        let operation = "delete elements of nftables set";
        self.elements(set, elements, kind, 0, operation);
    }

    fn elements(
        &mut self,
        set: &Set,
        elements: &[Element],
        kind: Kind,
        flags: u16,
        operation: &'static str,
    ) {
        for some in elements.chunks(ELEMENTS_AT_ONCE) {
            let attributes = set.element_attributes(some);
            let message = Message::new(kind, set.table.family.number(), attributes);
            self.push(message, flags, operation, set.name);
        }
    }

    fn push(&mut self, message: Message, flags: u16, operation: &'static str, object: &str) {
        self.requests.push(Request {
            message,
            flags,
            operation,
            object: object.to_owned(),
        });
    }

    pub(super) fn into_requests(self) -> Vec<Request<Message>> {
        self.requests
    }

    /// Returns the changes as they are sent, one line each, in hexadecimal digits: the type and the
    /// flags of the message, and everything behind the netlink header. For tests.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let line = |request: &Request<Message>| {
            let digits = hex(&request.message.to_bytes());
            let kind = request.message.message_type();
            format!("{kind:04x} {:04x} {digits}\n", request.flags)
        };
        self.requests.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests;
