//! No circles between the files of a crate: a file is not used by the files that it uses, not even
//! through others.
//!
//! Imports (`use`) and written-out paths that begin with `crate`, `self` or `super` are followed,
//! through re-exports to the file that defines the name. A module may use its own submodules and
//! they may use it: that is the tree. Glob imports of names and names made by macros are not seen.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a failing test may panic"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use tests::workspace;

/// A path of names, without `crate`: a module's, or an import's.
type Names = Vec<String>;

/// One import: the name it binds, and its path from the crate's root.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    name: String,
    path: Names,
}

/// The modules of a crate that have files, with all that each imports.
struct Crate(BTreeMap<Names, Vec<Import>>);

impl Crate {
    fn read(src: &Path) -> Self {
        let mut modules: BTreeMap<Names, Vec<Import>> = BTreeMap::new();
        for file in sources(src) {
            let module = module_of(file.strip_prefix(src).unwrap());
            let text = fs::read_to_string(&file).unwrap();
            let imports = imports(&module, &text);
            modules.entry(module).or_default().extend(imports);
        }
        Self(modules)
    }

    /// Returns the module that defines what a path names. `depth` ends circles of re-exports.
    fn definer(&self, path: &[String], depth: usize) -> &[String] {
        let longest = (0..=path.len())
            .rev()
            .find_map(|end| self.0.get_key_value(&path[..end]));
        let Some((module, imports)) = longest else {
            return &[];
        };
        let Some(name) = path.get(module.len()) else {
            return module;
        };
        let import = imports
            .iter()
            .find(|import| import.name == *name && depth > 0);
        let Some(import) = import else { return module };
        let mut path = path.to_vec();
        path.splice(..=module.len(), import.path.iter().cloned());
        self.definer(&path, depth - 1)
    }

    /// Returns the modules that each module uses, without those that it lies in.
    fn uses(&self) -> BTreeMap<&[String], BTreeSet<&[String]>> {
        let uses = self.0.iter().map(|(module, imports)| {
            let used = imports.iter().map(|import| self.definer(&import.path, 9));
            let submodules = self.0.keys().map(Vec::as_slice).filter(|other| {
                other
                    .split_last()
                    .is_some_and(|(_, parent)| parent == module.as_slice())
            });
            let used = used
                .chain(submodules)
                .filter(|used| !module.starts_with(used));
            (module.as_slice(), used.collect())
        });
        uses.collect()
    }

    /// Returns the circles, each as the sorted names of its modules.
    fn circles(&self) -> BTreeSet<Vec<String>> {
        let uses = self.uses();
        let reached: BTreeMap<_, _> = uses
            .keys()
            .map(|from| (*from, reach(from, &uses)))
            .collect();
        let circle = |module: &&[String]| {
            let others = reached.iter().filter(|(other, back)| {
                back.contains(module) && reached.get(module).unwrap().contains(**other)
            });
            others
                .map(|(other, _)| other.join("::"))
                .collect::<Vec<_>>()
        };
        reached
            .keys()
            .map(circle)
            .filter(|circle| !circle.is_empty())
            .collect()
    }
}

fn reach<'a>(
    from: &'a [String],
    uses: &BTreeMap<&'a [String], BTreeSet<&'a [String]>>,
) -> BTreeSet<&'a [String]> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![from];
    while let Some(module) = ahead.pop() {
        for used in uses.get(module).into_iter().flatten() {
            if reached.insert(*used) {
                ahead.push(used);
            }
        }
    }
    reached
}

/// Returns the Rust files below a folder, without files of tests.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
    files
}

fn module_of(file: &Path) -> Names {
    let path = file.with_extension("");
    let names: Names = path
        .iter()
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    if names == ["lib"] || names == ["main"] {
        Vec::new()
    } else {
        names
    }
}

/// Returns the imports of a file, and its written-out paths as imports that bind no name. Tests
/// of a file are at its end and do not count.
fn imports(module: &[String], text: &str) -> Vec<Import> {
    let code = text
        .split("#[cfg(test)]\nmod tests")
        .next()
        .unwrap_or_default();
    let lines = code
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    let code = lines.collect::<Vec<_>>().join(" ");
    let mut imports = Vec::new();
    let mut rest = code.as_str();
    while let Some(start) = rest.find(|c: char| c.is_alphanumeric() || c == '_') {
        rest = &rest[start..];
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let word = &rest[..end];
        if word == "use" {
            let tree = rest[end..].split(';').next().unwrap_or_default();
            rest = &rest[end + tree.len()..];
            let tree: String = tree.replace(" as ", "@").split_whitespace().collect();
            expand(&tree, &[], module, &mut imports);
        } else if ["crate", "self", "super"].contains(&word) && rest[end..].starts_with("::") {
            let ends = |c: char| !c.is_alphanumeric() && c != '_' && c != ':';
            let path = &rest[..rest.find(ends).unwrap_or(rest.len())];
            rest = &rest[path.len()..];
            let mut found = Vec::new();
            expand(path.trim_end_matches(':'), &[], module, &mut found);
            imports.extend(found.into_iter().map(|import| Import {
                name: String::new(),
                ..import
            }));
        } else {
            rest = &rest[end..];
        }
    }
    imports
}

