//! Rules, sets and transactions: the content of the kernel after each operation, as nft(8) shows
//! it, and the way it reads back, whether we or nft(8) wrote it.

use crate::scene::cidr;
use cni_net::{
    Errno, Family,
    nft::{
        BaseChain, Condition, CtKey, DataType, Direction, Element, ElementData, Expr, Extension,
        FibFlags, FibResult, Hook, ListedRule, MapData, MetaKey, Nat, NatKind, Nft, PayloadBase,
        Range, Register, Rule, Set, Step, Table, TableFamily, Transaction, Verdict, steps,
    },
};
use cni_types::MacAddr;
use std::process::Command;
use testkit::{Host, Test, rules::nft};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        nf_tables_is_reached,
        nothing_there_is_an_empty_list,
        expressions_of_every_kind_read_back_and_are_what_nft_writes,
        rules_of_the_portmap_plugin_are_understood,
        rules_of_iptables_are_written_and_read,
        conditions_of_every_prefix_length_read_as_meant,
        sets_and_maps_are_those_of_nft,
        a_refused_change_takes_back_all_others,
        rules_go_to_the_head_and_to_the_end,
        a_change_is_planned_again_if_somebody_else_was_faster,
        a_change_among_others_that_never_stop_is_given_up,
    ]
}

const TABLE: Table = Table {
    family: TableFamily::IP,
    name: "t",
};
const FILTER: BaseChain = BaseChain {
    kind: "filter",
    hook: Hook::Forward,
    priority: 0,
};
const NAT: BaseChain = BaseChain {
    kind: "nat",
    hook: Hook::Prerouting,
    priority: -100,
};

pub(crate) fn open() -> Nft {
    let mut nft = Nft::open().unwrap();
    testkit::require("nf_tables", nft.probe().is_ok());
    nft
}

/// Creates a table with a chain of each type, and one that others may jump to.
fn with_chains() -> Nft {
    let mut kernel = open();
    let mut transaction = Transaction::new();
    transaction.ensure_table(TABLE);
    transaction.ensure_chain(TABLE, "filter", Some(FILTER));
    transaction.ensure_chain(TABLE, "nat", Some(NAT));
    transaction.create_chain(TABLE, "other");
    kernel.commit(transaction).unwrap();
    kernel
}

fn expressions(kernel: &mut Nft, chain: &str) -> Vec<Vec<Expr>> {
    let rules = kernel.rules(TABLE, chain).unwrap();
    rules.iter().map(ListedRule::expressions).collect()
}

fn nf_tables_is_reached(_: &Host) {
    open().probe().unwrap();
}

fn nothing_there_is_an_empty_list(_: &Host) {
    let mut kernel = open();
    assert_eq!(kernel.chain(TABLE, "filter").unwrap(), None);
    assert_eq!(kernel.rules(TABLE, "filter").unwrap(), []);
    assert_eq!(kernel.table_rules(TABLE).unwrap(), []);
    assert_eq!(kernel.elements(&PORTS).unwrap(), []);
    assert_eq!(nft("list ruleset"), "");
}

fn compare(value: &[u8]) -> Expr {
    Expr::Cmp {
        from: Register::R1,
        op: cni_net::nft::CmpOp::Equal,
        value: value.to_vec(),
    }
}

fn nat_to(addresses: Option<Register>, ports: Option<Register>) -> Expr {
    Expr::Nat(Nat {
        kind: NatKind::Destination,
        family: 2,
        addresses: addresses.map(Range::one),
        ports: ports.map(Range::one),
        flags: 0,
    })
}

