//! The messages of a transaction, byte by byte.

use super::*;
use crate::netlink::testing::attribute;
use crate::nft::{
    expr::{Expr, Extension, Verdict},
    message::HEADER_LEN,
    rule::UserData,
    set::{DataType, ElementData, MapData},
    table::{Hook, TableFamily},
};

const TABLE: Table = Table {
    family: TableFamily::INET,
    name: "t",
};

/// Returns the messages of a transaction: flags, nf_tables' type, and everything behind the netlink
/// header.
fn encoded(fill: impl FnOnce(&mut Transaction)) -> Vec<(u16, u8, Vec<u8>)> {
    let mut transaction = Transaction::new();
    fill(&mut transaction);
    let encode = |request: Request<Message>| {
        let mut bytes = vec![0; request.message.buffer_len()];
        request.message.serialize(&mut bytes);
        let [subsystem, kind] = request.message.message_type().to_be_bytes();
        assert_eq!(subsystem, 10);
        (request.flags, kind, bytes)
    };
    transaction
        .into_requests()
        .into_iter()
        .map(encode)
        .collect()
}

const NESTED: u16 = 0x8000;
/// `struct nfgenmsg` of the inet family (1).
const INET: [u8; HEADER_LEN] = [1, 0, 0, 0];

#[test]
fn a_base_chain_has_hook_priority_and_type() {
    let base = BaseChain {
        kind: "nat",
        hook: Hook::Postrouting,
        priority: 100,
    };
    let messages = encoded(|transaction| transaction.ensure_chain(TABLE, "c", Some(base)));
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
        transaction.ensure_table(TABLE);
        transaction.ensure_chain(TABLE, "c", None);
        transaction.delete_table(TABLE);
    });
    let table = [INET.to_vec(), attribute(1, b"t\0")].concat();
    let chain = [INET.to_vec(), attribute(1, b"t\0"), attribute(3, b"c\0")].concat();
    // NFT_MSG_NEWTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_DELTABLE
    assert_eq!(
        messages,
        [
            (NLM_F_CREATE, 0, table.clone()),
            (NLM_F_CREATE, 3, chain),
            (0, 2, table)
        ]
    );
}

#[test]
fn a_chain_is_created_alone_and_deleted_by_its_name() {
    let messages = encoded(|transaction| {
        transaction.create_chain(TABLE, "c");
        transaction.delete_chain(TABLE, "c");
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
        transaction.delete_rule(TABLE, "c", 0x0102_0304_0506_0708);
        transaction.flush_chain(TABLE, "c");
    });
    let of_chain = [INET.to_vec(), attribute(1, b"t\0"), attribute(2, b"c\0")].concat();
    let with_handle = [of_chain.clone(), attribute(3, &[1, 2, 3, 4, 5, 6, 7, 8])].concat();
    // NFT_MSG_DELRULE
    assert_eq!(messages, [(0, 8, with_handle), (0, 8, of_chain)]);
}

#[test]
fn user_data_stands_behind_the_expressions_and_the_protocol() {
    let rule = Rule {
        expressions: Vec::new(),
        user_data: UserData::comment("why"),
        compat_protocol: Some(6),
    };
    let messages = encoded(|transaction| {
        transaction.append_rule(TABLE, "c", &rule);
        transaction.insert_rule(TABLE, "c", &Rule::default());
    });
    let of_chain = [INET.to_vec(), attribute(1, b"t\0"), attribute(2, b"c\0")].concat();
    let empty = [of_chain, attribute(4 | NESTED, &[])].concat();
    let compat = [attribute(1, &[0, 0, 0, 6]), attribute(2, &[0; 4])].concat();
    let wanted = [
        empty.clone(),
        attribute(5 | NESTED, &compat),
        attribute(7, &[&[0, 4][..], b"why\0"].concat()),
    ];
    // NFT_MSG_NEWRULE
    assert_eq!(
        messages,
        [
            (NLM_F_CREATE | NLM_F_APPEND, 6, wanted.concat()),
            (NLM_F_CREATE, 6, empty)
        ]
    );
}

/// Returns a `struct nlattr` of a data attribute with a value.
fn data(kind: u16, value: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, &attribute(1, value))
}

#[test]
fn a_verdict_map_and_its_elements_are_those_of_nft() {
    let map = Set {
        table: TABLE,
        name: "m",
        key: DataType::PORT,
        data: Some(MapData::Verdict),
    };
    let element = Element {
        key: vec![0, 80],
        data: Some(ElementData::Verdict(Verdict::Jump("c".to_owned()))),
    };
    let messages = encoded(|transaction| {
        transaction.ensure_set(&map);
        transaction.add_elements(&map, &[element]);
        transaction.delete_elements(&map, &[Element::key(vec![0, 80])]);
    });
    let named = [INET.to_vec(), attribute(1, b"t\0"), attribute(2, b"m\0")].concat();
    let shape = [
        attribute(3, &[0, 0, 0, 8]),
        attribute(4, &[0, 0, 0, 13]),
        attribute(5, &[0, 0, 0, 2]),
        attribute(6, &[0xff, 0xff, 0xff, 0]),
        attribute(10, &[0, 0, 0, 1]),
    ];
    let jump = [attribute(1, &(-3_i32).to_be_bytes()), attribute(2, b"c\0")].concat();
    let leads = [
        data(1, &[0, 80]),
        attribute(2 | NESTED, &attribute(2 | NESTED, &jump)),
    ];
    let list = |element: &[u8]| attribute(3 | NESTED, &attribute(1 | NESTED, element));
    // NFT_MSG_NEWSET, NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM
    assert_eq!(
        messages,
        [
            (NLM_F_CREATE, 9, [named.clone(), shape.concat()].concat()),
            (
                NLM_F_CREATE,
                12,
                [named.clone(), list(&leads.concat())].concat()
            ),
            (0, 14, [named, list(&data(1, &[0, 80]))].concat())
        ]
    );
}

#[test]
fn many_elements_are_sent_in_parts() {
    let set = Set {
        table: TABLE,
        name: "s",
        key: DataType::IPV6_ADDRESS,
        data: None,
    };
    let elements = vec![Element::key(vec![7; 16]); 1001];
    let messages = encoded(|transaction| transaction.add_elements(&set, &elements));
    assert_eq!(messages.len(), 11);
}

/// `struct xt_match` as nft_compat takes it.
#[test]
fn a_match_of_iptables_has_name_revision_and_data() {
    let rule = Rule::from(vec![Expr::Match(Extension::comment("x"))]);
    let messages = encoded(|transaction| transaction.append_rule(TABLE, "c", &rule));
    let mut info = [0; 256];
    info[0] = b'x';
    let compat = [
        attribute(1, b"comment\0"),
        attribute(2, &[0; 4]),
        attribute(3, &info),
    ];
    let expression = [
        attribute(1, b"match\0"),
        attribute(2 | NESTED, &compat.concat()),
    ];
    let element = attribute(1 | NESTED, &expression.concat());
    let bytes = &messages[0].2;
    assert!(bytes.windows(element.len()).any(|part| part == element));
}
