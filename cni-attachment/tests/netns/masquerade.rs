//! Masquerade rules in nf_tables: the content of the kernel after each operation, as nft(8) shows
//! it.

use crate::scene::{A, B, cidr, open, with_valid};
use cni_attachment::netfilter::{RuleSet, masquerade::NftRules};
use cni_net::nft::Nft;
use cni_types::{AttachmentId, Cidr};
use testkit::{Host, OrFail, Test, rules::masquerade_comments, rules::nft};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        nothing_there_is_fine_for_all_but_create,
        the_first_rule_makes_the_references_table,
        two_owners_of_one_address_keep_a_rule_each,
        an_owner_may_have_two_interfaces,
        stale_rules_of_one_network_go,
        rules_say_whose_an_address_is,
        a_flushed_base_chain_is_seen_and_mended,
        the_references_own_rule_is_removed,
        foreign_tables_are_untouched,
        five_thousand_stale_rules_are_removed,
    ]
}

const TABLE: &str = "list table inet cni_plugins_masquerade";

const NO_WAY_THERE: &str =
    "table inet cni_plugins_masquerade: chain postrouting does not lead to masq_checks";

pub(crate) fn create(kernel: &mut Nft, id: AttachmentId<'_>, addresses: &[&str]) {
    let addresses: Vec<Cidr> = addresses.iter().copied().map(cidr).collect();
    NftRules::new(kernel).create(id, &addresses).unwrap();
}

/// Removes the rules of an attachment; returns their number.
pub(crate) fn remove(kernel: &mut Nft, id: AttachmentId<'_>) -> usize {
    let before = count(id);
    NftRules::new(kernel).remove(id, &|_| true).unwrap();
    assert_eq!(count(id), 0);
    before
}

pub(crate) fn count(id: AttachmentId<'_>) -> usize {
    let own = format!(
        ", net: {}, if: {}, id: {}",
        id.network, id.if_name, id.container_id
    );
    let comments = masquerade_comments().unwrap();
    comments
        .iter()
        .filter(|comment| comment.ends_with(&own))
        .count()
}

fn differences(kernel: &mut Nft, id: AttachmentId<'_>, address: &str) -> Vec<String> {
    NftRules::new(kernel)
        .differences(id, &[cidr(address)])
        .unwrap()
}

fn remove_stale(kernel: &mut Nft, valid: &[&str]) {
    with_valid(valid, |stale| NftRules::new(kernel).remove_stale(stale)).unwrap();
}

fn nothing_there_is_fine_for_all_but_create(_: &Host) {
    let mut kernel = open();
    let missing = "masquerade rules missing: found 0, wanted 1";
    assert_eq!(
        differences(&mut kernel, A, "10.1.0.5/16"),
        [missing, NO_WAY_THERE]
    );
    assert_eq!(remove(&mut kernel, A), 0);
    remove_stale(&mut kernel, &[]);
    let found = with_valid(&[], |stale| {
        NftRules::new(&mut kernel)
            .masqueraded(stale.valid())
            .map(|found| found.stale)
    });
    assert_eq!(found.unwrap(), Default::default());
    assert_eq!(nft("list ruleset"), "");
}

fn the_first_rule_makes_the_references_table(_: &Host) {
    let mut kernel = open();
    create(&mut kernel, A, &["10.1.0.5/16", "fd00::5/64"]);
    assert_eq!(count(A), 2);
    assert_eq!(differences(&mut kernel, A, "10.1.0.5/16"), [""; 0]);
    let comment = masquerade_comments().unwrap().pop().or_fail("a comment");
    // printf net | sha512sum | cut -c-16; printf eth0:a | sha512sum | cut -c-16
    assert_eq!(
        comment,
        "a4861f4ae9f7d238-a193fd394fc69048, net: net, if: eth0, id: a"
    );
    let wanted = format!(
        "table inet cni_plugins_masquerade {{\n\
         chain masq_checks {{\n\
         ip saddr 10.1.0.5 ip daddr != 10.1.0.0/16 masquerade comment \"{comment}\"\n\
         ip6 saddr fd00::5 ip6 daddr != fd00::/64 masquerade comment \"{comment}\"\n\
         }}\n\
         chain postrouting {{\n\
         type nat hook postrouting priority srcnat; policy accept;\n\
         ip daddr 224.0.0.0/4 return\n\
         ip6 daddr ff00::/8 return\n\
         goto masq_checks\n\
         }}\n\
         }}"
    );
    assert_eq!(nft(TABLE), wanted);
}

fn two_owners_of_one_address_keep_a_rule_each(_: &Host) {
    let mut kernel = open();
    for owner in [A, B] {
        create(&mut kernel, owner, &["10.1.0.5/16"]);
    }
    assert_eq!(remove(&mut kernel, A), 1);
    assert_eq!(count(B), 1);
    assert_eq!(remove(&mut kernel, A), 0);
    assert_eq!(count(B), 1);
}

fn an_owner_may_have_two_interfaces(_: &Host) {
    let mut kernel = open();
    let second = AttachmentId {
        if_name: "eth1",
        ..A
    };
    let elsewhere = AttachmentId {
        network: "other",
        ..A
    };
    create(&mut kernel, A, &["10.1.0.5/16"]);
    create(&mut kernel, second, &["10.1.0.6/16"]);
    create(&mut kernel, elsewhere, &["10.2.0.5/16"]);
    assert_eq!(remove(&mut kernel, second), 1);
    assert_eq!((count(A), count(elsewhere)), (1, 1));
}

