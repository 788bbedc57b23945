//! The static plugin as runtimes and interface plugins run it, alone and beside the reference.
#![expect(clippy::indexing_slicing, reason = "a failing test may panic")]

use cni_types::{Code, Command, IpConfig};
use serde_json::{Value, json};
use std::process::ExitCode;
use testkit::{Host, Invocation, Outcome, Suite, bin_dir};

/// The versions whose result has a list of addresses.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

fn main() -> ExitCode {
    testkit::main(testkit::tests![
        add_returns_addresses_routes_and_dns_in_the_shape_of_each_version,
        del_succeeds_for_what_was_never_added_and_for_addresses_that_cannot_be_read,
        an_address_of_cni_args_gets_the_gateway_of_cni_args,
        a_gateway_of_cni_args_goes_only_to_addresses_whose_subnet_holds_it,
        a_gateway_of_cni_args_serves_a_configured_address_without_one,
        a_gateway_in_the_subnet_of_no_address_is_reported_on_stderr,
        addresses_of_the_runtime_replace_configured_ones,
        runtime_config_replaces_args_and_cni_args,
        an_address_of_the_runtime_takes_the_gateway_of_the_configured_subnet,
        an_ip_of_cni_args_that_is_replaced_is_reported_unless_both_agree,
        without_an_ipam_section_nothing_else_helps,
        an_address_without_a_prefix_length_is_refused_in_each_of_the_four_places,
        configured_addresses_come_before_those_of_cni_args,
        mapped_addresses_duplicates_and_foreign_gateways_are_passed_on,
        notations_that_are_not_cidr_are_refused,
        check_finds_an_address_that_is_missing_or_has_another_gateway,
        check_passes_an_attachment_whose_gateway_nobody_added,
        check_needs_a_previous_result_and_reads_one_of_0_2_0,
        an_old_version_has_one_address_of_each_family,
        interface_plugins_of_both_kinds_work_with_both_static_plugins,
        an_empty_ip_from_multus_asks_for_nothing,
        status_and_gc_succeed_without_a_word,
        no_address_at_all_is_a_success_without_addresses,
        ours_and_the_reference_answer_alike,
        ours_and_the_reference_check_alike,
    ])
}

/// A run as a delegate: the configuration is the caller's, and no namespace is opened.
fn request<'a>(host: &'a Host, command: Command, version: &str, keys: &Value) -> Invocation<'a> {
    let mut conf = json!({"cniVersion": version, "name": "n", "type": "bridge"});
    for (key, value) in keys.as_object().into_iter().flatten() {
        conf[key] = value.clone();
    }
    host.plugin("static", command)
        .netns("/some/where")
        .conf(conf)
}

fn add<'a>(host: &'a Host, keys: &Value) -> Invocation<'a> {
    request(host, Command::Add, "1.1.0", keys)
}

fn ipam(addresses: &Value) -> Value {
    json!({"type": "static", "addresses": addresses})
}

/// Addresses and gateways of a result, each as `10.0.0.1/8 10.0.0.254`, `-` for no gateway.
fn ips(outcome: &Outcome) -> Vec<String> {
    let gateway = |ip: &IpConfig| ip.gateway.map_or("-".into(), |g| g.to_string());
    outcome
        .result()
        .ips
        .iter()
        .map(|ip| format!("{} {}", ip.address, gateway(ip)))
        .collect()
}

fn add_returns_addresses_routes_and_dns_in_the_shape_of_each_version(host: &Host) {
    let keys = json!({"ipam": {
        "addresses": [
            {"address": "10.10.0.1/24", "gateway": "10.10.0.254"},
            {"address": "3ffe:ffff:0:01ff::1/64", "gateway": "3ffe:ffff:0::1"},
        ],
        "routes": [
            {"dst": "0.0.0.0/0"},
            {"dst": "192.168.0.5/16", "gw": "10.10.5.1", "mtu": 1400, "table": 7},
            {"dst": "3ffe:ffff:0:01ff::1/64"},
        ],
        "dns": {"nameservers": ["10.10.0.1"], "domain": "example.com", "search": ["a.example.com"]},
    }});
    for version in VERSIONS {
        let json = request(host, Command::Add, version, &keys).run().json();
        let mut expected = json!([
            {"address": "10.10.0.1/24", "gateway": "10.10.0.254"},
            {"address": "3ffe:ffff:0:1ff::1/64", "gateway": "3ffe:ffff::1"},
        ]);
        if version.starts_with('0') {
            expected[0]["version"] = "4".into();
            expected[1]["version"] = "6".into();
        }
        assert_eq!(json["cniVersion"], version);
        assert_eq!(json["ips"], expected, "{version}");
        assert_eq!(json["routes"][1]["dst"], "192.168.0.5/16");
        assert_eq!(json["routes"][1]["gw"], "10.10.5.1");
        assert_eq!(json["routes"][2], json!({"dst": "3ffe:ffff:0:1ff::1/64"}));
        assert_eq!(json["dns"], keys["ipam"]["dns"], "{version}");
        assert_eq!(json.get("interfaces"), None);
        request(host, Command::Del, version, &keys)
            .run()
            .silent_success();
    }
    let route = add(host, &keys).run().json()["routes"][1].clone();
    assert_eq!(route, keys["ipam"]["routes"][1]);
}

