//! The real binary, request by request: every text and code of the reference's documentation, and
//! what is on disk afterwards.

use crate::program::{DataDir, Request};
use serde_json::{Value, json};
use std::fs;

fn one(subnet: &str) -> Value {
    json!({"ranges": [[{"subnet": subnet}]]})
}

fn dual() -> Value {
    json!({"ranges": [[{"subnet": "10.0.0.0/29"}], [{"subnet": "fd00::/64"}]]})
}

#[test]
fn add_answers_with_addresses_gateways_routes_and_dns() {
    let data = DataDir::new();
    fs::write(
        data.path().join("resolv"),
        "nameserver 1.1.1.1\nsearch a b\n",
    )
    .unwrap();
    let mut ipam = dual();
    ipam["routes"] =
        json!([{"dst": "0.0.0.0/0", "mtu": 1400, "priority": 7}, {"dst": "::/0", "gw": "fd00::9"}]);
    ipam["resolvConf"] = data.path().join("resolv").to_str().into();
    let answer = Request::new("ADD", &data, ipam).run();
    fs::remove_file(data.path().join("resolv")).unwrap();
    let wanted = json!({
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.0.0.2/29", "gateway": "10.0.0.1"}, {"address": "fd00::2/64", "gateway": "fd00::1"}],
        "routes": [{"dst": "0.0.0.0/0", "mtu": 1400, "priority": 7}, {"dst": "::/0", "gw": "fd00::9"}],
        "dns": {"nameservers": ["1.1.1.1"], "search": ["a", "b"]},
    });
    assert_eq!(answer.success(), wanted, "{}", answer.report());
    assert!(
        data.holds(&[("10.0.0.2", "c1\r\neth0"), ("fd00::2", "c1\r\neth0")]),
        "{:?}",
        data.records()
    );
    assert_eq!(
        fs::read_to_string(data.path().join("n/last_reserved_ip.0")).unwrap(),
        "10.0.0.2"
    );
    assert_eq!(
        fs::read_to_string(data.path().join("n/last_reserved_ip.1")).unwrap(),
        "fd00::2"
    );
}

#[test]
fn an_address_comes_round_only_after_all_others() {
    let data = DataDir::new();
    let add = Request::new("ADD", &data, one("10.0.0.0/29"));
    let del = Request::new("DEL", &data, one("10.0.0.0/29"));
    for host in [2, 3, 4, 5, 6, 2, 3] {
        assert_eq!(add.run().addresses(), [format!("10.0.0.{host}/29")]);
        del.run().success();
    }
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused_with_the_reference_s_text_and_touches_nothing() {
    let range = |key: &str, value: &str| {
        let mut range = json!({"subnet": "10.0.0.0/24"});
        range[key] = value.into();
        json!({"ranges": [[range]]})
    };
    for (ipam, msg) in [
        (Value::Null, "IPAM config missing 'ipam' key"),
        (json!({}), "no IP ranges specified"),
        (json!({"ranges": []}), "no IP ranges specified"),
        (
            json!({"ranges": [[]]}),
            "invalid range set 0: empty range set",
        ),
        (
            json!({"ranges": [null]}),
            "invalid range set 0: empty range set",
        ),
        (
            json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]}),
            "invalid range set 1: mixed address families",
        ),
        (
            json!({"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/25"}]]}),
            "invalid range set 0: subnets 10.0.0.1-10.0.0.254 and 10.0.0.1-10.0.0.126 overlap",
        ),
        (
            json!({"ranges": [[{"subnet": "10.0.0.0/24"}], [{"subnet": "10.0.0.0/25"}]]}),
            "range set 0 overlaps with 1",
        ),
        (
            json!({"subnet": "10.0.0.1/24"}),
            "invalid range set 0: Network has host bits set. For a subnet mask of length 24 the network address is \
             10.0.0.0",
        ),
        (
            one("10.0.0.0/31"),
            "invalid range set 0: Network 10.0.0.0/31 too small to allocate from",
        ),
        (
            one("fd00::/127"),
            "invalid range set 0: Network fd00::/127 too small to allocate from",
        ),
        (
            range("rangeStart", "10.1.0.1"),
            "invalid range set 0: RangeStart 10.1.0.1 not in network 10.0.0.0/24",
        ),
        (
            range("rangeEnd", "10.1.0.1"),
            "invalid range set 0: RangeEnd 10.1.0.1 not in network 10.0.0.0/24",
        ),
        (
            json!({"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.20", "rangeEnd": "10.0.0.10"}),
            "invalid range set 0: RangeStart 10.0.0.20 not in network 10.0.0.0/24",
        ),
        (
            range("gateway", "foo"),
            "invalid range set 0: invalid IP address: foo",
        ),
        (
            one("10.0.0.0"),
            "invalid range set 0: invalid CIDR address: 10.0.0.0",
        ),
        (
            json!({"ranges": [[{}]]}),
            "invalid range set 0: a range without a subnet",
        ),
    ] {
        let data = DataDir::new();
        for command in ["ADD", "CHECK", "STATUS"] {
            Request::new(command, &data, ipam.clone())
                .run()
                .assert_failure(7, msg);
        }
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0, "{ipam}");
    }
}

