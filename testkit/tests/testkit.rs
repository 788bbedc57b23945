//! The testbed tested by itself: hosts are apart, pods can be entered and removed, runs are
//! captured.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

use cni_net::{
    Batch, LinkRef, Rtnl,
    nft::{Nft, Rule, Transaction},
};
use cni_types::{Code, Command, IfName, MacAddr};
use sandbox::{
    Netns,
    probe::{Reflector, ping},
};
use std::{net::UdpSocket, path::Path, process::ExitCode, time::Duration};
use testkit::{Host, rules};

fn main() -> ExitCode {
    testkit::main(testkit::tests![
        a_host_is_alone,
        two_hosts_do_not_see_each_other,
        a_pod_is_another_network,
        a_removed_pod_leaves_no_path,
        a_run_is_captured,
        an_error_object_is_read,
        the_state_shows_what_was_added,
        the_state_shows_links_addresses_and_rules,
        a_pods_state_is_its_own,
        a_ping_is_answered_or_times_out,
        a_reflector_reports_the_source,
    ])
}

fn interfaces() -> usize {
    std::fs::read_to_string("/proc/thread-self/net/dev")
        .unwrap()
        .lines()
        .skip(2)
        .count()
}

fn a_host_is_alone(_: &Host) {
    assert!(interfaces() >= 1);
    assert_eq!(std::fs::read_dir("/var/lib/cni").unwrap().count(), 0);
    assert_eq!(std::fs::read_dir("/run/netns").unwrap().count(), 0);
}

/// Both bind the same port and make the same file.
fn two_hosts_do_not_see_each_other(_: &Host) {
    let occupy = || {
        std::fs::File::create_new("/run/mark").unwrap();
        UdpSocket::bind("0.0.0.0:1").unwrap()
    };
    let _ours = occupy();
    let other = std::thread::spawn(move || {
        sandbox::become_host().unwrap();
        let _theirs = occupy();
    });
    other.join().unwrap();
}

fn a_pod_is_another_network(host: &Host) {
    let pod = host.pod("a");
    let _ours = UdpSocket::bind("0.0.0.0:1").unwrap();
    let inode = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let outside = inode();
    let inside = pod.inside(|| {
        let _theirs = UdpSocket::bind("0.0.0.0:1").unwrap();
        inode()
    });
    assert_ne!(inside, outside);
    assert_eq!(inode(), outside);
    assert_eq!(pod.path(), Path::new("/run/netns/a"));
}

fn a_removed_pod_leaves_no_path(host: &Host) {
    let pod = host.pod("a");
    pod.remove();
    assert!(!pod.path().exists());
    pod.remove();
}

fn a_run_is_captured(host: &Host) {
    let script = host.script(
        "echo",
        r#"cat; echo "$CNI_COMMAND $CNI_ARGS" >&2; echo "[$HOME]" >&2"#,
    );
    let run = host
        .plugin("echo", Command::Add)
        .program(script)
        .args("A=B")
        .conf(serde_json::json!({"x": 1}));
    let outcome = run.run();
    assert_eq!(outcome.success().json()["x"], 1);
    assert_eq!(outcome.stderr, "ADD A=B\n[]\n");
}

fn an_error_object_is_read(host: &Host) {
    let script = host.script(
        "fails",
        r#"echo '{"code":7,"msg":"m","details":"d"}'; exit 1"#,
    );
    let outcome = host.plugin("fails", Command::Del).program(script).run();
    assert_eq!(
        (
            outcome.code(),
            outcome.msg().as_str(),
            outcome.details().as_str()
        ),
        (Code(7), "m", "d")
    );
}

fn the_state_shows_what_was_added(host: &Host) {
    let before = host.state(&[]);
    std::fs::create_dir(host.data_dir()).unwrap();
    std::fs::write(host.data_dir().join("10.0.0.2"), "c1\r\neth0").unwrap();
    let after = host.state(&[]);
    assert_eq!(
        after.difference(&before),
        format!(
            "+ file: 100644 {}/10.0.0.2 \"c1\\r\\neth0\"\n",
            host.data_dir().display()
        )
    );
    assert_eq!(host.state(&[]).difference(&after), "");
}

fn the_state_shows_links_addresses_and_rules(host: &Host) {
    let before = host.state(&[]);
    let name = IfName::parse("br0").unwrap();
    let mut rtnl = Rtnl::open().unwrap();
    rtnl.create_bridge(&name, MacAddr([2, 0, 0, 0, 0, 1]), None)
        .unwrap();
    let index = rtnl.find_link(&name).unwrap().unwrap().index;
    let mut batch = Batch::new();
    batch.create_address(
        LinkRef::new(index, &name),
        "10.0.0.1/24".parse().unwrap(),
        false,
    );
    rtnl.run(batch).unwrap();
    let rule = Rule::with_comment(Vec::new(), "HASH, net: n, if: eth0, id: c1");
    let mut transaction = Transaction::new();
    transaction.ensure_table(rules::MASQUERADE);
    transaction.ensure_chain(rules::MASQUERADE, rules::MASQ_CHECKS, None);
    transaction.append_rule(rules::MASQUERADE, rules::MASQ_CHECKS, &rule);
    Nft::open().unwrap().commit(transaction).unwrap();
    let difference = host.state(&[]).difference(&before);
    for wanted in [
        "+ host: link br0 bridge mtu 1500 02:00:00:00:00:01 up\n",
        "+ host: address 10.0.0.1/24 dev br0\n",
        "+ host: route 10.0.0.0/24 via - dev br0 table 254 priority 0 source 10.0.0.1\n",
        ", net: n, if: eth0, id: c1\"\n",
    ] {
        assert!(difference.contains(wanted), "{wanted} in {difference}");
    }
    assert!(!difference.contains("\n- "), "{difference}");
}

fn a_pods_state_is_its_own(host: &Host) {
    let pod = host.pod("a");
    assert!(
        host.state(&[])
            .to_string()
            .contains("link lo  mtu 65536 00:00:00:00:00:00 up")
    );
    assert!(
        host.state(&[&pod])
            .to_string()
            .contains("pod a: link lo  mtu 65536 00:00:00:00:00:00 down")
    );
}

fn a_ping_is_answered_or_times_out(_: &Host) {
    let second = Duration::from_secs(1);
    ping("127.0.0.1".parse().unwrap(), second).unwrap();
    ping("::1".parse().unwrap(), second).unwrap();
    assert!(ping("192.0.2.1".parse().unwrap(), second).is_err());
}

fn a_reflector_reports_the_source(_: &Host) {
    let netns = Netns::create("peer").unwrap();
    let reflector = Reflector::start(&netns).unwrap();
    let ask = |address: &str| {
        let ask = || {
            sandbox::set_lo_up().unwrap();
            reflector.seen_source(address.parse().unwrap(), Duration::from_secs(1))
        };
        netns.run(ask).unwrap().unwrap().to_string()
    };
    assert_eq!(ask("127.0.0.1"), "127.0.0.1");
    assert_eq!(ask("::1"), "::1");
}
