//! Transactions: messages that take effect together or not at all.

use super::Nft;
use crate::{error::NetError, netlink::Request};
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
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

/// The longest comment, in bytes: NFT_USERDATA_MAXLEN of include/uapi/linux/netfilter/nf_tables.h is 256, less tag, length and NUL.
/// nft(8) lists all of it, though its own grammar ends at 128.
const MAX_COMMENT: usize = 253;

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
        Self {
            table,
            requests: Vec::new(),
        }
    }

    fn push(
        &mut self,
        inner: NfTablesMessage,
        flags: u16,
        operation: &'static str,
        object: String,
    ) {
        let message = message(self.table.family, inner);
        self.requests.push(Request {
            message,
            flags,
            operation,
            object,
        });
    }

    pub(super) fn ensure_table(&mut self) {
        let attributes = vec![TableAttribute::Name(self.table.name.to_owned())];
        let message = NfTablesMessage::NewTable(TableMessage { attributes });
        self.push(
            message,
            NLM_F_CREATE,
            "create nftables table",
            self.table.name.to_owned(),
        );
    }

    pub(super) fn ensure_chain(&mut self, chain: &str, base: Option<BaseChain>) {
        let mut attributes = self.chain_attributes(chain);
        if let Some(base) = base {
            attributes.push(ChainAttribute::Hook(vec![
                Hook::Number(base.hook.into()),
                Hook::Priority(base.priority),
            ]));
            attributes.push(ChainAttribute::Type(base.kind.to_owned()));
        }
        let message = NfTablesMessage::NewChain(ChainMessage { attributes });
        self.push(
            message,
            NLM_F_CREATE,
            "create nftables chain",
            chain.to_owned(),
        );
    }

    /// A chain without a hook; `EEXIST` where there is one of that name.
    pub(super) fn create_chain(&mut self, chain: &str) {
        let attributes = self.chain_attributes(chain);
        let message = NfTablesMessage::NewChain(ChainMessage { attributes });
        self.push(
            message,
            NLM_F_CREATE | NLM_F_EXCL,
            "create nftables chain",
            chain.to_owned(),
        );
    }

    /// Deletes a chain with its rules (`nf_tables_delchain` in net/netfilter/nf_tables_api.c, without NLM_F_NONREC); `EBUSY` where
    /// others lead to it.
    pub(super) fn delete_chain(&mut self, chain: &str) {
        let attributes = self.chain_attributes(chain);
        let message = NfTablesMessage::DeleteChain(ChainMessage { attributes });
        self.push(message, 0, "delete nftables chain", chain.to_owned());
    }

    /// Deletes all rules of a chain.
    pub(super) fn flush_chain(&mut self, chain: &str) {
        let attributes = self.rule_attributes(chain);
        let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
        self.push(message, 0, "flush nftables chain", chain.to_owned());
    }

    /// Adds a rule at the end of a chain.
    pub(super) fn append_rule(
        &mut self,
        chain: &str,
        expressions: Expressions,
        comment: Option<&str>,
    ) {
        let mut attributes = self.rule_attributes(chain);
        attributes.push(RuleAttribute::Expressions(expressions));
        attributes
            .extend(comment.map(|comment| RuleAttribute::UserData(comment_userdata(comment))));
        let message = NfTablesMessage::NewRule(RuleMessage { attributes });
        self.push(
            message,
            NLM_F_CREATE | NLM_F_APPEND,
            "add nftables rule to",
            chain.to_owned(),
        );
    }

    pub(super) fn delete_rule(&mut self, chain: &str, handle: u64) {
        let mut attributes = self.rule_attributes(chain);
        attributes.push(RuleAttribute::Handle(handle));
        let message = NfTablesMessage::DeleteRule(RuleMessage { attributes });
        self.push(message, 0, "delete nftables rule of", chain.to_owned());
    }

    fn chain_attributes(&self, chain: &str) -> Vec<ChainAttribute> {
        chain_attributes(self.table, chain)
    }

    fn rule_attributes(&self, chain: &str) -> Vec<RuleAttribute> {
        vec![
            RuleAttribute::Table(self.table.name.to_owned()),
            RuleAttribute::Chain(chain.to_owned()),
        ]
    }

    pub(super) fn commit(self, nft: &mut Nft) -> Result<(), NetError> {
        let control = |message: ControlMessage| {
            let header =
                NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES);
            NetfilterMessage::new(header, message)
        };
        nft.socket.transact(
            control(ControlMessage::BatchBegin),
            self.requests,
            control(ControlMessage::BatchEnd),
        )
    }
}