#[test]
fn a_subnet_without_a_prefix_length_is_refused_by_the_name_of_its_key() {
    for (address, prefix) in [("10.0.0.0", 24), ("fd00::", 64)] {
        let data = DataDir::new();
        let (code, msg, details) = Request::new("ADD", &data, one(address)).run().failure();
        let expected = format!("invalid range set 0: invalid CIDR address: {address}");
        assert_eq!((code, msg), (7, expected));
        assert_eq!(
            details,
            format!("\"subnet\" has no prefix length: write it as in {address}/{prefix}")
        );
    }
}

#[test]
fn an_allocation_that_fails_has_the_reference_s_text_and_leaves_every_record_as_it_was() {
    let full: Vec<(String, String)> = (2..=6)
        .map(|n| (format!("10.0.0.{n}"), format!("x{n}\r\neth0")))
        .collect();
    let full: Vec<(&str, &str)> = full.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let after_another = json!({"ranges": [[{"subnet": "fd00::/64"}], [{"subnet": "10.0.0.0/29"}]]});
    let second = json!({"ranges": [[{"subnet": "10.0.0.0/30"}, {"subnet": "10.0.0.4/30"}]]});
    for (ipam, args, seed, msg) in [
        (
            one("10.0.0.0/29"),
            "",
            &full[..],
            "failed to allocate for range 0: no IP addresses available in range set: 10.0.0.1-10.0.0.6",
        ),
        (
            after_another.clone(),
            "",
            &full,
            "failed to allocate for range 1: no IP addresses available in range set: 10.0.0.1-10.0.0.6",
        ),
        (
            second,
            "",
            &full,
            "failed to allocate for range 0: no IP addresses available in range set: 10.0.0.1-10.0.0.2,10.0.0.5-10.0.0.6",
        ),
        (
            one("10.0.0.0/29"),
            "",
            &[("10.0.0.4", "c1\r\neth0")],
            "failed to allocate for range 0: 10.0.0.4 has been allocated to c1, duplicate allocation is not allowed",
        ),
        (
            after_another.clone(),
            "",
            &[("10.0.0.4", "c1")],
            "failed to allocate for range 1: 10.0.0.4 has been allocated to c1, duplicate allocation is not allowed",
        ),
        (
            one("10.0.0.0/29"),
            "IP=10.0.0.4",
            &[("10.0.0.4", "c2\r\neth0")],
            "failed to allocate for range 0: requested IP address 10.0.0.4 is not available in range set \
             10.0.0.1-10.0.0.6",
        ),
        (
            after_another,
            "IP=10.0.0.1",
            &[],
            "failed to allocate for range 1: requested ip 10.0.0.1 is subnet's gateway",
        ),
        (
            one("10.0.0.0/29"),
            "IP=10.9.9.9",
            &[],
            "failed to allocate all requested IPs: 10.9.9.9",
        ),
        (
            one("10.0.0.0/29"),
            "IP=10.0.0.7",
            &[],
            "failed to allocate all requested IPs: 10.0.0.7",
        ),
    ] {
        let data = DataDir::new();
        seed.iter()
            .for_each(|(name, content)| data.seed(name, content));
        let answer = Request::new("ADD", &data, ipam)
            .variable("CNI_ARGS", args)
            .run();
        answer.assert_failure(103, msg);
        assert!(data.holds(seed), "{:?}{}", data.records(), answer.report());
    }
}