fn del_succeeds_for_what_was_never_added_and_for_addresses_that_cannot_be_read(host: &Host) {
    for keys in [
        json!({}),
        json!({"ipam": {}}),
        json!({"ipam": ipam(&json!([{"address": "bad"}]))}),
    ] {
        let del = request(host, Command::Del, "1.1.0", &keys).container("never");
        del.args("FOO=bar")
            .without("CNI_NETNS")
            .run()
            .silent_success();
    }
}

fn an_address_of_cni_args_gets_the_gateway_of_cni_args(host: &Host) {
    let add = add(host, &json!({"ipam": {}})).args("IP=10.10.0.1/24;GATEWAY=10.10.0.254");
    assert_eq!(ips(&add.run()), ["10.10.0.1/24 10.10.0.254"]);
}

fn a_gateway_of_cni_args_goes_only_to_addresses_whose_subnet_holds_it(host: &Host) {
    let args = "IP=10.10.0.1/24, 11.11.0.1/24;GATEWAY=10.10.0.254";
    let outcome = add(host, &json!({"ipam": {}})).args(args).run();
    assert_eq!(
        ips(&outcome),
        ["10.10.0.1/24 10.10.0.254", "11.11.0.1/24 -"]
    );
    assert_eq!(outcome.stderr, "");
    let old = request(host, Command::Add, "0.2.0", &json!({"ipam": {}}))
        .args(args)
        .run();
    assert_eq!(
        old.msg(),
        "CNI version 0.2.0 does not support more than 1 address per family"
    );
}

fn a_gateway_of_cni_args_serves_a_configured_address_without_one(host: &Host) {
    let addresses =
        json!([{"address": "10.10.0.1/24"}, {"address": "10.10.0.2/24", "gateway": "10.10.0.9"}]);
    let outcome = add(host, &json!({"ipam": ipam(&addresses)}))
        .args("GATEWAY=10.10.0.254")
        .run();
    assert_eq!(
        ips(&outcome),
        ["10.10.0.1/24 10.10.0.254", "10.10.0.2/24 10.10.0.9"]
    );
    assert_eq!(outcome.stderr, "");
}

fn a_gateway_in_the_subnet_of_no_address_is_reported_on_stderr(host: &Host) {
    let outcome = add(host, &json!({"ipam": {}}))
        .args("IP=10.10.0.1/24;GATEWAY=10.9.9.9")
        .run();
    assert_eq!(ips(&outcome), ["10.10.0.1/24 -"]);
    assert_eq!(
        outcome.stderr,
        "static: GATEWAY=10.9.9.9 is in the subnet of no address: not used\n"
    );
    let bad = add(host, &json!({"ipam": {}}))
        .args("IP=10.10.0.1/24;GATEWAY=x")
        .run()
        .error();
    assert_eq!(
        (bad.code, bad.msg.as_str()),
        (Code(4), "invalid gateway address: x")
    );
}

fn addresses_of_the_runtime_replace_configured_ones(host: &Host) {
    let addresses = json!([{"address": "10.10.0.1/24", "gateway": "10.10.0.254"}]);
    let keys =
        json!({"ipam": ipam(&addresses), "RuntimeConfig": {"ips": ["10.7.0.5/24", "fd00::5/64"]}});
    assert_eq!(
        ips(&add(host, &keys).run()),
        ["10.7.0.5/24 -", "fd00::5/64 -"]
    );
    let bad = json!([{"address": "bad"}]);
    let keys = json!({"ipam": ipam(&bad), "args": {"cni": {"ips": ["10.7.0.5/24"]}}});
    assert_eq!(ips(&add(host, &keys).run()), ["10.7.0.5/24 -"]);
}