/// Returns rules with their chains and their text in nft(8).
fn samples() -> Vec<(&'static str, &'static str, Vec<Expr>)> {
    let load = |to, value: &[u8]| Expr::Immediate {
        to,
        value: value.to_vec(),
    };
    let to = Register::R1;
    let masked = |mask: u32, xor: u32| Expr::Bitwise {
        from: to,
        to,
        mask: mask.to_ne_bytes().to_vec(),
        xor: xor.to_ne_bytes().to_vec(),
    };
    let mark = Expr::Meta {
        key: MetaKey::MARK,
        to,
    };
    let fib = Expr::Fib {
        flags: FibFlags::DADDR,
        result: FibResult::ADDRESS_TYPE,
        to,
    };
    let ct = |key, direction| Expr::Ct { key, direction, to };
    let jump = Expr::Verdict(Verdict::Jump("other".to_owned()));
    vec![
        (
            "filter",
            "meta mark & 0x00002000 == 0x00002000 drop",
            vec![
                mark,
                masked(0x2000, 0),
                compare(&0x2000_u32.to_ne_bytes()),
                Expr::Verdict(Verdict::Drop),
            ],
        ),
        (
            "filter",
            "meta mark set 0x00000007",
            vec![
                load(to, &7_u32.to_ne_bytes()),
                Expr::SetMeta {
                    key: MetaKey::MARK,
                    from: to,
                },
            ],
        ),
        (
            "filter",
            "meta l4proto tcp ct original proto-dst 8080 counter packets 0 bytes 0 accept",
            [
                Condition::Protocol(6).holds(),
                vec![
                    ct(CtKey::PROTO_DST, Some(Direction::Original)),
                    compare(&8080_u16.to_be_bytes()),
                    Expr::Counter {
                        packets: 0,
                        bytes: 0,
                    },
                    Expr::Verdict(Verdict::Accept),
                ],
            ]
            .concat(),
        ),
        (
            "nat",
            "fib daddr type local jump other",
            vec![fib, compare(&2_u32.to_ne_bytes()), jump],
        ),
        (
            "nat",
            "tcp dport 8080 dnat to 10.1.2.5:80",
            [
                Condition::Protocol(6).holds(),
                Condition::DestinationPort(8080).holds(),
                vec![
                    load(to, &[10, 1, 2, 5]),
                    load(Register::R2, &80_u16.to_be_bytes()),
                    nat_to(Some(to), Some(Register::R2)),
                ],
            ]
            .concat(),
        ),
        (
            "nat",
            "udp dport 53 redirect to :5353",
            [
                Condition::Protocol(17).holds(),
                Condition::DestinationPort(53).holds(),
                vec![
                    load(to, &5353_u16.to_be_bytes()),
                    Expr::Redirect {
                        flags: 0,
                        ports: Some(Range::one(to)),
                    },
                ],
            ]
            .concat(),
        ),
    ]
}

/// Compares our rules as nft(8) shows them, and nft(8)'s rules for the same text as we read them.
fn expressions_of_every_kind_read_back_and_are_what_nft_writes(_: &Host) {
    let mut kernel = with_chains();
    for (chain, words, expressions) in samples() {
        let mut transaction = Transaction::new();
        transaction.flush_chain(TABLE, chain);
        transaction.append_rule(TABLE, chain, &expressions.clone().into());
        kernel.commit(transaction).unwrap();
        let shown = nft(&format!("list chain ip t {chain}"));
        assert!(
            shown.contains(&format!("\n{words}\n")),
            "{words} in {shown}"
        );
        let own = self::expressions(&mut kernel, chain);
        assert_eq!(own, [expressions], "{words}");
        nft(&format!("add rule ip t {chain} {words}"));
        let both = self::expressions(&mut kernel, chain);
        assert_eq!(both[0], both[1], "{words}");
    }
}

/// The rules of the reference 1.9.1, written by nft(8).
fn rules_of_the_portmap_plugin_are_understood(_: &Host) {
    let mut kernel = with_chains();
    for (chain, words) in [
        (
            "nat",
            "ip daddr 192.0.2.1 tcp dport 8083 dnat to 10.1.2.5:83",
        ),
        ("nat", "fib daddr type local jump other"),
        (
            "filter",
            "ip saddr 10.1.2.5 ip daddr 10.1.2.5 counter accept",
        ),
        ("filter", "iifname \"br0\" oifname != \"br0\" return"),
        ("filter", "ct state established,related accept"),
        ("filter", "ct status dnat counter goto other"),
        ("filter", "ip saddr 10.1.0.0/20 sctp dport != 22 drop"),
        ("filter", "meta mark set meta mark and 0xffffdfff"),
    ] {
        nft(&format!("add rule ip t {chain} {words} comment \"c1\""));
        let rules = kernel.rules(TABLE, chain).unwrap();
        let last = rules.last().unwrap();
        assert_eq!(
            (last.comment().as_str(), last.chain().as_str()),
            ("c1", chain)
        );
        let read = last.expressions();
        let unknown = |expression: &Expr| matches!(expression, Expr::Unknown { .. });
        assert!(!read.iter().any(unknown), "{words}: {read:?}");
    }
    nft("add rule ip t filter limit rate 1/second accept");
    let limited = expressions(&mut kernel, "filter").pop().unwrap();
    assert_eq!(limited[0].name(), "limit");
    assert!(matches!(limited[0], Expr::Unknown { .. }));
}

