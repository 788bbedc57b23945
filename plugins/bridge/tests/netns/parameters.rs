//! Sysctls that cannot be set: a read-only `/proc/sys`, a security module, an old kernel. ADD fails
//! only for those that the configuration needs; a failed ADD restores those that it changed.

use crate::{
    kernel,
    network::{Network, V4, V6, host_local},
    snapshot::Snapshot,
    trace::Trace,
};
use cni_types::{Code, Command};
use serde_json::json;
use testkit::{Host, Pod, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        a_read_only_proc_sys_is_fine_and_what_was_not_set_is_one_line_each,
        a_read_only_proc_sys_is_silent_if_the_values_are_right_already,
        a_read_only_proc_sys_is_fine_at_layer_2,
        a_read_only_proc_sys_is_named_if_forwarding_is_off,
        a_read_only_proc_sys_is_named_if_ipv6_is_off_and_wanted,
        only_what_the_configuration_asks_for_is_a_reason_to_fail,
        a_parameter_that_the_kernel_lacks_is_nothing_to_speak_of,
        status_finds_forwarding_that_cannot_be_switched_on,
        parameters_of_lo_get_their_values_back_whatever_is_known_of_the_write,
        parameters_of_an_earlier_plugins_interface_get_their_values_back,
    ]
}

/// Sets the defaults of new interfaces to the values that the plugin would write.
fn prepare(pod: &Pod) {
    enable_forwarding();
    kernel::set_sysctl("ipv6/conf/default/accept_ra", "0");
    pod.inside(|| {
        kernel::set_sysctl("ipv4/conf/default/arp_notify", "1");
        for (key, value) in [
            ("accept_ra", "0"),
            ("autoconf", "0"),
            ("accept_dad", "0"),
            ("ndisc_notify", "1"),
            ("keep_addr_on_down", "1"),
        ] {
            kernel::set_sysctl(&format!("ipv6/conf/default/{key}"), value);
        }
        kernel::set_sysctl("ipv6/conf/lo/keep_addr_on_down", "1");
    });
}

fn enable_forwarding() {
    kernel::set_sysctl("ipv4/ip_forward", "1");
    kernel::set_sysctl("ipv6/conf/all/forwarding", "1");
}

/// Makes `/proc/sys` read-only, as in a container that runs containers.
fn make_read_only() {
    kernel::require_tool("mount");
    kernel::tool("mount --bind /proc/sys /proc/sys");
    kernel::tool("mount -o remount,bind,ro,nosuid,nodev,noexec /proc/sys");
    assert!(std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").is_err());
}

fn dual(host: &Host) -> Network<'_> {
    let ipam = host_local(host, &[V4, V6]);
    Network::new(
        host,
        json!({"isDefaultGateway": true, "ipMasq": true, "ipam": ipam}),
    )
}

fn a_read_only_proc_sys_is_fine_and_what_was_not_set_is_one_line_each(host: &Host) {
    let pod = host.pod("a");
    enable_forwarding();
    make_read_only();
    let added = dual(host).add(&pod);
    added.success();
    // For the bridge, the port, eth0 before it is up, and then lo and eth0 for IPv6.
    assert_eq!(added.stderr.lines().count(), 5, "{}", added.stderr);
    for name in [
        "ipv6.conf.cni0.accept_ra=0",
        "ipv4.conf.eth0.arp_notify=1",
        "eth0.accept_ra=0",
    ] {
        assert!(added.stderr.contains(name), "{name}: {}", added.stderr);
    }
    assert!(
        added.stderr.contains("(read-only file system)"),
        "{}",
        added.stderr
    );
    dual(host).check(&pod, &added).silent_success();
    dual(host).status().silent_success();
    dual(host).del(&pod).silent_success();
}

fn a_read_only_proc_sys_is_silent_if_the_values_are_right_already(host: &Host) {
    let pod = host.pod("a");
    prepare(&pod);
    make_read_only();
    let added = dual(host).add(&pod);
    assert_eq!(added.success().stderr, "");
    dual(host).check(&pod, &added).silent_success();
    dual(host).del(&pod).silent_success();
}

