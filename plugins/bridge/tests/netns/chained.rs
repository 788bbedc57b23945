//! Chained use: an earlier plugin made the interface, or only reported something; later plugins
//! changed it.

use crate::{
    kernel,
    network::{Network, V4, V6, files, host_local},
    snapshot::Snapshot,
};
use cni_runtime::{Cache, Network as Conflist, Parameters, Runtime};
use cni_types::{Code, Command};
use serde_json::{Value, json};
use testkit::{Host, OrFail, Outcome, Pod, Suite, Test, bin_dir, require};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        an_earlier_plugins_veth_becomes_the_port,
        an_earlier_plugins_tap_becomes_the_port,
        a_gateway_and_masquerading_serve_the_addresses_of_an_earlier_plugin,
        addresses_of_ipam_go_to_an_earlier_plugins_interface,
        without_an_interface_of_the_host_a_pair_is_made_and_the_earlier_result_kept,
        del_gives_an_earlier_plugins_interface_back,
        del_without_a_previous_result_leaves_an_earlier_plugins_interface,
        gc_gives_the_interface_of_a_lost_attachment_back,
        check_reports_an_earlier_plugins_interface_that_left_the_bridge,
        a_failed_chained_add_gives_the_interface_back,
        a_failed_chained_add_leaves_addresses_and_routes_that_were_there,
        a_port_of_another_bridge_is_refused,
        an_interface_that_is_not_there_is_refused,
        two_interfaces_of_the_host_are_refused,
        an_alias_of_somebody_else_stays,
        the_references_ptp_can_come_first,
        the_references_ptp_keeps_its_veth_if_the_bridge_is_for_another_interface,
        two_bridges_make_two_interfaces_of_one_container,
        a_duplicate_address_on_an_earlier_plugins_interface_is_reported,
        an_earlier_plugins_interface_with_an_mtu_too_small_for_ipv6_is_named,
        check_passes_what_the_references_tuning_portmap_and_firewall_changed,
        a_chain_whose_last_plugin_fails_leaves_nothing_after_the_runtimes_del,
    ]
}

const EARLIER_MAC: &str = "02:00:00:00:01:02";

/// Makes a pair as an earlier plugin does: `port0` on the host, `eth0` in the pod, both down.
/// Returns its result.
fn earlier_pair(pod: &Pod) -> Value {
    kernel::require_tool("ip");
    let name = pod.path().file_name().unwrap().to_str().unwrap();
    kernel::tool(&format!(
        "ip link add port0 type veth peer name eth0 address {EARLIER_MAC} netns {name}"
    ));
    json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "port0"}, {"name": "eth0", "mac": EARLIER_MAC, "sandbox": pod.path()}],
        "dns": {"nameservers": ["192.0.2.53"]},
    })
}

/// Makes taps, or marks the test as ignored.
fn require_taps(names: &[&str]) {
    kernel::require_tool("ip");
    let made = |name: &&str| kernel::try_tool(&format!("ip tuntap add {name} mode tap")).is_some();
    let is_there = std::path::Path::new("/dev/net/tun").exists();
    require(
        "the device /dev/net/tun",
        is_there && names.iter().all(made),
    );
}

fn after<'a>(network: &Network<'a>, prev_result: &Value) -> Network<'a> {
    network.with(json!({"prevResult": prev_result}))
}

#[track_caller]
fn require_port(name: &str, bridge: &str) {
    let port = kernel::link(name);
    assert_eq!(port.master, Some(kernel::link(bridge).index));
    assert!(port.up);
}

