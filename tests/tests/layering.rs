//! The shape of the workspace, as ARCHITECTURE.md has it: who may use whom, who may speak to the
//! kernel, and what a reader can rely on in every file.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test may panic"
)]

use serde::Deserialize;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tests::workspace;

/// From the bottom: a crate uses crates of lower layers only, so plugins do not use each other.
const LAYERS: [&[&str]; 8] = [
    &["cni-types"],
    &["cni-net"],
    &["cni-attachment"],
    &["plugins", "ipam"],
    &["cni-plugins", "cni-runtime", "sandbox"],
    &["testkit"],
    &["conformance"],
    &["cnictl", "examples", "fuzz", "tests", "conformance/torture"],
];

/// All that cni-types may use nix for: signals, poll, memfd.
const NIX_IN_TYPES: [&str; 3] = ["fs", "poll", "signal"];

/// All that host-local may use nix for: handles of directories, in which no link is followed, and
/// files in memory.
const NIX_IN_HOST_LOCAL: [&str; 3] = ["dir", "fs", "time"];

/// Chains, tables, comments and keys: policy, which cni-net's mechanisms know nothing of.
const NAMES_OF_PLUGINS: [&str; 12] = [
    "CNI-",
    "CNI_",
    "cni_hostport",
    "cni_plugins",
    "cni-br-iface",
    "ipMasq",
    "macspoofchk",
    "masq_checks",
    "net: {",
    "name: \\\"",
    "portMappings",
    "prevResult",
];

const MAX_LINES_OF_FUNCTION: usize = 60;
const MAX_LINES_OF_FILE: usize = 700;

/// The limit of the source of a crate, without tests and entry functions of the fuzzer.
const MAX_LINES_OF_CRATE: usize = 7000;

/// The limit of the suite, most of which is a list of cases. It may only shrink: 10,500 is the aim.
const MAX_LINES_OF_SUITE: usize = 11_500;

/// Names that say nothing about what is in there.
const EMPTY_NAMES: [&str; 7] = [
    "common", "helper", "helpers", "misc", "shared", "util", "utils",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or nothing.
    kind: Option<String>,
    features: Vec<String>,
}

impl Package {
    /// The folder, from the root of the workspace.
    fn folder(&self) -> &Path {
        self.manifest_path
            .parent()
            .unwrap()
            .strip_prefix(root())
            .unwrap()
    }

    /// The index of the layer that the folder, or the one that it is in, belongs to.
    fn layer(&self) -> usize {
        let folder = self.folder();
        let layer = folder.ancestors().find_map(|folder| {
            LAYERS
                .iter()
                .position(|layer| layer.iter().any(|name| Path::new(name) == folder))
        });
        layer.unwrap_or_else(|| {
            panic!(
                "{} is in no layer; ARCHITECTURE.md must name one",
                folder.display()
            )
        })
    }

    /// The crates that the crate itself is built from; tests may use more.
    fn built_from(&self) -> impl Iterator<Item = &Dependency> {
        self.dependencies
            .iter()
            .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
    }
}

fn root() -> PathBuf {
    workspace("").canonicalize().unwrap()
}

fn packages() -> Vec<Package> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root());
    let output = cargo.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let Metadata { packages } = serde_json::from_slice(&output.stdout).unwrap();
    assert!(packages.len() >= 7);
    packages
}

/// All Rust files of the workspace's crates.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> = packages()
        .iter()
        .map(|package| root().join(package.folder()))
        .collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() > 50);
    files
}

fn is_netlink(name: &str) -> bool {
    name.contains("netlink") || name.contains("nftables") || name == "neli"
}

#[test]
fn a_crate_uses_only_crates_of_lower_layers() {
    let packages = packages();
    for package in &packages {
        for used in package.built_from() {
            if let Some(used) = packages.iter().find(|other| other.name == used.name) {
                assert!(
                    used.layer() < package.layer(),
                    "{} uses {}",
                    package.name,
                    used.name
                );
            }
        }
    }
}

#[test]
fn only_cni_net_speaks_netlink_and_plugins_use_no_nix() {
    let packages = packages();
    for package in &packages {
        let name = package.name.as_str();
        if name != "cni-net" {
            let netlink = package
                .dependencies
                .iter()
                .find(|used| is_netlink(&used.name));
            assert!(netlink.is_none(), "{name} uses {}", netlink.unwrap().name);
        }
        if name != "host-local" && LAYERS[package.layer()].contains(&"plugins") {
            assert!(
                package.dependencies.iter().all(|used| used.name != "nix"),
                "{name} uses nix"
            );
        }
    }
    for (name, wanted) in [
        ("cni-types", &NIX_IN_TYPES[..]),
        ("host-local", &NIX_IN_HOST_LOCAL),
    ] {
        let package = packages
            .iter()
            .find(|package| package.name == name)
            .unwrap();
        let nix = package
            .built_from()
            .find(|used| used.name == "nix")
            .unwrap();
        let features: BTreeSet<&str> = nix.features.iter().map(String::as_str).collect();
        assert_eq!(
            features,
            wanted.iter().copied().collect(),
            "what {name} uses nix for"
        );
    }
}

