//! The meaning of a configuration, and the refusals with the reference's texts.

use super::*;
use cni_types::{Environment, Stop};

fn call(stdin: &str, args: &str) -> Call {
    let environment = Environment::default().with("CNI_ARGS", args);
    Call::new(environment, stdin.into(), Stop::never()).unwrap()
}

fn load(rest: &str) -> Result<Config, Error> {
    Config::load(&call(
        &format!(r#"{{"cniVersion":"1.1.0","name":"n",{rest}}}"#),
        "",
    ))
}

#[test]
fn the_declared_keys_are_those_that_are_read() {
    let names = |keys: &[Key]| keys.iter().map(|key| key.name).collect();
    assert_eq!(testkit::fields_of::<WireIpam>(), names(KEYS));
    assert_eq!(testkit::fields_of::<WireRange>(), names(RANGE_KEYS));
}

fn sets(rest: &str) -> Vec<String> {
    load(rest)
        .unwrap()
        .range_sets
        .iter()
        .map(RangeSet::to_string)
        .collect()
}

fn requested(args: &str, rest: &str) -> Result<Vec<Option<String>>, Error> {
    let ipam = r#""ipam":{"ranges":[[{"subnet":"10.0.0.0/24"}],[{"subnet":"fd00::/64"}]]}"#;
    let call = call(
        &format!(r#"{{"cniVersion":"1.1.0","name":"n",{ipam}{rest}}}"#),
        args,
    );
    let requested = Config::load(&call)?.requested(&call)?;
    Ok(requested
        .into_iter()
        .map(|address| address.map(|a| a.to_string()))
        .collect())
}

#[test]
fn range_sets_come_from_the_runtime_then_old_style_then_ranges() {
    let all = r#""runtimeConfig":{"ipRanges":[[{"subnet":"10.7.0.0/24"}]]},
        "ipam":{"subnet":"10.8.0.0/24","rangeStart":"10.8.0.9","ranges":[[{"subnet":"10.9.0.0/24"}]]}"#;
    assert_eq!(
        sets(all),
        [
            "10.7.0.1-10.7.0.254",
            "10.8.0.9-10.8.0.254",
            "10.9.0.1-10.9.0.254"
        ]
    );
}

#[test]
fn old_style_keys_without_a_subnet_mean_nothing() {
    let ipam = r#""ipam":{"rangeStart":"10.8.0.9","ranges":[[{"subnet":"10.9.0.0/24"}]]}"#;
    assert_eq!(sets(ipam), ["10.9.0.1-10.9.0.254"]);
}

#[test]
fn empty_texts_are_absent() {
    let config = load(
        r#""ipam":{"Name":"","routes":null,"dataDir":"","resolvConf":"",
            "ranges":[[{"subnet":"10.0.0.0/24","rangeStart":"","rangeEnd":"","gateway":""}]]}"#,
    );
    let config = config.unwrap();
    assert_eq!(config.data_dir, PathBuf::from(DEFAULT_DATA_DIR));
    assert_eq!(config.resolv_conf, None);
    assert_eq!(config.range_sets[0].to_string(), "10.0.0.1-10.0.0.254");
}

#[test]
fn routes_are_passed_through_with_all_fields() {
    let config = load(
        r#""ipam":{"subnet":"10.0.0.0/24","routes":[{"dst":"10.1.2.3/8","gw":"10.0.0.1","mtu":1400,"advmss":1360,
            "priority":5,"table":100,"scope":253}]}"#,
    );
    let wanted = Route {
        dst: "10.1.2.3/8".parse().unwrap(),
        gw: "10.0.0.1".parse().ok(),
        mtu: Some(1400),
        advmss: Some(1360),
        priority: Some(5),
        table: Some(100),
        scope: Some(253),
    };
    assert_eq!(config.unwrap().routes, [wanted]);
}