fn an_earlier_plugins_veth_becomes_the_port(host: &Host) {
    let pod = host.pod("a");
    let prev = earlier_pair(&pod);
    let network = Network::new(host, json!({"hairpinMode": true}));
    let added = after(&network, &prev).add(&pod);
    require_port("port0", "cni0");
    assert!(kernel::link("port0").port.unwrap().hairpin);
    assert_eq!(kernel::names(), ["cni0", "lo", "port0"]);
    let told = added.json();
    let names: Vec<&str> = told["interfaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["port0", "eth0", "cni0"]);
    assert_eq!(told["interfaces"][1], prev["interfaces"][1]);
    assert_eq!(told["dns"], prev["dns"]);
    pod.inside(|| kernel::set_up("eth0"));
    network.check(&pod, &added).silent_success();
}

/// A tap for a virtual machine: nothing in the container, no carrier before the guest has started.
fn an_earlier_plugins_tap_becomes_the_port(host: &Host) {
    require_taps(&["tap0"]);
    let pod = host.pod("a");
    let ips = json!([{"address": "10.1.0.9/24", "interface": 0}]);
    let prev = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "tap0"}], "ips": ips});
    let network = Network::new(
        host,
        json!({"isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "nftables"}),
    );
    let added = after(&network, &prev).add(&pod);
    require_port("tap0", "cni0");
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.1/24"]);
    assert_eq!(kernel::rules().len(), 1);
    assert_eq!(added.json()["ips"][0]["gateway"], "10.1.0.1");
    assert_eq!(added.json()["ips"][0]["interface"], 0);
    network.check(&pod, &added).silent_success();
    after(&network, &added.json()).del(&pod).silent_success();
    let tap = kernel::link("tap0");
    assert_eq!(
        (tap.master, tap.alias.as_deref().unwrap_or_default()),
        (None, "")
    );
    assert_eq!(kernel::rules(), [""; 0]);
}

fn a_gateway_and_masquerading_serve_the_addresses_of_an_earlier_plugin(host: &Host) {
    let pod = host.pod("a");
    let mut prev = earlier_pair(&pod);
    pod.inside(|| {
        kernel::add_address("eth0", "10.1.0.9/24");
        kernel::set_up("eth0");
    });
    prev["ips"] = json!([{"address": "10.1.0.9/24", "interface": 1}]);
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "nftables"});
    let network = Network::new(host, keys);
    let added = after(&network, &prev).add(&pod);
    assert_eq!(kernel::addresses("cni0"), ["10.1.0.1/24"]);
    assert_eq!(pod.inside(|| kernel::hops("0.0.0.0/0")), ["10.1.0.1"]);
    assert_eq!(kernel::rules_of("a"), 1);
    assert_eq!(added.json()["ips"].as_array().unwrap().len(), 1);
    network.check(&pod, &added).silent_success();
    pod.inside(|| {
        sandbox::probe::ping(
            "10.1.0.1".parse().unwrap(),
            std::time::Duration::from_secs(5),
        )
    })
    .or_fail("reach the gateway");
}

fn addresses_of_ipam_go_to_an_earlier_plugins_interface(host: &Host) {
    let pod = host.pod("a");
    let prev = earlier_pair(&pod);
    let network = Network::new(
        host,
        json!({"isDefaultGateway": true, "ipam": host_local(host, &[V4, V6])}),
    );
    let added = after(&network, &prev).add(&pod);
    assert_eq!(
        pod.inside(|| kernel::addresses("eth0")),
        ["10.1.0.2/24", "fd01::2/64"]
    );
    assert_eq!(pod.inside(|| kernel::hops("0.0.0.0/0")), ["10.1.0.1"]);
    for at in 0..2 {
        assert_eq!(added.json()["ips"][at]["interface"], 1);
    }
    network.check(&pod, &added).silent_success();
    after(&network, &added.json()).del(&pod).silent_success();
    assert!(!host.data_dir().join("net/10.1.0.2").exists());
}

