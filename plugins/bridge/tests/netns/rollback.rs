//! A failed ADD leaves host, container and data as they were, and reports the first cause.
//!
//! In each test another container is attached before, so that the bridge, its address and
//! forwarding exist: they belong to the network. Then a step fails, a later one in each test.

use crate::{
    kernel,
    network::{Network, V4, V6, calls, failing_plugin, fixed_ipam, host_local, script_ipam},
    snapshot::Snapshot,
    waits::{held_ipam, hold_back_the_port},
};
use cni_types::{Code, Command, Error};
use serde_json::{Value, json};
use std::process::{Child, Stdio};
use testkit::{Host, OrFail, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_failure_of_ipam_leaves_nothing,
        garbage_from_ipam_leaves_nothing,
        an_ipam_plugin_that_dies_leaves_nothing,
        a_bridge_name_that_is_taken_leaves_nothing,
        an_address_that_ipam_gives_twice_leaves_nothing,
        an_unreachable_next_hop_leaves_nothing,
        a_conflicting_gateway_leaves_nothing,
        refused_masquerade_rules_leave_nothing,
        a_result_that_the_version_cannot_express_leaves_nothing,
        parameters_of_the_container_get_their_values_back,
        a_failed_clean_up_is_reported_after_the_first_cause,
        ipam_is_not_asked_if_there_is_no_port,
        sigterm_while_ipam_runs_leaves_nothing,
        sigterm_while_addresses_settle_leaves_nothing,
        a_port_that_does_not_forward_leaves_nothing,
        a_failed_add_can_be_repeated,
    ]
}

/// The network with a container in it, and a pod that is not attached yet.
struct Scene<'a> {
    host: &'a Host,
    network: Network<'a>,
    other: Pod,
    pod: Pod,
}

