//! The loopback plugin on real namespaces.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

#[path = "netns/failed.rs"]
mod failed;

use cni_net::{Batch, Family, Link, LinkRef, Rtnl, Sysctl};
use cni_types::{Code, Command, IfName};
use failed::{
    a_result_before_that_cannot_be_read_leaves_lo_down,
    a_result_before_that_the_version_cannot_say_leaves_lo_down,
    an_add_that_fails_over_a_lost_answer_leaves_lo_down,
};
use serde_json::{Value, json};
use std::{path::Path, process::ExitCode, process::Stdio};
use testkit::{Host, Invocation, Pod};

const VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

fn main() -> ExitCode {
    testkit::main(testkit::tests![
        add_sets_lo_up_in_the_pod_alone,
        add_may_be_repeated,
        the_result_of_each_version_has_its_shape,
        the_sandbox_is_the_path_verbatim,
        a_result_before_is_passed_on_unchanged,
        a_result_before_of_another_version_is_passed_on_in_the_asked_one,
        an_add_that_fails_over_a_lost_answer_leaves_lo_down,
        a_result_before_that_cannot_be_read_leaves_lo_down,
        a_result_before_that_the_version_cannot_say_leaves_lo_down,
        there_is_no_v6_address_where_ipv6_is_off,
        a_second_loopback_address_is_not_reported,
        interface_arguments_and_path_do_not_matter,
        add_refuses_what_is_no_namespace,
        the_callers_own_namespace_is_refused_by_add,
        the_callers_own_namespace_is_left_alone_by_del,
        the_callers_own_namespace_is_refused_by_check,
        the_callers_own_namespace_is_used_when_that_is_meant,
        del_sets_lo_down,
        del_succeeds_whatever_is_left_of_the_pod,
        del_succeeds_with_a_result_before_that_nobody_can_read,
        check_tells_up_from_down,
        check_misses_an_address_of_prev_result,
        check_is_refused_before_0_4_0,
        status_and_gc_succeed_without_a_word_at_1_1_0,
        status_and_gc_are_refused_before_1_1_0,
        a_gc_list_of_another_shape_is_refused,
        version_and_about_need_nothing,
        missing_variables_are_named,
        containerds_calls_are_served,
        bridge_and_loopback_may_add_to_one_pod_at_once,
    ])
}

fn conf(version: &str) -> Value {
    json!({"cniVersion": version, "name": "cni-loopback", "type": "loopback"})
}

/// A run as containerd does it: the interface is called `lo`.
fn loopback<'a>(host: &'a Host, command: Command, pod: &Pod) -> Invocation<'a> {
    host.plugin("loopback", command)
        .pod(pod)
        .ifname("lo")
        .conf(conf("1.1.0"))
}

/// `lo` of the thread's namespace.
fn lo() -> Link {
    Rtnl::open()
        .unwrap()
        .find_link(&IfName::parse("lo").unwrap())
        .unwrap()
        .unwrap()
}

fn is_up(pod: &Pod) -> bool {
    pod.inside(lo).up
}

