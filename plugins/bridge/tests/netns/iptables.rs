//! Masquerading by iptables: the reference's rules to the letter; every backend sees and removes
//! what either implementation left.

mod reference;

use crate::{
    kernel,
    masquerade::{outside, seen_by},
    nat::{Flavour, recorded, recording_path},
    network::{Network, V4, V6, fixed_ipam, host_local},
    snapshot::Snapshot,
};
use cni_types::{Code, Command, Error};
use serde_json::{Value, json};
use std::{
    fs::File,
    process::{Child, Stdio},
    time::{Duration, Instant},
};
use testkit::{Host, OrFail, Outcome, Pod, Test};

/// The name and the body of a test that runs with each of both iptables.
type Scene = (&'static str, fn(&Host, Flavour));

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = testkit::tests![
        the_rules_of_iptables_are_the_references,
        an_outside_host_sees_the_hosts_address_by_iptables,
        a_network_of_several_subnets_is_masqueraded_only_outwards,
        without_path_the_usual_folders_are_looked_into,
        without_iptables_add_names_the_program_and_leaves_nothing,
        a_failing_iptables_is_quoted_and_leaves_nothing,
        sigterm_while_iptables_waits_for_its_lock_leaves_nothing,
        by_nftables_no_program_is_run,
        del_runs_no_program_over_the_rules_of_todays_iptables,
        status_looks_for_iptables_and_runs_nothing,
        check_reports_missing_rules_of_iptables,
        rules_of_either_backend_satisfy_check,
        without_ip_masq_the_legacy_table_is_not_looked_into,
        chains_to_which_nothing_leads_are_collected,
        many_stale_chains_are_collected,
    ];
    for flavour in Flavour::ALL {
        let scenes: [Scene; 7] = [
            (
                "del_removes_its_own_rules_and_no_others",
                del_removes_its_own_rules_and_no_others,
            ),
            (
                "an_address_that_is_used_again_keeps_its_rules",
                an_address_that_is_used_again_keeps_its_rules,
            ),
            (
                "interfaces_of_one_container_share_a_chain",
                interfaces_of_one_container_share_a_chain,
            ),
            (
                "without_a_result_the_namespace_decides_whose_rules",
                without_a_result_the_namespace_decides_whose_rules,
            ),
            (
                "gc_removes_the_rules_of_the_one_that_is_not_listed",
                gc_removes_the_rules_of_the_one_that_is_not_listed,
            ),
            (
                "a_failed_add_takes_the_rules_back",
                a_failed_add_takes_the_rules_back,
            ),
            (
                "the_rules_of_others_are_not_touched",
                the_rules_of_others_are_not_touched,
            ),
        ];
        for (name, scene) in scenes {
            tests.push(Test::new(format!("{flavour:?}::{name}"), move |host| {
                flavour.require();
                scene(host, flavour);
            }));
        }
    }
    tests.extend(reference::tests());
    tests
}

fn network<'a>(host: &'a Host, subnets: &[&str]) -> Network<'a> {
    let ipam = host_local(host, subnets);
    Network::new(
        host,
        json!({"isDefaultGateway": true, "ipMasq": true, "ipMasqBackend": "iptables", "ipam": ipam}),
    )
}

/// Runs a request on a host that has this iptables.
fn run(
    network: &Network<'_>,
    flavour: Flavour,
    command: Command,
    pod: &Pod,
    ifname: &str,
) -> Outcome {
    network
        .attachment(command, pod)
        .ifname(ifname)
        .env("PATH", flavour.path())
        .run()
}

fn add(network: &Network<'_>, flavour: Flavour, pod: &Pod) -> Outcome {
    let outcome = run(network, flavour, Command::Add, pod, "eth0");
    outcome.success();
    outcome
}

fn del(network: &Network<'_>, flavour: Flavour, pod: &Pod) {
    run(network, flavour, Command::Del, pod, "eth0").silent_success();
}

const NO_RULES: [&str; 0] = [];