fn without_an_interface_of_the_host_a_pair_is_made_and_the_earlier_result_kept(host: &Host) {
    let pod = host.pod("a");
    let prev = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": pod.path()}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}],
        "routes": [{"dst": "192.0.2.0/24"}],
        "dns": {"nameservers": ["192.0.2.53"]},
    });
    let network = Network::new(
        host,
        json!({"isDefaultGateway": true, "ipam": host_local(host, &[V4])}),
    );
    let added = after(&network, &prev).add(&pod);
    let told = added.json();
    assert_eq!(told["interfaces"][2]["name"], "eth0");
    assert_eq!(told["interfaces"][3], prev["interfaces"][0]);
    let own = json!({"address": "10.1.0.2/24", "gateway": "10.1.0.1", "interface": 2});
    assert_eq!(
        told["ips"],
        json!([own]),
        "nobody reaches the pod by an address of its lo"
    );
    assert_eq!(
        told["routes"],
        json!([{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}, {"dst": "192.0.2.0/24"}])
    );
    assert_eq!(told["dns"], prev["dns"]);
    after(&network, &told).del(&pod).silent_success();
    assert_eq!(pod.inside(kernel::names), ["lo"]);
}

fn del_gives_an_earlier_plugins_interface_back(host: &Host) {
    let pod = host.pod("a");
    let prev = earlier_pair(&pod);
    let network = Network::new(host, json!({}));
    let told = after(&network, &prev).add(&pod).json();
    let network = after(&network, &told);
    network.del(&pod).silent_success();
    let port = kernel::link("port0");
    assert_eq!(
        (port.master, port.alias.as_deref().unwrap_or_default()),
        (None, "")
    );
    assert_eq!(pod.inside(kernel::names), ["eth0", "lo"]);
}

fn del_without_a_previous_result_leaves_an_earlier_plugins_interface(host: &Host) {
    let pod = host.pod("a");
    let prev = earlier_pair(&pod);
    let network = Network::new(host, json!({}));
    after(&network, &prev).add(&pod).success();
    network.del(&pod).silent_success();
    assert_eq!(pod.inside(kernel::names), ["eth0", "lo"]);
}

fn gc_gives_the_interface_of_a_lost_attachment_back(host: &Host) {
    let pod = host.pod("a");
    let prev = earlier_pair(&pod);
    let network = Network::new(host, json!({}));
    after(&network, &prev).add(&pod).success();
    network.gc(&[("a", "eth0")]).silent_success();
    require_port("port0", "cni0");
    network
        .with(json!({"name": "other"}))
        .gc(&[])
        .silent_success();
    require_port("port0", "cni0");
    network.gc(&[]).silent_success();
    assert_eq!(kernel::link("port0").master, None);
}

fn check_reports_an_earlier_plugins_interface_that_left_the_bridge(host: &Host) {
    let pod = host.pod("a");
    let prev = earlier_pair(&pod);
    let network = Network::new(host, json!({}));
    let added = after(&network, &prev).add(&pod);
    pod.inside(|| kernel::set_up("eth0"));
    kernel::tool("ip link set port0 nomaster");
    assert_eq!(
        network.check(&pod, &added).msg(),
        "port0 is not a port of bridge cni0"
    );
}

fn a_failed_chained_add_gives_the_interface_back(host: &Host) {
    let pod = host.pod("a");
    let prev = earlier_pair(&pod);
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "10.1.0.77/24");
    let before = Snapshot::of(host, &[&pod]);
    let network = Network::new(
        host,
        json!({"isGateway": true, "ipam": host_local(host, &[V4])}),
    );
    let msg = after(&network, &prev).add(&pod).msg();
    assert!(msg.starts_with("failed to set bridge addr"), "{msg}");
    assert_eq!(kernel::link("port0").master, None);
    let records = std::fs::read_dir(host.data_dir().join("net")).or_fail("list the records");
    let mut names: Vec<_> = records.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["last_reserved_ip.0", "lock"]);
    std::fs::remove_dir_all(host.data_dir()).or_fail("remove the records");
    before.require_unchanged();
}

