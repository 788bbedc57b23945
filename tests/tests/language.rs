//! The language of comments: at most 100 columns, doc comments that begin with a verb or a noun,
//! and none of a few words that this tree once overused.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};
use tests::workspace;

/// The folders that pass; the list grows. Not yet: benches, cni-net, cni-runtime,
/// conformance, examples, fuzz, ipam, plugins, sandbox, testkit, and the older files of tests.
const PASSING: &[&str] = &[
    "cni-attachment",
    "cni-plugins",
    "cni-types",
    "cnictl",
    "examples/plugin",
    "plugins/loopback",
    "testkit/src/fields.rs",
    "tests/tests/circles.rs",
    "tests/tests/language.rs",
    "tests/tests/pages/keys.rs",
    "tests/tests/plugins.rs",
];

const MAX_COLUMNS: usize = 100;
const OPENINGS: [&str; 5] = ["What", "Whether", "Where", "How", "Which"];

/// Banned words; quoted ones, as in `told`, pass.
const BANNED: [&str; 7] = [
    "told",
    "tells",
    "anew",
    "is none",
    "whoever",
    "doomed",
    "beforehand",
];

fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_dir() && !path.ends_with("target") {
        let entries = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        return entries.flat_map(|entry| files(&entry)).collect();
    }
    let is_source = path.extension().is_some_and(|end| end == "rs");
    is_source.then(|| path.to_owned()).into_iter().collect()
}

/// Returns the faults of a file's comments, each with the number of its line. A comment that goes
/// on in the next line is read as one text, so that a phrase across two lines is found.
fn faults(text: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    let mut previous = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let code = line.trim_start();
        let Some(comment) = code.strip_prefix("//") else {
            previous.clear();
            continue;
        };
        if line.chars().count() > MAX_COLUMNS {
            faults.push((number, format!("{} columns", line.chars().count())));
        }
        let is_doc = comment.starts_with(['/', '!']);
        let words = unquoted(comment.trim_start_matches(['/', '!']));
        let first = words.split_whitespace().next().unwrap_or_default();
        if is_doc && previous.trim().is_empty() && OPENINGS.contains(&first) {
            faults.push((number, format!("begins with {first}")));
        }
        let both = normal(&format!("{previous} {words}"));
        let old = normal(&previous);
        for word in BANNED {
            let phrase = format!(" {word} ");
            if both.matches(&phrase).count() > old.matches(&phrase).count() {
                faults.push((number, word.to_owned()));
            }
        }
        previous = words;
    }
    faults
}

/// Removes what stands between backticks or double quotes.
fn unquoted(comment: &str) -> String {
    comment
        .split(['`', '"'])
        .step_by(2)
        .collect::<Vec<_>>()
        .join("_")
}

/// Returns the words in lower case with one blank around each.
fn normal(text: &str) -> String {
    let words = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty());
    format!(" {} ", words.collect::<Vec<_>>().join(" ").to_lowercase())
}

#[test]
fn comments_are_in_plain_english() {
    let mut found = Vec::new();
    for passing in PASSING {
        let files = files(&workspace(passing));
        assert!(!files.is_empty(), "{passing}");
        for file in files {
            for (line, fault) in faults(&fs::read_to_string(&file).unwrap()) {
                found.push(format!("{}:{line}: {fault}", file.display()));
            }
        }
    }
    assert_eq!(found, [""; 0], "{}", found.join("\n"));
}

#[test]
fn each_kind_of_fault_is_found() {
    let long = format!("// {}", "x".repeat(MAX_COLUMNS));
    let text =
        format!("/// Whether a.\n\n{long}\nlet a; \n// There is\n// none. `told` Tells.\n/// A.");
    let found: Vec<String> = faults(&text)
        .into_iter()
        .map(|(line, fault)| format!("{line} {fault}"))
        .collect();
    assert_eq!(
        found,
        [
            "1 begins with Whether",
            "3 103 columns",
            "6 tells",
            "6 is none"
        ]
    );
    assert_eq!(
        faults("/// A is where\n/// Which begins a line. It was \"told\".\n"),
        []
    );
}