fn runtime_config_replaces_args_and_cni_args(host: &Host) {
    let args = json!({"cni": {"ips": ["10.8.0.1/24"]}});
    let mut keys = json!({"ipam": {}, "args": args});
    assert_eq!(ips(&add(host, &keys).run()), ["10.8.0.1/24 -"]);
    keys["runtimeConfig"] = json!({"ips": ["10.7.0.1/24"]});
    assert_eq!(
        ips(&add(host, &keys).args("IP=10.9.0.1/24").run()),
        ["10.7.0.1/24 -"]
    );
    keys["runtimeConfig"] = json!({"ips": []});
    assert_eq!(ips(&add(host, &keys).run()), ["10.8.0.1/24 -"]);
}

fn an_address_of_the_runtime_takes_the_gateway_of_the_configured_subnet(host: &Host) {
    let addresses = json!([
        {"address": "bad", "gateway": "10.9.0.1"},
        {"address": "10.10.0.1/24", "gateway": "10.10.0.254"},
    ]);
    let asked = json!({"ips": ["10.10.0.7/24", "10.11.0.7/24", "10.10.0.254/24"]});
    for keys in [
        json!({"runtimeConfig": asked}),
        json!({"args": {"cni": asked}}),
    ] {
        let mut keys = keys;
        keys["ipam"] = ipam(&addresses);
        let expected = [
            "10.10.0.7/24 10.10.0.254",
            "10.11.0.7/24 -",
            "10.10.0.254/24 -",
        ];
        assert_eq!(ips(&add(host, &keys).run()), expected);
    }
}

fn an_ip_of_cni_args_that_is_replaced_is_reported_unless_both_agree(host: &Host) {
    let keys = json!({"ipam": {}, "runtimeConfig": {"ips": ["10.7.0.1/24"]}});
    assert_eq!(
        add(host, &keys)
            .args("IP=10.7.0.1/24")
            .run()
            .success()
            .stderr,
        ""
    );
    let outcome = add(host, &keys).args("IP=10.9.0.1/24").run();
    let expected = "static: IP=10.9.0.1/24 in CNI_ARGS is not used: runtimeConfig.ips or args.cni.ips replaces it\n";
    assert_eq!(outcome.success().stderr, expected);
}

fn without_an_ipam_section_nothing_else_helps(host: &Host) {
    for keys in [
        json!({}),
        json!({"ipam": null}),
        json!({"runtimeConfig": {"ips": ["10.7.0.1/24"]}}),
    ] {
        for command in [Command::Add, Command::Check] {
            let error = request(host, command, "1.1.0", &keys)
                .args("IP=10.0.0.1/24")
                .run()
                .error();
            assert_eq!(
                (error.code, error.msg.as_str()),
                (Code(7), "IPAM config missing 'ipam' key")
            );
        }
    }
}

fn an_address_without_a_prefix_length_is_refused_in_each_of_the_four_places(host: &Host) {
    let configured = json!({"ipam": ipam(&json!([{"address": "10.0.0.1"}]))});
    let args = json!({"ipam": {}, "args": {"cni": {"ips": ["10.0.0.1"]}}});
    let capability = json!({"ipam": {}, "runtimeConfig": {"ips": ["10.0.0.1"]}});
    let ips = "an entry in the 'ips' field is NOT in CIDR notation, got: '10.0.0.1'";
    for (keys, cni_args, code, text) in [
        (
            configured,
            "",
            7,
            "the 'address' field is expected to be in CIDR notation, got: '10.0.0.1'",
        ),
        (
            json!({"ipam": {}}),
            "IP=10.0.0.1",
            4,
            "the 'ip' field is expected to be in CIDR notation, got: '10.0.0.1'",
        ),
        (args, "", 7, ips),
        (capability, "", 7, ips),
    ] {
        let error = add(host, &keys).args(cni_args).run().error();
        assert_eq!((error.code, error.msg.as_str()), (Code(code), text));
        assert_eq!(
            error.details,
            "10.0.0.1 has no prefix length: write 10.0.0.1/24"
        );
    }
    let v6 = add(host, &json!({"ipam": {}})).args("IP=fd00::1").run();
    assert_eq!(
        v6.details(),
        "fd00::1 has no prefix length: write fd00::1/64"
    );
}

fn configured_addresses_come_before_those_of_cni_args(host: &Host) {
    let keys =
        json!({"ipam": ipam(&json!([{"address": "10.10.0.1/24", "gateway": "10.10.0.254"}]))});
    let outcome = add(host, &keys).args("IP=10.10.0.2/24").run();
    assert_eq!(
        ips(&outcome),
        ["10.10.0.1/24 10.10.0.254", "10.10.0.2/24 -"]
    );
}