fn chain_attributes(table: Table, chain: &str) -> Vec<ChainAttribute> {
    vec![
        ChainAttribute::Table(table.name.to_owned()),
        ChainAttribute::Name(chain.to_owned()),
    ]
}

/// Asks for a chain.
pub(super) fn chain_request(table: Table, chain: &str) -> Request<NetfilterMessage> {
    let attributes = chain_attributes(table, chain);
    let message = message(
        table.family,
        NfTablesMessage::GetChain(ChainMessage { attributes }),
    );
    Request {
        message,
        flags: 0,
        operation: "look up nftables chain",
        object: chain.to_owned(),
    }
}

/// Lists the rules of all chains of a table.
pub(super) fn table_rules_request(table: Table) -> Request<NetfilterMessage> {
    let attributes = vec![RuleAttribute::Table(table.name.to_owned())];
    let message = message(
        table.family,
        NfTablesMessage::GetRule(RuleMessage { attributes }),
    );
    Request {
        message,
        flags: 0,
        operation: "list nftables rules of table",
        object: table.name.to_owned(),
    }
}

/// Lists the rules of a chain; none where there is no such chain.
pub(super) fn rules_request(table: Table, chain: &str) -> Request<NetfilterMessage> {
    let attributes = vec![
        RuleAttribute::Table(table.name.to_owned()),
        RuleAttribute::Chain(chain.to_owned()),
    ];
    let message = message(
        table.family,
        NfTablesMessage::GetRule(RuleMessage { attributes }),
    );
    Request {
        message,
        flags: 0,
        operation: "list nftables rules of",
        object: chain.to_owned(),
    }
}