/// The rollback removes the routes of the ADD itself. What the earlier plugin set up stays, also if
/// IPAM gives the same.
fn a_failed_chained_add_leaves_addresses_and_routes_that_were_there(host: &Host) {
    let pod = host.pod("a");
    let mut prev = earlier_pair(&pod);
    kernel::set_up("port0");
    pod.inside(|| {
        kernel::set_up("eth0");
        kernel::add_address("eth0", "10.1.0.2/24");
        kernel::tool("ip route add 192.0.2.0/24 via 10.1.0.1");
    });
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "10.1.0.77/24");
    let mut ipam = host_local(host, &[V4]);
    ipam["routes"] = json!([{"dst": "192.0.2.0/24"}, {"dst": "198.51.100.0/24"}]);
    let network = Network::new(host, json!({"isDefaultGateway": true, "ipam": ipam}));
    let before = Snapshot::of(host, &[&pod]);
    let msg = after(&network, &prev).add(&pod).msg();
    assert!(msg.starts_with("failed to add address"), "{msg}");
    before.require_unchanged_but_for_records();
    prev["ips"] = json!([{"address": "10.1.0.2/24", "interface": 1}]);
    let msg = after(&network.with(json!({"ipam": {}})), &prev)
        .add(&pod)
        .msg();
    assert!(msg.starts_with("failed to set bridge addr"), "{msg}");
    before.require_unchanged_but_for_records();
}

fn refused(host: &Host, pod: &Pod, prev: &Value) -> Outcome {
    let before = Snapshot::of(host, &[pod]);
    let outcome = after(&Network::new(host, json!({})), prev).add(pod);
    assert_eq!(outcome.code(), Code::INVALID_CONFIG);
    before.require_unchanged();
    outcome
}

fn a_port_of_another_bridge_is_refused(host: &Host) {
    let pod = host.pod("a");
    let prev = earlier_pair(&pod);
    kernel::create_bridge("other");
    kernel::tool("ip link set port0 master other");
    let msg = refused(host, &pod, &prev).msg();
    assert_eq!(
        msg,
        "interface port0 of prevResult is a port of other already"
    );
}

fn an_interface_that_is_not_there_is_refused(host: &Host) {
    let pod = host.pod("a");
    let prev = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "gone0"}]});
    assert_eq!(
        refused(host, &pod, &prev).msg(),
        "interface gone0 of prevResult is not on this host"
    );
}

fn two_interfaces_of_the_host_are_refused(host: &Host) {
    let pod = host.pod("a");
    let _ = earlier_pair(&pod);
    require_taps(&["tap0", "tap1"]);
    let prev = json!({"cniVersion": "1.0.0", "interfaces": [{"name": "tap0"}, {"name": "tap1"}]});
    let outcome = refused(host, &pod, &prev);
    assert_eq!(
        outcome.msg(),
        "prevResult has more than one interface on the host's side"
    );
    assert!(
        outcome.details().contains("tap0, tap1"),
        "{}",
        outcome.details()
    );
    // The peer of the container's interface is unambiguous.
    let names = json!([{"name": "tap0"}, {"name": "tap1"}, {"name": "port0"}]);
    let prev = json!({"cniVersion": "1.0.0", "interfaces": names});
    after(&Network::new(host, json!({})), &prev)
        .add(&pod)
        .success();
    require_port("port0", "cni0");
}

fn an_alias_of_somebody_else_stays(host: &Host) {
    let pod = host.pod("a");
    let prev = earlier_pair(&pod);
    kernel::tool("ip link set port0 alias mine");
    let network = Network::new(host, json!({}));
    let told = after(&network, &prev).add(&pod).success().json();
    require_port("port0", "cni0");
    assert_eq!(kernel::link("port0").alias.as_deref(), Some("mine"));
    after(&network, &told).del(&pod).silent_success();
}

/// Runs a plugin of the reference with the result so far.
fn reference(
    host: &Host,
    command: Command,
    pod: &Pod,
    keys: &Value,
    prev: Option<&Value>,
) -> Outcome {
    let folder = Suite::Sid.require();
    let mut conf = json!({"cniVersion": "1.1.0", "name": "net"});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    if let Some(prev) = prev {
        conf["prevResult"] = prev.clone();
    }
    let program = folder.join(keys["type"].as_str().unwrap());
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let request = host
        .plugin("bridge", command)
        .program(program)
        .env("CNI_PATH", folder)
        .env("PATH", path);
    let outcome = request.container("a").pod(pod).conf(conf).run();
    outcome.success();
    outcome
}

