//! Masquerade rules: what is in the kernel after each operation, as nft(8) shows it.

use crate::scene::cidr;
use cni_net::nft::Nft;
use cni_types::{AttachmentId, AttachmentList, ValidAttachments};
use std::{
    io::Write,
    process::{Command, Stdio},
};
use testkit::{Host, OrFail, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        nf_tables_is_reached,
        nothing_there_is_fine_for_all_but_create,
        the_first_rule_makes_the_references_table,
        rules_of_every_prefix_length_read_as_meant,
        two_owners_of_one_address_keep_a_rule_each,
        an_owner_may_have_two_interfaces,
        stale_rules_of_one_network_go,
        an_unknown_list_of_attachments_frees_nothing,
        a_flushed_base_chain_is_seen_and_mended,
        the_references_own_rule_is_removed,
        foreign_tables_are_untouched,
        five_thousand_stale_rules_are_removed,
    ]
}

/// Returns GC's list for the network `net`: these containers, each by its eth0.
pub(crate) fn valid(containers: &[&str]) -> ValidAttachments {
    let names = containers.iter().map(|id| (*id, "eth0"));
    ValidAttachments::Only(AttachmentList::new("net", names))
}

pub(crate) const A: AttachmentId<'_> = AttachmentId {
    network: "net",
    container_id: "a",
    if_name: "eth0",
};
pub(crate) const B: AttachmentId<'_> = AttachmentId {
    network: "net",
    container_id: "b",
    if_name: "eth0",
};