fn mapped_addresses_duplicates_and_foreign_gateways_are_passed_on(host: &Host) {
    let addresses = json!([
        {"address": "::ffff:10.0.0.1/120", "gateway": "::ffff:10.0.0.2"},
        {"address": "10.0.0.1/24", "gateway": "192.0.2.1"},
        {"address": "10.0.0.1/24", "gateway": ""},
    ]);
    let outcome = add(host, &json!({"ipam": ipam(&addresses)})).run();
    assert_eq!(
        ips(&outcome),
        [
            "10.0.0.1/24 10.0.0.2",
            "10.0.0.1/24 192.0.2.1",
            "10.0.0.1/24 -"
        ]
    );
    let bad = json!([{"address": "10.0.0.1/24", "gateway": "here"}]);
    assert_eq!(
        add(host, &json!({"ipam": ipam(&bad)})).run().msg(),
        "invalid IP address: here"
    );
}

fn notations_that_are_not_cidr_are_refused(host: &Host) {
    for text in [
        "",
        "10.1.2.3/255.255.255.0",
        "10.1.2.3/+8",
        "010.0.0.1/8",
        "10.1.2.3/33",
        "here",
    ] {
        let error = add(host, &json!({"ipam": ipam(&json!([{"address": text}]))}))
            .run()
            .error();
        let expected =
            format!("the 'address' field is expected to be in CIDR notation, got: '{text}'");
        assert_eq!((error.msg, error.details), (expected, String::new()));
    }
}

/// CHECK of two addresses, the first with a gateway, against the `ips` of a previous result.
fn check<'a>(host: &'a Host, previous: &Value) -> Invocation<'a> {
    let addresses = json!([
        {"address": "10.0.0.1/8", "gateway": "10.0.0.254"},
        {"address": "10.0.0.2/8"},
    ]);
    let previous = json!({"cniVersion": "1.0.0", "ips": previous});
    request(
        host,
        Command::Check,
        "1.0.0",
        &json!({"ipam": ipam(&addresses), "prevResult": previous}),
    )
}

fn check_finds_an_address_that_is_missing_or_has_another_gateway(host: &Host) {
    let first = json!({"address": "10.0.0.1/8", "gateway": "10.0.0.254"});
    let second = json!({"address": "10.0.0.2/8", "gateway": "10.0.0.9"});
    check(host, &json!([second, first])).run().silent_success();
    let other = json!({"address": "10.0.0.1/8", "gateway": "10.0.0.3"});
    let error = check(host, &json!([other, second])).run().error();
    assert_eq!(error.code, Code(100));
    assert_eq!(
        error.msg,
        "static: Failed to match addr 10.0.0.1 on interface eth0"
    );
    assert!(
        error
            .details
            .ends_with("[10.0.0.3] in prevResult, expected 10.0.0.254"),
        "{error}"
    );
    let error = check(host, &json!([first])).run().error();
    assert_eq!(
        error.msg,
        "static: Failed to match addr 10.0.0.2 on interface eth0"
    );
    assert_eq!(error.details, "10.0.0.2 is not in prevResult");
    let both = check(host, &json!([])).run().error();
    assert_eq!(
        both.msg,
        "static: Failed to match addr 10.0.0.1 on interface eth0"
    );
    assert!(
        both.details
            .contains("static: Failed to match addr 10.0.0.2"),
        "{both}"
    );
}

fn check_passes_an_attachment_whose_gateway_nobody_added(host: &Host) {
    let mut keys = json!({
        "ipam": ipam(&json!([{"address": "10.10.0.1/24", "gateway": "10.10.0.254"}])),
        "runtimeConfig": {"ips": ["10.10.0.7/24"]},
    });
    let gateways = [json!(null), json!("10.10.0.254")];
    for gateway in gateways {
        let ip = json!({"address": "10.10.0.7/24", "gateway": gateway});
        keys["prevResult"] = json!({"cniVersion": "1.0.0", "ips": [ip]});
        request(host, Command::Check, "1.0.0", &keys)
            .run()
            .silent_success();
    }
}

