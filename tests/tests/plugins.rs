//! The list of plugins in `cni-plugins` is the only one: no other file repeats it, so that adding a
//! plugin takes one entry.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use tests::workspace;

/// The files that may name every plugin: the list, and Cargo's files, which make its crates known.
const ALLOWED: [&str; 3] = [
    "Cargo.lock",
    "cni-plugins/Cargo.toml",
    "cni-plugins/src/lib.rs",
];

/// The number of lines that a list may have in addition to one for each entry.
const MARGIN: usize = 2;

/// Returns the files below a folder, without what Cargo and git keep there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if path.is_dir() && name != "target" && name != ".git" {
            files.extend(self::files(&path));
        } else if path.is_file() && !path.is_symlink() {
            files.push(path);
        }
    }
    files
}

/// Returns the words of each line that can belong to a list. In Rust and C these are the words of
/// string literals, since `static` is a keyword. In a page they are those of code blocks, since
/// prose may name the plugins.
fn words(file: &Path, text: &str) -> Vec<BTreeSet<String>> {
    let is_source = file
        .extension()
        .is_some_and(|end| end == "rs" || end == "c");
    let is_page = file.extension().is_some_and(|end| end == "md");
    let mut is_code = !is_page;
    let line = |line: &str| {
        if is_page && line.starts_with("```") {
            is_code = !is_code;
        }
        let line = match () {
            () if !is_code => String::new(),
            () if is_source => line
                .split('"')
                .skip(1)
                .step_by(2)
                .collect::<Vec<_>>()
                .join(" "),
            () => line.to_owned(),
        };
        let is_end = |c: char| !c.is_alphanumeric() && c != '-' && c != '_';
        line.split(is_end).map(str::to_owned).collect()
    };
    text.lines().map(line).collect()
}

/// Returns the number of the first line from which on all `names` follow within a few lines.
fn list_at(names: &[&str], lines: &[BTreeSet<String>]) -> Option<usize> {
    let reach = names.len() + MARGIN;
    let starts = 0..lines.len();
    starts.map(|start| start + 1).find(|number| {
        let near = || lines.iter().skip(number - 1).take(reach);
        names
            .iter()
            .all(|name| near().any(|words| words.contains(*name)))
    })
}

#[test]
fn no_other_file_repeats_the_list_of_plugins() {
    let names: Vec<&str> = cni_plugins::names().collect();
    let root = workspace("").canonicalize().unwrap();
    let mut seen = 0;
    let mut found = Vec::new();
    for file in files(&root) {
        let path = file.strip_prefix(&root).unwrap();
        // A file that is no text has no list.
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        seen += 1;
        let list = list_at(&names, &words(&file, &text));
        if let Some(line) =
            list.filter(|_| ALLOWED.iter().all(|allowed| path != Path::new(allowed)))
        {
            found.push(format!("{}:{line}", path.display()));
        }
    }
    assert!(seen > 300, "only {seen} files");
    assert_eq!(
        found, [""; 0],
        "ask cni_plugins::names() or cni-plugins --list"
    );
}

#[test]
fn a_second_list_is_found_in_each_kind_of_file() {
    let names = ["bridge", "host-local", "static"];
    let line = |file: &str, text: &str| list_at(&names, &words(Path::new(file), text));
    let spread = "x\n\n\nfor p in \\\n bridge \\\n static \\\n host-local; do";
    assert_eq!(line("run", spread), Some(3));
    assert_eq!(line("run", "bridge static\n\n\n\n\nhost-local"), None);
    assert_eq!(line("a.rs", "[\"bridge\", \"host-local\"]: &'static"), None);
    assert_eq!(
        line("a.rs", "[\"bridge\",\n\"host-local\",\n\"static\"]"),
        Some(1)
    );
    assert_eq!(line("a.md", "bridge, host-local, static"), None);
    assert_eq!(
        line("a.md", "```\ncp bridge host-local static\n```"),
        Some(1)
    );
}

#[test]
fn every_folder_of_a_plugin_is_in_the_list() {
    for folder in ["plugins", "ipam"] {
        for entry in fs::read_dir(workspace(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            let name = name.to_str().unwrap();
            assert!(
                cni_plugins::find(name).is_some(),
                "{folder}/{name} is not in the list"
            );
        }
    }
}
