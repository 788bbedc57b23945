//! Transactions: messages that take effect together or not at all.

use super::Nft;
use crate::{error::NetError, netlink::Request};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterProtoFamily,
    nftables::{
        ChainAttribute, ChainMessage, ExpressionAttribute, Hook, InetHookNumber, ListAttribute,
        NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute, TableMessage,
    },
    none::ControlMessage,
};

/// include/uapi/linux/netfilter/nfnetlink.h
const NFNL_SUBSYS_NFTABLES: u16 = 10;

/// The tag of a comment in a rule's user data, as nft(8) reads it (include/udata.h of libnftnl).
const UDATA_RULE_COMMENT: u8 = 0;

/// A table of one family.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    pub(super) family: NetfilterProtoFamily,
    pub(super) name: &'static str,
}

/// Where and when the packets of a base chain are seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct BaseChain {
    pub(super) kind: &'static str,
    pub(super) hook: InetHookNumber,
    pub(super) priority: u32,
}

/// A rule's expressions.
pub(super) type Expressions = Vec<ListAttribute<ExpressionAttribute>>;

pub(super) fn message(family: NetfilterProtoFamily, inner: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner)
}

/// Changes to one table, sent as one transaction.
pub(super) struct Transaction {
    table: Table,
    requests: Vec<Request<NetfilterMessage>>,
}

impl Transaction {
    pub(super) fn on(table: Table) -> Self {
        Self { table, requests: Vec::new() }
    }

    fn push(&mut self, inner: NfTablesMessage, flags: u16, operation: &'static str, object: String) {
        let message = message(self.table.family, inner);
        self.requests.push(Request { message, flags, operation, object });
    }

    pub(super) fn ensure_table(&mut self) {
        let attributes = vec![TableAttribute::Name(self.table.name.to_owned())];
        let message = NfTablesMessage::NewTable(TableMessage { attributes });
        self.push(message, NLM_F_CREATE, "create nftables table", self.table.name.to_owned());
    }

    pub(super) fn ensure_chain(&mut self, chain: &str, base: Option<BaseChain>) {
        let mut attributes =
            vec![ChainAttribute::Table(self.table.name.to_owned()), ChainAttribute::Name(chain.to_owned())];
        if let Some(base) = base {
            attributes.push(ChainAttribute::Hook(vec![
                Hook::Number(base.hook.into()),
                Hook::Priority(base.priority),
            ]));
            attributes.push(ChainAttribute::Type(base.kind.to_owned()));
        }
        let message = NfTablesMessage::NewChain(ChainMessage { attributes });
        self.push(message, NLM_F_CREATE, "create nftables chain", chain.to_owned());
    }

    /// Deletes all rules of a chain.
    pub(super) fn flush_chain(&mut self, chain: &str) {
        let attributes = self.rule_attributes(chain);
        let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
        self.push(message, 0, "flush nftables chain", chain.to_owned());
    }

    /// Adds a rule at the end of a chain.
    pub(super) fn append_rule(&mut self, chain: &str, expressions: Expressions, comment: Option<&str>) {
        let mut attributes = self.rule_attributes(chain);
        attributes.push(RuleAttribute::Expressions(expressions));
        attributes.extend(comment.map(|comment| RuleAttribute::UserData(comment_userdata(comment))));
        let message = NfTablesMessage::NewRule(RuleMessage { attributes });
        self.push(message, NLM_F_CREATE | NLM_F_APPEND, "add nftables rule to", chain.to_owned());
    }

    pub(super) fn delete_rule(&mut self, chain: &str, handle: u64) {
        let mut attributes = self.rule_attributes(chain);
        attributes.push(RuleAttribute::Handle(handle));
        let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
        self.push(message, 0, "delete nftables rule of", chain.to_owned());
    }

    fn rule_attributes(&self, chain: &str) -> Vec<RuleAttribute> {
        vec![RuleAttribute::Table(self.table.name.to_owned()), RuleAttribute::Chain(chain.to_owned())]
    }

    pub(super) fn commit(self, nft: &mut Nft) -> Result<(), NetError> {
        let control = |message: ControlMessage| {
            let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
            NetfilterMessage::new(header, message)
        };
        nft.socket.transact(
            control(ControlMessage::BatchBegin),
            self.requests,
            control(ControlMessage::BatchEnd),
        )
    }
}

/// Lists the rules of a chain; none where there is no such chain.
pub(super) fn rules_request(table: Table, chain: &str) -> Request<NetfilterMessage> {
    let attributes =
        vec![RuleAttribute::Table(table.name.to_owned()), RuleAttribute::Chain(chain.to_owned())];
    let message = message(table.family, NfTablesMessage::GetRule(RuleMessage { attributes }));
    Request { message, flags: 0, operation: "list nftables rules of", object: chain.to_owned() }
}

/// A comment as a type-length-value, closed by a NUL. At most 128 bytes: nft(8) refuses longer ones.
fn comment_userdata(comment: &str) -> Vec<u8> {
    let text: Vec<u8> = comment.bytes().take(128).chain([0]).collect();
    let length = u8::try_from(text.len()).unwrap_or(u8::MAX);
    [&[UDATA_RULE_COMMENT, length], text.as_slice()].concat()
}

/// The comment in a rule's user data.
pub(super) fn comment_of_userdata(mut bytes: &[u8]) -> Option<String> {
    while let [tag, length, rest @ ..] = bytes {
        let value = rest.get(..usize::from(*length))?;
        if *tag == UDATA_RULE_COMMENT {
            return Some(crate::netlink::c_string(value));
        }
        bytes = rest.get(value.len()..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_reads_back_from_its_userdata() {
        let bytes = comment_userdata("masquerade of me");
        assert_eq!(bytes[..2], [0, 17]);
        assert_eq!(comment_of_userdata(&bytes).unwrap(), "masquerade of me");
        let behind_another = [&[7, 2, 1, 1], bytes.as_slice()].concat();
        assert_eq!(comment_of_userdata(&behind_another).unwrap(), "masquerade of me");
    }

    #[test]
    fn malformed_userdata_holds_no_comment() {
        for bytes in [&[][..], &[0], &[0, 5, b'a'], &[3, 200, 1]] {
            assert_eq!(comment_of_userdata(bytes), None);
        }
        assert_eq!(comment_of_userdata(&comment_userdata(&"x".repeat(300))).unwrap().len(), 128);
    }
}