fn a_read_only_proc_sys_is_fine_at_layer_2(host: &Host) {
    make_read_only();
    let pod = host.pod("a");
    Network::new(host, json!({"ipam": {}})).add(&pod).success();
}

fn a_read_only_proc_sys_is_named_if_forwarding_is_off(host: &Host) {
    dual(host).add(&host.pod("before")).success();
    let pod = host.pod("a");
    kernel::set_sysctl("ipv4/ip_forward", "0");
    make_read_only();
    let before = Snapshot::of(host, &[&pod]);
    let error = dual(host).add(&pod).error();
    let text = "failed to enable forwarding: failed to set sysctl \"net.ipv4.ip_forward=1\": ";
    assert!(error.msg.starts_with(text), "{error}");
    assert!(
        error.details.contains("sysctl -w net.ipv4.ip_forward=1"),
        "{error}"
    );
    before.require_unchanged_but_for_the_last_address();
}

fn a_read_only_proc_sys_is_named_if_ipv6_is_off_and_wanted(host: &Host) {
    let pod = host.pod("a");
    enable_forwarding();
    pod.inside(|| kernel::set_sysctl("ipv6/conf/default/disable_ipv6", "1"));
    make_read_only();
    let error = dual(host).add(&pod).error();
    assert!(
        error
            .msg
            .starts_with("failed to enable IPv6: failed to set sysctl "),
        "{error}"
    );
    assert!(
        error.msg.contains("net.ipv6.conf.eth0.disable_ipv6=0"),
        "{error}"
    );
    assert!(
        error
            .details
            .contains("net.ipv6.conf.default.disable_ipv6=0"),
        "{error}"
    );
}

/// Runs ADD while one file below `/proc/sys/net` can be neither read nor written.
fn add_without(host: &Host, network: &Network<'_>, pod: &Pod, file: &str, errno: &str) -> Trace {
    let request = network.attachment(Command::Add, pod);
    let options = format!("-P /proc/sys/net/{file} -e trace=openat -e inject=openat:error={errno}");
    Trace::run(host, &request, &options)
}

fn only_what_the_configuration_asks_for_is_a_reason_to_fail(host: &Host) {
    let network = dual(host);
    for (at, (file, fails)) in [
        ("ipv4/conf/eth0/arp_notify", false),
        ("ipv6/conf/eth0/ndisc_notify", false),
        ("ipv6/conf/eth0/accept_ra", false),
        ("ipv6/conf/eth0/autoconf", false),
        ("ipv6/conf/eth0/accept_dad", false),
        ("ipv6/conf/cni0/accept_ra", false),
        ("ipv6/conf/lo/keep_addr_on_down", false),
        ("ipv6/conf/eth0/keep_addr_on_down", false),
        ("ipv6/conf/eth0/disable_ipv6", false),
        ("ipv4/ip_forward", true),
        ("ipv6/conf/all/forwarding", true),
    ]
    .into_iter()
    .enumerate()
    {
        let pod = host.pod(&format!("p{at}"));
        let outcome = add_without(host, &network, &pod, file, "EACCES").outcome;
        let needed = fails || file.ends_with("disable_ipv6");
        assert_eq!(outcome.status.success(), !needed, "{file}: {outcome}");
        if !needed {
            let name = file.replace('/', ".");
            assert!(
                outcome.stderr.contains(&format!("net.{name}=")),
                "{file}: {}",
                outcome.stderr
            );
        }
    }
    let enabledad = network.with(json!({"enabledad": true}));
    let pod = host.pod("dad");
    let outcome = add_without(
        host,
        &enabledad,
        &pod,
        "ipv6/conf/eth0/accept_dad",
        "EACCES",
    )
    .outcome;
    assert!(
        outcome.msg().contains("net.ipv6.conf.eth0.accept_dad=1"),
        "{outcome}"
    );
}

