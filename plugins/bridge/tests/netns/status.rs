//! STATUS: reports if an ADD could succeed.

use crate::{
    kernel,
    network::{Network, V4, failing_plugin, files, host_local},
    snapshot::Snapshot,
    trace::Trace,
};
use cni_types::{Code, Command};
use serde_json::json;
use testkit::{Host, Invocation, OrFail, Outcome, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        status_is_silent_where_an_add_can_succeed,
        status_changes_nothing,
        status_reports_a_missing_ipam_plugin,
        status_reports_a_pool_without_addresses,
        status_passes_ipams_error_on,
        status_refuses_a_configuration_that_add_refuses,
        status_reports_a_name_that_is_no_bridge,
        status_takes_less_than_5_ms,
        status_names_the_capabilities_without_which_no_add_works,
        status_and_add_say_that_the_kernel_lacks_nf_tables,
        without_nf_tables_iptables_is_taken_if_the_backend_is_left_out,
        status_makes_no_table_and_no_file,
    ]
}

fn status_is_silent_where_an_add_can_succeed(host: &Host) {
    Network::new(host, json!({})).status().silent_success();
    let network = Network::new(
        host,
        json!({"ipMasq": true, "ipam": host_local(host, &[V4])}),
    );
    network.status().silent_success();
    network.add(&host.pod("a")).success();
    network.status().silent_success();
}

fn status_reports_a_name_that_is_no_bridge(host: &Host) {
    let pod = host.pod("a");
    let added = Network::new(host, json!({})).add(&pod).result();
    let port = added.interfaces[1].name.clone();
    let outcome = Network::new(host, json!({"bridge": port})).status();
    assert_eq!(outcome.code(), Code::UNAVAILABLE);
    assert!(
        outcome
            .msg()
            .ends_with("already exists but is not a bridge"),
        "{}",
        outcome.msg()
    );
}

fn status_changes_nothing(host: &Host) {
    let before = Snapshot::of(host, &[]);
    let network = Network::new(
        host,
        json!({"ipMasq": true, "isGateway": true, "ipam": host_local(host, &[V4])}),
    );
    network.status().silent_success();
    before.require_unchanged();
    assert_eq!(kernel::names(), ["lo"]);
}

fn status_reports_a_missing_ipam_plugin(host: &Host) {
    let network = Network::new(host, json!({"ipam": {"type": "x"}}));
    let outcome = network
        .request(Command::Status, "")
        .env("CNI_PATH", "/run/none")
        .run();
    assert_eq!(outcome.code(), Code::UNAVAILABLE);
    assert_eq!(
        outcome.msg(),
        "failed to find plugin \"x\" in path [/run/none]"
    );
}

fn status_reports_a_pool_without_addresses(host: &Host) {
    let mut ipam = host_local(host, &["10.1.0.0/30"]);
    let ready = Network::new(host, json!({"ipam": ipam}));
    let pod = host.pod("a");
    ipam["statusWhenFull"] = "error".into();
    let network = Network::new(host, json!({"ipam": ipam}));
    network.add(&pod).success();
    ready.status().success();
    let outcome = network.status();
    assert_eq!(outcome.code(), Code::UNAVAILABLE);
    assert!(
        outcome
            .msg()
            .contains("no IP addresses available in range set: "),
        "{}",
        outcome.msg()
    );
    network.del(&pod).silent_success();
    network.status().silent_success();
}

fn status_passes_ipams_error_on(host: &Host) {
    failing_plugin(host, "limited", 51, "half of the pool is gone");
    let outcome = Network::new(host, json!({"ipam": {"type": "limited"}})).status();
    assert_eq!(
        (outcome.code(), outcome.msg().as_str()),
        (Code(51), "half of the pool is gone")
    );
}

fn status_refuses_a_configuration_that_add_refuses(host: &Host) {
    let outcome = Network::new(host, json!({"hairpinMode": true, "promiscMode": true})).status();
    assert_eq!(
        outcome.msg(),
        "cannot set hairpin mode and promiscuous mode at the same time"
    );
}