/// Adds the imports of a `use` tree without blanks, in which `@` stands for `as`.
fn expand(tree: &str, prefix: &[&str], module: &[String], imports: &mut Vec<Import>) {
    if let Some((head, list)) = tree.split_once('{') {
        let prefix: Vec<&str> = prefix.iter().copied().chain(words(head)).collect();
        for item in items(list.strip_suffix('}').unwrap_or(list)) {
            expand(item, &prefix, module, imports);
        }
        return;
    }
    let (path, alias) = tree
        .split_once('@')
        .map_or((tree, None), |(path, name)| (path, Some(name)));
    let words: Vec<&str> = prefix.iter().copied().chain(words(path)).collect();
    if let Some(mut path) = absolute(&words, module) {
        if path
            .last()
            .is_some_and(|name| name == "self" || name == "*")
        {
            path.pop();
        }
        let name = alias
            .map(str::to_owned)
            .or_else(|| path.last().cloned())
            .unwrap_or_default();
        imports.push(Import { name, path });
    }
}

fn words(path: &str) -> impl Iterator<Item = &str> {
    path.split("::").filter(|word| !word.is_empty())
}

/// Splits a list at its outermost commas.
fn items(list: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    let splits = list.split(move |c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    splits.filter(|item| !item.is_empty()).collect()
}

/// Returns a path from the crate's root, or `None` for one of another crate. A path may begin
/// with a submodule's name, as in `pub use json::Document`: the caller finds out if it exists.
fn absolute(words: &[&str], module: &[String]) -> Option<Names> {
    let ups = words.iter().take_while(|word| **word == "super").count();
    let (base, rest) = match *words.first()? {
        "crate" => (&module[..0], &words[1..]),
        "super" => (&module[..module.len().checked_sub(ups)?], &words[ups..]),
        "self" => (module, &words[1..]),
        "std" | "core" | "alloc" => return None,
        _ => (module, words),
    };
    let rest = rest.iter().map(|word| (*word).to_owned());
    Some(base.iter().cloned().chain(rest).collect())
}

/// Returns the `src` folders of the workspace, by the names of their crates' folders.
fn crates(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !path.is_dir() || name == "target" || name.starts_with('.') {
            continue;
        }
        if name == "src" {
            found.push(path)
        } else {
            found.extend(crates(&path))
        }
    }
    found
}

#[test]
fn files_of_a_crate_use_each_other_in_no_circle() {
    let root = workspace("").canonicalize().unwrap();
    let crates = crates(&root);
    assert!(crates.len() >= 7, "{crates:?}");
    let mut found = BTreeSet::new();
    for src in crates {
        let krate = src
            .strip_prefix(&root)
            .unwrap()
            .parent()
            .unwrap()
            .display()
            .to_string();
        for circle in Crate::read(&src).circles() {
            found.insert(format!("{krate}: {}", circle.join(", ")));
        }
    }
    assert_eq!(found, BTreeSet::new());
}

fn of(files: &[(&str, &str)]) -> Crate {
    let modules = files.iter().map(|(file, text)| {
        let module = module_of(Path::new(file));
        let imports = imports(&module, text);
        (module, imports)
    });
    Crate(modules.collect())
}

fn circles(files: &[(&str, &str)]) -> Vec<String> {
    of(files)
        .circles()
        .into_iter()
        .map(|circle| circle.join(" "))
        .collect()
}

#[test]
fn a_circle_is_found_through_lists_reexports_submodules_and_written_out_paths() {
    let none: [&str; 0] = [];
    let root = (
        "lib.rs",
        "mod a; mod b; pub use b::{self, inner::B as Other};",
    );
    let b = ("b.rs", "pub mod inner;");
    let inner = ("b/inner.rs", "fn f() { crate::a::g() }");
    for a in [
        "use crate::{c, b::{inner::B}};",
        "use super::Other;",
        "use crate::b;",
    ] {
        let found = circles(&[root, ("a.rs", a), b, inner]);
        assert_eq!(found.len(), 1, "{a}: {found:?}");
        assert!(found[0].starts_with("a b"), "{a}: {found:?}");
    }
    let quiet = "// crate::b\nuse std::b;\n#[cfg(test)]\nmod tests { use crate::b; }";
    assert_eq!(circles(&[root, ("a.rs", quiet), b, inner]), none);
}

#[test]
fn a_module_and_its_submodules_are_no_circle() {
    let none: [&str; 0] = [];
    let a = ("a.rs", "mod c; mod d; pub use c::C; struct A;");
    assert_eq!(
        circles(&[a, ("a/c.rs", "use super::A;"), ("a/d.rs", "use super::C;")]),
        none
    );
    let both = circles(&[
        a,
        ("a/c.rs", "use super::d::D;"),
        ("a/d.rs", "use super::C;"),
    ]);
    assert_eq!(both, ["a::c a::d"]);
}