fn a_parameter_that_the_kernel_lacks_is_nothing_to_speak_of(host: &Host) {
    let network = dual(host);
    for (at, file) in [
        "ipv4/conf/eth0/arp_notify",
        "ipv6/conf/eth0/ndisc_notify",
        "ipv6/conf/eth0/accept_ra",
        "ipv6/conf/lo/keep_addr_on_down",
        "ipv6/conf/eth0/keep_addr_on_down",
    ]
    .into_iter()
    .enumerate()
    {
        let outcome =
            add_without(host, &network, &host.pod(&format!("p{at}")), file, "ENOENT").outcome;
        assert_eq!(outcome.success().stderr, "", "{file}");
    }
}

fn status_finds_forwarding_that_cannot_be_switched_on(host: &Host) {
    kernel::set_sysctl("ipv4/ip_forward", "0");
    kernel::set_sysctl("ipv6/conf/all/forwarding", "1");
    let network = |subnets| {
        Network::new(
            host,
            json!({"isGateway": true, "ipam": host_local(host, subnets)}),
        )
    };
    network(&[V4]).status().silent_success();
    make_read_only();
    for subnets in [&[V4][..], &[V4, V6]] {
        let error = network(subnets).status().error();
        assert_eq!(error.code, Code::UNAVAILABLE);
        assert!(
            error.msg.starts_with("failed to enable forwarding: "),
            "{error}"
        );
        assert!(error.details.contains("net.ipv4.ip_forward"), "{error}");
    }
    network(&[V6]).status().silent_success();
    network(&[V4])
        .with(json!({"isGateway": false}))
        .status()
        .silent_success();
    // A plugin whose keys are not known may give addresses of either family.
    drop(host.script("other-ipam", "exit 0"));
    Network::new(
        host,
        json!({"isGateway": true, "ipam": {"type": "other-ipam"}}),
    )
    .status()
    .silent_success();
}

/// The write took effect, and the plugin sees an error.
fn parameters_of_lo_get_their_values_back_whatever_is_known_of_the_write(host: &Host) {
    let keep = || kernel::sysctl("ipv6/conf/lo/keep_addr_on_down");
    let network =
        dual(host).with(json!({"ipam": host_local(host, &[V6]), "isDefaultGateway": true}));
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "fd01::77/48");
    let pod = host.pod("a");
    let before = pod.inside(keep);
    let outcome = network.add(&pod);
    assert!(
        outcome.msg().starts_with("failed to set bridge addr"),
        "{outcome}"
    );
    assert_eq!(pod.inside(keep), before);
    let request = network.attachment(Command::Add, &pod);
    let options =
        "-P /proc/sys/net/ipv6/conf/lo/keep_addr_on_down -e trace=write -e inject=write:error=EIO";
    let outcome = Trace::run(host, &request, options).outcome;
    assert!(!outcome.status.success(), "{outcome}");
    assert_eq!(pod.inside(keep), before);
}

fn parameters_of_an_earlier_plugins_interface_get_their_values_back(host: &Host) {
    kernel::require_tool("ip");
    let pod = host.pod("a");
    let name = pod.path().file_name().unwrap().to_str().unwrap().to_owned();
    kernel::tool(&format!(
        "ip link add port0 type veth peer name eth0 netns {name}"
    ));
    kernel::create_bridge("cni0");
    kernel::add_address("cni0", "10.1.0.77/24");
    let keys = [
        "accept_ra",
        "autoconf",
        "accept_dad",
        "ndisc_notify",
        "keep_addr_on_down",
    ];
    let inside = || {
        let mut found: Vec<String> = keys
            .iter()
            .map(|key| kernel::sysctl(&format!("ipv6/conf/eth0/{key}")))
            .collect();
        found.push(kernel::sysctl("ipv4/conf/eth0/arp_notify"));
        found
    };
    let outside = || kernel::sysctl("ipv6/conf/port0/accept_ra");
    let before = (pod.inside(inside), outside());
    let prev = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "port0"}, {"name": "eth0", "sandbox": pod.path()}],
    });
    let outcome = dual(host).with(json!({"prevResult": prev})).add(&pod);
    assert!(
        outcome.msg().starts_with("failed to set bridge addr"),
        "{outcome}"
    );
    assert_eq!((pod.inside(inside), outside()), before);
}