/// Runs commands by nft(8), and gives what it prints with blanks made equal.
pub(crate) fn nft(commands: &str) -> String {
    let mut nft = Command::new("nft");
    nft.args(["-f", "-"])
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    let child = nft
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    testkit::require("the nft program", child.is_ok());
    let mut child = child.unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(commands.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

const TABLE: &str = "list table inet cni_plugins_masquerade";

/// The hashes of "net" and "eth0:a" are what sha512sum(1) says of them.
const COMMENT_OF_A: &str = "NET-A, net: net, if: eth0, id: a";

fn comments(nft: &mut Nft) -> Vec<String> {
    nft.masquerade_entries()
        .unwrap()
        .into_iter()
        .map(|entry| entry.comment)
        .collect()
}

fn open() -> Nft {
    let mut nft = Nft::open().unwrap();
    testkit::require("nf_tables", nft.probe().is_ok());
    nft
}

fn nf_tables_is_reached(_: &Host) {
    open().probe().unwrap();
}

fn nothing_there_is_fine_for_all_but_create(_: &Host) {
    let mut kernel = open();
    assert_eq!(kernel.masquerade_entries().unwrap(), []);
    assert_eq!(kernel.count_masquerade(A).unwrap(), (0, false));
    assert_eq!(kernel.remove_masquerade(A).unwrap(), 0);
    let none = valid(&[]);
    assert_eq!(kernel.remove_stale_masquerade(&none).unwrap(), 0);
    assert_eq!(nft("list ruleset"), "");
}

fn the_first_rule_makes_the_references_table(_: &Host) {
    let mut kernel = open();
    kernel
        .create_masquerade(A, &[cidr("10.1.0.5/16"), cidr("fd00::5/64")])
        .unwrap();
    assert_eq!(kernel.count_masquerade(A).unwrap(), (2, true));
    let comment = comments(&mut kernel).pop().or_fail("a comment");
    assert!(
        comment.ends_with(COMMENT_OF_A.trim_start_matches("NET-A")),
        "{comment}"
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

fn rules_of_every_prefix_length_read_as_meant(_: &Host) {
    let mut kernel = open();
    for prefix in 1..=32 {
        kernel
            .create_masquerade(A, &[cidr(&format!("10.255.170.213/{prefix}"))])
            .unwrap();
    }
    for prefix in 1..=128 {
        kernel
            .create_masquerade(
                A,
                &[cidr(&format!(
                    "fd55:aaaa:5555:aaaa:5555:aaaa:5555:aaaa/{prefix}"
                ))],
            )
            .unwrap();
    }
    let shown = nft("list chain inet cni_plugins_masquerade masq_checks");
    let rules: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.split_once(" masquerade").map(|(rule, _)| rule))
        .collect();
    assert_eq!(rules.len(), 160);
    for prefix in 1..=32_u8 {
        let network = cidr(&format!("10.255.170.213/{prefix}"))
            .network()
            .to_string();
        let network = network.trim_end_matches("/32");
        assert_eq!(
            rules[usize::from(prefix) - 1],
            format!("ip saddr 10.255.170.213 ip daddr != {network}")
        );
    }
    let host = "fd55:aaaa:5555:aaaa:5555:aaaa:5555:aaaa";
    for prefix in 1..=128_u8 {
        let network = cidr(&format!("{host}/{prefix}")).network().to_string();
        let network = network.trim_end_matches("/128");
        assert_eq!(
            rules[31 + usize::from(prefix)],
            format!("ip6 saddr {host} ip6 daddr != {network}")
        );
    }
}

fn two_owners_of_one_address_keep_a_rule_each(_: &Host) {
    let mut kernel = open();
    for owner in [A, B] {
        kernel
            .create_masquerade(owner, &[cidr("10.1.0.5/16")])
            .unwrap();
    }
    assert_eq!(kernel.remove_masquerade(A).unwrap(), 1);
    assert_eq!(kernel.count_masquerade(A).unwrap(), (0, true));
    assert_eq!(kernel.count_masquerade(B).unwrap(), (1, true));
    assert_eq!(kernel.remove_masquerade(A).unwrap(), 0);
    assert!(comments(&mut kernel)[0].ends_with(", id: b"));
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
    for (owner, address) in [
        (A, "10.1.0.5/16"),
        (second, "10.1.0.6/16"),
        (elsewhere, "10.2.0.5/16"),
    ] {
        kernel.create_masquerade(owner, &[cidr(address)]).unwrap();
    }
    assert_eq!(kernel.remove_masquerade(second).unwrap(), 1);
    assert_eq!(kernel.count_masquerade(A).unwrap().0, 1);
    assert_eq!(kernel.count_masquerade(elsewhere).unwrap().0, 1);
}

fn stale_rules_of_one_network_go(_: &Host) {
    let mut kernel = open();
    let elsewhere = AttachmentId {
        network: "other",
        ..B
    };
    for owner in [A, B, elsewhere] {
        kernel
            .create_masquerade(owner, &[cidr("10.1.0.5/16"), cidr("fd00::5/64")])
            .unwrap();
    }
    let valid = valid(&["a"]);
    assert_eq!(kernel.remove_stale_masquerade(&valid).unwrap(), 2);
    assert_eq!(kernel.count_masquerade(A).unwrap(), (2, true));
    assert_eq!(kernel.count_masquerade(B).unwrap(), (0, true));
    assert_eq!(kernel.count_masquerade(elsewhere).unwrap(), (2, true));
    assert_eq!(kernel.remove_stale_masquerade(&valid).unwrap(), 0);
}

fn an_unknown_list_of_attachments_frees_nothing(_: &Host) {
    let mut kernel = open();
    kernel.create_masquerade(A, &[cidr("10.1.0.5/16")]).unwrap();
    assert_eq!(
        kernel
            .remove_stale_masquerade(&ValidAttachments::Unknown)
            .unwrap(),
        0
    );
    assert_eq!(kernel.count_masquerade(A).unwrap(), (1, true));
}

/// Someone reloads the firewall: `nft flush ruleset` and worse.
fn a_flushed_base_chain_is_seen_and_mended(_: &Host) {
    let mut kernel = open();
    kernel.create_masquerade(A, &[cidr("10.1.0.5/16")]).unwrap();
    let whole = nft(TABLE);
    for damage in [
        "flush chain inet cni_plugins_masquerade postrouting",
        "delete chain inet cni_plugins_masquerade postrouting",
        "add rule inet cni_plugins_masquerade postrouting accept",
    ] {
        nft(damage);
        assert_eq!(kernel.count_masquerade(A).unwrap(), (1, false), "{damage}");
        kernel.create_masquerade(B, &[cidr("10.1.0.6/16")]).unwrap();
        assert_eq!(kernel.count_masquerade(A).unwrap(), (1, true), "{damage}");
        assert_eq!(kernel.remove_masquerade(B).unwrap(), 1);
        assert_eq!(nft(TABLE), whole, "{damage}");
    }
    nft("flush ruleset");
    assert_eq!(kernel.count_masquerade(A).unwrap(), (0, false));
}

/// The node was upgraded with its pods running. The rule is in the reference's words (plugins v1.9.1,
/// pkg/ip/ipmasq_nftables_linux.go).
fn the_references_own_rule_is_removed(_: &Host) {
    let mut kernel = open();
    kernel.create_masquerade(A, &[cidr("10.1.0.5/16")]).unwrap();
    let comment = comments(&mut kernel).pop().or_fail("a comment");
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
    assert_eq!(kernel.count_masquerade(A).unwrap(), (1, true));
    // Into the reference's table ours go without a change to it.
    let before = nft("list chain inet cni_plugins_masquerade postrouting");
    kernel.create_masquerade(B, &[cidr("10.1.0.6/16")]).unwrap();
    assert_eq!(
        nft("list chain inet cni_plugins_masquerade postrouting"),
        before
    );
    assert_eq!(kernel.remove_masquerade(A).unwrap(), 1);
    assert_eq!(kernel.count_masquerade(B).unwrap(), (1, true));
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
    kernel.create_masquerade(A, &[cidr("10.1.0.5/16")]).unwrap();
    kernel.create_masquerade(B, &[cidr("10.1.0.6/16")]).unwrap();
    let valid = valid(&["a"]);
    assert_eq!(kernel.remove_stale_masquerade(&valid).unwrap(), 1);
    assert_eq!(kernel.remove_masquerade(A).unwrap(), 1);
    assert_eq!(nft("list table inet foreign"), before);
}

/// A node on which another version of the plugin left them behind for months.
fn five_thousand_stale_rules_are_removed(_: &Host) {
    let mut kernel = open();
    kernel.create_masquerade(A, &[cidr("10.1.0.5/16")]).unwrap();
    let mut left = 5000;
    while left > 0 {
        let addresses: Vec<_> = (0..100)
            .map(|n| cidr(&format!("10.2.{}.{n}/16", left / 100)))
            .collect();
        kernel.create_masquerade(B, &addresses).unwrap();
        left -= addresses.len();
    }
    let valid = valid(&["a"]);
    assert_eq!(kernel.remove_stale_masquerade(&valid).unwrap(), 5000);
    assert_eq!(kernel.count_masquerade(A).unwrap(), (1, true));
    assert_eq!(kernel.count_masquerade(B).unwrap(), (0, true));
}
