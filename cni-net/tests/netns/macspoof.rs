//! The check of source MAC addresses: what is in the kernel after each operation, as nft(8) shows it.

use crate::{masquerade::nft, scene::name};
use cni_net::{
    Errno,
    nft::{MacCheck, MacCheckState, Nft},
};
use cni_types::MacAddr;
use std::thread;
use testkit::{Host, OrFail, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        the_first_check_makes_the_references_table,
        a_check_reads_back,
        chains_that_are_there_are_an_error_and_stay,
        nothing_there_is_fine_for_look_ups,
        a_removed_check_leaves_the_base_chain,
        chains_that_another_rule_leads_to_stay,
        a_jump_that_somebody_else_removed_is_an_absence,
        a_base_chain_of_another_kind_is_an_error,
        checks_come_and_go_at_once_without_an_error,
    ]
}

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xab]);

/// As the reference 1.9.1 and 1.1.1 leave it.
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

fn open() -> Nft {
    let mut nft = Nft::open().unwrap();
    testkit::require("nf_tables", nft.probe().is_ok());
    nft
}

fn check(id: &str) -> MacCheck {
    MacCheck::of(id, "eth0").or_fail("a name that fits")
}

/// A kernel with a check of container `a` in it.
fn checked() -> Nft {
    let mut kernel = open();
    let outcome = kernel.create_mac_check(&check("a"), &name("veth0"), MAC);
    let lacks = outcome
        .as_ref()
        .is_err_and(|e| e.errno() == Some(Errno::EOPNOTSUPP));
    testkit::require("nf_tables for the bridge family", !lacks);
    outcome.unwrap();
    kernel
}

fn the_first_check_makes_the_references_table(_: &Host) {
    checked();
    assert_eq!(nft("list ruleset"), RULESET);
}

fn a_check_reads_back(_: &Host) {
    let mut kernel = checked();
    let state = kernel.mac_check_state(&check("a")).unwrap();
    let whole = MacCheckState {
        host_ends: vec!["veth0".to_owned()],
        leads_on: true,
        allowed: vec![MAC],
        drops_others: true,
    };
    assert_eq!(state, whole);
    // A counter changes nothing, an address behind the drop is not let through.
    nft("flush chain bridge nat cni-br-iface-a-eth0-mac
         add rule bridge nat cni-br-iface-a-eth0-mac ether saddr 02:00:00:00:00:ab counter return
         add rule bridge nat cni-br-iface-a-eth0-mac counter drop
         add rule bridge nat cni-br-iface-a-eth0-mac ether saddr 02:00:00:00:00:ac return");
    let state = kernel.mac_check_state(&check("a")).unwrap();
    assert_eq!((state.allowed, state.drops_others), (vec![MAC], false));
}

fn chains_that_are_there_are_an_error_and_stay(_: &Host) {
    let mut kernel = checked();
    let again = kernel
        .create_mac_check(&check("a"), &name("veth1"), MAC)
        .unwrap_err();
    assert!(again.is_exists(), "{again}");
    assert_eq!(nft("list ruleset"), RULESET);
}

fn nothing_there_is_fine_for_look_ups(_: &Host) {
    let mut kernel = open();
    assert!(!kernel.has_mac_check(&check("a")).unwrap());
    assert_eq!(kernel.mac_check_jumps().unwrap(), []);
    assert_eq!(
        kernel.mac_check_state(&check("a")).unwrap(),
        MacCheckState::default()
    );
    kernel.remove_mac_check(&check("a"), &[]).unwrap();
    assert_eq!(nft("list ruleset"), "");
}

fn a_removed_check_leaves_the_base_chain(_: &Host) {
    let mut kernel = checked();
    kernel
        .create_mac_check(&check("b"), &name("veth1"), MAC)
        .unwrap();
    for id in ["b", "a"] {
        let mut jumps = kernel.mac_check_jumps().unwrap();
        jumps.retain(|jump| jump.leads_to(&check(id)));
        assert_eq!(jumps.len(), 1);
        assert_eq!(MacCheck::behind(&jumps[0]), check(id));
        kernel.remove_mac_check(&check(id), &jumps).unwrap();
        assert_eq!(nft("list ruleset"), if id == "b" { RULESET } else { BASE });
    }
}

fn chains_that_another_rule_leads_to_stay(_: &Host) {
    let mut kernel = checked();
    nft("add rule bridge nat PREROUTING meta mark 7 jump cni-br-iface-a-eth0");
    let before = nft("list ruleset");
    let jumps = kernel.mac_check_jumps().unwrap();
    assert_eq!(jumps.len(), 1);
    let busy = kernel.remove_mac_check(&check("a"), &jumps).unwrap_err();
    assert_eq!(busy.errno(), Some(Errno::EBUSY));
    assert_eq!(nft("list ruleset"), before);
    kernel.remove_mac_check_jumps(&jumps).unwrap();
    assert_eq!(kernel.mac_check_jumps().unwrap(), []);
    assert!(kernel.has_mac_check(&check("a")).unwrap());
}

fn a_jump_that_somebody_else_removed_is_an_absence(_: &Host) {
    let mut kernel = checked();
    let jumps = kernel.mac_check_jumps().unwrap();
    nft("flush chain bridge nat PREROUTING");
    assert!(
        kernel
            .remove_mac_check(&check("a"), &jumps)
            .unwrap_err()
            .is_absent()
    );
    assert!(kernel.has_mac_check(&check("a")).unwrap());
}

fn a_base_chain_of_another_kind_is_an_error(_: &Host) {
    checked();
    nft("flush ruleset");
    nft("add table bridge nat
         add chain bridge nat PREROUTING { type filter hook prerouting priority -200; policy drop; }");
    let before = nft("list ruleset");
    let error = open()
        .create_mac_check(&check("a"), &name("veth0"), MAC)
        .unwrap_err();
    assert!(
        matches!(error.errno(), Some(Errno::EOPNOTSUPP | Errno::EEXIST)),
        "{error}"
    );
    assert!(error.to_string().contains("PREROUTING"), "{error}");
    assert_eq!(nft("list ruleset"), before);
}

fn checks_come_and_go_at_once_without_an_error(_: &Host) {
    checked();
    thread::scope(|scope| {
        for number in 0..20 {
            scope.spawn(move || {
                let (check, end) = (check(&format!("c{number}")), name(&format!("veth{number}")));
                let mut kernel = open();
                for _ in 0..5 {
                    kernel.create_mac_check(&check, &end, MAC).unwrap();
                    assert!(kernel.mac_check_state(&check).unwrap().drops_others);
                    let mut jumps = kernel.mac_check_jumps().unwrap();
                    jumps.retain(|jump| jump.leads_to(&check));
                    kernel.remove_mac_check(&check, &jumps).unwrap();
                }
            });
        }
    });
    assert_eq!(nft("list ruleset"), RULESET);
}
