//! STATUS: could an ADD succeed?

use crate::{
    kernel,
    network::{Network, V4, failing_plugin, host_local},
    snapshot::Snapshot,
};
use cni_types::{Code, Command};
use conformance::testbed::{self, Host, Test};
use serde_json::json;

pub(crate) fn tests() -> Vec<Test> {
    testbed::tests![
        status_is_silent_where_an_add_can_succeed,
        status_changes_nothing,
        status_tells_a_missing_ipam_plugin,
        status_tells_a_pool_without_addresses,
        status_passes_ipams_error_on,
        status_refuses_a_configuration_that_add_refuses,
        status_tells_a_bridge_that_is_none,
        status_takes_less_than_5_ms,
        status_tells_where_nf_tables_cannot_be_used,
        status_makes_no_table_and_no_file,
    ]
}

fn status_is_silent_where_an_add_can_succeed(host: &Host) {
    Network::new(host, json!({})).status().silent_success();
    let network = Network::new(host, json!({"ipMasq": true, "ipam": host_local(host, &[V4])}));
    network.status().silent_success();
    network.add(&host.pod("a")).success();
    network.status().silent_success();
}

fn status_tells_a_bridge_that_is_none(host: &Host) {
    let pod = host.pod("a");
    let added = Network::new(host, json!({})).add(&pod).result();
    let port = added.interfaces[1].name.clone();
    let outcome = Network::new(host, json!({"bridge": port})).status();
    assert_eq!(outcome.code(), Code::UNAVAILABLE);
    assert!(outcome.msg().ends_with("already exists but is not a bridge"), "{}", outcome.msg());
}

fn status_changes_nothing(host: &Host) {
    let before = Snapshot::of(host, &[]);
    let network =
        Network::new(host, json!({"ipMasq": true, "isGateway": true, "ipam": host_local(host, &[V4])}));
    network.status().silent_success();
    before.require_unchanged();
    assert_eq!(kernel::names(), ["lo"]);
}

fn status_tells_a_missing_ipam_plugin(host: &Host) {
    let network = Network::new(host, json!({"ipam": {"type": "x"}}));
    let outcome = network.request(Command::Status, "").env("CNI_PATH", "/run/none").run();
    assert_eq!(outcome.code(), Code::UNAVAILABLE);
    assert_eq!(outcome.msg(), "failed to find plugin \"x\" in path [/run/none]");
}

fn status_tells_a_pool_without_addresses(host: &Host) {
    let mut ipam = host_local(host, &["10.1.0.0/30"]);
    let (ready, pod) = (Network::new(host, json!({"ipam": ipam})), host.pod("a"));
    ipam["statusWhenFull"] = "error".into();
    let network = Network::new(host, json!({"ipam": ipam}));
    network.add(&pod).success();
    ready.status().success();
    let outcome = network.status();
    assert_eq!(outcome.code(), Code::UNAVAILABLE);
    assert!(outcome.msg().contains("no IP addresses available in range set: "), "{}", outcome.msg());
    network.del(&pod).silent_success();
    network.status().silent_success();
}

fn status_passes_ipams_error_on(host: &Host) {
    failing_plugin(host, "limited", 51, "half of the pool is gone");
    let outcome = Network::new(host, json!({"ipam": {"type": "limited"}})).status();
    assert_eq!((outcome.code(), outcome.msg().as_str()), (Code(51), "half of the pool is gone"));
}

fn status_refuses_a_configuration_that_add_refuses(host: &Host) {
    let outcome = Network::new(host, json!({"hairpinMode": true, "promiscMode": true})).status();
    assert_eq!(outcome.msg(), "cannot set hairpin mode and promiscuous mode at the same time");
}

/// Runtimes ask every few seconds. The tests' build is slower than a release, and the machine may be busy: the best of many, and four
/// times the time.
fn status_takes_less_than_5_ms(host: &Host) {
    kernel::only_at_full_speed();
    let network =
        Network::new(host, json!({"ipMasq": true, "isGateway": true, "ipam": host_local(host, &[V4])}));
    network.add(&host.pod("a")).success();
    let best = (0..30).map(|_| network.status().duration).min().unwrap();
    assert!(best < std::time::Duration::from_millis(20), "{best:?}");
}

fn status_tells_where_nf_tables_cannot_be_used(host: &Host) {
    kernel::require_tool("setpriv");
    let network = Network::new(host, json!({"ipMasq": true, "ipam": host_local(host, &[V4])}));
    let outcome = network.request(Command::Status, "").program(kernel::without_net_admin(host)).run();
    assert_eq!(outcome.code(), Code::UNAVAILABLE);
    assert!(outcome.msg().starts_with("failed to reach \"nf_tables\": "), "{}", outcome.msg());
    assert!(outcome.details().contains("CAP_NET_ADMIN"), "{}", outcome.details());
}

fn status_makes_no_table_and_no_file(host: &Host) {
    kernel::require_tool("nft");
    let keys = json!({"ipMasq": true, "macspoofchk": true, "ipam": host_local(host, &[V4])});
    Network::new(host, keys).status().silent_success();
    assert_eq!(kernel::tool("nft list tables"), "");
    assert!(!host.data_dir().exists());
}