#[test]
fn exhaustion_tells_how_many_are_used_and_what_to_do() {
    let data = DataDir::new();
    data.seed("10.0.0.2", "x\r\neth0");
    let (_, _, details) = Request::new("ADD", &data, one("10.0.0.0/30"))
        .run()
        .failure();
    let wanted = "1 of 1 addresses are in use; delete attachments, run GC, or add a range to the set; \
                  the oldest: 10.0.0.2 is held by container x (eth0) for ";
    assert!(
        details.starts_with(wanted) && details.ends_with("Z, in an unknown boot"),
        "{details}"
    );
}

#[test]
fn bad_arguments_are_code_4_and_unknown_ones_pass_with_ignore_unknown() {
    let data = DataDir::new();
    let add = |args: &str| {
        Request::new("ADD", &data, one("10.0.0.0/29"))
            .variable("CNI_ARGS", args)
            .run()
    };
    add("FOO=bar").assert_failure(4, r#"ARGS: unknown args ["FOO=bar"]"#);
    add("MAC=00:11:22:33:44:55")
        .assert_failure(4, r#"ARGS: unknown args ["MAC=00:11:22:33:44:55"]"#);
    add("FOO").assert_failure(4, r#"ARGS: invalid pair "FOO""#);
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    assert_eq!(
        add("IgnoreUnknown=1;FOO=bar;IP=10.0.0.5").addresses(),
        ["10.0.0.5/29"]
    );
}

#[test]
fn requested_addresses_of_all_three_places_are_merged() {
    let data = DataDir::new();
    let add = Request::new("ADD", &data, dual())
        .variable("CNI_ARGS", "IgnoreUnknown=1;IP=10.0.0.4")
        .key("args", json!({"cni": {"ips": ["fd00::5", "10.0.0.4/24"]}}))
        .key("runtimeConfig", json!({"ips": ["10.0.0.4"]}));
    assert_eq!(add.run().addresses(), ["10.0.0.4/29", "fd00::5/64"]);
}

#[test]
fn ranges_of_the_runtime_come_first() {
    let data = DataDir::new();
    let mut ipam = one("10.9.0.0/24");
    ipam["subnet"] = "10.8.0.0/24".into();
    let add = Request::new("ADD", &data, ipam).key(
        "RuntimeConfig",
        json!({"ipRanges": [[{"subnet": "10.7.0.0/24", "rangeStart": "10.7.0.9"}]]}),
    );
    assert_eq!(
        add.run().addresses(),
        ["10.7.0.9/24", "10.8.0.2/24", "10.9.0.2/24"]
    );
    assert_eq!(
        fs::read_to_string(data.path().join("n/last_reserved_ip.2")).unwrap(),
        "10.9.0.2"
    );
}

#[test]
fn old_versions_have_one_address_per_family_on_add_and_del_but_del_frees_first() {
    let two = json!({"ranges": [[{"subnet": "10.0.0.0/29"}], [{"subnet": "10.1.0.0/29"}]]});
    for version in ["0.1.0", "0.2.0"] {
        let data = DataDir::new();
        let msg = format!("CNI version {version} does not support more than 1 address per family");
        let request =
            |command| Request::new(command, &data, two.clone()).key("cniVersion", version.into());
        request("ADD").run().assert_failure(7, &msg);
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
        data.seed("10.0.0.2", "c1\r\neth0");
        request("DEL").run().assert_failure(7, &msg);
        assert!(data.holds(&[]), "{:?}", data.records());
        let dual = Request::new("ADD", &data, dual())
            .key("cniVersion", version.into())
            .run();
        assert_eq!(
            dual.success()["ip4"]["ip"],
            "10.0.0.2/29",
            "{}",
            dual.report()
        );
    }
}

#[test]
fn a_record_without_content_is_taken_over_and_told() {
    for content in ["", " \r\n", "\0\0\0\0"] {
        let data = DataDir::new();
        data.seed("10.0.0.2", content);
        let answer = Request::new("ADD", &data, one("10.0.0.0/30")).run();
        assert_eq!(answer.addresses(), ["10.0.0.2/30"]);
        assert!(
            data.holds(&[("10.0.0.2", "c1\r\neth0")]),
            "{:?}",
            data.records()
        );
        assert!(
            answer.stderr().contains("took over 10.0.0.2"),
            "{}",
            answer.report()
        );
    }
}

#[test]
fn a_resolv_conf_that_cannot_be_read_is_an_error_before_anything_is_touched() {
    let data = DataDir::new();
    let mut ipam = one("10.0.0.0/29");
    ipam["resolvConf"] = "/nonexistent".into();
    Request::new("ADD", &data, ipam)
        .run()
        .assert_failure(5, "open /nonexistent: ");
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
}

#[test]
fn del_matches_whole_trimmed_content_and_old_records() {
    for (content, is_freed) in [
        ("c1\r\neth0", true),
        (" c1\r\neth0\r\n", true),
        ("c1", true),
        ("c1\r\n", true),
        ("c1\neth0", false),
        ("c1\r\neth1", false),
        ("c10\r\neth0", false),
        ("", false),
    ] {
        let data = DataDir::new();
        data.seed("10.0.0.2", content);
        let answer = Request::new("DEL", &data, one("10.0.0.0/29")).run();
        answer.success();
        assert_eq!(data.holds(&[]), is_freed, "{content:?}{}", answer.report());
    }
}

#[test]
fn del_keeps_the_old_record_of_another_interface() {
    let data = DataDir::new();
    data.seed("10.0.0.2", "c1");
    data.seed("10.0.0.3", "c1\r\neth0");
    Request::new("DEL", &data, one("10.0.0.0/29"))
        .run()
        .success();
    assert!(data.holds(&[("10.0.0.2", "c1")]), "{:?}", data.records());
}

#[test]
fn del_needs_neither_valid_ranges_nor_arguments_nor_a_namespace() {
    for ipam in [
        json!({"ranges": []}),
        json!({}),
        json!({"ranges": [[{"subnet": "10.9.9.9/24"}]]}),
        json!({"ranges": "?", "subnet": 7, "routes": [1], "resolvConf": "/nonexistent"}),
    ] {
        let data = DataDir::new();
        data.seed("10.0.0.2", "c1\r\neth0");
        let del = Request::new("DEL", &data, ipam)
            .variable("CNI_NETNS", "")
            .variable("CNI_ARGS", "FOO=bar");
        for _ in 0..2 {
            del.run().success();
            assert!(data.holds(&[]), "{:?}", data.records());
        }
    }
}

#[test]
fn del_and_gc_succeed_without_a_data_directory_and_make_none() {
    let data = DataDir::new();
    for command in ["DEL", "GC"] {
        Request::new(command, &data, one("10.0.0.0/29"))
            .run()
            .success();
    }
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
    fs::write(data.path().join("n"), "a file in place of the folder").unwrap();
    for command in ["DEL", "GC"] {
        Request::new(command, &data, one("10.0.0.0/29"))
            .run()
            .success();
    }
}

#[test]
fn a_file_in_place_of_the_directory_fails_add_and_status() {
    let data = DataDir::new();
    fs::write(data.path().join("file"), "").unwrap();
    for path in ["file", "file/below"] {
        let mut ipam = one("10.0.0.0/29");
        ipam["dataDir"] = data.path().join(path).to_str().into();
        Request::new("ADD", &data, ipam.clone())
            .run()
            .assert_failure(5, "failed to create data directory ");
        Request::new("STATUS", &data, ipam)
            .run()
            .assert_failure(50, "data directory ");
    }
}

#[test]
fn check_finds_the_record_or_says_so() {
    let lost = "host-local: Failed to find address added by container c1";
    let data = DataDir::new();
    let check = Request::new("CHECK", &data, one("10.0.0.0/29"));
    check.run().assert_failure(100, lost);
    assert_eq!(
        fs::read_dir(data.path()).unwrap().count(),
        0,
        "CHECK only looks"
    );
    for (content, holds) in [
        ("c1\r\neth0", true),
        ("c1", true),
        ("c1\r\neth1", false),
        ("", false),
    ] {
        data.seed("10.0.0.2", content);
        if holds {
            drop(check.run().success())
        } else {
            check.run().assert_failure(100, lost)
        }
    }
}

#[test]
fn check_compares_the_addresses_of_the_previous_result() {
    let data = DataDir::new();
    data.seed("10.0.0.2", "c1\r\neth0");
    data.seed("10.0.0.3", "c2\r\neth0");
    let check = |addresses: &[&str]| {
        let ips: Vec<Value> = addresses
            .iter()
            .map(|address| json!({"address": address}))
            .collect();
        let prev_result = json!({"cniVersion": "1.1.0", "ips": ips});
        Request::new("CHECK", &data, one("10.0.0.0/29"))
            .key("prevResult", prev_result)
            .run()
    };
    check(&["10.0.0.2/29"]).success();
    check(&["10.0.0.2/29", "192.0.2.1/24", "10.0.0.1/29"])
        .assert_failure(100, "host-local: Failed to find");
    check(&["10.0.0.2/29", "192.0.2.1/24"]).success();
    let (_, msg, details) = check(&["10.0.0.3/29", "10.0.0.4/29"]).failure();
    assert_eq!(
        msg,
        "host-local: Failed to find address added by container c1"
    );
    assert!(
        details.starts_with("10.0.0.3 is in prevResult, but is recorded for container c2 (eth0)"),
        "{details}"
    );
    assert!(
        details.ends_with("10.0.0.4 is in prevResult, but is not recorded"),
        "{details}"
    );
}

#[test]
fn status_fails_with_code_50_for_a_full_set_if_that_is_wanted_and_changes_nothing() {
    let data = DataDir::new();
    let mut strict = one("10.0.0.0/30");
    strict["statusWhenFull"] = "error".into();
    let status = Request::new("STATUS", &data, strict);
    status.run().success();
    assert_eq!(
        fs::read_dir(data.path()).unwrap().count(),
        0,
        "STATUS only looks"
    );
    data.seed("10.0.0.2", "x\r\neth0");
    let (code, msg, details) = status.run().failure();
    assert_eq!(
        (code, msg.as_str()),
        (
            50,
            "no IP addresses available in range set: 10.0.0.1-10.0.0.2"
        )
    );
    assert!(
        details.starts_with("1 of 1 addresses are in use; "),
        "{details}"
    );
    data.seed("10.0.0.2", "");
    status.run().success();
    assert!(data.holds(&[("10.0.0.2", "")]), "{:?}", data.records());
}

#[test]
fn gc_frees_exactly_what_is_not_listed_and_no_other_network() {
    let data = DataDir::new();
    let seeds = [
        ("10.0.0.2", "c1\r\neth0"),
        ("10.0.0.3", "c1\r\neth1"),
        ("10.0.0.4", "c2\r\neth0"),
        ("10.0.0.5", "c1"),
        ("10.0.0.6", "c3"),
        ("fd00::2", "c3\r\neth0"),
        ("10.0.0.7", ""),
    ];
    seeds
        .iter()
        .for_each(|(name, content)| data.seed(name, content));
    data.seed("last_reserved_ip.0", "10.0.0.7");
    fs::create_dir(data.path().join("other")).unwrap();
    fs::write(data.path().join("other/10.0.0.4"), "c2\r\neth0").unwrap();
    let gc = Request::new("GC", &data, json!({"ranges": []})).key(
        "cni.dev/valid-attachments",
        json!([{"containerID": "c1", "ifname": "eth0"}]),
    );
    for _ in 0..2 {
        gc.run().success();
        let wanted = [
            ("n/10.0.0.2", "c1\r\neth0"),
            ("n/10.0.0.5", "c1"),
            ("other/10.0.0.4", "c2\r\neth0"),
        ];
        let wanted = wanted.map(|(name, content)| (name.to_owned(), content.to_owned()));
        assert_eq!(data.records(), wanted.into());
    }
    assert_eq!(
        fs::read_to_string(data.path().join("n/last_reserved_ip.0")).unwrap(),
        "10.0.0.7"
    );
}

#[test]
fn gc_frees_all_for_an_empty_list_and_only_the_dead_without_one() {
    for (list, left) in [(Some(json!([])), 0), (Some(Value::Null), 0), (None, 2)] {
        let data = DataDir::new();
        let seeds = [
            ("10.0.0.2", "c1\r\neth0"),
            ("10.0.0.3", "c2"),
            ("10.0.0.4", ""),
            ("10.0.0.5", "\0\0"),
        ];
        seeds
            .iter()
            .for_each(|(name, content)| data.seed(name, content));
        let mut gc = Request::new("GC", &data, one("10.0.0.0/29"));
        if let Some(list) = &list {
            gc = gc
                .key("cni.dev/valid-attachments", list.clone())
                .key("cni.dev/attachments", list.clone());
        }
        let answer = gc.run();
        answer.success();
        assert_eq!(data.records().len(), left, "{list:?}{}", answer.report());
        assert!(
            answer.stderr().contains("freed 10.0.0.4"),
            "{}",
            answer.report()
        );
        assert_eq!(
            answer.stderr().contains("without a list"),
            list.is_none(),
            "{}",
            answer.report()
        );
    }
}

/// The calling plugin found them in use, and does not know by whom.
#[test]
fn gc_frees_no_address_that_it_is_handed_to_keep() {
    let data = DataDir::new();
    let seeds = [
        ("10.0.0.2", "c1\r\neth0"),
        ("10.0.0.3", "c2"),
        ("10.0.0.4", ""),
        ("fd00::2", "c1\r\neth0"),
    ];
    seeds
        .iter()
        .for_each(|(name, content)| data.seed(name, content));
    let gc =
        Request::new("GC", &data, one("10.0.0.0/29")).key("cni.dev/valid-attachments", json!([]));
    let answer = gc
        .clone()
        .variable("CNI_KEEP_ADDRESSES", "10.0.0.3,10.0.0.9,fd00::2")
        .run();
    answer.success();
    assert!(
        data.holds(&[("10.0.0.3", "c2"), ("fd00::2", "c1\r\neth0")]),
        "{}",
        answer.report()
    );
    assert_eq!(
        answer
            .stderr()
            .matches("kept 10.0.0.3, fd00::2: in use")
            .count(),
        1,
        "{}",
        answer.report()
    );
    let answer = gc
        .clone()
        .variable("CNI_KEEP_ADDRESSES", "10.0.0.3,here")
        .run();
    answer.assert_failure(
        4,
        "invalid CNI_KEEP_ADDRESSES: \"here\" is not an IP address",
    );
    gc.run().success();
    assert!(data.holds(&[]));
}

#[test]
fn gc_leaves_alone_what_is_no_record() {
    let data = DataDir::new();
    data.seed("10.0.0.2", "c1\r\neth0");
    data.seed("notes", "c2\r\neth0");
    fs::create_dir(data.path().join("n/10.0.0.3")).unwrap();
    Request::new("GC", &data, one("10.0.0.0/29"))
        .key("cni.dev/valid-attachments", json!([]))
        .run()
        .success();
    assert!(data.holds(&[("notes", "c2\r\neth0")]) && data.path().join("n/10.0.0.3").is_dir());
}

#[test]
fn a_symbolic_link_is_neither_followed_nor_overwritten() {
    let data = DataDir::new();
    fs::write(data.path().join("secret"), "c1\r\neth0").unwrap();
    fs::create_dir(data.path().join("n")).unwrap();
    for (target, name) in [("secret", "n/10.0.0.2"), ("secret", ".n.new")] {
        std::os::unix::fs::symlink(data.path().join(target), data.path().join(name)).unwrap();
    }
    assert_eq!(
        Request::new("ADD", &data, one("10.0.0.0/29"))
            .of("c2")
            .run()
            .addresses(),
        ["10.0.0.3/29"]
    );
    Request::new("DEL", &data, one("10.0.0.0/29"))
        .run()
        .success();
    assert_eq!(
        fs::read_to_string(data.path().join("secret")).unwrap(),
        "c1\r\neth0"
    );
}

#[test]
fn a_name_that_leads_out_of_the_data_directory_is_refused() {
    let data = DataDir::new();
    for name in ["../../evil", "..", ".", ".index", "a/b", "a\0b"] {
        for command in ["ADD", "DEL", "CHECK", "GC", "STATUS"] {
            let request = Request::new(command, &data, one("10.0.0.0/29")).key("name", name.into());
            request
                .run()
                .assert_failure(7, "invalid characters found in network name");
        }
    }
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
}
