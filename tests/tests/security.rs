//! SECURITY.md names a test for each advisory: here it is seen to that the tests are there.
#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

use std::{fs, path::Path};

/// Reads a file of the repository.
fn text(path: &str) -> std::io::Result<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path))
}

/// The rows of the table of advisories: advisory, what is done, test.
fn rows(page: &str) -> Vec<[&str; 3]> {
    let (_, table) = page.split_once("|---|---|---|\n").unwrap();
    table
        .lines()
        .take_while(|line| line.starts_with('|'))
        .map(row)
        .collect()
}

/// The cells of one row.
fn row(line: &str) -> [&str; 3] {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    cells.try_into().unwrap()
}

/// Splits "`test` in file".
fn named(cell: &str) -> Option<(&str, &str)> {
    let (name, file) = cell.split_once(" in ")?;
    Some((name.strip_prefix('`')?.strip_suffix('`')?, file))
}

/// Returns true if a source has a function of this name that is run as a test: it has the
/// attribute, or is in the list of a test target.
fn has_test(source: &str, name: &str) -> bool {
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let definition = format!("fn {name}(");
    let Some(at) = lines.iter().position(|line| line.starts_with(&definition)) else {
        return false;
    };
    let is_marked = lines.iter().take(at).next_back() == Some(&"#[test]");
    is_marked || lines.contains(&format!("{name},").as_str())
}

#[test]
fn the_test_of_every_advisory_exists() {
    let page = text("SECURITY.md").unwrap();
    let rows = rows(&page);
    assert!(rows.len() >= 20, "{rows:?}");
    for [advisory, _, test] in rows {
        let (name, file) = named(test).unwrap_or_else(|| panic!("{advisory} names no test"));
        let source = text(file).unwrap_or_else(|e| panic!("{advisory}: {file}: {e}"));
        assert!(
            has_test(&source, name),
            "{advisory}: {file} has no test {name}"
        );
    }
}

#[test]
fn a_function_that_is_not_run_is_no_test() {
    assert!(has_test("    #[test]\n    fn a() {", "a"));
    assert!(has_test("tests![\n    a,\n]\nfn a(host: &Host) {", "a"));
    for source in [
        "fn a() {",
        "#[test]\nfn ab() {",
        "#[test]\nfn b() {\n    a();\n}",
        "// fn a() {",
    ] {
        assert!(!has_test(source, "a"), "{source}");
    }
}
