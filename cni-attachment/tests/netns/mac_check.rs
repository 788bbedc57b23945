//! Checks of source MAC addresses: the content of the kernel after each operation, as nft(8) shows
//! it.

use crate::scene::{A, B, id, open, with_valid};
use cni_attachment::netfilter::{
    RuleSet,
    mac_check::{MacCheck, MacChecks, create},
};
use cni_net::nft::Nft;
use cni_types::{AttachmentId, Code, IfName, MacAddr};
use std::thread;
use testkit::{Host, Test, rules::nft};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_first_check_makes_the_references_table,
        a_check_reads_back_and_what_is_missing_is_named,
        a_check_of_the_same_name_is_replaced,
        nothing_there_is_fine_for_all_but_create,
        a_removed_check_leaves_the_base_chain,
        chains_that_another_rule_leads_to_stay,
        checks_of_interfaces_that_are_gone_are_stale,
        a_base_chain_of_another_kind_is_an_error,
        a_port_that_nft_could_not_read_back_is_refused,
        checks_come_and_go_at_once_without_an_error,
    ]
}

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xab]);

/// The rules that the reference 1.9.1 and 1.1.1 leave.
const RULESET: &str = "table bridge nat {\n\
    chain PREROUTING {\n\
    type filter hook prerouting priority dstnat; policy accept;\n\
    iifname \"veth0\" jump cni-br-iface-a-eth0 comment \"macspoofchk-a-eth0\"\n\
    }\n\
    chain cni-br-iface-a-eth0 {\n\
    jump cni-br-iface-a-eth0-mac comment \"macspoofchk-a-eth0\"\n\
    }\n\
    chain cni-br-iface-a-eth0-mac {\n\
    ether saddr 02:00:00:00:00:ab return comment \"macspoofchk-a-eth0\"\n\
    drop comment \"macspoofchk-a-eth0\"\n\
    }\n\
    }";

const BASE: &str = "table bridge nat {\n\
    chain PREROUTING {\n\
    type filter hook prerouting priority dstnat; policy accept;\n\
    }\n\
    }";

fn check(host_end: &str) -> MacCheck {
    let host_end = IfName::parse(host_end).unwrap();
    MacCheck::new(&host_end, Some(MAC)).unwrap()
}

/// Creates a check of container `a`.
fn checked() -> Nft {
    let mut kernel = open();
    let outcome = MacChecks::new(&mut kernel).create(A, &check("veth0"));
    let lacks = outcome
        .as_ref()
        .is_err_and(|e| e.details.contains("CONFIG_NF_TABLES_BRIDGE"));
    testkit::require("nf_tables for the bridge family", !lacks);
    outcome.unwrap();
    kernel
}

fn differences(kernel: &mut Nft, id: AttachmentId<'_>) -> Vec<String> {
    MacChecks::new(kernel)
        .differences(id, &check("veth0"))
        .unwrap()
}

fn remove(kernel: &mut Nft, id: AttachmentId<'_>) {
    MacChecks::new(kernel).remove(id, &|_| true).unwrap();
}

fn the_first_check_makes_the_references_table(_: &Host) {
    checked();
    assert_eq!(nft("list ruleset"), RULESET);
}