fn add_sets_lo_up_in_the_pod_alone(host: &Host) {
    let pod = host.pod("a");
    let other = host.pod("b");
    let before = host.state(&[&other]);
    assert!(!is_up(&pod));
    loopback(host, Command::Add, &pod).run().success();
    assert!(is_up(&pod));
    let listener = pod
        .inside(|| std::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    pod.inside(|| std::net::TcpStream::connect(address))
        .unwrap();
    pod.inside(|| std::net::TcpListener::bind("[::1]:0"))
        .unwrap();
    assert_eq!(host.state(&[&other]).difference(&before), "");
}

fn add_may_be_repeated(host: &Host) {
    let pod = host.pod("a");
    let first = loopback(host, Command::Add, &pod).run().json();
    assert_eq!(loopback(host, Command::Add, &pod).run().json(), first);
    assert!(is_up(&pod));
}

fn the_result_of_each_version_has_its_shape(host: &Host) {
    let pod = host.pod("a");
    let path = pod.path().to_str().unwrap();
    let interfaces = json!([{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": path}]);
    for version in VERSIONS {
        let wanted = match version {
            "0.1.0" | "0.2.0" => json!({
                "cniVersion": version, "ip4": {"ip": "127.0.0.1/8"}, "ip6": {"ip": "::1/128"}, "dns": {},
            }),
            "0.3.0" | "0.3.1" | "0.4.0" => json!({
                "cniVersion": version, "interfaces": interfaces, "dns": {},
                "ips": [
                    {"version": "4", "interface": 0, "address": "127.0.0.1/8"},
                    {"version": "6", "interface": 0, "address": "::1/128"},
                ],
            }),
            _ => json!({
                "cniVersion": version, "interfaces": interfaces,
                "ips": [
                    {"interface": 0, "address": "127.0.0.1/8"},
                    {"interface": 0, "address": "::1/128"},
                ],
            }),
        };
        let outcome = loopback(host, Command::Add, &pod).conf(conf(version)).run();
        assert_eq!(outcome.success().json(), wanted, "{version}");
    }
    // No version is the first one.
    let outcome = loopback(host, Command::Add, &pod)
        .conf(json!({"name": "n", "type": "loopback"}))
        .run();
    assert_eq!(outcome.json()["cniVersion"], "0.1.0");
    assert_eq!(outcome.json()["ip4"]["ip"], "127.0.0.1/8");
}

fn the_sandbox_is_the_path_verbatim(host: &Host) {
    let pod = host.pod("a");
    for path in [
        "/run/netns/../netns/a",
        "/run//netns/./a",
        "/var/run/netns/a",
    ] {
        if Path::new(path).exists() {
            let result = loopback(host, Command::Add, &pod).netns(path).run().json();
            assert_eq!(result["interfaces"][0]["sandbox"], path);
        }
    }
}

/// A result that a plugin before this one may have.
fn result_before(version: &str) -> Value {
    json!({
        "cniVersion": version,
        "interfaces": [
            {"name": "cni0", "mac": "02:00:00:00:00:01"},
            {"name": "eth0", "mac": "02:00:00:00:00:02", "sandbox": "/run/netns/other"},
        ],
        "ips": [{"interface": 1, "address": "10.1.0.5/16", "gateway": "10.1.0.1"}],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
        "dns": {"nameservers": ["10.1.0.1"], "domain": "example.org"},
    })
}

fn with_result(version: &str, prev_result: Value) -> Value {
    let mut conf = conf(version);
    conf["prevResult"] = prev_result;
    conf
}

fn a_result_before_is_passed_on_unchanged(host: &Host) {
    let pod = host.pod("a");
    let mut newest = result_before("1.1.0");
    newest["interfaces"][1]["mtu"] = json!(1450);
    newest["interfaces"][1]["pciID"] = json!("0000:04:00.5");
    newest["interfaces"][1]["socketPath"] = json!("/run/s");
    newest["routes"][0]["mtu"] = json!(1400);
    newest["routes"][0]["advmss"] = json!(1360);
    newest["routes"][0]["priority"] = json!(10);
    newest["routes"][0]["table"] = json!(100);
    newest["routes"][0]["scope"] = json!(0);
    let mut with_version = result_before("0.4.0");
    with_version["ips"][0]["version"] = json!("4");
    let oldest = json!({
        "cniVersion": "0.2.0",
        "ip4": {"ip": "10.1.0.5/16", "gateway": "10.1.0.1", "routes": [{"dst": "0.0.0.0/0"}]},
        "dns": {"nameservers": ["10.1.0.1"]},
    });
    for before in [newest, result_before("1.0.0"), with_version, oldest] {
        let version = before["cniVersion"].as_str().unwrap().to_owned();
        let outcome = loopback(host, Command::Add, &pod)
            .conf(with_result(&version, before.clone()))
            .run();
        assert_eq!(outcome.success().json(), before, "{version}");
    }
    assert!(is_up(&pod));
}

fn a_result_before_of_another_version_is_passed_on_in_the_asked_one(host: &Host) {
    let pod = host.pod("a");
    let outcome = loopback(host, Command::Add, &pod)
        .conf(with_result("0.2.0", result_before("1.0.0")))
        .run();
    let wanted = json!({
        "cniVersion": "0.2.0",
        "ip4": {
            "ip": "10.1.0.5/16", "gateway": "10.1.0.1",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.1.0.1"}],
        },
        "dns": {"nameservers": ["10.1.0.1"], "domain": "example.org"},
    });
    assert_eq!(outcome.success().json(), wanted);
}

fn there_is_no_v6_address_where_ipv6_is_off(host: &Host) {
    let pod = host.pod("a");
    let lo = IfName::parse("lo").unwrap();
    pod.inside(|| Sysctl::of_interface(Family::V6, &lo, "disable_ipv6").write("1"))
        .unwrap();
    let result = loopback(host, Command::Add, &pod).run();
    assert_eq!(
        result.success().json()["ips"],
        json!([{"interface": 0, "address": "127.0.0.1/8"}])
    );
    let old = loopback(host, Command::Add, &pod).conf(conf("0.2.0")).run();
    let wanted = json!({"cniVersion": "0.2.0", "ip4": {"ip": "127.0.0.1/8"}, "dns": {}});
    assert_eq!(old.success().json(), wanted);
}

/// Someone gave `lo` another one, for a resolver perhaps. 0.2.0 could not even say it.
fn a_second_loopback_address_is_not_reported(host: &Host) {
    let pod = host.pod("a");
    loopback(host, Command::Add, &pod).run().success();
    pod.inside(|| {
        let mut batch = Batch::new();
        let lo = IfName::parse("lo").unwrap();
        batch.create_address(
            LinkRef::new(1, &lo),
            "127.0.0.53/32".parse().unwrap(),
            false,
        );
        batch.create_address(LinkRef::new(1, &lo), "10.9.9.9/32".parse().unwrap(), false);
        Rtnl::open().unwrap().run(batch).unwrap();
    });
    let result = loopback(host, Command::Add, &pod).run();
    let wanted = json!([
        {"interface": 0, "address": "127.0.0.1/8"},
        {"interface": 0, "address": "::1/128"},
    ]);
    assert_eq!(result.success().json()["ips"], wanted);
    loopback(host, Command::Add, &pod)
        .conf(conf("0.2.0"))
        .run()
        .success();
}

fn interface_arguments_and_path_do_not_matter(host: &Host) {
    let pod = host.pod("a");
    let run = |command| {
        loopback(host, command, &pod)
            .ifname("eth7")
            .args("none")
            .env("CNI_PATH", "/no/such/folder")
            .run()
    };
    assert_eq!(
        run(Command::Add).success().json()["interfaces"][0]["name"],
        "lo"
    );
    assert!(is_up(&pod));
    run(Command::Check).silent_success();
    run(Command::Del).silent_success();
    assert!(!is_up(&pod));
}

fn add_refuses_what_is_no_namespace(host: &Host) {
    let pod = host.pod("a");
    let file = host.file("plain", "x");
    for path in [
        Path::new("/run/netns/missing"),
        &file,
        Path::new("/run"),
        Path::new("/proc/self/ns/uts"),
    ] {
        for command in [Command::Add, Command::Check] {
            let outcome = loopback(host, command, &pod).netns(path).run();
            assert_eq!(outcome.code(), Code::INVALID_NETNS, "{}", path.display());
            let text = format!("failed to open netns {:?}: ", path.display().to_string());
            assert!(outcome.msg().starts_with(&text), "{}", outcome.msg());
        }
    }
    let msg = loopback(host, Command::Add, &pod).netns(&file).run().msg();
    assert!(msg.contains("not a network namespace"), "{msg}");
}

/// Every path to the namespace that the plugin runs in.
const OWN: [&str; 2] = ["/proc/self/ns/net", "/proc/thread-self/ns/net"];

fn the_callers_own_namespace_is_refused_by_add(host: &Host) {
    let pod = host.pod("a");
    let before = host.state(&[]);
    for path in OWN {
        let outcome = loopback(host, Command::Add, &pod).netns(path).run();
        // `error` and `json` read exactly one document.
        assert_eq!(outcome.code(), Code::INVALID_NETNS);
        assert_eq!(outcome.json()["cniVersion"], "1.1.0");
        let text = "plugin's netns and netns from CNI_NETNS should not be the same";
        assert!(outcome.msg().starts_with(text), "{}", outcome.msg());
        assert!(outcome.details().contains(path), "{}", outcome.details());
    }
    assert_eq!(host.state(&[]).difference(&before), "");
}

fn the_callers_own_namespace_is_left_alone_by_del(host: &Host) {
    let pod = host.pod("a");
    let before = host.state(&[]);
    assert!(lo().up);
    for path in OWN {
        loopback(host, Command::Del, &pod)
            .netns(path)
            .run()
            .silent_success();
        assert!(lo().up, "DEL with {path} set the host's lo down");
    }
    // The same namespace under a name of its own, as a runtime would hand it over.
    let inside = pod.inside(|| loopback(host, Command::Add, &pod).run());
    assert_eq!(inside.code(), Code::INVALID_NETNS);
    pod.inside(|| loopback(host, Command::Del, &pod).run())
        .silent_success();
    assert_eq!(host.state(&[]).difference(&before), "");
}

fn the_callers_own_namespace_is_refused_by_check(host: &Host) {
    let outcome = loopback(host, Command::Check, &host.pod("a"))
        .netns(OWN[0])
        .run();
    assert_eq!(outcome.code(), Code::INVALID_NETNS);
}

fn the_callers_own_namespace_is_used_when_that_is_meant(host: &Host) {
    let pod = host.pod("a");
    let run = |value: &str, command| {
        pod.inside(|| {
            loopback(host, command, &pod)
                .env("CNI_NETNS_OVERRIDE", value)
                .run()
        })
    };
    for value in ["1", "true"] {
        run(value, Command::Add).success();
        assert!(is_up(&pod));
        run(value, Command::Check).silent_success();
        run(value, Command::Del).silent_success();
        assert!(!is_up(&pod));
    }
    for value in ["0", "false", ""] {
        assert_eq!(run(value, Command::Add).code(), Code::INVALID_NETNS);
        assert!(!is_up(&pod));
    }
}

fn del_sets_lo_down(host: &Host) {
    let pod = host.pod("a");
    let before = host.state(&[]);
    for version in VERSIONS {
        loopback(host, Command::Add, &pod)
            .conf(conf(version))
            .run()
            .success();
        loopback(host, Command::Del, &pod)
            .conf(conf(version))
            .run()
            .silent_success();
        assert!(!is_up(&pod), "{version}");
    }
    assert_eq!(host.state(&[]).difference(&before), "");
    loopback(host, Command::Del, &pod).run().silent_success();
}

fn del_succeeds_whatever_is_left_of_the_pod(host: &Host) {
    let pod = host.pod("a");
    let file = host.file("plain", "x");
    loopback(host, Command::Add, &pod).run().success();
    let before = host.state(&[]);
    pod.remove();
    let del = loopback(host, Command::Del, &pod);
    del.run().silent_success();
    del.run().silent_success();
    del.clone().netns("").run().silent_success();
    del.clone().without("CNI_NETNS").run().silent_success();
    for path in [
        &file,
        &file.join("below"),
        Path::new("/run"),
        Path::new("/proc/self/ns/uts"),
    ] {
        del.clone().netns(path).run().silent_success();
    }
    assert_eq!(host.state(&[]).difference(&before), "");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
}

fn del_succeeds_with_a_result_before_that_nobody_can_read(host: &Host) {
    let pod = host.pod("a");
    loopback(host, Command::Add, &pod).run().success();
    let del = loopback(host, Command::Del, &pod);
    del.conf(with_result("1.0.0", json!({"ips": 7})))
        .run()
        .silent_success();
    assert!(!is_up(&pod));
}

fn check_tells_up_from_down(host: &Host) {
    let pod = host.pod("a");
    let outcome = loopback(host, Command::Check, &pod).run();
    assert_eq!(outcome.code(), Code::CHECK_MISMATCH);
    assert!(
        outcome.msg().starts_with("loopback interface is down"),
        "{}",
        outcome.msg()
    );
    assert!(
        outcome.details().contains(pod.path().to_str().unwrap()),
        "{}",
        outcome.details()
    );
    assert!(!is_up(&pod));
    let result = loopback(host, Command::Add, &pod).run().json();
    loopback(host, Command::Check, &pod).run().silent_success();
    loopback(host, Command::Check, &pod)
        .conf(with_result("0.4.0", result))
        .run()
        .silent_success();
    loopback(host, Command::Del, &pod).run().silent_success();
    assert_eq!(
        loopback(host, Command::Check, &pod).run().code(),
        Code::CHECK_MISMATCH
    );
}

fn check_misses_an_address_of_prev_result(host: &Host) {
    let pod = host.pod("a");
    let mut result = loopback(host, Command::Add, &pod).run().json();
    result["ips"][0]["address"] = json!("127.0.0.9/8");
    let outcome = loopback(host, Command::Check, &pod)
        .conf(with_result("1.0.0", result.clone()))
        .run();
    assert_eq!(outcome.code(), Code::CHECK_MISMATCH);
    assert_eq!(outcome.msg(), "loopback interface lacks an address");
    assert!(
        outcome.details().contains("wanted 127.0.0.9/8"),
        "{}",
        outcome.details()
    );
    // Another plugin's interface does not matter to it.
    result["interfaces"][0]["name"] = json!("eth0");
    loopback(host, Command::Check, &pod)
        .conf(with_result("1.0.0", result))
        .run()
        .silent_success();
}

fn check_is_refused_before_0_4_0(host: &Host) {
    let pod = host.pod("a");
    for version in ["0.1.0", "0.2.0", "0.3.0", "0.3.1"] {
        let outcome = loopback(host, Command::Check, &pod)
            .conf(conf(version))
            .run();
        assert_eq!(outcome.code(), Code::INCOMPATIBLE_VERSION);
        assert_eq!(outcome.msg(), "config version does not allow CHECK");
        assert_eq!(outcome.json()["cniVersion"], version);
    }
}

/// With nothing in the environment but what the specification asks for.
fn cluster_wide<'a>(host: &'a Host, command: Command, conf: &Value) -> Invocation<'a> {
    host.plugin("loopback", command)
        .without("CNI_CONTAINERID")
        .without("CNI_IFNAME")
        .conf(conf)
}

fn status_and_gc_succeed_without_a_word_at_1_1_0(host: &Host) {
    let pod = host.pod("a");
    loopback(host, Command::Add, &pod).run().success();
    let before = host.state(&[&pod]);
    cluster_wide(host, Command::Status, &conf("1.1.0"))
        .run()
        .silent_success();
    cluster_wide(host, Command::Gc, &conf("1.1.0"))
        .run()
        .silent_success();
    for key in ["cni.dev/valid-attachments", "cni.dev/attachments"] {
        for list in [
            json!([]),
            json!(null),
            json!([{"containerID": "c1", "ifname": "lo"}]),
        ] {
            let mut conf = conf("1.1.0");
            conf[key] = list;
            cluster_wide(host, Command::Gc, &conf)
                .run()
                .silent_success();
        }
    }
    assert_eq!(host.state(&[&pod]).difference(&before), "");
}

fn status_and_gc_are_refused_before_1_1_0(host: &Host) {
    for version in ["0.1.0", "0.4.0", "1.0.0"] {
        for command in [Command::Status, Command::Gc] {
            let outcome = cluster_wide(host, command, &conf(version)).run();
            assert_eq!(outcome.code(), Code::INCOMPATIBLE_VERSION);
            assert_eq!(
                outcome.msg(),
                format!("config version does not allow {}", command.as_str())
            );
        }
    }
}

fn a_gc_list_of_another_shape_is_refused(host: &Host) {
    let mut conf = conf("1.1.0");
    conf["cni.dev/valid-attachments"] = json!("all");
    assert_eq!(
        cluster_wide(host, Command::Gc, &conf).run().code(),
        Code::DECODE
    );
}

fn version_and_about_need_nothing(host: &Host) {
    let run =
        cluster_wide(host, Command::Version, &json!({"cniVersion": "1.0.0"})).without("CNI_PATH");
    let wanted = json!({"cniVersion": "1.0.0", "supportedVersions": VERSIONS});
    assert_eq!(run.run().success().json(), wanted);
    let about = run.without("CNI_COMMAND").run();
    about.silent_success();
    assert!(
        about.stderr.contains("loopback") && about.stderr.contains("0.3.1"),
        "{}",
        about.stderr
    );
}

fn missing_variables_are_named(host: &Host) {
    let bare = |command| {
        cluster_wide(host, command, &conf("1.1.0"))
            .without("CNI_PATH")
            .run()
    };
    for (command, names) in [
        (
            Command::Add,
            "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH",
        ),
        (
            Command::Check,
            "CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME,CNI_PATH",
        ),
        (Command::Del, "CNI_CONTAINERID,CNI_IFNAME,CNI_PATH"),
        (Command::Gc, "CNI_PATH"),
    ] {
        let outcome = bare(command);
        assert_eq!(outcome.code(), Code::INVALID_ENVIRONMENT);
        assert_eq!(
            outcome.msg(),
            format!("required env variables [{names}] missing")
        );
    }
}

/// The requests that containerd sent for one pod: ADD, DEL, and a DEL after the namespace was gone.
fn containerds_calls_are_served(host: &Host) {
    let pod = host.pod("cni-f54f4ebe-80fe-75c7-f1e5-98fc378b67f8");
    let arguments =
        "K8S_POD_UID=uid-smoke-1-26161;IgnoreUnknown=1;K8S_POD_NAMESPACE=peers;K8S_POD_NAME=smoke1";
    let run = |command| {
        let id = "feecdfea486fe912c4ba5cde2d9d82d304f416fd54d43909fdef6437ec954e5f";
        loopback(host, command, &pod)
            .container(id)
            .args(arguments)
            .conf(conf("0.3.1"))
    };
    let result = run(Command::Add).run().success().json();
    assert_eq!(
        result["interfaces"][0]["sandbox"],
        pod.path().to_str().unwrap()
    );
    run(Command::Del).run().silent_success();
    pod.remove();
    run(Command::Del).netns("").run().silent_success();
}

/// containerd starts the networks of a pod all at the same moment.
fn bridge_and_loopback_may_add_to_one_pod_at_once(host: &Host) {
    let ipam = json!({
        "type": "host-local", "dataDir": host.data_dir(), "ranges": [[{"subnet": "10.1.0.0/16"}]],
    });
    let network = json!({
        "cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": ipam,
    });
    for number in 0..5 {
        let pod = host.pod(&format!("p{number}"));
        let id = format!("c{number}");
        let runs = [
            loopback(host, Command::Add, &pod).container(&id),
            host.plugin("bridge", Command::Add)
                .pod(&pod)
                .container(&id)
                .conf(&network),
        ];
        let children: Vec<_> = runs
            .iter()
            .map(|run| {
                run.process()
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(
                output.status.success(),
                "{}",
                String::from_utf8_lossy(&output.stdout)
            );
            serde_json::from_slice::<Value>(&output.stdout).unwrap();
        }
        assert!(is_up(&pod));
        let eth0 = pod.inside(|| {
            Rtnl::open()
                .unwrap()
                .find_link(&IfName::parse("eth0").unwrap())
        });
        assert!(eth0.unwrap().unwrap().up);
    }
}
