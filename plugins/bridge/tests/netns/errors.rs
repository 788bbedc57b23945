//! Invalid requests: refused with the right code and text before anything is changed.

use crate::{
    kernel,
    network::{Network, V4, host_local},
    snapshot::Snapshot,
};
use cni_types::{Code, Command};
use serde_json::{Value, json};
use testkit::{Host, Invocation, Test};

pub(crate) fn tests() -> Vec<Test> {
    testkit::tests![
        keys_that_make_no_sense_are_refused,
        bad_cni_args_are_refused,
        a_key_of_cni_args_that_only_bridge_knows_is_refused_by_host_local,
        a_missing_netns_is_named,
        a_netns_given_by_name_is_refused_with_its_path,
        an_add_without_capabilities_names_them_and_the_remedy,
        what_is_no_netns_is_refused,
        a_fifo_as_netns_is_refused_at_once,
        the_own_netns_is_refused_with_one_document,
        the_own_netns_is_taken_when_that_is_asked_for,
        an_interface_name_that_is_taken_is_refused,
        an_ipam_type_cannot_leave_cni_path,
        an_ipam_type_with_a_nul_is_refused,
        names_that_would_lead_elsewhere_are_refused,
        lo_of_the_caller_stays_up_whatever_is_asked_with_its_own_netns,
        check_takes_the_own_netns_when_that_is_asked_for,
        host_local_does_not_mind_the_own_netns,
        nat_rules_at_a_priority_of_their_own_go_on_deciding,
    ]
}

/// Asserts that the request fails with this code and text, and changes neither the host nor the
/// pod.
#[track_caller]
fn require_refused(host: &Host, request: &Invocation<'_>, code: Code, msg: &str) {
    let before = Snapshot::of(host, &[]);
    let outcome = request.run();
    assert_eq!((outcome.code(), outcome.msg().as_str()), (code, msg));
    before.require_unchanged();
}

