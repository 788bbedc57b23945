//! Configuration lists: which version is chosen, what counts as true, and what is refused.

use super::*;

fn network(rest: &str) -> Result<Network, ConfigError> {
    Network::parse(format!(r#"{{"name":"n",{rest}}}"#).as_bytes())
}

fn version(keys: &str) -> Result<SpecVersion, ConfigError> {
    network(&format!(r#"{keys}"plugins":[{{"type":"x"}}]"#)).map(|network| network.version)
}

#[test]
fn the_highest_version_that_is_known_is_chosen() {
    for (keys, wanted) in [
        ("", SpecVersion::V0_1_0),
        (r#""cniVersion":"0.4.0","#, SpecVersion::V0_4_0),
        (
            r#""cniVersion":"0.4.0","cniVersions":["0.3.1","1.1.0","1.0.0"],"#,
            SpecVersion::V1_1_0,
        ),
        (
            r#""cniVersion":"1.1.0","cniVersions":["0.3.1"],"#,
            SpecVersion::V1_1_0,
        ),
        (
            r#""cniVersion":"9.0.0","cniVersions":["1.0.0","2.0.0"],"#,
            SpecVersion::V1_0_0,
        ),
        (r#""cniVersions":["0.4.0"],"#, SpecVersion::V0_4_0),
    ] {
        assert_eq!(version(keys).unwrap(), wanted, "{keys}");
    }
}

#[test]
fn a_version_that_nobody_knows_is_refused_by_name() {
    let error = version(r#""cniVersion":"9.8.7","#).unwrap_err().to_string();
    assert!(
        error.starts_with(r#"incompatible CNI versions; config is "9.8.7""#),
        "{error}"
    );
}

#[test]
fn a_single_configuration_becomes_a_list_of_one() {
    let conf = r#"{"cniVersion":"0.4.0","name":"old","type":"bridge","isGateway":true,"plugin":1}"#;
    let network = Network::parse(conf.as_bytes()).unwrap();
    assert_eq!(
        (network.name.as_str(), network.version),
        ("old", SpecVersion::V0_4_0)
    );
    assert_eq!(network.plugins.len(), 1);
    assert_eq!(network.plugins[0].kind(), "bridge");
    assert_eq!(network.plugins[0].json().to_string(), conf);
}

#[test]
fn switches_may_be_text() {
    let network =
        network(r#""disableCheck":"True","disableGC":true,"plugins":[{"type":"x"}]"#).unwrap();
    assert!(network.disable_check && network.disable_gc);
}

#[test]
fn what_is_wrong_is_said() {
    for (conf, wanted) in [
        (
            "",
            "error parsing configuration list: unexpected end of JSON input",
        ),
        (
            "[]",
            "error parsing configuration list: a JSON object is wanted",
        ),
        (
            r#"{"plugins":[{"type":"x"}]}"#,
            "error parsing configuration list: no name",
        ),
        (
            r#"{"name":"","plugins":[{"type":"x"}]}"#,
            "missing network name",
        ),
        (
            r#"{"name":7,"plugins":[]}"#,
            "error parsing configuration list: invalid 'name' 7, a string is wanted",
        ),
        (
            r#"{"name":"../x","plugins":[{"type":"x"}]}"#,
            "invalid characters found in network name; ../x",
        ),
        (
            r#"{"name":"n"}"#,
            "error parsing configuration list: no plugin configs found",
        ),
        (
            r#"{"name":"n","plugins":[]}"#,
            "error parsing configuration list: no plugins in list",
        ),
        (
            r#"{"name":"n","plugins":{}}"#,
            "error parsing configuration list: invalid 'plugins' {}",
        ),
        (
            r#"{"name":"n","plugins":[{"type":"x"},{}]}"#,
            "failed to parse plugin config 1: error parsing configuration: missing 'type'",
        ),
        (
            r#"{"name":"n","plugins":[{"type":"../x"}]}"#,
            "failed to parse plugin config 0: error parsing configuration: invalid plugin name: ../x",
        ),
        (
            r#"{"name":"n","cniVersions":[1],"plugins":[{"type":"x"}]}"#,
            "error parsing configuration list: invalid entry 1 in cniVersions",
        ),
        (
            r#"{"name":"n","disableGC":"maybe","plugins":[{"type":"x"}]}"#,
            "error parsing configuration list: invalid value \"maybe\" for disableGC",
        ),
        (
            r#"{"name":"n","loadOnlyInlinedPlugins":true}"#,
            "error parsing configuration list: `loadOnlyInlinedPlugins` is true, and no 'plugins' key",
        ),
    ] {
        let error = Network::parse(conf.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(wanted), "{conf}: {error}");
    }
}

#[test]
fn the_keys_of_a_list_are_read_letter_by_letter_and_those_of_a_plugin_are_not() {
    for conf in [
        r#"{"Name":"n","plugins":[{"type":"x"}]}"#,
        r#"{"name":"n","Plugins":[{"type":"x"}]}"#,
        r#"{"name":"n","cniVersion":null,"plugins":[{"type":"x"}]}"#,
        r#"{"name":"n","disableCheck":null,"plugins":[{"type":"x"}]}"#,
    ] {
        assert!(
            Draft::parse_list(conf.as_bytes())
                .and_then(Draft::finish)
                .is_err(),
            "{conf}"
        );
    }
    let odd =
        r#""CNIVersion":"1.1.0","DisableCheck":true,"disablegc":true,"plugins":[{"Type":"x"}]"#;
    let odd = network(odd).unwrap();
    let read = (
        odd.version,
        odd.disable_check,
        odd.disable_gc,
        odd.plugins[0].kind(),
    );
    assert_eq!(read, (SpecVersion::V0_1_0, false, false, "x"));
    let single = br#"{"Name":"n","CNIVersion":"1.0.0","Type":"x","disableCheck":true,"dns":null}"#;
    let single = Draft::parse_single(single).unwrap().network;
    let read = (single.name.as_str(), single.version, single.disable_check);
    assert_eq!(read, ("n", SpecVersion::V1_0_0, false));
}

#[test]
fn a_single_configuration_is_no_list_and_a_list_no_single_one() {
    let list = br#"{"name":"n","plugins":[{"type":"x"}]}"#;
    let error = Draft::parse_single(list).err().map(|e| e.to_string());
    assert_eq!(
        error.as_deref(),
        Some("error parsing configuration: missing 'type'")
    );
    let single = Draft::parse_list(br#"{"name":"n","type":"x"}"#).unwrap();
    assert!(single.finish().is_err());
}

#[test]
fn a_plugin_whose_well_known_keys_have_other_types_is_refused() {
    for (keys, wanted) in [
        (r#""capabilities":{"mac":"true"}"#, "capabilities.mac"),
        (r#""ipam":5"#, "ipam"),
        (r#""dns":{"nameservers":"10.0.0.1"}"#, "dns.nameservers"),
        (r#""name":5"#, "name"),
    ] {
        let error = network(&format!(r#""plugins":[{{"type":"x",{keys}}}]"#))
            .unwrap_err()
            .to_string();
        let wanted =
            format!("failed to parse plugin config 0: error parsing configuration: {wanted}: ");
        assert!(error.starts_with(&wanted), "{error}");
    }
    let spared = r#""capabilities":{"mac":null},"ipam":null,"dns":{"domain":null},"mtu":"1450""#;
    assert!(network(&format!(r#""plugins":[{{"type":"x",{spared}}}]"#)).is_ok());
}