/// The output of `iptables-save -t nat` after an ADD of the reference.
fn the_rules_of_iptables_are_the_references(host: &Host) {
    Flavour::Nft.require();
    add(&network(host, &[V4, V6]), Flavour::Nft, &host.pod("a"));
    let chain = "CNI-c3a99edf74e2fcceab44dece";
    let comment = r#"-m comment --comment "name: \"net\" id: \"a\"""#;
    let wanted = |source: &str, network: &str, multicast: &str| {
        [
            format!(":{chain} - [0:0]"),
            format!("-A POSTROUTING -s {source} {comment} -j {chain}"),
            format!("-A {chain} -d {network} {comment} -j ACCEPT"),
            format!("-A {chain} ! -d {multicast} {comment} -j MASQUERADE"),
        ]
    };
    let flavour = Flavour::Nft;
    assert_eq!(
        flavour.rules_of("iptables"),
        wanted("10.1.0.2/32", "10.1.0.0/24", "224.0.0.0/4")
    );
    assert_eq!(
        flavour.rules_of("ip6tables"),
        wanted("fd01::2/128", "fd01::/64", "ff00::/8")
    );
    assert_eq!(kernel::rules(), NO_RULES);
}

fn an_outside_host_sees_the_hosts_address_by_iptables(host: &Host) {
    Flavour::Nft.require();
    let outside = outside(host);
    let a = host.pod("a");
    let b = host.pod("b");
    let network = network(host, &[V4, V6]);
    add(&network, Flavour::Nft, &a);
    add(&network, Flavour::Nft, &b);
    assert_eq!(
        seen_by(&a, "0.0.0.0:0", &outside, "192.0.2.2".parse().unwrap()),
        "192.0.2.1"
    );
    assert_eq!(
        seen_by(&a, "[::]:0", &outside, "2001:db8::2".parse().unwrap()),
        "2001:db8::1"
    );
    assert_eq!(
        seen_by(&a, "0.0.0.0:0", &b, "10.1.0.3".parse().unwrap()),
        "10.1.0.2"
    );
}

/// The reference puts the second subnet's rule behind the one that masquerades, so that it is never
/// reached.
fn a_network_of_several_subnets_is_masqueraded_only_outwards(host: &Host) {
    Flavour::Nft.require();
    let ips = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.7/24"}, {"address": "10.2.0.7/20"}]});
    let network = network(host, &[V4])
        .with(json!({"isDefaultGateway": false, "ipam": fixed_ipam(host, "two", ips)}));
    let pod = host.pod("a");
    let added = add(&network, Flavour::Nft, &pod);
    let rules = Flavour::Nft.rules();
    let targets: Vec<&str> = rules
        .iter()
        .filter_map(|rule| rule.split(" -j ").nth(1))
        .collect();
    let chain = "CNI-c3a99edf74e2fcceab44dece";
    assert_eq!(targets, [chain, chain, "ACCEPT", "ACCEPT", "MASQUERADE"]);
    network.check(&pod, &added).silent_success();
    del(&network, Flavour::Nft, &pod);
    assert_eq!(Flavour::Nft.rules(), NO_RULES);
}

fn del_removes_its_own_rules_and_no_others(host: &Host, flavour: Flavour) {
    let network = network(host, &[V4, V6]);
    let pods = ["a", "b"].map(|name| host.pod(name));
    add(&network, flavour, &pods[0]);
    let before = flavour.rules();
    add(&network, flavour, &pods[1]);
    assert_eq!(flavour.chains(), 4);
    for _ in 0..2 {
        del(&network, flavour, &pods[1]);
        assert_eq!(flavour.rules(), before);
    }
    del(&network, flavour, &pods[0]);
    assert_eq!(flavour.rules(), NO_RULES);
}