#[test]
fn a_requested_address_is_found_in_each_of_the_three_places() {
    let v4 = Ok(vec![Some("10.0.0.4".to_owned()), None]);
    for (args, rest) in [
        ("IP=10.0.0.4", ""),
        ("IP=10.0.0.4/8", ""),
        ("IgnoreUnknown=1;FOO=bar;IP=10.0.0.4", ""),
        ("IP=::ffff:10.0.0.4", ""),
        ("", r#","args":{"cni":{"ips":["10.0.0.4"]}}"#),
        ("", r#","runtimeConfig":{"ips":["10.0.0.4/24"]}"#),
        (
            "IP=10.0.0.4",
            r#","args":{"cni":{"ips":["10.0.0.4/24"]}},"runtimeConfig":{"ips":["10.0.0.4"]}"#,
        ),
    ] {
        assert_eq!(requested(args, rest), v4, "{args} {rest}");
    }
    let both = Ok(vec![
        Some("10.0.0.4".to_owned()),
        Some("fd00::5".to_owned()),
    ]);
    assert_eq!(
        requested("IP=fd00::5", r#","runtimeConfig":{"ips":["10.0.0.4"]}"#),
        both
    );
}

#[test]
fn nothing_requested_is_nothing() {
    for (args, rest) in [
        ("", ""),
        ("IP=", ""),
        ("", r#","args":null,"runtimeConfig":null"#),
        ("", r#","args":{"cni":null},"runtimeConfig":{"ips":null}"#),
        ("", r#","args":{"cni":{"ips":[],"labels":[{"key":"a"}]}}"#),
    ] {
        assert_eq!(requested(args, rest), Ok(vec![None, None]), "{args} {rest}");
    }
}

#[test]
fn a_request_that_cannot_be_met_is_refused_before_anything_is_touched() {
    for (args, rest, code, msg) in [
        (
            "IP=foo",
            "",
            4,
            r#"ARGS: error parsing value of pair "IP=foo": invalid IP address foo"#,
        ),
        (
            "IP=10.0.0.4/99",
            "",
            4,
            r#"ARGS: error parsing value of pair "IP=10.0.0.4/99": invalid IP"#,
        ),
        ("FOO=bar", "", 4, r#"ARGS: unknown args ["FOO=bar"]"#),
        ("FOO", "", 4, r#"ARGS: invalid pair "FOO""#),
        (
            "ip=10.0.0.4",
            "",
            4,
            r#"ARGS: unknown args ["ip=10.0.0.4"]"#,
        ),
        (
            "",
            r#","runtimeConfig":{"ips":["foo"]}"#,
            7,
            "invalid IP address foo",
        ),
        (
            "",
            r#","args":{"cni":{"ips":[""]}}"#,
            7,
            "cannot understand ip: ",
        ),
        (
            "IP=10.9.9.9",
            "",
            103,
            "failed to allocate all requested IPs: 10.9.9.9",
        ),
        (
            "IP=10.0.0.255",
            "",
            103,
            "failed to allocate all requested IPs: 10.0.0.255",
        ),
        (
            "IP=10.0.0.4",
            r#","runtimeConfig":{"ips":["10.0.0.5","fd00::9","10.0.0.6"]}"#,
            103,
            "failed to allocate all requested IPs: 10.0.0.5 10.0.0.6",
        ),
    ] {
        let error = requested(args, rest).unwrap_err();
        assert!(
            error.code.0 == code && error.msg.starts_with(msg),
            "{args} {rest}: {error:?}"
        );
    }
}

#[test]
fn the_data_directory_is_found_in_a_configuration_that_makes_no_sense_otherwise() {
    let dir = |rest: &str| data_dir(&call(&format!(r#"{{"name":"n"{rest}}}"#), ""));
    assert_eq!(dir(r#","ipam":{}"#), Ok(PathBuf::from(DEFAULT_DATA_DIR)));
    let broken = r#","ipam":{"DATADIR":"/x","ranges":7,"routes":"?","subnet":{}},"args":[],"runtimeConfig":1"#;
    assert_eq!(dir(broken), Ok(PathBuf::from("/x")));
    assert_eq!(dir("").unwrap_err().msg, "IPAM config missing 'ipam' key");
    assert_eq!(
        dir(r#","ipam":null"#).unwrap_err().msg,
        "IPAM config missing 'ipam' key"
    );
}

#[test]
fn exclusions_are_networks_or_addresses_of_the_section_or_of_a_range() {
    let config = load(
        r#""ipam":{"exclude":["10.0.0.0/29","10.9.0.0/16","fd00::5"],"ranges":[
            [{"subnet":"10.0.0.0/28","exclude":["10.0.0.14"]},{"subnet":"10.1.0.0/29"}],[{"subnet":"fd00::/64"}]]}"#,
    );
    let sets = config.unwrap().range_sets;
    let count = |number: u64| crate::alloc::Count::from(number);
    assert_eq!(
        (sets[0].capacity(), sets[0].excluded()),
        (count(6 + 5), count(6 + 1))
    );
    assert_eq!(sets[1].excluded(), count(1));
    assert!(load(r#""ipam":{"subnet":"10.0.0.0/24","exclude":null}"#).is_ok());
}

#[test]
fn an_exclusion_that_makes_no_sense_is_refused() {
    for (ipam, wanted) in [
        (
            r#""exclude":["nonsense"],"subnet":"10.0.0.0/24""#,
            "invalid exclude \"nonsense\": ",
        ),
        (
            r#""exclude":["10.0.0.1/24"],"subnet":"10.0.0.0/24""#,
            "invalid exclude \"10.0.0.1/24\": it has host bits set",
        ),
        (
            r#""ranges":[[{"subnet":"10.0.0.0/24","exclude":["10.0.1.0"]}]]"#,
            "invalid range set 0: exclude 10.0.1.0-10.0.1.0 not in network 10.0.0.0/24",
        ),
        (
            r#""exclude":["10.0.0.0/24"],"subnet":"10.0.0.0/24""#,
            "invalid range set 0: every address is excluded",
        ),
    ] {
        let error = load(&format!(r#""ipam":{{{ipam}}}"#)).unwrap_err();
        assert!(
            error.code == Code::INVALID_CONFIG && error.msg.starts_with(wanted),
            "{error}"
        );
    }
}

#[test]
fn a_full_set_is_ready_unless_the_configuration_says_otherwise() {
    let when_full = |rest: &str| {
        load(&format!(r#""ipam":{{"subnet":"10.0.0.0/24"{rest}}}"#)).map(|c| c.when_full)
    };
    assert_eq!(when_full(""), Ok(WhenFull::Ready));
    assert_eq!(
        when_full(r#","statusWhenFull":"ready""#),
        Ok(WhenFull::Ready)
    );
    assert_eq!(
        when_full(r#","statusWhenFull":"error""#),
        Ok(WhenFull::Error)
    );
    let error = when_full(r#","statusWhenFull":"OK""#).unwrap_err();
    assert_eq!(error.msg, "invalid statusWhenFull \"OK\"");
}

#[test]
fn a_range_that_ends_before_it_starts_is_refused_with_the_reference_s_text_alone() {
    for (range, msg, details) in [
        (
            r#""rangeStart":"10.0.0.20","rangeEnd":"10.0.0.10""#,
            "invalid range set 0: RangeStart 10.0.0.20 not in network 10.0.0.0/24",
            "it is after the range's end 10.0.0.10",
        ),
        (
            r#""rangeEnd":"10.0.0.0""#,
            "invalid range set 0: RangeEnd 10.0.0.0 not in network 10.0.0.0/24",
            "it is before the range's start 10.0.0.1",
        ),
    ] {
        let error = load(&format!(
            r#""ipam":{{"ranges":[[{{"subnet":"10.0.0.0/24",{range}}}]]}}"#
        ))
        .unwrap_err();
        assert_eq!((error.msg.as_str(), error.details.as_str()), (msg, details));
    }
}

/// Fails unless `work` ends within a time that comparing all pairs would exceed many times over.
fn soon<T>(work: impl FnOnce() -> T) -> T {
    let begin = std::time::Instant::now();
    let outcome = work();
    let took = begin.elapsed();
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    outcome
}

fn list(count: u32, entry: impl Fn(u32) -> String) -> String {
    (0..count).map(entry).collect::<Vec<_>>().join(",")
}

#[test]
fn tens_of_thousands_of_ranges_exclusions_and_requests_are_read_in_a_moment() {
    let subnet = |n: u32| format!("10.{}.{}.{}/30", n >> 14, n >> 6 & 255, n << 2 & 255);
    let range = |n: u32| format!(r#"{{"subnet":"{}"}}"#, subnet(n));
    let ranges = list(32_768, range);
    let config = soon(|| load(&format!(r#""ipam":{{"ranges":[[{ranges}]]}}"#)).unwrap());
    assert_eq!(config.range_sets[0].ranges().len(), 32_768);
    let overlap = format!(r#""ipam":{{"ranges":[[{ranges},{}]]}}"#, range(32_767));
    let error = soon(|| load(&overlap).unwrap_err());
    let last = "10.1.255.253-10.1.255.254";
    assert_eq!(
        error.msg,
        format!("invalid range set 0: subnets {last} and {last} overlap")
    );
    let overlap = format!(r#""ipam":{{"ranges":[[{ranges}],[{}]]}}"#, range(32_767));
    assert_eq!(
        soon(|| load(&overlap).unwrap_err()).msg,
        "range set 0 overlaps with 1"
    );
    let odd = list(32_768, |n| {
        format!(r#""10.{}.{}.{}""#, n >> 15, n >> 7 & 255, n << 1 & 255)
    });
    let config = soon(|| {
        load(&format!(
            r#""ipam":{{"subnet":"10.0.0.0/15","exclude":[{odd}]}}"#
        ))
        .unwrap()
    });
    assert_eq!(
        config.range_sets[0].excluded(),
        crate::alloc::Count::from(32_767_u64)
    );
    let ips = list(60_000, |n| format!(r#""11.{}.{}.1""#, n >> 8, n & 255));
    let text = format!(r#""runtimeConfig":{{"ips":[{ips}]}},"ipam":{{"ranges":[[{ranges}]]}}"#);
    let call = call(
        &format!(r#"{{"cniVersion":"1.1.0","name":"n",{text}}}"#),
        "",
    );
    let error = soon(|| Config::load(&call).unwrap().requested(&call).unwrap_err());
    assert!(
        error
            .msg
            .starts_with("failed to allocate all requested IPs: 11.0.0.1 "),
        "{}",
        error.code.0
    );
}

#[test]
fn more_range_sets_than_an_attachment_can_want_addresses_are_refused_with_the_limit() {
    let sets = |count| {
        list(count, |n| {
            format!(r#"[{{"subnet":"10.{}.{}.0/24"}}]"#, n >> 8, n & 255)
        })
    };
    let config = load(&format!(r#""ipam":{{"ranges":[{}]}}"#, sets(256)));
    assert_eq!(config.unwrap().range_sets.len(), 256);
    let error = load(&format!(
        r#""ipam":{{"subnet":"10.9.0.0/24","ranges":[{}]}}"#,
        sets(256)
    ))
    .unwrap_err();
    assert_eq!(error.msg, "257 range sets, and at most 256 are allowed");
}