fn the_references_ptp_can_come_first(host: &Host) {
    let pod = host.pod("a");
    let ptp = json!({"type": "ptp", "ipam": host_local(host, &[V4])});
    let prev = reference(host, Command::Add, &pod, &ptp, None).json();
    let network = Network::new(host, json!({}));
    let added = after(&network, &prev).add(&pod);
    let port = prev["interfaces"][0]["name"].as_str().unwrap().to_owned();
    require_port(&port, "cni0");
    network.check(&pod, &added).silent_success();
    after(&network, &added.json()).del(&pod).silent_success();
    assert_eq!(kernel::link(&port).master, None);
    reference(host, Command::Del, &pod, &ptp, Some(&prev)).silent_success();
    assert_eq!(kernel::names(), ["cni0", "lo"]);
}

fn the_references_ptp_keeps_its_veth_if_the_bridge_is_for_another_interface(host: &Host) {
    let pod = host.pod("a");
    let ptp = json!({"type": "ptp", "ipam": host_local(host, &[V4])});
    let prev = reference(host, Command::Add, &pod, &ptp, None).json();
    let port = prev["interfaces"][0]["name"].as_str().unwrap().to_owned();
    let ipam = json!({"type": "host-local", "dataDir": host.data_dir(), "subnet": "10.2.0.0/24"});
    let network = after(
        &Network::new(host, json!({"isGateway": true, "ipam": ipam})),
        &prev,
    );
    network
        .attachment(Command::Add, &pod)
        .ifname("eth1")
        .run()
        .success();
    assert_eq!(
        (kernel::link(&port).master, pod.inside(kernel::names)),
        (None, names(&["eth0", "eth1", "lo"]))
    );
    assert_eq!(pod.inside(|| kernel::addresses("eth1")), ["10.2.0.2/24"]);
    let ping = || {
        sandbox::probe::ping(
            "10.1.0.1".parse().unwrap(),
            std::time::Duration::from_secs(5),
        )
    };
    pod.inside(ping).or_fail("reach the gateway of ptp");
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn two_bridges_make_two_interfaces_of_one_container(host: &Host) {
    let pod = host.pod("a");
    let first = Network::new(host, json!({"ipam": host_local(host, &[V4])}))
        .add(&pod)
        .json();
    let ipam = json!({"type": "host-local", "dataDir": host.data_dir(), "subnet": "10.2.0.0/24"});
    let second = after(
        &Network::new(host, json!({"bridge": "cni1", "ipam": ipam})),
        &first,
    );
    let told = second
        .attachment(Command::Add, &pod)
        .ifname("eth1")
        .run()
        .json();
    assert_eq!(pod.inside(kernel::names), ["eth0", "eth1", "lo"]);
    for (at, bridge) in [(1, "cni1"), (4, "cni0")] {
        require_port(told["interfaces"][at]["name"].as_str().unwrap(), bridge);
    }
}

fn a_duplicate_address_on_an_earlier_plugins_interface_is_reported(host: &Host) {
    let pod = host.pod("a");
    let other = host.pod("b");
    let prev = earlier_pair(&pod);
    let ips = json!({"cniVersion": "1.1.0", "ips": [{"address": "fd01::9/64"}]});
    let ipam = crate::network::fixed_ipam(host, "fixed", ips);
    let network = Network::new(host, json!({"enabledad": true, "ipam": ipam}));
    network.add(&other).success();
    let error = after(&network, &prev).add(&pod).error();
    assert!(
        error
            .msg
            .starts_with("failed to settle addresses for \"eth0\""),
        "{error}"
    );
    assert!(error.msg.contains("fd01::9/64"), "{error}");
    assert_eq!(pod.inside(|| kernel::addresses("eth0")), [""; 0]);
}

fn an_earlier_plugins_interface_with_an_mtu_too_small_for_ipv6_is_named(host: &Host) {
    let pod = host.pod("a");
    let prev = earlier_pair(&pod);
    pod.inside(|| kernel::tool("ip link set eth0 mtu 1279"));
    let network = Network::new(host, json!({"ipam": host_local(host, &[V4, V6])}));
    let error = after(&network, &prev).add(&pod).error();
    assert_eq!(
        (error.code, error.msg.as_str()),
        (Code::INVALID_CONFIG, "MTU 1279 is too small for IPv6")
    );
    assert!(error.details.contains("the MTU of eth0 is 1279"), "{error}");
    assert_eq!(kernel::link("port0").master, None);
}

/// The later plugins change the MAC address and the MTU, and create rules of their own; the result
/// reports only some of that.
fn check_passes_what_the_references_tuning_portmap_and_firewall_changed(host: &Host) {
    kernel::require_tool("iptables");
    let pod = host.pod("a");
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "nftables", "ipam": host_local(host, &[V4, V6])});
    let network = Network::new(host, keys);
    let mut told = network.add(&pod).json();
    let later = [
        json!({"type": "tuning", "mac": "c2:11:22:33:44:55", "mtu": 1400, "promisc": true, "txQLen": 100}),
        json!({"type": "portmap", "snat": true, "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}),
        json!({"type": "firewall", "backend": "iptables"}),
    ];
    for keys in &later {
        told = reference(host, Command::Add, &pod, keys, Some(&told)).json();
    }
    assert_eq!(pod.inside(|| kernel::mac("eth0")), "c2:11:22:33:44:55");
    pod.inside(|| kernel::tool("ip route add 198.51.100.0/24 via 10.1.0.1"));
    after(&network, &told)
        .attachment(Command::Check, &pod)
        .run()
        .silent_success();
    for keys in later.iter().rev() {
        reference(host, Command::Del, &pod, keys, Some(&told)).success();
    }
    after(&network, &told).del(&pod).silent_success();
    assert_eq!(kernel::names(), ["cni0", "lo"]);
}

/// Does as a runtime after a failure: DEL of all plugins in reverse order, also of those that were
/// never added; then ADD again.
fn a_chain_whose_last_plugin_fails_leaves_nothing_after_the_runtimes_del(host: &Host) {
    let pod = host.pod("a");
    drop(host.script("unlucky", "[ \"$CNI_COMMAND\" = ADD ] || exit 0\n[ -e /run/lucky ] && { sed 's/.*\"prevResult\": *//;s/}$//'; exit 0; }\necho '{\"code\": 100, \"msg\": \"no luck\"}'\nexit 1"));
    let bridge = json!({"type": "bridge", "isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "nftables", "ipam": host_local(host, &[V4])});
    let conflist = |plugins: Value| {
        let list = json!({"cniVersion": "1.0.0", "name": "net", "plugins": plugins}).to_string();
        Conflist::parse(list.as_bytes()).or_fail("read the conflist")
    };
    let chain = conflist(json!([bridge, {"type": "unlucky"}, {"type": "unlucky"}]));
    let runtime = Runtime::new(&[files(host), bin_dir().to_owned()], Cache::of_system());
    let parameters =
        Parameters::new("a", "eth0", &pod.path().display().to_string()).or_fail("name the pod");
    // The network's own objects, and the folder of the cache.
    let warm = conflist(json!([bridge]));
    runtime.add(&warm, &parameters).or_fail("add");
    runtime.del(&warm, &parameters).or_fail("delete");
    let before = Snapshot::of(host, &[&pod]);
    for _ in 0..2 {
        let failed = runtime
            .add(&chain, &parameters)
            .err()
            .or_fail("fail to add")
            .to_string();
        assert!(failed.contains("no luck"), "{failed}");
        runtime
            .del(&chain, &parameters)
            .or_fail("delete what failed");
        runtime.del(&chain, &parameters).or_fail("delete again");
        before.require_unchanged_but_for_the_last_address();
    }
    runtime
        .add(&warm, &parameters)
        .or_fail("add after the failure");
}