impl<'a> Scene<'a> {
    fn new(host: &'a Host) -> Self {
        let keys =
            json!({"isDefaultGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4, V6])});
        let network = Network::new(host, keys);
        let other = host.pod("other");
        let pod = host.pod("a");
        network.add(&other).success();
        Self {
            host,
            network,
            other,
            pod,
        }
    }

    /// Records the state. The last address of host-local is no part of the comparison: any free
    /// address may be given next.
    fn snapshot(&self) -> Snapshot<'_> {
        Snapshot::of(self.host, &[&self.other, &self.pod])
    }

    /// Asserts that ADD with `keys` fails and changes nothing; returns the error.
    #[track_caller]
    fn failure(&self, keys: Value) -> Error {
        let before = self.snapshot();
        let error = self.network.with(keys).add(&self.pod).error();
        before.require_unchanged_but_for_the_last_address();
        error
    }
}

/// Makes an IPAM plugin's answer with addresses that fit the scene.
fn answer(ips: Value, routes: Value) -> Value {
    json!({"cniVersion": "1.1.0", "ips": ips, "routes": routes})
}

fn a_failure_of_ipam_leaves_nothing(host: &Host) {
    let scene = Scene::new(host);
    let body = "echo '{\"cniVersion\": \"1.1.0\", \"code\": 117, \"msg\": \"no luck\"}'; exit 1";
    let error = scene.failure(json!({"ipam": script_ipam(host, "failing", body)}));
    assert_eq!((error.code.0, error.msg.as_str()), (117, "no luck"));
    assert_eq!(calls(host), ["ADD a", "DEL a"]);
}

fn garbage_from_ipam_leaves_nothing(host: &Host) {
    let scene = Scene::new(host);
    for (name, body) in [
        ("text", "echo done"),
        ("nothing", ""),
        ("half", "echo '{\"ips\": [{'"),
    ] {
        let error = scene.failure(json!({"ipam": script_ipam(host, name, body)}));
        assert_eq!(error.code, Code::DECODE, "{name}: {error}");
        assert!(error.msg.contains(&format!("{name:?}")), "{error}");
    }
    assert_eq!(
        calls(host).iter().filter(|call| *call == "DEL a").count(),
        3
    );
}

fn an_ipam_plugin_that_dies_leaves_nothing(host: &Host) {
    let scene = Scene::new(host);
    let error = scene.failure(json!({"ipam": script_ipam(host, "dying", "kill -KILL $$")}));
    assert_eq!(error.code, Code::DELEGATE);
    assert_eq!(calls(host), ["ADD a", "DEL a"]);
}

fn a_bridge_name_that_is_taken_leaves_nothing(host: &Host) {
    let scene = Scene::new(host);
    let error = scene.failure(json!({"bridge": "lo"}));
    assert_eq!(
        error.msg,
        "failed to create bridge \"lo\": \"lo\" already exists but is not a bridge"
    );
}

fn an_address_that_ipam_gives_twice_leaves_nothing(host: &Host) {
    let scene = Scene::new(host);
    let ips = json!([{"address": "10.1.0.9/24"}, {"address": "10.1.0.9/24"}]);
    let error = scene.failure(json!({"ipam": fixed_ipam(host, "twice", answer(ips, json!([])))}));
    assert_eq!(error.code, Code::KERNEL);
    assert!(
        error
            .msg
            .starts_with("failed to add address \"10.1.0.9/24 to eth0\": "),
        "{error}"
    );
    assert_eq!(calls(host), ["ADD a", "DEL a"]);
}

fn an_unreachable_next_hop_leaves_nothing(host: &Host) {
    let scene = Scene::new(host);
    let mut ipam = host_local(host, &[V4, V6]);
    ipam["routes"] = json!([{"dst": "192.0.2.0/24", "gw": "203.0.113.1"}]);
    let error = scene.failure(json!({"ipam": ipam}));
    assert_eq!(error.code, Code::KERNEL);
    assert!(
        error
            .msg
            .starts_with("failed to add route \"192.0.2.0/24 via 203.0.113.1 dev eth0\": "),
        "{error}"
    );
    let remedy = "the gateway is in no network of the interface: correct the gateway";
    assert!(error.details.starts_with(remedy), "{error}");
}

fn a_conflicting_gateway_leaves_nothing(host: &Host) {
    let scene = Scene::new(host);
    let error = scene.failure(json!({"ipam": host_local(host, &["10.9.0.0/24", V6])}));
    let wanted =
        "failed to set bridge addr: \"cni0\" already has an IP address different from 10.9.0.1/24";
    assert_eq!(error.msg, wanted);
}

/// A chain of the same name that is not a nat chain: the kernel refuses the whole transaction.
fn refused_masquerade_rules_leave_nothing(host: &Host) {
    kernel::require_tool("nft");
    let scene = Scene::new(host);
    let table = "inet cni_plugins_masquerade";
    kernel::tool(&format!("nft flush chain {table} postrouting"));
    kernel::tool(&format!("nft delete chain {table} postrouting"));
    kernel::tool(&format!(
        "nft add chain {table} postrouting {{ type filter hook input priority 0 ; }}"
    ));
    let error = scene.failure(json!({}));
    assert_eq!(error.code, Code::KERNEL);
    assert!(
        error.msg.contains("nftables chain \"postrouting\""),
        "{error}"
    );
}

/// Detected at the very end: a complete layer 2 attachment has no address, and the format of 0.2.0
/// needs one.
fn a_result_that_the_version_cannot_express_leaves_nothing(host: &Host) {
    let scene = Scene::new(host);
    let error = scene.failure(json!({"cniVersion": "0.2.0", "ipam": null}));
    assert_eq!(error.msg, "cannot convert: no valid IP addresses");
}

fn parameters_of_the_container_get_their_values_back(host: &Host) {
    let scene = Scene::new(host);
    let parameters = || {
        ["disable_ipv6", "keep_addr_on_down"]
            .map(|key| kernel::sysctl(&format!("ipv6/conf/lo/{key}")))
    };
    scene
        .pod
        .inside(|| kernel::set_sysctl("ipv6/conf/all/disable_ipv6", "1"));
    let before = scene.pod.inside(parameters);
    scene.failure(json!({"ipam": host_local(host, &["10.9.0.0/24", V6])}));
    assert_eq!(scene.pod.inside(parameters), before);
}

fn a_failed_clean_up_is_reported_after_the_first_cause(host: &Host) {
    let scene = Scene::new(host);
    // The shell fills in the command.
    failing_plugin(host, "broken", 117, "cannot $CNI_COMMAND");
    let error = scene.failure(json!({"ipam": {"type": "broken"}}));
    assert_eq!(error.msg, "cannot ADD");
    assert!(
        error.details.contains("cleaning up: freeing addresses: "),
        "{error}"
    );
    assert!(error.details.contains("cannot DEL"), "{error}");
}

/// Starts the ADD of the scene's pod with `keys`.
fn start(scene: &Scene<'_>, keys: Value) -> Child {
    let request = scene
        .network
        .with(keys)
        .attachment(Command::Add, &scene.pod);
    request
        .process()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .or_fail("start the plugin")
}

/// Asks the plugin to stop, and reads the one document that it prints.
fn terminate(host: &Host, child: Child) -> Error {
    // The shell's own kill: the program is not on every machine.
    let id = child.id().to_string();
    let kill = std::process::Command::new("sh")
        .args(["-c", "kill -TERM \"$0\"", &id])
        .status();
    assert!(kill.or_fail("run the shell").success());
    let output = child.wait_with_output().or_fail("wait for the plugin");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    host.note(format!("--- after SIGTERM: {}\n{stdout}", output.status));
    assert_eq!(output.status.code(), Some(1));
    Error::from_json(stdout.as_bytes()).or_fail("read the error object")
}

fn sigterm_while_ipam_runs_leaves_nothing(host: &Host) {
    let scene = Scene::new(host);
    let before = scene.snapshot();
    let child = start(
        &scene,
        json!({"ipam": script_ipam(host, "slow", "exec sleep 60")}),
    );
    kernel::wait_until("IPAM was asked", || calls(host) == ["ADD a"]);
    let error = terminate(host, child);
    assert_eq!(
        (error.code, error.msg.as_str()),
        (Code::TRY_AGAIN, "terminated by SIGTERM")
    );
    before.require_unchanged_but_for_the_last_address();
    assert_eq!(calls(host), ["ADD a", "DEL a"]);
}

/// A failure before IPAM is asked has nothing to free.
fn ipam_is_not_asked_if_there_is_no_port(host: &Host) {
    let scene = Scene::new(host);
    let ipam = fixed_ipam(
        host,
        "fixed",
        answer(json!([{"address": "10.1.0.9/24"}]), json!([])),
    );
    let error = scene.failure(json!({"bridge": "lo", "ipam": ipam}));
    assert!(
        error.msg.starts_with("failed to create bridge \"lo\""),
        "{error}"
    );
    assert_eq!(calls(host), [""; 0]);
}

/// Duplicate address detection takes a second or more; everything else is set up already.
fn sigterm_while_addresses_settle_leaves_nothing(host: &Host) {
    let scene = Scene::new(host);
    let before = scene.snapshot();
    let child = start(&scene, json!({"enabledad": true}));
    kernel::wait_until("the rules are there", || kernel::rules_of("a") == 2);
    let error = terminate(host, child);
    assert_eq!(error.code, Code::TRY_AGAIN);
    assert!(error.msg.starts_with("terminated"), "{error}");
    before.require_unchanged_but_for_the_last_address();
}

/// Another program keeps the port from becoming operational for longer than ADD waits.
fn a_port_that_does_not_forward_leaves_nothing(host: &Host) {
    kernel::require_tool("ip");
    let scene = Scene::new(host);
    let before = scene.snapshot();
    let child = start(&scene, json!({"ipam": held_ipam(host)}));
    hold_back_the_port(host);
    let output = child.wait_with_output().or_fail("wait for the plugin");
    let error = Error::from_json(&output.stdout).or_fail("read the error object");
    assert_eq!(error.code, Code::KERNEL);
    assert_eq!(error.msg, "bridge port in error state: disabled");
    before.require_unchanged_but_for_the_last_address();
}

fn a_failed_add_can_be_repeated(host: &Host) {
    let scene = Scene::new(host);
    scene.failure(json!({"ipam": host_local(host, &["10.9.0.0/24", V6])}));
    let added = scene.network.add(&scene.pod);
    added.success();
    scene.network.check(&scene.pod, &added).silent_success();
}