/// A comment as a type-length-value, closed by a NUL.
fn comment_userdata(comment: &str) -> Vec<u8> {
    let text: Vec<u8> = comment.bytes().take(MAX_COMMENT).chain([0]).collect();
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

    use netlink_packet_core::NetlinkSerializable;
    use proptest::prelude::*;

    const TABLE: Table = Table {
        family: NetfilterProtoFamily::Inet,
        name: "t",
    };

    /// The messages of a transaction: flags, nf_tables' type, and everything behind the netlink header.
    fn encoded(fill: impl FnOnce(&mut Transaction)) -> Vec<(u16, u8, Vec<u8>)> {
        let mut transaction = Transaction::on(TABLE);
        fill(&mut transaction);
        let encode = |request: Request<NetfilterMessage>| {
            let mut bytes = vec![0; request.message.buffer_len()];
            request.message.serialize(&mut bytes);
            let [subsystem, kind] = request.message.message_type().to_be_bytes();
            assert_eq!(u16::from(subsystem), NFNL_SUBSYS_NFTABLES);
            (request.flags, kind, bytes)
        };
        transaction.requests.into_iter().map(encode).collect()
    }

    /// `struct nlattr` with its padding.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    const NESTED: u16 = 0x8000;
    /// `struct nfgenmsg` of the inet family (1).
    const INET: [u8; 4] = [1, 0, 0, 0];

    #[test]
    fn a_base_chain_has_hook_priority_and_type() {
        let base = BaseChain {
            kind: "nat",
            hook: InetHookNumber::PostRouting,
            priority: 100,
        };
        let messages = encoded(|transaction| transaction.ensure_chain("c", Some(base)));
        let hook = [attribute(1, &[0, 0, 0, 4]), attribute(2, &[0, 0, 0, 100])].concat();
        let wanted = [
            INET.to_vec(),
            attribute(1, b"t\0"),
            attribute(3, b"c\0"),
            attribute(4 | NESTED, &hook),
            attribute(7, b"nat\0"),
        ];
        // NFT_MSG_NEWCHAIN
        assert_eq!(messages, [(NLM_F_CREATE, 3, wanted.concat())]);
    }

    #[test]
    fn a_plain_chain_and_a_table_have_a_name_only() {
        let messages = encoded(|transaction| {
            transaction.ensure_table();
            transaction.ensure_chain("c", None);
        });
        let table = [INET.to_vec(), attribute(1, b"t\0")].concat();
        let chain = [INET.to_vec(), attribute(1, b"t\0"), attribute(3, b"c\0")].concat();
        assert_eq!(
            messages,
            [(NLM_F_CREATE, 0, table), (NLM_F_CREATE, 3, chain)]
        );
    }

    #[test]
    fn a_chain_is_created_alone_and_deleted_by_its_name() {
        let messages = encoded(|transaction| {
            transaction.create_chain("c");
            transaction.delete_chain("c");
        });
        let chain = [INET.to_vec(), attribute(1, b"t\0"), attribute(3, b"c\0")].concat();
        // NFT_MSG_NEWCHAIN, NFT_MSG_DELCHAIN
        assert_eq!(
            messages,
            [(NLM_F_CREATE | NLM_F_EXCL, 3, chain.clone()), (0, 5, chain)]
        );
    }

    #[test]
    fn a_rule_is_deleted_by_its_handle_and_a_chain_is_flushed_without_one() {
        let messages = encoded(|transaction| {
            transaction.delete_rule("c", 0x0102_0304_0506_0708);
            transaction.flush_chain("c");
        });
        let of_chain = [INET.to_vec(), attribute(1, b"t\0"), attribute(2, b"c\0")].concat();
        let with_handle = [of_chain.clone(), attribute(3, &[1, 2, 3, 4, 5, 6, 7, 8])].concat();
        // NFT_MSG_DELRULE
        assert_eq!(messages, [(0, 8, with_handle), (0, 8, of_chain)]);
    }

    #[test]
    fn a_comment_stands_behind_the_expressions() {
        let messages = encoded(|transaction| transaction.append_rule("c", Vec::new(), Some("why")));
        let userdata = [&[0, 4][..], b"why\0"].concat();
        let wanted = [
            INET.to_vec(),
            attribute(1, b"t\0"),
            attribute(2, b"c\0"),
            attribute(4 | NESTED, &[]),
            attribute(7, &userdata),
        ];
        // NFT_MSG_NEWRULE
        assert_eq!(
            messages,
            [(NLM_F_CREATE | NLM_F_APPEND, 6, wanted.concat())]
        );
    }

    proptest! {
        #[test]
        fn any_userdata_is_read_or_holds_no_comment(bytes: Vec<u8>) {
            let _ = comment_of_userdata(&bytes);
        }

        #[test]
        fn any_comment_reads_back_as_far_as_it_fits(comment in "[^\0]{0,300}") {
            let read = comment_of_userdata(&comment_userdata(&comment)).unwrap();
            let fits = comment.len() <= MAX_COMMENT;
            prop_assert_eq!(fits.then_some(read), fits.then_some(comment));
        }
    }

    #[test]
    fn a_comment_reads_back_from_its_userdata() {
        let bytes = comment_userdata("masquerade of me");
        assert_eq!(bytes[..2], [0, 17]);
        assert_eq!(comment_of_userdata(&bytes).unwrap(), "masquerade of me");
        let behind_another = [&[7, 2, 1, 1], bytes.as_slice()].concat();
        assert_eq!(
            comment_of_userdata(&behind_another).unwrap(),
            "masquerade of me"
        );
    }

    #[test]
    fn malformed_userdata_holds_no_comment() {
        for bytes in [&[][..], &[0], &[0, 5, b'a'], &[3, 200, 1]] {
            assert_eq!(comment_of_userdata(bytes), None);
        }
        assert_eq!(
            comment_of_userdata(&comment_userdata(&"x".repeat(300)))
                .unwrap()
                .len(),
            MAX_COMMENT
        );
    }
}