#[test]
fn cni_net_knows_no_name_of_a_plugin() {
    let src = root().join("cni-net/src");
    let mut found = Vec::new();
    let files = files().into_iter().filter(|file| file.starts_with(&src));
    for file in files.filter(|file| !file.ends_with("tests.rs")) {
        let text = fs::read_to_string(&file).unwrap();
        // Tests of a file are at its end.
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let names = NAMES_OF_PLUGINS.iter().filter(|name| code.contains(**name));
        found.extend(names.map(|name| format!("{}: {name}", file.display())));
    }
    assert_eq!(found, [""; 0]);
}

#[test]
fn a_crate_is_called_as_its_folder() {
    for package in packages() {
        let folder = package.folder().file_name().unwrap().to_str().unwrap();
        // A keyword cannot be the name of a crate.
        let name = if folder == "static" {
            "static-ipam"
        } else {
            folder
        };
        assert_eq!(package.name, name);
    }
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    for file in files() {
        let path = file.strip_prefix(root()).unwrap();
        let empty = path.iter().find(|part| {
            let stem = Path::new(part).file_stem().unwrap().to_str().unwrap();
            EMPTY_NAMES.contains(&stem)
        });
        assert_eq!(empty, None, "{}", path.display());
    }
}

/// The most files that a stranger has to read before adding a plugin with rules.
const MAX_FILES_TO_READ: usize = 15;

#[test]
fn the_files_that_a_stranger_reads_exist_and_are_few() {
    let page = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let heading = "## A stranger who adds portmap reads these files";
    let section = page.split(heading).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let named: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()))
        .map(|line| line.split('`').nth(1).unwrap())
        .collect();
    assert!(!named.is_empty() && named.len() <= MAX_FILES_TO_READ);
    for file in named {
        assert!(root().join(file).is_file(), "{file} does not exist");
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<PathBuf> = files()
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//! "))
        .collect();
    assert_eq!(silent, [""; 0].map(PathBuf::from));
}

#[test]
fn files_and_functions_fit_on_a_few_screens() {
    let mut long = Vec::new();
    for file in files() {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() >= MAX_LINES_OF_FILE {
            long.push(format!("{} has {} lines", file.display(), lines.len()));
        }
        if is_test(&file) {
            continue;
        }
        for (name, length) in functions(without_tests(&lines)) {
            if length > MAX_LINES_OF_FUNCTION {
                long.push(format!("{}: {name} has {length} lines", file.display()));
            }
        }
    }
    assert_eq!(long, [""; 0]);
}

/// Returns true for a file that holds tests only.
fn is_test(file: &Path) -> bool {
    file.components().any(|part| part.as_os_str() == "tests") || file.ends_with("tests.rs")
}

/// Returns the lines before the tests of a file, which are at its end.
fn without_tests<'a>(lines: &'a [&'a str]) -> &'a [&'a str] {
    let code = lines.windows(2).position(|pair| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with(['{', ';'])
    });
    &lines[..code.unwrap_or(lines.len())]
}

/// Returns false for a blank line and for a comment.
fn is_code(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with("//")
}

#[test]
fn no_crate_is_too_large_to_be_known_by_one_person() {
    let files = files();
    let mut large = Vec::new();
    for package in packages() {
        let src = root().join(package.folder()).join("src");
        let is_source =
            |path: &Path| !is_test(path) && path.file_name().is_some_and(|name| name != "fuzz.rs");
        let sources = files
            .iter()
            .filter(|file| file.strip_prefix(&src).is_ok_and(is_source));
        let lines = sources.map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            let code = without_tests(&lines).iter().filter(|line| is_code(line));
            code.count()
        });
        let lines: usize = lines.sum();
        assert!(lines > 0, "{} has no source", package.name);
        let limit = if package.name == "conformance" {
            MAX_LINES_OF_SUITE
        } else {
            MAX_LINES_OF_CRATE
        };
        if lines > limit {
            large.push(format!("{} has {lines} lines", package.name));
        }
    }
    assert_eq!(large, [""; 0]);
}

/// Functions with bodies and their lengths in lines. Sources are formatted by rustfmt, so a body
/// ends with a brace indented as its `fn`.
fn functions(lines: &[&str]) -> Vec<(String, usize)> {
    let indentation = |line: &str| line.len() - line.trim_start().len();
    let mut functions = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some((before, after)) = line.split_once("fn ") else {
            continue;
        };
        let is_item = before.split_whitespace().all(|word| {
            word.starts_with("pub") || ["const", "async", "extern", "in", "super)"].contains(&word)
        });
        if !is_item || line.ends_with(['}', ';']) {
            continue;
        }
        let ends = |line: &&str| {
            indentation(line) == indentation(lines[start])
                && (line.ends_with('}') || line.ends_with(';'))
        };
        let name = after.split(['(', '<']).next().unwrap().to_owned();
        let rest = lines[start + 1..].iter().position(ends);
        functions.push((name, rest.map_or(usize::MAX, |rest| rest + 2)));
    }
    functions
}

#[test]
fn the_lines_of_a_function_are_counted() {
    let source = "\
impl A {
    pub(crate) fn a(
        &self,
    ) -> B {
        if b {
        }
    }

    fn signature(
        &self,
    ) -> B;

    fn one(&self) -> B {}
}
";
    let lines: Vec<&str> = source.lines().collect();
    assert_eq!(
        functions(&lines),
        [("a".to_owned(), 6), ("signature".to_owned(), 3)]
    );
}
