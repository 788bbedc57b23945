//! The language of comments and pages: at most 100 columns, doc comments that begin with a verb or
//! a noun, and none of a few words that this tree once overused.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::{
    fs,
    path::{Path, PathBuf},
};
use tests::workspace;

/// The folders that pass; the list grows. Not yet: the rest of plugins.
const PASSING: &[&str] = &[
    "benches",
    "cni-attachment",
    "cni-net",
    "cni-plugins",
    "cni-runtime",
    "cni-types",
    "cnictl",
    "conformance",
    "examples",
    "fuzz",
    "ipam",
    "plugins",
    "sandbox",
    "testkit",
    "tests",
];

const MAX_COLUMNS: usize = 100;
const OPENINGS: [&str; 6] = ["What", "Whether", "Where", "Why", "How", "Which"];

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

/// Returns the files below a folder for which `is_wanted` is true; none of `target` and `.git`.
fn files(path: &Path, is_wanted: fn(&Path) -> bool) -> Vec<PathBuf> {
    if path.ends_with("target") || path.ends_with(".git") || path.is_symlink() {
        return Vec::new();
    }
    if path.is_dir() {
        let entries = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        return entries.flat_map(|entry| files(&entry, is_wanted)).collect();
    }
    is_wanted(path)
        .then(|| path.to_owned())
        .into_iter()
        .collect()
}

/// Returns true for sources of Rust and C.
fn is_source(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| ["rs", "c", "h"].iter().any(|known| end == *known))
}

fn is_page(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "md")
}

/// Returns true for a file that begins with `#!` and the name of a shell, or ends in `.sh`.
fn is_shell(path: &Path) -> bool {
    let first = || {
        let bytes = fs::read(path).unwrap();
        let line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        String::from_utf8_lossy(line).into_owned()
    };
    path.extension().is_some_and(|end| end == "sh")
        || path.extension().is_none() && first().starts_with("#!") && first().ends_with("sh")
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
        let added = added_words(&previous, &format!("{previous} {words}"));
        faults.extend(added.into_iter().map(|word| (number, word)));
        previous = words;
    }
    faults
}

/// Returns the banned words that are more often in `longer` than in `text`, its beginning.
fn added_words(text: &str, longer: &str) -> Vec<String> {
    let text = normal(text);
    let longer = normal(longer);
    let is_added = |word: &&str| {
        let phrase = format!(" {word} ");
        longer.matches(&phrase).count() > text.matches(&phrase).count()
    };
    let added = BANNED.into_iter().filter(is_added);
    added.map(str::to_owned).collect()
}

/// Returns the faults of a page's prose. Code is left out, and so are parts that a program writes,
/// from `<!-- NAME -->` to `<!-- /NAME -->`. A table's row may have any width.
fn faults_of_page(text: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    let mut previous = String::new();
    let mut is_code = false;
    let mut is_written = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            continue;
        }
        if line.starts_with("<!-- ") {
            is_written = !line.starts_with("<!-- /");
        }
        if is_code || is_written {
            continue;
        }
        let columns = line.chars().count();
        if columns > MAX_COLUMNS && !line.starts_with('|') {
            faults.push((number, format!("{columns} columns")));
        }
        if line.trim().is_empty() || line.starts_with('|') {
            previous.clear();
        }
        let joined = format!("{previous}\n{line}");
        let added = added_words(&unquoted(&previous), &unquoted(&joined));
        faults.extend(added.into_iter().map(|word| (number, word)));
        previous = joined;
    }
    faults
}

/// Returns the faults of a script's comments, of lines that begin with `# `.
fn faults_of_script(text: &str) -> Vec<(usize, String)> {
    let comments = text.lines().map(|line| match line.trim_start() {
        comment if comment.starts_with("# ") => line.replacen("# ", "//", 1),
        _ => String::new(),
    });
    faults(&comments.collect::<Vec<_>>().join("\n"))
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
        let files = files(&workspace(passing), is_source);
        assert!(!files.is_empty(), "{passing}");
        found.extend(of_files(&files, faults));
    }
    assert_eq!(found, [""; 0], "{}", found.join("\n"));
}

fn of_files(files: &[PathBuf], faults: fn(&str) -> Vec<(usize, String)>) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (line, fault) in faults(&fs::read_to_string(file).unwrap()) {
            found.push(format!("{}:{line}: {fault}", file.display()));
        }
    }
    found
}

#[test]
fn pages_are_in_plain_english() {
    let root = workspace("").canonicalize().unwrap();
    let pages = files(&root, is_page);
    assert!(pages.len() > 15, "{pages:?}");
    let found = of_files(&pages, faults_of_page);
    assert_eq!(found, [""; 0], "{}", found.join("\n"));
}

#[test]
fn comments_of_scripts_are_in_plain_english() {
    let scripts = files(&workspace("").canonicalize().unwrap(), is_shell);
    assert!(scripts.len() > 10, "{scripts:?}");
    let found = of_files(&scripts, faults_of_script);
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

#[test]
fn faults_of_pages_are_found_outside_of_code_and_quotes() {
    let long = "x ".repeat(MAX_COLUMNS);
    let text = format!(
        "It is\nnone.\n\n| Told |{long}|\n\n```\ntold {long}\n```\nA `told and\n told`.\n{long}\n"
    );
    let found: Vec<String> = faults_of_page(&text)
        .into_iter()
        .map(|(line, fault)| format!("{line} {fault}"))
        .collect();
    assert_eq!(found, ["2 is none", "4 told", "11 200 columns"]);
}

#[test]
fn faults_of_scripts_are_found_in_comments_only() {
    let long = "x".repeat(MAX_COLUMNS - 2);
    let text = format!("#!/bin/told\n# {long}\n#\n# A told\necho told # told\n# x {long}\n");
    let found: Vec<String> = faults_of_script(&text)
        .into_iter()
        .map(|(line, fault)| format!("{line} {fault}"))
        .collect();
    assert_eq!(found, ["4 told", "6 102 columns"]);
}