fn iptables(arguments: &str) -> String {
    let output = Command::new("iptables-nft")
        .args(arguments.split(' '))
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output();
    testkit::require("the iptables-nft program", output.is_ok());
    let output = output.unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// Rules must have a counter for iptables to accept them, and `multiport` needs the protocol twice.
fn rules_of_iptables_are_written_and_read(_: &Host) {
    let mut kernel = open();
    let table = Table {
        family: TableFamily::IP,
        name: "filter",
    };
    let mut info = [0_u8; 48];
    info[..2].copy_from_slice(&[1, 2]);
    info[2..4].copy_from_slice(&8080_u16.to_ne_bytes());
    info[4..6].copy_from_slice(&8443_u16.to_ne_bytes());
    let multiport = Extension {
        name: "multiport".to_owned(),
        revision: 1,
        info: info.to_vec(),
    };
    let expressions = [
        Condition::Protocol(6).holds(),
        Condition::Source(cidr("10.1.2.0/24")).holds(),
        vec![
            Expr::Match(Extension::comment("x y")),
            Expr::Match(multiport),
            Expr::Counter {
                packets: 0,
                bytes: 0,
            },
            Expr::Verdict(Verdict::Accept),
        ],
    ];
    let rule = Rule {
        expressions: expressions.concat(),
        compat_protocol: Some(6),
        ..Rule::default()
    };
    let mut transaction = Transaction::new();
    transaction.ensure_table(table);
    transaction.ensure_chain(table, "FORWARD", Some(FILTER));
    transaction.append_rule(table, "FORWARD", &rule);
    let outcome = kernel.commit(transaction);
    testkit::require("nft_compat with multiport", outcome.is_ok());
    let words = "-s 10.1.2.0/24 -p tcp -m comment --comment \"x y\" -m multiport --dports \
                 8080,8443 -j ACCEPT";
    let shown = iptables("-S FORWARD");
    assert!(shown.contains(words), "{words} in {shown}");
    let read = kernel.rules(table, "FORWARD").unwrap();
    assert_eq!(read[0].expressions(), rule.expressions);
    // A rule that iptables itself writes.
    iptables("-I FORWARD -s 10.1.2.0/24 -p tcp -m multiport --dports 8080,8443 -j ACCEPT");
    let rules = kernel.rules(table, "FORWARD").unwrap();
    let theirs = steps(Some(Family::V4), &rules[0].effect());
    let own = steps(Some(Family::V4), &rules[1].effect());
    assert!(theirs.contains(&Step::Is(Condition::Source(cidr("10.1.2.0/24")))));
    assert_eq!(theirs.last(), own.last());
}

fn conditions_of_every_prefix_length_read_as_meant(_: &Host) {
    let table = Table {
        family: TableFamily::INET,
        ..TABLE
    };
    let mut kernel = open();
    let networks: Vec<_> = (1..=32)
        .map(|prefix| cidr(&format!("10.255.170.213/{prefix}")))
        .chain(
            (1..=128)
                .map(|prefix| cidr(&format!("fd55:aaaa:5555:aaaa:5555:aaaa:5555:aaaa/{prefix}"))),
        )
        .map(|network| network.network())
        .collect();
    let rule = |network: &cni_types::Cidr| {
        [
            Condition::family_of(network.address()).holds(),
            Condition::Source(*network).holds(),
            Condition::Destination(*network).fails(),
        ]
        .concat()
    };
    for some in networks.chunks(40) {
        let mut transaction = Transaction::new();
        transaction.ensure_table(table);
        transaction.ensure_chain(table, "c", None);
        for network in some {
            transaction.append_rule(table, "c", &rule(network).into());
        }
        kernel.commit(transaction).unwrap();
    }
    let shown = nft("list chain inet t c");
    let shown: Vec<&str> = shown
        .lines()
        .filter(|line| line.contains("saddr"))
        .collect();
    let rules = kernel.rules(table, "c").unwrap();
    assert_eq!((shown.len(), rules.len()), (160, 160));
    for ((network, shown), rule) in networks.iter().zip(shown).zip(rules) {
        let (word, whole) = if network.is_ipv4() {
            ("ip", "/32")
        } else {
            ("ip6", "/128")
        };
        let text = network.to_string();
        let text = text.trim_end_matches(whole);
        assert_eq!(shown, format!("{word} saddr {text} {word} daddr != {text}"));
        let wanted = [
            Step::Is(Condition::family_of(network.address())),
            Step::Is(Condition::Source(*network)),
            Step::IsNot(Condition::Destination(*network)),
        ];
        assert_eq!(steps(None, &rule.expressions()), wanted);
    }
}

const PORTS: Set = Set {
    table: TABLE,
    name: "ports",
    key: DataType::PROTOCOL.and(DataType::PORT),
    data: None,
};
const MAP: Set = Set {
    table: TABLE,
    name: "map",
    key: DataType::IPV4_ADDRESS,
    data: Some(MapData::Verdict),
};
const TARGETS: Set = Set {
    table: TABLE,
    name: "targets",
    key: DataType::PORT,
    data: Some(MapData::Value(DataType::IPV4_ADDRESS)),
};

/// Returns a protocol and a port, each padded to four bytes.
fn port(number: u16) -> Element {
    let [high, low] = number.to_be_bytes();
    Element::key(vec![6, 0, 0, 0, high, low, 0, 0])
}

fn lookup(set: &Set, to: Option<Register>, inverted: bool) -> Expr {
    Expr::Lookup {
        set: set.name.to_owned(),
        key: Register::R1,
        to,
        inverted,
    }
}

fn sets_and_maps_are_those_of_nft(_: &Host) {
    let mut kernel = with_chains();
    let payload = |base, offset, length, to| Expr::Payload {
        base,
        offset,
        length,
        to,
    };
    let protocol = Expr::Meta {
        key: MetaKey::L4PROTO,
        to: Register::R1,
    };
    let destination_port = payload(PayloadBase::TRANSPORT, 2, 2, Register::word(1));
    let of_ports = vec![
        protocol,
        destination_port,
        lookup(&PORTS, None, true),
        Expr::Verdict(Verdict::Return),
    ];
    let source = payload(PayloadBase::NETWORK, 12, 4, Register::R1);
    let of_map = vec![source, lookup(&MAP, Some(Register(0)), false)];
    let leads = |address: [u8; 4], verdict| Element {
        key: address.to_vec(),
        data: Some(ElementData::Verdict(verdict)),
    };
    let jump = leads([10, 0, 0, 1], Verdict::Jump("other".to_owned()));
    let target = Element {
        key: vec![0, 80],
        data: Some(ElementData::Value(vec![10, 1, 2, 5])),
    };
    let mut transaction = Transaction::new();
    for set in [&PORTS, &MAP, &TARGETS] {
        transaction.ensure_set(set);
    }
    transaction.add_elements(&PORTS, &[port(80), port(443)]);
    transaction.add_elements(&MAP, &[jump.clone(), leads([10, 0, 0, 2], Verdict::Drop)]);
    transaction.add_elements(&TARGETS, std::slice::from_ref(&target));
    transaction.append_rule(TABLE, "filter", &of_ports.clone().into());
    transaction.append_rule(TABLE, "filter", &of_map.clone().into());
    kernel.commit(transaction).unwrap();
    let shown = nft("list table ip t");
    for wanted in [
        "set ports {\ntype inet_proto . inet_service\nelements = { tcp . 80,\ntcp . 443 }",
        "map map {\ntype ipv4_addr : verdict\nelements = { 10.0.0.1 : jump other, 10.0.0.2 : drop }",
        "map targets {\ntype inet_service : ipv4_addr\nelements = { 80 : 10.1.2.5 }",
        "meta l4proto . th dport != @ports return\nip saddr vmap @map",
    ] {
        assert!(shown.contains(wanted), "{wanted} in {shown}");
    }
    assert_eq!(expressions(&mut kernel, "filter"), [of_ports, of_map]);
    let mut ports = kernel.elements(&PORTS).unwrap();
    ports.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(ports, [port(80), port(443)]);
    assert!(kernel.elements(&MAP).unwrap().contains(&jump));
    assert_eq!(kernel.elements(&TARGETS).unwrap(), [target]);
    let mut transaction = Transaction::new();
    transaction.delete_elements(&PORTS, &[port(80)]);
    transaction.delete_set(&TARGETS);
    kernel.commit(transaction).unwrap();
    assert_eq!(kernel.elements(&PORTS).unwrap(), [port(443)]);
    assert_eq!(kernel.elements(&TARGETS).unwrap(), []);
    let mut transaction = Transaction::new();
    transaction.delete_set(&PORTS);
    let refusal = kernel.commit(transaction).unwrap_err();
    assert_eq!(refusal.errno(), Some(Errno::EBUSY), "{refusal}");
}

fn a_refused_change_takes_back_all_others(_: &Host) {
    let mut kernel = with_chains();
    let before = nft("list ruleset");
    let mut transaction = Transaction::new();
    transaction.append_rule(TABLE, "other", &Rule::default());
    transaction.ensure_set(&PORTS);
    transaction.delete_rule(TABLE, "other", 4711);
    let refusal = kernel.commit(transaction).unwrap_err();
    assert!(refusal.is_absent(), "{refusal}");
    let text = r#"failed to delete nftables rule of "other": no such file or directory"#;
    assert!(refusal.to_string().starts_with(text), "{refusal}");
    assert_eq!(nft("list ruleset"), before);
}

fn rules_go_to_the_head_and_to_the_end(_: &Host) {
    let mut kernel = with_chains();
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    let rule = |comment: &str| Rule::with_comment(Condition::EtherSource(mac).holds(), comment);
    let mut transaction = Transaction::new();
    transaction.append_rule(TABLE, "other", &rule("second"));
    transaction.append_rule(TABLE, "other", &rule("third"));
    transaction.insert_rule(TABLE, "other", &rule("first"));
    kernel.commit(transaction).unwrap();
    let rules = kernel.rules(TABLE, "other").unwrap();
    let comments: Vec<String> = rules.iter().map(ListedRule::comment).collect();
    assert_eq!(comments, ["first", "second", "third"]);
    assert_eq!(kernel.table_rules(TABLE).unwrap(), rules);
    let chain = kernel.chain(TABLE, "filter").unwrap().unwrap();
    assert!(chain.base.unwrap().is(FILTER));
}

fn a_change_is_planned_again_if_somebody_else_was_faster(_: &Host) {
    let mut kernel = with_chains();
    let mut plans = 0;
    let outcome = kernel.change(|kernel| {
        plans += 1;
        let count = kernel.rules(TABLE, "other")?.len();
        if plans == 1 {
            nft("add rule ip t other accept");
        }
        let mut transaction = Transaction::new();
        if count == 0 {
            transaction.append_rule(TABLE, "other", &Rule::default());
        }
        transaction.create_chain(TABLE, &format!("planned{plans}"));
        Ok(transaction)
    });
    outcome.unwrap();
    assert_eq!(plans, 2);
    // The first plan would have added a rule to a chain that it took for empty.
    assert_eq!(kernel.rules(TABLE, "other").unwrap().len(), 1);
    assert!(kernel.chain(TABLE, "planned1").unwrap().is_none());
    assert!(kernel.chain(TABLE, "planned2").unwrap().is_some());
}

fn a_change_among_others_that_never_stop_is_given_up(_: &Host) {
    let mut kernel = with_chains();
    let before = kernel.rules(TABLE, "other").unwrap().len();
    let outcome = kernel.change(|_| {
        nft("add rule ip t other accept; flush chain ip t other");
        let mut transaction = Transaction::new();
        transaction.append_rule(TABLE, "other", &Rule::default());
        Ok(transaction)
    });
    let error = outcome.unwrap_err().to_string();
    assert!(
        error.starts_with("timed out waiting for a ruleset"),
        "{error}"
    );
    assert_eq!(kernel.rules(TABLE, "other").unwrap().len(), before);
}
