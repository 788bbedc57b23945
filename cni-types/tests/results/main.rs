//! Results of every version compared with documents written by hand from the specifications, in
//! `tests/fixtures/<version>`. `attachment.json` is the same attachment in each version's shape.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod schema;

use cni_types::{AddResult, Code, Error, Json, SpecVersion};
use schema::problems;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::Path};

/// Returns the documents of a folder, by name.
fn fixtures(folder: &str) -> BTreeMap<String, Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(folder);
    let read = |path: &Path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (name(&path), read(&path)))
        .collect()
}

fn attachment(version: SpecVersion) -> Value {
    fixtures(version.as_str()).remove("attachment").unwrap()
}

fn read(document: &Value) -> Result<AddResult, Error> {
    AddResult::from_json(&Json::parse(document.to_string().as_bytes()).unwrap())
}

/// Converts a document to the shape of another version.
fn convert(document: &Value, version: SpecVersion) -> Result<Value, Error> {
    let encoded = read(document)?.encode(version)?;
    Ok(serde_json::from_str(&encoded.to_string()).unwrap())
}

/// Returns a rank for the content that a version can express: no interfaces up to 0.2.0, new keys
/// in 1.1.0. 1.0.0 dropped only the family of an address, which the address shows.
fn richness(version: SpecVersion) -> u8 {
    if version.has_one_address_per_family() {
        0
    } else {
        1 + u8::from(version >= SpecVersion::V1_1_0)
    }
}

#[test]
fn every_fixture_is_as_its_specification_wants_it() {
    for version in SpecVersion::ALL {
        let fixtures = fixtures(version.as_str());
        assert!(fixtures.len() >= 3, "{version}");
        for (name, document) in fixtures {
            assert_eq!(problems(version, &document), [""; 0], "{version}/{name}");
        }
    }
}

#[test]
fn every_fixture_is_written_as_it_was_read() {
    for version in SpecVersion::ALL {
        for (name, document) in fixtures(version.as_str()) {
            assert_eq!(
                convert(&document, version).unwrap(),
                document,
                "{version}/{name}"
            );
        }
    }
}

#[test]
fn a_conversion_keeps_all_that_the_other_version_can_say() {
    for from in SpecVersion::ALL {
        for to in SpecVersion::ALL {
            let converted = convert(&attachment(from), to).unwrap();
            assert_eq!(problems(to, &converted), [""; 0], "{from} to {to}");
            if richness(from) >= richness(to) {
                assert_eq!(converted, attachment(to), "{from} to {to}");
            } else {
                assert_eq!(
                    convert(&converted, from).unwrap(),
                    attachment(from),
                    "{from} to {to} and back"
                );
            }
        }
    }
}

#[test]
fn what_an_old_version_cannot_say_is_refused() {
    for from in SpecVersion::ALL
        .into_iter()
        .filter(|version| !version.has_one_address_per_family())
    {
        for to in [SpecVersion::V0_1_0, SpecVersion::V0_2_0] {
            let fixtures = fixtures(from.as_str());
            for (name, msg) in [
                (
                    "two-addresses-of-a-family",
                    format!("CNI version {to} does not support more than 1 address per family"),
                ),
                (
                    "layer-2",
                    "cannot convert: no valid IP addresses".to_owned(),
                ),
            ] {
                assert_eq!(
                    convert(fixtures.get(name).unwrap(), to).unwrap_err().msg,
                    msg,
                    "{from} to {to}"
                );
            }
        }
    }
}

#[test]
fn a_result_that_makes_no_sense_is_code_6() {
    let fixtures = fixtures("invalid");
    assert!(fixtures.len() >= 16);
    for (name, document) in fixtures {
        let error = read(&document)
            .map(|result| format!("{name} was read as {result:?}"))
            .unwrap_err();
        assert_eq!(error.code, Code::DECODE, "{name}");
    }
}

/// The complement of the first test: a key of one version is a problem in the others.
#[test]
fn the_schema_distinguishes_the_versions() {
    for of in SpecVersion::ALL {
        for by in SpecVersion::ALL {
            let mut document = attachment(of);
            if let Some(version) = document.get_mut("cniVersion") {
                *version = by.as_str().into();
            }
            let shape = |version: SpecVersion| (richness(version), version >= SpecVersion::V1_0_0);
            // 1.1.0 only added keys.
            let fits =
                shape(of) == shape(by) || (of, by) == (SpecVersion::V1_0_0, SpecVersion::V1_1_0);
            assert_eq!(
                problems(by, &document).is_empty(),
                fits,
                "{of} by the rules of {by}"
            );
        }
    }
    for (name, document) in fixtures("invalid") {
        for version in SpecVersion::ALL {
            assert_ne!(problems(version, &document), [""; 0], "{name}");
        }
    }
}