fn add(host: &Host, keys: Value) -> Invocation<'_> {
    let network = Network::new(
        host,
        json!({"isGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4])}),
    );
    network.with(keys).request(Command::Add, "a")
}

fn keys_that_make_no_sense_are_refused(host: &Host) {
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    for (keys, msg) in [
        (
            json!({"hairpinMode": true, "promiscMode": true}),
            "cannot set hairpin mode and promiscuous mode at the same time",
        ),
        (
            json!({"ipMasqBackend": "foo"}),
            "unknown ipmasq backend \"foo\"",
        ),
        (json!({"mtu": 67}), "invalid MTU 67"),
        (
            json!({"bridge": "a/b"}),
            "invalid bridge name \"a/b\": interface name contains / or : or whitespace characters",
        ),
    ] {
        require_refused(host, &add(host, keys).pod(&pod), Code::INVALID_CONFIG, msg);
    }
    let outcome = add(host, json!({"isGateway": "yes"})).pod(&pod).run();
    assert_eq!(outcome.code(), Code::DECODE);
    before.require_unchanged();
}

fn bad_cni_args_are_refused(host: &Host) {
    let pod = host.pod("a");
    for (args, msg) in [
        ("FOO=bar", "ARGS: unknown args [\"FOO=bar\"]"),
        ("FOO", "ARGS: invalid pair \"FOO\""),
        (
            "mac=c2:00:00:00:00:01",
            "ARGS: unknown args [\"mac=c2:00:00:00:00:01\"]",
        ),
    ] {
        let request = add(host, json!({})).pod(&pod).args(args);
        require_refused(host, &request, Code::INVALID_ENVIRONMENT, msg);
    }
    add(host, json!({}))
        .pod(&pod)
        .args("IgnoreUnknown=1;FOO=bar")
        .run()
        .success();
}

fn a_key_of_cni_args_that_only_bridge_knows_is_refused_by_host_local(host: &Host) {
    let pod = host.pod("a");
    kernel::create_bridge("cni0");
    let request = add(host, json!({})).pod(&pod).args("MAC=c2:00:00:00:00:01");
    let msg = "ARGS: unknown args [\"MAC=c2:00:00:00:00:01\"]";
    require_refused(host, &request, Code::INVALID_ENVIRONMENT, msg);
    let request = request.args("MAC=c2:00:00:00:00:01;IgnoreUnknown=true");
    assert_eq!(
        request.run().result().interfaces[2].mac,
        "c2:00:00:00:00:01"
    );
}

fn a_missing_netns_is_named(host: &Host) {
    let request = add(host, json!({})).netns("/run/netns/none");
    let msg = "failed to open netns \"/run/netns/none\": No such file or directory (os error 2)";
    require_refused(host, &request, Code::INVALID_NETNS, msg);
}

fn a_netns_given_by_name_is_refused_with_its_path(host: &Host) {
    let _pod = host.pod("a");
    let outcome = add(host, json!({})).netns("a").run();
    assert_eq!(outcome.code(), Code::INVALID_NETNS);
    let msg = "failed to open netns \"a\": No such file or directory (os error 2)";
    assert_eq!(outcome.msg(), msg);
    let details = outcome.error().details;
    assert!(
        details.starts_with("CNI_NETNS is a path, not a name: /run/netns/a "),
        "{details}"
    );
}

fn an_add_without_capabilities_names_them_and_the_remedy(host: &Host) {
    kernel::require_tool("setpriv");
    let pod = host.pod("a");
    for (missing, names) in [
        ("-net_admin", "CAP_NET_ADMIN"),
        ("-sys_admin", "CAP_SYS_ADMIN"),
    ] {
        let program = kernel::without_capabilities(host, missing);
        let outcome = add(host, json!({})).pod(&pod).program(program).run();
        let details = outcome.error().details;
        assert_eq!(
            details.split("; ").collect::<Vec<_>>(),
            [
                format!("the plugin runs without {names}").as_str(),
                "run it as root, as container runtimes do, or as root of a user namespace that \
                 owns the network namespaces"
            ],
            "{outcome}"
        );
    }
}

fn what_is_no_netns_is_refused(host: &Host) {
    let file = host.file("plain", "no namespace");
    for path in [
        file.to_str().unwrap(),
        "/run",
        "/proc/self/ns/mnt",
        "/dev/null",
    ] {
        let before = Snapshot::of(host, &[]);
        let outcome = add(host, json!({})).netns(path).run();
        assert_eq!(outcome.code(), Code::INVALID_NETNS, "{path}");
        assert!(
            outcome
                .msg()
                .starts_with(&format!("failed to open netns {path:?}: ")),
            "{}",
            outcome.msg()
        );
        before.require_unchanged();
    }
}

fn a_fifo_as_netns_is_refused_at_once(host: &Host) {
    let fifo = host.file("plain", "").with_file_name("fifo");
    kernel::tool(&format!("mkfifo {}", fifo.display()));
    for command in [Command::Add, Command::Check] {
        let request = Network::new(host, json!({}))
            .request(command, "a")
            .netns(&fifo);
        let outcome = request.run();
        assert_eq!(outcome.code(), Code::INVALID_NETNS);
        assert!(
            outcome
                .msg()
                .starts_with(&format!("failed to open netns {:?}: ", fifo)),
            "{}",
            outcome.msg()
        );
    }
    Network::new(host, json!({}))
        .request(Command::Del, "a")
        .netns(&fifo)
        .run()
        .silent_success();
}

/// The reference acts first and prints two documents (containernetworking/plugins#714).
fn the_own_netns_is_refused_with_one_document(host: &Host) {
    let own = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    host.note(format!("the host is {}", own.display()));
    for command in [Command::Add, Command::Check] {
        let network = Network::new(
            host,
            json!({"isGateway": true, "ipam": host_local(host, &[V4])}),
        );
        let request = network.request(command, "a").netns("/proc/self/ns/net");
        let msg = "plugin's netns and netns from CNI_NETNS should not be the same";
        require_refused(host, &request, Code::INVALID_NETNS, msg);
        let outcome = request.run();
        assert_eq!(outcome.json()["cniVersion"], "1.1.0");
    }
}

fn the_own_netns_is_taken_when_that_is_asked_for(host: &Host) {
    for value in ["1", "t", "T", "true", "TRUE", "True"] {
        let network = Network::new(host, json!({}));
        let request = |command| {
            network
                .request(command, "a")
                .netns("/proc/self/ns/net")
                .env("CNI_NETNS_OVERRIDE", value)
        };
        let result = request(Command::Add).run().result();
        let mut wanted = ["cni0", "eth0", "lo", &result.interfaces[1].name].map(str::to_owned);
        wanted.sort();
        assert_eq!(kernel::names(), wanted);
        request(Command::Del).run().silent_success();
        assert_eq!(kernel::names(), ["cni0", "lo"]);
    }
}

fn an_interface_name_that_is_taken_is_refused(host: &Host) {
    let pod = host.pod("a");
    let request = add(host, json!({})).pod(&pod);
    let added = request.run().result();
    let before = Snapshot::of(host, &[&pod]);
    for (ifname, container) in [("eth0", "a"), ("eth0", "b"), ("lo", "b")] {
        let outcome = request.clone().ifname(ifname).container(container).run();
        let msg = outcome.msg();
        assert!(
            msg.starts_with(&format!(
                "container veth name (\"{ifname}\") peer provided (\"veth"
            )),
            "{msg}"
        );
        assert!(msg.ends_with("\") already exists"), "{msg}");
        before.require_unchanged();
    }
    assert_eq!(
        pod.inside(|| kernel::addresses("eth0")),
        [added.ips[0].address.to_string()]
    );
}

fn an_ipam_type_cannot_leave_cni_path(host: &Host) {
    let script = host.script("evil", "touch /run/cni-files/ran");
    let pod = host.pod("a");
    for kind in ["../cni-files/evil", "/run/cni-files/evil", ".."] {
        let request = add(host, json!({"ipam": {"type": kind}}))
            .pod(&pod)
            .env("CNI_PATH", "/run/cni-data");
        let msg = format!("invalid plugin name: {kind:?}");
        require_refused(host, &request, Code::INVALID_CONFIG, &msg);
    }
    assert!(!script.with_file_name("ran").exists());
}

/// A variant of CVE-2021-20206: the system ignores what follows a NUL.
fn an_ipam_type_with_a_nul_is_refused(host: &Host) {
    let script = host.script("evil", "touch /run/cni-files/ran");
    let pod = host.pod("a");
    for kind in ["evil\0", "\0evil", "host-local\0/../evil"] {
        let before = Snapshot::of(host, &[&pod]);
        let error = add(host, json!({"ipam": {"type": kind}}))
            .pod(&pod)
            .run()
            .error();
        assert_eq!(error.code, Code::INVALID_CONFIG, "{error}");
        before.require_unchanged();
    }
    assert!(!script.with_file_name("ran").exists());
}

/// Names become parts of paths: of sysctls, and of host-local's folders.
fn names_that_would_lead_elsewhere_are_refused(host: &Host) {
    let pod = host.pod("a");
    for ifname in [
        ".",
        "..",
        "a/b",
        "a b",
        "a:b",
        "../../x",
        "sixteen-letters-",
        "a\u{1b}[2J",
        "a\u{7f}",
    ] {
        let request = add(host, json!({})).pod(&pod).ifname(ifname);
        let before = Snapshot::of(host, &[&pod]);
        assert_eq!(request.run().code(), Code::INVALID_ENVIRONMENT, "{ifname}");
        before.require_unchanged();
    }
    let request = add(host, json!({"name": "../../evil"})).pod(&pod);
    require_refused(
        host,
        &request,
        Code::INVALID_CONFIG,
        "invalid characters found in network name",
    );
    let request = add(host, json!({})).pod(&pod).container("../../evil");
    require_refused(
        host,
        &request,
        Code::INVALID_ENVIRONMENT,
        "invalid characters in containerID",
    );
}

fn lo_of_the_caller_stays_up_whatever_is_asked_with_its_own_netns(host: &Host) {
    for (plugin, ifname) in [("bridge", "eth0"), ("bridge", "lo"), ("loopback", "lo")] {
        for command in [Command::Add, Command::Check, Command::Del] {
            let conf =
                json!({"cniVersion": "1.1.0", "name": "net", "type": plugin, "bridge": "cni0"});
            let before = Snapshot::of(host, &[]);
            let request = host
                .plugin(plugin, command)
                .ifname(ifname)
                .netns("/proc/self/ns/net")
                .conf(conf);
            let outcome = request.run();
            if command == Command::Del {
                outcome.silent_success();
            } else {
                assert_eq!(outcome.code(), Code::INVALID_NETNS, "{plugin} {command:?}");
                assert_eq!(outcome.json()["code"], 8, "one document");
            }
            assert!(kernel::link("lo").up, "{plugin} {command:?}");
            before.require_unchanged();
        }
    }
}

fn check_takes_the_own_netns_when_that_is_asked_for(host: &Host) {
    let network = Network::new(host, json!({}));
    let added = network
        .request(Command::Add, "a")
        .netns("/proc/self/ns/net")
        .env("CNI_NETNS_OVERRIDE", "true")
        .run();
    let network = network.with(json!({"prevResult": added.json()}));
    let check = network
        .request(Command::Check, "a")
        .netns("/proc/self/ns/net");
    assert_eq!(check.run().code(), Code::INVALID_NETNS);
    check.env("CNI_NETNS_OVERRIDE", "1").run().silent_success();
}

/// A delegate enters no namespace; the plugin that calls it has checked it.
fn host_local_does_not_mind_the_own_netns(host: &Host) {
    let conf = json!({"cniVersion": "1.1.0", "name": "net", "type": "bridge", "ipam": host_local(host, &[V4])});
    let request = |command| {
        host.plugin("host-local", command)
            .netns("/proc/self/ns/net")
            .conf(&conf)
    };
    let result = request(Command::Add).run().result();
    assert_eq!(result.ips[0].address.to_string(), "10.1.0.2/24");
    request(Command::Del).run().silent_success();
    assert!(!host.data_dir().join("net/10.1.0.2").exists());
}

/// CVE-2019-9946: rules that an administrator set up before keep precedence. Not at the very same
/// priority, for which the kernel puts the later chain first (nf_hook_entries_grow in
/// net/netfilter/core.c). Our priority is the reference's, since both share the table.
fn nat_rules_at_a_priority_of_their_own_go_on_deciding(host: &Host) {
    kernel::require_tool("nft");
    let outside = crate::masquerade::outside(host);
    let pod = host.pod("a");
    kernel::add_address("uplink", "192.0.2.77/24");
    let rules = host.file(
        "rules",
        "table ip theirs { chain post { type nat hook postrouting priority srcnat - 1; ip saddr 10.1.0.0/24 snat to 192.0.2.77; }; }\n",
    );
    kernel::tool(&format!("nft -f {}", rules.display()));
    let keys = json!({"isDefaultGateway": true, "ipMasq": true, "ipam": host_local(host, &[V4])});
    Network::new(host, keys).add(&pod).success();
    let seen =
        crate::masquerade::seen_by(&pod, "0.0.0.0:0", &outside, "192.0.2.2".parse().unwrap());
    assert_eq!(seen, "192.0.2.77");
}