fn stale_rules_of_one_network_go(_: &Host) {
    let mut kernel = open();
    let elsewhere = AttachmentId {
        network: "other",
        ..B
    };
    for owner in [A, B, elsewhere] {
        create(&mut kernel, owner, &["10.1.0.5/16", "fd00::5/64"]);
    }
    for _ in 0..2 {
        remove_stale(&mut kernel, &["a"]);
        assert_eq!([A, B, elsewhere].map(count), [2, 0, 2]);
    }
}

fn rules_say_whose_an_address_is(_: &Host) {
    let mut kernel = open();
    create(&mut kernel, A, &["10.1.0.5/16", "fd00::5/64"]);
    create(&mut kernel, B, &["10.1.0.6/20"]);
    // A rule for a whole network names no address.
    nft("add rule inet cni_plugins_masquerade masq_checks ip saddr 10.1.0.0/24 masquerade");
    with_valid(&["a"], |stale| {
        let found = NftRules::new(&mut kernel)
            .masqueraded(stale.valid())
            .unwrap();
        let of_a = ["10.1.0.5", "fd00::5"].map(|text| text.parse().unwrap());
        assert_eq!(found.valid, of_a.into());
        assert_eq!(found.stale, ["10.1.0.6".parse().unwrap()].into());
        assert_eq!(found.known, [A].into());
    });
}

/// Another program reloads the firewall: `nft flush ruleset` and worse.
fn a_flushed_base_chain_is_seen_and_mended(_: &Host) {
    let mut kernel = open();
    let address = "10.1.0.5/16";
    create(&mut kernel, A, &[address]);
    let whole = nft(TABLE);
    for damage in [
        "flush chain inet cni_plugins_masquerade postrouting",
        "delete chain inet cni_plugins_masquerade postrouting",
        "add rule inet cni_plugins_masquerade postrouting accept",
        // A rule that names the chain, but jumps there for some packets only.
        "add rule inet cni_plugins_masquerade postrouting ip daddr 10.0.0.1 jump masq_checks",
    ] {
        nft(damage);
        assert_eq!(
            differences(&mut kernel, A, address),
            [NO_WAY_THERE],
            "{damage}"
        );
        create(&mut kernel, B, &["10.1.0.6/16"]);
        assert_eq!(differences(&mut kernel, A, address), [""; 0], "{damage}");
        assert_eq!(remove(&mut kernel, B), 1);
        assert_eq!(nft(TABLE), whole, "{damage}");
    }
    nft("flush ruleset");
    assert_eq!(differences(&mut kernel, A, address).len(), 2);
}

/// The node was upgraded with its pods running. The rule is the reference's (plugins v1.9.1,
/// pkg/ip/ipmasq_nftables_linux.go).
fn the_references_own_rule_is_removed(_: &Host) {
    let mut kernel = open();
    create(&mut kernel, A, &["10.1.0.5/16"]);
    let comment = masquerade_comments().unwrap().pop().or_fail("a comment");
    nft("flush ruleset");
    nft(&format!(
        "add table inet cni_plugins_masquerade {{ comment \"Masquerading for plugins from github.com/containernetworking/plugins\"; }}
         add chain inet cni_plugins_masquerade masq_checks {{ comment \"Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet\"; }}
         add chain inet cni_plugins_masquerade postrouting {{ type nat hook postrouting priority srcnat; }}
         add rule inet cni_plugins_masquerade postrouting ip daddr == 224.0.0.0/4 return
         add rule inet cni_plugins_masquerade postrouting ip6 daddr == ff00::/8 return
         add rule inet cni_plugins_masquerade postrouting goto masq_checks
         add rule inet cni_plugins_masquerade masq_checks ip saddr 10.1.0.5 ip daddr != 10.1.0.0/16 masquerade comment \"{comment}\""
    ));
    assert_eq!(differences(&mut kernel, A, "10.1.0.5/16"), [""; 0]);
    // Adding our rules leaves the reference's chain unchanged.
    let postrouting = "list chain inet cni_plugins_masquerade postrouting";
    let before = nft(postrouting);
    create(&mut kernel, B, &["10.1.0.6/16"]);
    assert_eq!(nft(postrouting), before);
    assert_eq!(remove(&mut kernel, A), 1);
    assert_eq!(count(B), 1);
}

fn foreign_tables_are_untouched(_: &Host) {
    let mut kernel = open();
    nft("add table inet foreign");
    nft("add chain inet foreign postrouting { type nat hook postrouting priority srcnat; }");
    // As many at once as nft(8) can send without real root.
    for block in 0..20 {
        let rule = |n| {
            format!(
                "add rule inet foreign postrouting ip saddr 10.{block}.{n}.1 counter masquerade\n"
            )
        };
        nft(&(0..100).map(rule).collect::<String>());
    }
    let before = nft("list table inet foreign");
    create(&mut kernel, A, &["10.1.0.5/16"]);
    create(&mut kernel, B, &["10.1.0.6/16"]);
    remove_stale(&mut kernel, &["a"]);
    assert_eq!(count(B), 0);
    assert_eq!(remove(&mut kernel, A), 1);
    assert_eq!(nft("list table inet foreign"), before);
}

/// A node on which another version of the plugin left the rules over months.
fn five_thousand_stale_rules_are_removed(_: &Host) {
    let mut kernel = open();
    create(&mut kernel, A, &["10.1.0.5/16"]);
    for block in 0..50 {
        let address = |n| cidr(&format!("10.2.{block}.{n}/16"));
        let addresses: Vec<Cidr> = (0..100).map(address).collect();
        NftRules::new(&mut kernel).create(B, &addresses).unwrap();
    }
    assert_eq!(count(B), 5000);
    remove_stale(&mut kernel, &["a"]);
    assert_eq!((count(A), count(B)), (1, 0));
}