/// Runtimes ask every few seconds. The tests' build is slower than a release, and the machine may
/// be busy: the best of many runs, and four times the limit.
fn status_takes_less_than_5_ms(host: &Host) {
    kernel::only_at_full_speed();
    let network = Network::new(
        host,
        json!({"ipMasq": true, "isGateway": true, "ipam": host_local(host, &[V4])}),
    );
    network.add(&host.pod("a")).success();
    let best = (0..30).map(|_| network.status().duration).min().unwrap();
    assert!(best < std::time::Duration::from_millis(20), "{best:?}");
}

fn status_names_the_capabilities_without_which_no_add_works(host: &Host) {
    kernel::require_tool("setpriv");
    let network = Network::new(
        host,
        json!({"ipMasq": true, "ipam": host_local(host, &[V4])}),
    );
    for (missing, names) in [
        ("-net_admin", "CAP_NET_ADMIN"),
        ("-sys_admin", "CAP_SYS_ADMIN"),
        ("-net_admin,-sys_admin", "CAP_NET_ADMIN and CAP_SYS_ADMIN"),
    ] {
        let program = kernel::without_capabilities(host, missing);
        let outcome = network.request(Command::Status, "").program(program).run();
        assert_eq!(outcome.code(), Code::UNAVAILABLE);
        assert_eq!(outcome.msg(), format!("the plugin runs without {names}"));
    }
}

/// The state on a kernel without nfnetlink.
fn status_and_add_say_that_the_kernel_lacks_nf_tables(host: &Host) {
    kernel::require_tool("strace");
    let keys =
        json!({"ipMasq": true, "ipMasqBackend": "nftables", "ipam": host_local(host, &[V4])});
    let pod = host.pod("a");
    let text = "the kernel lacks nf_tables (CONFIG_NF_TABLES): ";
    for keys in [keys.clone(), json!({"macspoofchk": true})] {
        let network = Network::new(host, keys);
        let status = without_nf_tables(host, &network.request(Command::Status, ""));
        assert_eq!(status.code(), Code::UNAVAILABLE);
        assert!(status.msg().contains(text), "{status}");
        let add = without_nf_tables(host, &network.attachment(Command::Add, &pod));
        assert!(add.msg().contains(text), "{add}");
        assert!(add.details().contains("modules of nf_tables"), "{add}");
        assert!(
            !add.details().contains("the kernel lacks"),
            "the reason is there once: {add}"
        );
        assert_eq!(pod.inside(kernel::names), ["lo"]);
    }
}

/// Without `ipMasqBackend`, iptables is used if it is installed; else the error is the same.
fn without_nf_tables_iptables_is_taken_if_the_backend_is_left_out(host: &Host) {
    kernel::require_tool("strace");
    let network = Network::new(
        host,
        json!({"ipMasq": true, "ipam": host_local(host, &[V4])}),
    );
    drop(host.script("iptables-restore", "cat >\"${0%/*}/restored\""));
    let path = format!("{}:/usr/sbin:/usr/bin:/bin", files(host).display());
    let pod = host.pod("a");
    let request = |command| network.attachment(command, &pod).env("PATH", &path);
    without_nf_tables(host, &request(Command::Status)).silent_success();
    let added = without_nf_tables(host, &request(Command::Add));
    added.success();
    assert!(
        added
            .stderr
            .starts_with("bridge: masquerading by iptables, for the kernel lacks"),
        "{added}"
    );
    let script = std::fs::read_to_string(files(host).join("restored")).unwrap();
    assert!(script.contains("-j MASQUERADE"), "{script}");
}

/// Runs the request; its first socket for nf_tables is refused, as by a kernel without them.
fn without_nf_tables(host: &Host, request: &Invocation<'_>) -> Outcome {
    let calls = Trace::of(host, request, "socket");
    let number = calls
        .lines
        .iter()
        .position(|line| line.contains("NETLINK_NETFILTER"));
    let number = number.or_fail("find the socket of nf_tables") + 1;
    let options = format!("-e trace=socket -e inject=socket:error=EPROTONOSUPPORT:when={number}");
    drop(request.clone().env("CNI_COMMAND", "DEL").run());
    Trace::run(host, request, &options).outcome
}

fn status_makes_no_table_and_no_file(host: &Host) {
    kernel::require_tool("nft");
    let keys = json!({"ipMasq": true, "macspoofchk": true, "ipam": host_local(host, &[V4])});
    Network::new(host, keys).status().silent_success();
    assert_eq!(kernel::tool("nft list tables"), "");
    assert!(!host.data_dir().exists());
}