fn check_needs_a_previous_result_and_reads_one_of_0_2_0(host: &Host) {
    let mut keys =
        json!({"ipam": ipam(&json!([{"address": "10.0.0.1/8", "gateway": "10.0.0.4"}]))});
    let error = request(host, Command::Check, "0.4.0", &keys).run().error();
    assert_eq!(
        (error.code, error.msg.as_str()),
        (Code(7), "Required prevResult missing")
    );
    let ip4 = json!({"ip": "10.0.0.1/8", "gateway": "10.0.0.4"});
    keys["prevResult"] = json!({"cniVersion": "0.2.0", "ip4": ip4});
    request(host, Command::Check, "0.4.0", &keys)
        .run()
        .silent_success();
}

fn an_old_version_has_one_address_of_each_family(host: &Host) {
    let addresses =
        json!([{"address": "10.0.0.1/8", "gateway": "10.0.0.4"}, {"address": "fd00::1/64"}]);
    let keys = json!({"ipam": ipam(&addresses)});
    let json = request(host, Command::Add, "0.2.0", &keys).run().json();
    assert_eq!(
        json["ip4"],
        json!({"ip": "10.0.0.1/8", "gateway": "10.0.0.4"})
    );
    assert_eq!(json["ip6"], json!({"ip": "fd00::1/64"}));
    let two = json!({"ipam": ipam(&json!([{"address": "10.0.0.1/8"}, {"address": "10.0.0.2/8"}]))});
    for version in ["0.1.0", "0.2.0"] {
        let error = request(host, Command::Add, version, &two).run();
        let text = format!("CNI version {version} does not support more than 1 address per family");
        assert_eq!(error.msg(), text);
        request(host, Command::Del, version, &two)
            .run()
            .silent_success();
    }
}

fn interface_plugins_of_both_kinds_work_with_both_static_plugins(host: &Host) {
    let reference = Suite::Bookworm.require();
    let ours = bin_dir().to_owned();
    let mut number = 0;
    // Ours alone; the reference's interface plugins over ours; ours over the reference's. The first
    // makes the bridge that macvlan needs as its master.
    for (interface, folder, delegates) in [
        ("bridge", &ours, &ours),
        ("bridge", &reference, &ours),
        ("macvlan", &reference, &ours),
        ("ptp", &reference, &ours),
        ("bridge", &ours, &reference),
    ] {
        number += 1;
        let pod = host.pod(&format!("p{number}"));
        let address = format!("10.44.{number}.2/24");
        let given = json!([{"address": address, "gateway": format!("10.44.{number}.1")}]);
        let mut conf = json!({
            "cniVersion": "1.0.0", "name": "n", "type": interface, "ipam": ipam(&given),
        });
        if interface == "macvlan" {
            conf["master"] = "cni0".into();
        }
        let run = |command, conf: &Value| {
            let invocation = host
                .plugin(interface, command)
                .program(folder.join(interface))
                .pod(&pod);
            invocation.env("CNI_PATH", delegates).conf(conf).run()
        };
        let added = run(Command::Add, &conf).success().json();
        assert_eq!(added["ips"][0]["address"], address, "{interface}");
        conf["prevResult"] = added;
        run(Command::Check, &conf).silent_success();
        run(Command::Del, &conf).silent_success();
    }
}

