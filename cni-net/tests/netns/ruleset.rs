//! The whole of nf_tables as text, compared with the rules that nft(8) wrote.

use cni_net::nft::Nft;
use testkit::Host;
use testkit::rules::nft;

pub(crate) fn tests() -> Vec<testkit::Test> {
    testkit::tests![
        an_empty_ruleset_has_no_lines,
        tables_chains_rules_sets_and_elements_are_reported,
        what_was_counted_is_left_out_and_what_was_changed_is_not,
        a_table_that_comes_and_goes_leaves_the_same_text,
    ]
}

fn ruleset() -> Vec<String> {
    let mut nft = Nft::open().unwrap();
    testkit::require("nf_tables", nft.probe().is_ok());
    nft.ruleset().unwrap()
}

fn an_empty_ruleset_has_no_lines(_: &Host) {
    assert_eq!(ruleset(), [""; 0]);
}

fn tables_chains_rules_sets_and_elements_are_reported(_: &Host) {
    nft("table inet a {
           set s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }
           chain c {
             type filter hook input priority -5; policy drop;
             ip saddr 10.0.0.1 counter accept comment \"let in\"
           }
         }
         table bridge b { chain d { }; }");
    let lines = ruleset();
    for wanted in [
        "table inet a",
        "table bridge b",
        "chain inet a c type filter hook 1 priority -5 policy drop",
        "chain bridge b d",
    ] {
        assert!(
            lines.iter().any(|line| line == wanted),
            "{wanted} in {lines:#?}"
        );
    }
    let rule = lines
        .iter()
        .find(|line| line.starts_with("rule inet a c: "))
        .unwrap();
    assert!(
        rule.contains("payload cmp counter immediate #") && rule.ends_with(" comment \"let in\""),
        "{rule}"
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("element inet a s #"))
            .count(),
        2
    );
}

fn what_was_counted_is_left_out_and_what_was_changed_is_not(_: &Host) {
    let with = |rule: &str| {
        nft(&format!(
            "flush ruleset\ntable ip a {{ chain c {{ {rule}; }}; }}"
        ));
        ruleset()
    };
    let first = with("ip saddr 10.0.0.1 counter packets 1 bytes 60 accept");
    assert_eq!(
        first,
        with("ip saddr 10.0.0.1 counter packets 9 bytes 600 accept")
    );
    assert_ne!(
        first,
        with("ip saddr 10.0.0.2 counter packets 1 bytes 60 accept")
    );
    assert_ne!(
        first,
        with("ip daddr 10.0.0.1 counter packets 1 bytes 60 accept")
    );
    assert_ne!(
        first,
        with("ip saddr 10.0.0.1 counter packets 1 bytes 60 drop")
    );
}

fn a_table_that_comes_and_goes_leaves_the_same_text(_: &Host) {
    nft("table ip a { chain c { accept; }; }");
    let before = ruleset();
    nft("table ip b { chain c { }; }");
    assert_ne!(ruleset(), before);
    nft("delete table ip b");
    assert_eq!(ruleset(), before);
}
