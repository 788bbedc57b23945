//! Plans from the output of `iptables-save`, and from rules of nf_tables.

use super::{super::super::super::names::MAX_XT_COMMENT, *};
use cni_net::iptables::{Place, parse};

const ID: AttachmentId<'_> = AttachmentId {
    network: "net",
    container_id: "a",
    if_name: "eth0",
};

/// `printf neta | sha512sum | cut -c-24`
const CHAIN: &str = "CNI-c3a99edf74e2fcceab44dece";

/// The output of `iptables-save -t nat` 1.8.9 after an ADD of the reference.
const ADDED: &str = r#"*nat
:CNI-c3a99edf74e2fcceab44dece - [0:0]
-A POSTROUTING -s 10.1.0.2/32 -m comment --comment "name: \"net\" id: \"a\"" -j CNI-c3a99edf74e2fcceab44dece
-A CNI-c3a99edf74e2fcceab44dece -d 10.1.0.0/24 -m comment --comment "name: \"net\" id: \"a\"" -j ACCEPT
-A CNI-c3a99edf74e2fcceab44dece ! -d 224.0.0.0/4 -m comment --comment "name: \"net\" id: \"a\"" -j MASQUERADE
COMMIT
"#;

fn added(addresses: &[&str], present: &Contents) -> String {
    let parse = |address: &&str| address.parse().unwrap();
    let addresses: Vec<Cidr> = addresses.iter().map(parse).collect();
    addition(ID, Family::V4, &addresses, present).finish()
}

fn handle(handle: u64) -> Place {
    Place::Handle {
        chain: POSTROUTING.to_owned(),
        handle,
    }
}

fn jump(number: u64, source: &str, id: AttachmentId<'_>) -> Rule {
    Rule {
        place: handle(number),
        chain: POSTROUTING.to_owned(),
        matches: vec![Match::Is(Condition::Source(source.parse().unwrap()))],
        comment: xt_comment(id),
        action: Action::Jump(xt_chain(id)),
    }
}

fn contents(rules: Vec<Rule>) -> Contents {
    Contents {
        chains: BTreeSet::from([CHAIN.to_owned()]),
        rules,
    }
}

fn list(network: &str, ids: &[&str]) -> AttachmentList {
    AttachmentList::new(network, ids.iter().map(|id| (*id, "eth0")))
}

#[test]
fn an_addition_is_what_the_reference_leaves() {
    assert_eq!(added(&["10.1.0.2/24"], &Contents::default()), ADDED);
}

#[test]
fn an_addition_keeps_what_is_present_and_repeats_no_jump() {
    let present = parse(ADDED);
    let is_jump = |line: &&str| line.starts_with("-A POSTROUTING");
    let jump = ADDED.lines().find(is_jump).unwrap();
    let again = ADDED.replace(&format!("{jump}\n"), "");
    assert_eq!(added(&["10.1.0.2/24"], &present), again);
    let more = parse(&added(&["10.2.0.2/16"], &present));
    let networks: Vec<String> = spared(&more, CHAIN).map(|n| n.to_string()).collect();
    assert_eq!(networks, ["10.1.0.0/24", "10.2.0.0/16"]);
    let last = more.rules.last().unwrap();
    assert_eq!(
        (&last.action, destination(last)),
        (&Action::Masquerade, None)
    );
}

#[test]
fn rules_of_names_too_long_for_a_comment_are_found_again() {
    let long = "c".repeat(250);
    let longer = "n".repeat(250);
    for id in [
        AttachmentId {
            container_id: &long,
            ..ID
        },
        AttachmentId {
            network: &longer,
            ..ID
        },
    ] {
        assert!(xt_comment(id).len() <= MAX_XT_COMMENT);
        let contents = contents(vec![jump(1, "10.1.0.2/32", id)]);
        let stale = |list: &AttachmentList| stale_removal(&contents, list).chains;
        assert_eq!(stale(&list(id.network, &[])), [xt_chain(id)]);
        assert_eq!(stale(&list("other", &[])), [""; 0]);
        assert_eq!(stale(&list(id.network, &[id.container_id])), [""; 0]);
    }
}

#[test]
fn the_chain_goes_with_the_last_address_that_leads_there() {
    let contents = contents(vec![jump(1, "10.1.0.2/32", ID), jump(2, "10.1.0.3/32", ID)]);
    let first = removal(&contents, CHAIN, &|address| {
        address.to_string() == "10.1.0.2"
    });
    let wanted = Removal {
        rules: vec![handle(1)],
        chains: Vec::new(),
    };
    assert_eq!(first, wanted);
    let all = removal(&contents, CHAIN, &|_| true);
    assert_eq!((all.rules.len(), all.chains), (2, vec![CHAIN.to_owned()]));
}

#[test]
fn a_chain_that_nothing_leads_to_goes() {
    let mut contents = parse(ADDED);
    contents.rules.remove(0);
    let all = removal(&contents, CHAIN, &|_| false);
    let wanted = Removal {
        rules: Vec::new(),
        chains: vec![CHAIN.to_owned()],
    };
    assert_eq!(all, wanted);
}

#[test]
fn an_address_is_masqueraded_by_all_three_rules_together() {
    let address: Cidr = "10.1.0.2/24".parse().unwrap();
    let whole = parse(ADDED);
    assert!(masquerades(&whole, CHAIN, address));
    assert_eq!(whole.rules.len(), 3);
    for missing in 0..whole.rules.len() {
        let mut part = whole.clone();
        part.rules.remove(missing);
        assert!(
            !masquerades(&part, CHAIN, address),
            "without rule {missing}"
        );
    }
}

#[test]
fn only_rules_of_the_network_whose_container_is_not_valid_are_stale() {
    let b = AttachmentId {
        container_id: "b",
        ..ID
    };
    let elsewhere = AttachmentId {
        network: "net2",
        ..ID
    };
    let mut portmap = jump(4, "10.1.0.9/32", ID);
    portmap.action = Action::Jump("CNI-DN-c3a99edf74e2fcceab44d".to_owned());
    let contents = contents(vec![
        jump(1, "10.1.0.2/32", ID),
        jump(2, "10.1.0.3/32", b),
        jump(3, "10.1.0.4/32", elsewhere),
        portmap,
    ]);
    let wanted = Removal {
        rules: vec![handle(1)],
        chains: vec![CHAIN.to_owned()],
    };
    assert_eq!(stale_removal(&contents, &list("net", &["b"])), wanted);
    assert_eq!(stale_removal(&contents, &list("net", &[])).chains.len(), 2);
    let one = list("net", &["b"]);
    let found = owners(&contents, &one);
    assert_eq!(found.stale, BTreeSet::from(["10.1.0.2".parse().unwrap()]));
    assert_eq!(found.valid, BTreeSet::from(["10.1.0.3".parse().unwrap()]));
    assert_eq!(found.known, BTreeSet::from([b]));
    // The addresses of the chain belong to either interface, or to both.
    let both = AttachmentList::new("net", [("b", "eth0"), ("b", "eth1")]);
    let found = owners(&contents, &both);
    assert_eq!((found.valid.len(), found.known.len()), (1, 0));
}