fn an_address_that_is_used_again_keeps_its_rules(host: &Host, flavour: Flavour) {
    let ips = json!({"cniVersion": "1.1.0", "ips": [{"address": "10.1.0.7/24"}]});
    let network = network(host, &[V4]).with(json!({"ipam": fixed_ipam(host, "fixed", ips)}));
    let a = host.pod("a");
    let b = host.pod("b");
    let added = add(&network, flavour, &a);
    a.remove();
    add(&network, flavour, &b);
    del(
        &network.with(json!({"prevResult": added.json()})),
        flavour,
        &a,
    );
    let rules = flavour.rules();
    assert_eq!(
        rules
            .iter()
            .filter(|rule| rule.contains(r#"id: \"b\""#))
            .count(),
        3
    );
    assert_eq!(rules.len(), 4, "{rules:#?}");
    del(&network, flavour, &b);
    assert_eq!(flavour.rules(), NO_RULES);
}

/// The reference empties the chain under the other interface, and then fails to delete it.
fn interfaces_of_one_container_share_a_chain(host: &Host, flavour: Flavour) {
    let pod = host.pod("a");
    // Two IPv6 default routes would become one with two next hops.
    let network = network(host, &[V4, V6]).with(json!({"isDefaultGateway": false}));
    let first = add(&network, flavour, &pod);
    let before = flavour.rules();
    let second = run(&network, flavour, Command::Add, &pod, "eth1");
    second.success();
    assert_eq!(flavour.rules().len(), before.len() + 2);
    network.check(&pod, &first).silent_success();
    run(
        &network.with(json!({"prevResult": second.json()})),
        flavour,
        Command::Del,
        &pod,
        "eth1",
    )
    .silent_success();
    assert_eq!(flavour.rules(), before);
    network.check(&pod, &first).silent_success();
    del(
        &network.with(json!({"prevResult": first.json()})),
        flavour,
        &pod,
    );
    assert_eq!(flavour.rules(), NO_RULES);
}

fn without_a_result_the_namespace_decides_whose_rules(host: &Host, flavour: Flavour) {
    let network = network(host, &[V4, V6]);
    let pod = host.pod("a");
    add(&network, flavour, &pod);
    let before = flavour.rules();
    run(&network, flavour, Command::Add, &pod, "eth1").success();
    run(&network, flavour, Command::Del, &pod, "eth1").silent_success();
    assert_eq!(flavour.rules(), before);
    run(&network, flavour, Command::Add, &pod, "eth1").success();
    pod.remove();
    del(&network, flavour, &pod);
    assert_eq!(flavour.rules(), NO_RULES);
}

fn gc_removes_the_rules_of_the_one_that_is_not_listed(host: &Host, flavour: Flavour) {
    let both = network(host, &[V4, V6]);
    let elsewhere = network(host, &["10.2.0.0/24"]).with(json!({"name": "net2", "bridge": "cni2"}));
    let pods = ["a", "b"].map(|name| host.pod(name));
    pods.iter().for_each(|pod| drop(add(&both, flavour, pod)));
    run(&elsewhere, flavour, Command::Add, &pods[1], "eth1").success();
    let collect = |valid: Value| {
        let request =
            both.with(json!({"cni.dev/valid-attachments": valid, "ipMasqBackend": "nftables"}));
        request.request(Command::Gc, "").run().silent_success();
        [
            "net\\\" id: \\\"a",
            "net\\\" id: \\\"b",
            "net2\\\" id: \\\"b",
        ]
        .map(|of| {
            flavour
                .rules()
                .iter()
                .filter(|rule| rule.contains(of))
                .count()
        })
    };
    assert_eq!(
        collect(json!([{"containerID": "b", "ifname": "eth0"}])),
        [0, 6, 3]
    );
    assert_eq!(flavour.chains(), 3);
    assert_eq!(collect(json!([])), [0, 0, 3]);
    assert_eq!(flavour.chains(), 1);
}

/// The state after a failed DEL of the reference, for instance.
fn chains_to_which_nothing_leads_are_collected(host: &Host) {
    Flavour::Nft.require();
    let network = network(host, &[V4, V6]);
    let pods = ["a", "b"].map(|name| host.pod(name));
    pods.iter()
        .for_each(|pod| drop(add(&network, Flavour::Nft, pod)));
    Flavour::Nft.run("iptables", "-t nat -F POSTROUTING");
    network.gc(&[("b", "eth0")]).silent_success();
    assert_eq!(Flavour::Nft.chains(), 2);
    network.request(Command::Del, "b").run().silent_success();
    assert_eq!(Flavour::Nft.rules(), NO_RULES);
}

/// The rules that the reference leaves on k3s nodes over time: more than the kernel sends in one
/// answer.
fn many_stale_chains_are_collected(host: &Host) {
    Flavour::Nft.require();
    let network = network(host, &[V4]);
    let pod = host.pod("a");
    add(&network, Flavour::Nft, &pod);
    let before = Flavour::Nft.rules();
    for start in [0, 100, 200] {
        add_chains(host, start..start + 100);
    }
    assert_eq!(Flavour::Nft.chains(), 301);
    network.gc(&[("a", "eth0")]).silent_success();
    assert_eq!(Flavour::Nft.rules(), before);
}

/// Chains of containers of the network, as the reference leaves them.
fn add_chains(host: &Host, numbers: std::ops::Range<u32>) {
    let mut script = "*nat\n".to_owned();
    for number in numbers {
        let chain = format!("CNI-{number:024x}");
        let comment = format!("-m comment --comment \"name: \\\"net\\\" id: \\\"x{number}\\\"\"");
        let address = format!("10.7.{}.{}", number / 200, number % 200 + 1);
        script += &format!(
            ":{chain} - [0:0]\n-A POSTROUTING -s {address} {comment} -j {chain}\n-A {chain} {comment} -j ACCEPT\n"
        );
    }
    let file = host.file("rules", &(script + "COMMIT\n"));
    kernel::tool(&format!(
        "iptables-nft-restore --noflush {}",
        file.display()
    ));
}

/// Stopped at the end of ADD, while addresses settle.
fn a_failed_add_takes_the_rules_back(host: &Host, flavour: Flavour) {
    let network = network(host, &[V4, V6]);
    add(&network, flavour, &host.pod("a"));
    let pod = host.pod("b");
    // The addresses stay tentative until the plugin gives up.
    pod.inside(|| kernel::set_sysctl("ipv6/conf/default/dad_transmits", "60"));
    let before = Snapshot::of(host, &[&pod]);
    let rules = flavour.rules();
    let slow = network
        .with(json!({"enabledad": true}))
        .attachment(Command::Add, &pod)
        .env("PATH", flavour.path());
    let child = slow
        .process()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .or_fail("start the plugin");
    kernel::wait_until("the rules are there", || {
        flavour.rules().len() == rules.len() + 8
    });
    assert_eq!(terminate(host, child).code, Code::TRY_AGAIN);
    assert_eq!(flavour.rules(), rules);
    before.require_unchanged_but_for_the_last_address();
}

fn the_rules_of_others_are_not_touched(host: &Host, flavour: Flavour) {
    for line in [
        "-t nat -N CNI-DN-0123456789abcdef01234",
        "-t nat -A CNI-DN-0123456789abcdef01234 -s 10.1.0.2 -j RETURN",
        "-t nat -A POSTROUTING -s 10.1.0.2 -d 10.9.0.0/16 -j MASQUERADE",
        "-t nat -A POSTROUTING -s 10.1.0.2 -j CNI-DN-0123456789abcdef01234",
    ] {
        flavour.run("iptables", line);
    }
    let before = flavour.rules();
    let network = network(host, &[V4]);
    let pod = host.pod("a");
    add(&network, flavour, &pod);
    del(&network, flavour, &pod);
    assert_eq!(flavour.rules(), before);
    add(&network, flavour, &pod);
    network.gc(&[]).silent_success();
    assert_eq!(flavour.rules(), before);
}

fn without_path_the_usual_folders_are_looked_into(host: &Host) {
    Flavour::Nft.require();
    let network = network(host, &[V4]);
    for (number, path) in ["", ":", "relative"].into_iter().enumerate() {
        let pod = host.pod(&format!("p{number}"));
        network
            .attachment(Command::Add, &pod)
            .env("PATH", path)
            .run()
            .success();
    }
}

/// Hides iptables from the test, as on a machine without it.
fn hide_iptables() {
    for folder in [
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ] {
        let hidden = std::path::Path::new(folder).join("iptables-restore");
        if hidden.exists() {
            kernel::tool(&format!(
                "mount --bind /dev/null {}",
                hidden.canonicalize().unwrap().display()
            ));
        }
    }
}

fn without_iptables_add_names_the_program_and_leaves_nothing(host: &Host) {
    kernel::require_tool("mount");
    hide_iptables();
    let pod = host.pod("a");
    let before = Snapshot::of(host, &[&pod]);
    let error = network(host, &[V4])
        .attachment(Command::Add, &pod)
        .env("PATH", "/nonexistent")
        .run()
        .error();
    assert_eq!(
        error.msg,
        "failed to locate iptables: no program \"iptables-restore\" in PATH or the usual folders"
    );
    assert!(error.details.starts_with("install iptables"), "{error}");
    before.require_unchanged();
    let outcome = network(host, &[V4])
        .request(Command::Status, "")
        .env("PATH", "/nonexistent")
        .run();
    assert_eq!(
        (outcome.code(), outcome.msg()),
        (Code::UNAVAILABLE, error.msg)
    );
}

fn a_failing_iptables_is_quoted_and_leaves_nothing(host: &Host) {
    let script = host.script("iptables-restore", "echo 'no luck today' >&2; exit 3");
    let path = format!("{}:/usr/bin:/bin", script.parent().unwrap().display());
    let network = network(host, &[V4]);
    let pod = host.pod("a");
    network
        .with(json!({"ipMasq": false}))
        .add(&host.pod("first"))
        .success();
    let before = Snapshot::of(host, &[&pod]);
    let error = network
        .attachment(Command::Add, &pod)
        .env("PATH", path)
        .run()
        .error();
    assert_eq!(error.msg, "iptables-restore failed: exit status: 3");
    assert_eq!(
        (error.code, error.details.as_str()),
        (Code::KERNEL, "no luck today")
    );
    before.require_unchanged_but_for_the_last_address();
}

/// Asks the plugin to stop, and reads the one document that it prints.
fn terminate(host: &Host, child: Child) -> Error {
    let id = child.id().to_string();
    let kill = std::process::Command::new("sh")
        .args(["-c", "kill -TERM \"$0\"", &id])
        .status();
    assert!(kill.or_fail("run the shell").success());
    let output = child.wait_with_output().or_fail("wait for the plugin");
    host.note(format!(
        "--- after SIGTERM: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    ));
    Error::from_json(&output.stdout).or_fail("read the error object")
}

fn sigterm_while_iptables_waits_for_its_lock_leaves_nothing(host: &Host) {
    Flavour::Legacy.require();
    let network = network(host, &[V4, V6]);
    let pod = host.pod("a");
    add(&network, Flavour::Legacy, &host.pod("first"));
    let before = Snapshot::of(host, &[&pod]);
    let rules = Flavour::Legacy.rules();
    let lock = File::create("/run/xtables.lock").or_fail("open the lock");
    lock.lock().or_fail("take the lock");
    let request = network
        .attachment(Command::Add, &pod)
        .env("PATH", Flavour::Legacy.path());
    let start = Instant::now();
    let child = request
        .process()
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .or_fail("start the plugin");
    let plugin = child.id();
    kernel::wait_until("iptables waits", || {
        let children = std::fs::read_to_string(format!("/proc/{plugin}/task/{plugin}/children"));
        children
            .unwrap_or_default()
            .split_whitespace()
            .any(|child| {
                let line =
                    std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
                line.contains("iptables-restore")
            })
    });
    let error = terminate(host, child);
    assert_eq!(
        (error.code, error.msg.as_str()),
        (
            Code::TRY_AGAIN,
            "terminated while waiting for iptables-restore"
        )
    );
    assert!(start.elapsed() < Duration::from_secs(20));
    drop(lock);
    assert_eq!(Flavour::Legacy.rules(), rules);
    before.require_unchanged_but_for_the_last_address();
}

fn by_nftables_no_program_is_run(host: &Host) {
    let network = network(host, &[V4, V6]).with(json!({"ipMasqBackend": null}));
    let pod = host.pod("a");
    let path = recording_path(host);
    let run =
        |network: &Network<'_>, command| network.attachment(command, &pod).env("PATH", &path).run();
    run(&network, Command::Status).silent_success();
    let added = run(&network, Command::Add);
    let after = network.with(json!({"prevResult": added.json(), "cni.dev/valid-attachments": []}));
    for command in [Command::Check, Command::Del, Command::Del, Command::Gc] {
        run(&after, command).silent_success();
    }
    assert_eq!(recorded(host), NO_RULES);
}

fn del_runs_no_program_over_the_rules_of_todays_iptables(host: &Host) {
    Flavour::Nft.require();
    let network = network(host, &[V4, V6]);
    let pod = host.pod("a");
    for command in [Command::Del, Command::Gc] {
        let added = add(&network, Flavour::Nft, &pod);
        let path = recording_path(host);
        let after =
            network.with(json!({"prevResult": added.json(), "cni.dev/valid-attachments": []}));
        after
            .attachment(Command::Check, &pod)
            .env("PATH", &path)
            .run()
            .silent_success();
        after
            .attachment(command, &pod)
            .env("PATH", &path)
            .run()
            .silent_success();
        assert_eq!(Flavour::Nft.rules(), NO_RULES);
        assert_eq!(recorded(host), NO_RULES);
        network.request(Command::Del, "a").run().silent_success();
    }
}

/// Runs with a `PATH` of programs that record each call.
fn status_looks_for_iptables_and_runs_nothing(host: &Host) {
    let before = Snapshot::of(host, &[]);
    let path = recording_path(host);
    network(host, &[V4, V6])
        .request(Command::Status, "")
        .env("PATH", path)
        .run()
        .silent_success();
    assert_eq!(recorded(host), NO_RULES);
    before.require_unchanged();
}

fn check_reports_missing_rules_of_iptables(host: &Host) {
    Flavour::Nft.require();
    let network = network(host, &[V4, V6]);
    let pod = host.pod("a");
    let added = add(&network, Flavour::Nft, &pod);
    network.check(&pod, &added).silent_success();
    let chain = "CNI-c3a99edf74e2fcceab44dece";
    Flavour::Nft.run("ip6tables", "-t nat -F POSTROUTING");
    let error = network.check(&pod, &added).error();
    assert_eq!(
        error.msg,
        "masquerade rules missing: found 1, wanted 2; iptables has none for fd01::2/64"
    );
    assert_eq!(error.code, Code::CHECK_MISMATCH);
    Flavour::Nft.run("iptables", &format!("-t nat -D {chain} 2"));
    let error = network.check(&pod, &added).error();
    assert_eq!(
        error.msg,
        "masquerade rules missing: found 0, wanted 2; iptables has none for 10.1.0.2/24, fd01::2/64"
    );
}

fn rules_of_either_backend_satisfy_check(host: &Host) {
    Flavour::Nft.require();
    let iptables = network(host, &[V4, V6]);
    let nftables = iptables.with(json!({"ipMasqBackend": "nftables"}));
    for (made, checked) in [(&iptables, &nftables), (&nftables, &iptables)] {
        let pod = host.pod("a");
        let added = add(made, Flavour::Nft, &pod);
        checked.check(&pod, &added).silent_success();
        del(checked, Flavour::Nft, &pod);
        assert_eq!(Flavour::Nft.rules(), NO_RULES);
        assert_eq!(kernel::rules(), NO_RULES);
        pod.remove();
    }
}

/// Listing the legacy table takes the longer, the more rules others have there; GC does list it.
fn without_ip_masq_the_legacy_table_is_not_looked_into(host: &Host) {
    Flavour::Legacy.require();
    let path = recording_path(host);
    let del = |network: &Network<'_>| network.request(Command::Del, "a").env("PATH", &path).run();
    del(&network(host, &[V4]).with(json!({"ipMasq": false}))).silent_success();
    assert_eq!(recorded(host), NO_RULES);
    // The counterpart: with `ipMasq`, the legacy table is listed, here in vain.
    let looked = [
        "iptables-legacy-save -t nat",
        "ip6tables-legacy-save -t nat",
    ];
    assert_eq!(
        del(&network(host, &[V4])).msg(),
        "iptables-legacy-save failed: exit status: 1"
    );
    assert_eq!(recorded(host), looked);
    // If no rules are expected there, an unreadable table is a warning and no error.
    let outcome = del(&network(host, &[V4]).with(json!({"ipMasqBackend": null})));
    outcome.silent_success();
    assert!(
        outcome
            .stderr
            .starts_with("bridge: the legacy table nat was not looked into: "),
        "{}",
        outcome.stderr
    );
    assert_eq!(recorded(host), [looked, looked].concat());
}
