//! The formats, on a report with every outcome in it.

use super::{Report, junit, markdown, table};
use crate::suite::{Entry, Outcome, Profile, Selection, Subject, Verdict, cases, plan};
use serde_json::Value;
use std::{path::Path, sync::Arc, time::Duration};

fn report() -> Report {
    let profile = Profile::built_in().unwrap().remove(0);
    let bin_dir = "/bin-dir".into();
    let limit = Duration::ZERO;
    let subject = Arc::new(Subject {
        profile,
        bin_dir,
        double: None,
        other: None,
        limit,
    });
    let selection = Selection {
        filters: vec!["protocol/add-one-document".to_owned()],
        ..Selection::default()
    };
    let items = plan(cases(), &[subject], &selection);
    let verdicts = [
        Verdict::Passed,
        Verdict::Failed {
            wanted: "A <one>".to_owned(),
            found: "a|b\nc in 0.2.0".to_owned(),
        },
        Verdict::Failed {
            wanted: "A <one>".to_owned(),
            found: "another ".repeat(40),
        },
        Verdict::Noted {
            notes: vec!["seen".to_owned()],
        },
        Verdict::Skipped {
            reason: "no nft".to_owned(),
        },
        Verdict::Error {
            reason: "EPERM".to_owned(),
        },
        Verdict::Passed,
    ];
    let outcome = |verdict| Outcome {
        verdict,
        duration: Duration::from_millis(2),
        journal: vec![Entry::Step("done".to_owned())],
        readings: Vec::new(),
    };
    let outcomes = verdicts.map(outcome);
    assert_eq!(items.len(), outcomes.len());
    Report::new(
        Path::new("/bin-dir"),
        &items,
        &outcomes,
        Duration::from_secs(1),
    )
}

/// As much of JSON Schema as `report.schema.json` uses.
fn check(schema: &Value, value: &Value, at: &str) {
    if let Some(wanted) = schema.get("const") {
        assert_eq!(value, wanted, "{at}");
    }
    if let Some(allowed) = schema.get("enum") {
        assert!(allowed.as_array().unwrap().contains(value), "{at}: {value}");
    }
    let fits = match schema.get("type").and_then(Value::as_str) {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some(other) => panic!("{at}: {other}"),
        None => true,
    };
    assert!(fits, "{at}: {value}");
    for (index, element) in value.as_array().into_iter().flatten().enumerate() {
        check(&schema["items"], element, &format!("{at}/{index}"));
    }
    let Some(members) = value.as_object() else {
        return;
    };
    for required in schema["required"].as_array().unwrap() {
        assert!(
            members.contains_key(required.as_str().unwrap()),
            "{at} lacks {required}"
        );
    }
    for (key, member) in members {
        let schema = schema["properties"].get(key);
        check(
            schema.unwrap_or_else(|| panic!("{at}/{key} is not described")),
            member,
            &format!("{at}/{key}"),
        );
    }
}

#[test]
fn the_schema_describes_the_report() {
    let schema = serde_json::from_str(include_str!("../../../report.schema.json")).unwrap();
    check(
        &schema,
        &serde_json::from_str(&report().json()).unwrap(),
        "",
    );
}

#[test]
fn a_failure_that_is_the_same_in_several_versions_is_reported_once() {
    let report = report();
    let mut groups = report.groups();
    groups.retain(|group| matches!(group.first.verdict, Verdict::Failed { .. }));
    assert_eq!(groups.len(), 1);
    assert_eq!(groups[0].versions, ["0.2.0", "0.3.0"]);
}

#[test]
fn the_table_shows_numbers_and_explains_failures() {
    let text = table::render(&report(), table::Style::default());
    for wanted in [
        "bridge (interface)         0.1.0   0.2.0   0.3.0",
        "  protocol                     1     0/1     0/1       1       -     0/1       1\n",
        "FAILED bridge protocol/add-one-document @ 0.2.0 0.3.0\n",
        "  wanted  A <one>\n  found   a|b\n          c in 0.2.0\n",
        "cni-conformance explain protocol/add-one-document@0.2.0 --plugin bridge --bin-dir /bin-dir",
        "skipped bridge protocol/add-one-document @ 0.4.0\n  no nft\n",
        "2 passed, 2 failed, 1 errors, 1 noted, 1 skipped in 1.0 s\n",
    ] {
        assert!(text.contains(wanted), "{wanted}\nin\n{text}");
    }
    assert!(!text.contains('\u{1b}'));
    let options = table::render(
        &report(),
        table::Style {
            color: false,
            options: "--config a.json",
        },
    );
    let command = "--plugin bridge --bin-dir /bin-dir --config a.json\n";
    assert!(options.contains(command), "{options}");
    assert!(
        text.contains("11/12: one did; -: all were skipped"),
        "{text}"
    );
    let long = text
        .lines()
        .filter(|line| !line.starts_with("  more") && line.chars().count() > 100);
    assert_eq!(long.collect::<Vec<_>>(), [""; 0]);
    assert!(
        table::render(
            &report(),
            table::Style {
                color: true,
                options: ""
            }
        )
        .contains("\u{1b}[31mFAILED\u{1b}[0m")
    );
}

#[test]
fn junit_counts_and_escapes() {
    let xml = junit::render(&report()).unwrap();
    for wanted in [
        r#"<testsuite name="bridge.protocol" tests="7" skipped="1" errors="1" failures="2">"#,
        r#"<failure message="wanted A &lt;one&gt;" type="MUST">"#,
        r#"<skipped message="no nft"/>"#,
        r#"<error message="EPERM"/>"#,
    ] {
        assert!(xml.contains(wanted), "{wanted}\nin\n{xml}");
    }
}

#[test]
fn a_bar_in_a_text_does_not_end_a_markdown_cell() {
    let text = markdown::render(&report());
    assert!(
        text.contains("| protocol | 1 | **0/1** | **0/1** | 1 | – | **0/1** | 1 |"),
        "{text}"
    );
    assert!(text.contains("a\\|b<br>c in 0.2.0"), "{text}");
}