fn a_check_reads_back_and_what_is_missing_is_named(_: &Host) {
    let mut kernel = checked();
    assert_eq!(differences(&mut kernel, A), [""; 0]);
    // A counter has no effect, and an address behind the drop does not pass.
    nft("flush chain bridge nat cni-br-iface-a-eth0-mac
         add rule bridge nat cni-br-iface-a-eth0-mac ether saddr 02:00:00:00:00:ab counter return
         add rule bridge nat cni-br-iface-a-eth0-mac counter drop");
    assert_eq!(differences(&mut kernel, A), [""; 0]);
    nft("add rule bridge nat cni-br-iface-a-eth0-mac ether saddr 02:00:00:00:00:ac return");
    let no_drop = "macspoofchk rules missing: chain cni-br-iface-a-eth0 drops no frame";
    assert_eq!(differences(&mut kernel, A), [no_drop]);
    nft("flush chain bridge nat PREROUTING
         flush chain bridge nat cni-br-iface-a-eth0-mac");
    assert_eq!(
        differences(&mut kernel, A),
        [
            "macspoofchk rules missing: frames from [] are checked by chain cni-br-iface-a-eth0, \
             wanted veth0",
            no_drop,
            "macspoofchk lets frames from [] pass, wanted [02:00:00:00:00:ab] of interface eth0"
        ]
    );
}

/// An earlier attachment of the same name left the check; its interface is gone.
fn a_check_of_the_same_name_is_replaced(_: &Host) {
    checked();
    create(A, &check("veth1")).unwrap();
    assert_eq!(nft("list ruleset"), RULESET.replace("veth0", "veth1"));
}

fn nothing_there_is_fine_for_all_but_create(_: &Host) {
    let mut kernel = open();
    assert_eq!(differences(&mut kernel, A).len(), 3);
    remove(&mut kernel, A);
    with_valid(&[], |stale| MacChecks::new(&mut kernel).remove_stale(stale)).unwrap();
    assert_eq!(nft("list ruleset"), "");
}

fn a_removed_check_leaves_the_base_chain(_: &Host) {
    let mut kernel = checked();
    create(B, &check("veth1")).unwrap();
    remove(&mut kernel, B);
    assert_eq!(nft("list ruleset"), RULESET);
    remove(&mut kernel, A);
    assert_eq!(nft("list ruleset"), BASE);
}

fn chains_that_another_rule_leads_to_stay(_: &Host) {
    let mut kernel = checked();
    nft("add rule bridge nat PREROUTING meta mark 7 jump cni-br-iface-a-eth0");
    let before = nft("list ruleset");
    remove(&mut kernel, A);
    assert_eq!(nft("list ruleset"), before);
    let refusal = create(A, &check("veth1")).unwrap_err();
    assert!(
        refusal
            .details
            .contains("is in use for another attachment, by [veth0]"),
        "{refusal:?}"
    );
    assert_eq!(nft("list ruleset"), before);
}

fn checks_of_interfaces_that_are_gone_are_stale(_: &Host) {
    let mut kernel = checked();
    nft("add rule bridge nat PREROUTING iifname \"lo\" jump cni-br-iface-a-eth0");
    // The loopback interface exists and has no alias; the chains stay because of its jump.
    with_valid(&["a"], |stale| {
        MacChecks::new(&mut kernel).remove_stale(stale)
    })
    .unwrap();
    let left = nft("list ruleset");
    assert!(
        !left.contains("veth0") && left.contains("chain cni-br-iface-a-eth0-mac"),
        "{left}"
    );
    nft("flush chain bridge nat PREROUTING
         add rule bridge nat PREROUTING iifname \"gone\" jump cni-br-iface-a-eth0");
    with_valid(&["a"], |stale| {
        MacChecks::new(&mut kernel).remove_stale(stale)
    })
    .unwrap();
    assert_eq!(nft("list ruleset"), BASE);
}

fn a_base_chain_of_another_kind_is_an_error(_: &Host) {
    checked();
    nft("flush ruleset");
    nft("add table bridge nat
         add chain bridge nat PREROUTING { type filter hook prerouting priority -200; policy drop; }");
    let before = nft("list ruleset");
    let error = create(A, &check("veth0")).unwrap_err();
    assert!(
        error.msg.starts_with("failed to setup spoof-check: "),
        "{error}"
    );
    assert!(error.msg.contains("PREROUTING"), "{error}");
    assert!(
        error
            .details
            .contains("has a chain PREROUTING of another kind"),
        "{error:?}"
    );
    assert_eq!(nft("list ruleset"), before);
}

fn a_port_that_nft_could_not_read_back_is_refused(_: &Host) {
    let quoted = IfName::parse("a\"b").unwrap();
    let error = MacCheck::new(&quoted, Some(MAC)).unwrap_err();
    assert_eq!(error.code, Code::INVALID_CONFIG);
    let plain = IfName::parse("veth0").unwrap();
    assert_eq!(MacCheck::new(&plain, None).unwrap_err().code, Code::KERNEL);
}

fn checks_come_and_go_at_once_without_an_error(_: &Host) {
    checked();
    thread::scope(|scope| {
        for number in 0..20 {
            scope.spawn(move || {
                let container = format!("c{number}");
                let check = check(&format!("veth{number}"));
                let mut kernel = open();
                let mut checks = MacChecks::new(&mut kernel);
                for _ in 0..5 {
                    checks.create(id(&container), &check).unwrap();
                    let found = checks.differences(id(&container), &check).unwrap();
                    assert_eq!(found, [""; 0]);
                    checks.remove(id(&container), &|_| true).unwrap();
                }
            });
        }
    });
    assert_eq!(nft("list ruleset"), RULESET);
}