fn an_empty_ip_from_multus_asks_for_nothing(host: &Host) {
    let keys = json!({"ipam": ipam(&json!([{"address": "10.0.0.1/8"}]))});
    let outcome = add(host, &keys)
        .args("IgnoreUnknown=true;K8S_POD_NAME=x;IP=")
        .run();
    assert_eq!(ips(&outcome), ["10.0.0.1/8 -"]);
    let unknown = add(host, &keys).args("FOO=bar").run();
    assert_eq!(unknown.msg(), r#"ARGS: unknown args ["FOO=bar"]"#);
}

fn status_and_gc_succeed_without_a_word(host: &Host) {
    for command in [Command::Status, Command::Gc] {
        request(host, command, "1.1.0", &json!({"ipam": {}}))
            .run()
            .silent_success();
    }
    let list = json!({"cni.dev/valid-attachments": 7});
    assert_eq!(
        request(host, Command::Gc, "1.1.0", &list).run().code(),
        Code::DECODE
    );
}

fn no_address_at_all_is_a_success_without_addresses(host: &Host) {
    assert_eq!(
        add(host, &json!({"ipam": {}})).run().json(),
        json!({"cniVersion": "1.1.0"})
    );
    let old = request(host, Command::Add, "0.2.0", &json!({"ipam": {}})).run();
    assert_eq!(old.msg(), "cannot convert: no valid IP addresses");
}

/// Asks ours and the reference of each suite. Both must succeed with the same result, or fail with
/// the same text.
fn require_alike(request: &Invocation<'_>) {
    for suite in Suite::ALL {
        let reference = request
            .clone()
            .program(suite.require().join("static"))
            .run();
        let ours = request.run();
        if !reference.status.success() {
            assert_eq!(ours.msg(), reference.msg(), "{}", suite.name());
        } else if reference.stdout.is_empty() {
            ours.silent_success();
        } else {
            assert_eq!(
                without_empty_dns(&ours),
                without_empty_dns(&reference),
                "{}",
                suite.name()
            );
        }
    }
}

/// 1.1.1 writes an empty `dns` where the others write none.
fn without_empty_dns(outcome: &Outcome) -> Value {
    let mut json = outcome.success().json();
    if json["dns"] == json!({})
        && let Some(object) = json.as_object_mut()
    {
        object.remove("dns");
    }
    json
}

fn ours_and_the_reference_answer_alike(host: &Host) {
    let both = json!([
        {"address": "10.10.0.1/24", "gateway": "10.10.0.254"},
        {"address": "3ffe:ffff:0:01ff::1/64", "gateway": "3ffe:ffff:0::1"},
    ]);
    let whole = json!({
        "addresses": both,
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.5/16", "gw": "10.10.5.1"}],
        "dns": {"nameservers": ["10.10.0.1"], "domain": "d", "search": ["s"], "options": ["o"]},
    });
    let runtime = json!({"ips": ["10.7.0.5/24", "fd00::5/64"]});
    let bare = json!({"ips": ["10.0.0.1"]});
    for (keys, args) in [
        (json!({"ipam": whole}), ""),
        (json!({"ipam": {}}), ""),
        (json!({"ipam": {"dns": {"options": ["o"]}}}), ""),
        (json!({"ipam": null}), "IP=10.0.0.1/24"),
        (json!({"ipam": {}}), "IP=10.10.0.1/24;GATEWAY=10.10.0.254"),
        (
            json!({"ipam": {}}),
            "IP= 10.10.0.1/24 ,fd00::1/64;GATEWAY=10.10.0.3, 10.10.0.4,fd00::2",
        ),
        (json!({"ipam": {}}), "IP=10.10.0.1/24,"),
        (json!({"ipam": {}}), "IP=10.10.0.1/24;GATEWAY=10.9.9.9"),
        (json!({"ipam": {}}), "IP=10.10.0.1/24;GATEWAY=10.10.0.3,"),
        (json!({"ipam": {}}), "GATEWAY=x"),
        (json!({"ipam": {}}), "IP=10.0.0.1"),
        (json!({"ipam": {}}), "FOO=bar"),
        (json!({"ipam": whole}), "IP=10.10.0.2/24"),
        (
            json!({"ipam": whole}),
            "IgnoreUnknown=true;K8S_POD_NAME=x;IP=",
        ),
        (json!({"ipam": whole, "RuntimeConfig": runtime}), ""),
        (
            json!({"ipam": whole, "args": {"cni": runtime}}),
            "IP=10.9.0.1/24",
        ),
        (
            json!({"ipam": whole, "args": {"cni": bare}, "runtimeConfig": runtime}),
            "",
        ),
        (json!({"ipam": whole, "runtimeConfig": bare}), ""),
        (json!({"ipam": ipam(&json!([{"address": "10.0.0.1"}]))}), ""),
        (json!({"ipam": ipam(&json!([{}]))}), ""),
        (
            json!({"ipam": ipam(&json!([{"address": "::ffff:10.0.0.1/120"}]))}),
            "",
        ),
        (
            json!({"ipam": ipam(&json!([{"address": "bad"}])), "args": {"cni": runtime}}),
            "",
        ),
    ] {
        for version in ["0.2.0", "0.3.1", "0.4.0", "1.0.0"] {
            require_alike(&request(host, Command::Add, version, &keys).args(args));
            require_alike(&request(host, Command::Del, version, &json!({"ipam": {}})).args(args));
        }
    }
}

fn ours_and_the_reference_check_alike(host: &Host) {
    let first = json!({"address": "10.0.0.1/8", "gateway": "10.0.0.254"});
    let second = json!({"address": "10.0.0.2/8"});
    let other = json!({"address": "10.0.0.1/8", "gateway": "10.0.0.3"});
    for previous in [json!([first, second]), json!([other, second])] {
        require_alike(&check(host, &previous));
    }
    let without = json!({"ipam": ipam(&json!([first]))});
    require_alike(&request(host, Command::Check, "1.0.0", &without));
}
